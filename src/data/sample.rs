//! A piece of real CIFAR-10 inside the library: the first 750 records of each of the six files, 3,750 images to
//! train on and 750 to test on, so that an example, a test or a first try needs no download.
//!
//! ```text
//!   asset:  parts (u32 LE) │ { records, bytes } × parts (u32 LE each) │ one zlib stream a part
//!   part:   labels │ all G′ planes │ all R′−G′ planes │ all B′−G′ planes       (arithmetic mod 256)
//! ```
//!
//! X′ is what is left of plane X after predicting each pixel from its neighbours a (left), b (above), c (above
//! left) as (3a + 3b − 2c + 2) / 4, clamped to a byte; a pixel without a left or upper neighbour takes the other.
//! The three colours err alike, so red and blue are stored as what differs from green. That takes deflate from 5.8
//! bits a byte, as in PNG, to 4.7. Every part is a file of the archive, in its order, and restores to that file's
//! bytes; the test at the end makes the asset and compares it with the files.

use std::io::Read;

use flate2::read::ZlibDecoder;
use rayon::prelude::*;

use super::cifar::{Layout, read_bytes};
use super::error::DataError;
use super::images::Split;

static ASSET: &[u8] = include_bytes!("../../assets/cifar10-sample.bin");

/// Height and width of a plane.
const SIDE: usize = 32;
/// Bytes in a plane.
const PLANE: usize = SIDE * SIDE;
/// Bytes in a record: the label and three planes.
const RECORD: usize = 1 + 3 * PLANE;
/// More records in a part than CIFAR-10 has: a damaged length must not ask for all memory.
const MAX_RECORDS: usize = 60_000;

/// The embedded sample: 3,750 training and 750 test images of CIFAR-10.
///
/// Errors: the sample is damaged, which is an error of the build.
pub fn sample() -> Result<Split, DataError> {
    let mut parts = unpack(ASSET)?
        .par_iter()
        .map(|records| read_bytes(Layout::Cifar10, records, "the embedded sample"))
        .collect::<Result<Vec<_>, _>>()?;
    let test = parts.pop().ok_or_else(|| damaged("no part"))?;
    let mut parts = parts.into_iter();
    let mut train = parts.next().ok_or_else(|| damaged("one part"))?;
    for part in parts {
        train.append(&part)?;
    }
    Ok(Split { train, test })
}

fn damaged(reason: impl Into<String>) -> DataError {
    DataError::Sample(reason.into())
}

/// The files in `asset`, in CIFAR-10's binary layout.
fn unpack(asset: &[u8]) -> Result<Vec<Vec<u8>>, DataError> {
    let mut rest = asset;
    let parts = number(&mut rest)?;
    let mut sizes = Vec::new();
    for _ in 0..parts {
        sizes.push((number(&mut rest)?, number(&mut rest)?));
    }
    let mut streams = Vec::new();
    for (records, bytes) in sizes {
        if records > MAX_RECORDS {
            return Err(damaged(format!("{records} records in a part")));
        }
        let (stream, after) = rest.split_at_checked(bytes).ok_or_else(|| damaged("cut short"))?;
        streams.push((records, stream));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(damaged(format!("{} bytes too many", rest.len())));
    }
    streams.par_iter().map(|&(records, stream)| unpack_part(records, stream)).collect()
}

/// Takes a little-endian number off the front.
fn number(rest: &mut &[u8]) -> Result<usize, DataError> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("cut short"))?;
    *rest = after;
    usize::try_from(u32::from_le_bytes(*bytes)).map_err(|_| damaged("a number is too large"))
}

fn unpack_part(records: usize, stream: &[u8]) -> Result<Vec<u8>, DataError> {
    let size = records * RECORD;
    let mut plain = Vec::with_capacity(size + 1);
    // One byte more than expected is enough to see that there is too much.
    let mut inflated = ZlibDecoder::new(stream).take(size as u64 + 1);
    inflated.read_to_end(&mut plain).map_err(|error| damaged(error.to_string()))?;
    if plain.len() != size {
        return Err(damaged(format!("a part of {records} records holds {} bytes", plain.len())));
    }

    let (labels, planes) = plain.split_at(records);
    let (green, planes) = planes.split_at(records * PLANE);
    let (red, blue) = planes.split_at(records * PLANE);
    let colours = red.chunks_exact(PLANE).zip(green.chunks_exact(PLANE)).zip(blue.chunks_exact(PLANE));
    let mut file = vec![0; size];
    for ((record, &label), ((red, green), blue)) in file.chunks_exact_mut(RECORD).zip(labels).zip(colours) {
        record[0] = label;
        restore(red, green, blue, &mut record[1..]);
    }
    Ok(file)
}

/// Writes the planes R, G, B from R′−G′, G′, B′−G′. The three go side by side, since each pixel waits for the one
/// before it.
fn restore(red: &[u8], green: &[u8], blue: &[u8], out: &mut [u8]) {
    let mut above = [[0; 3]; SIDE];
    for y in 0..SIDE {
        let mut left = above[0];
        let mut corner = above[0];
        for (x, above) in above.iter_mut().enumerate() {
            let at = y * SIDE + x;
            let up = if y == 0 { left } else { *above };
            if y == 0 {
                corner = left;
            }
            let error = [red[at].wrapping_add(green[at]), green[at], blue[at].wrapping_add(green[at])];
            for c in 0..3 {
                left[c] = predict(left[c], up[c], corner[c]).wrapping_add(error[c]);
                out[c * PLANE + at] = left[c];
            }
            corner = *above;
            *above = left;
        }
    }
}

/// The guess for a pixel from its neighbours to the left, above, and above left.
fn predict(left: u8, above: u8, corner: u8) -> u8 {
    let guess = (3 * (i32::from(left) + i32::from(above)) - 2 * i32::from(corner) + 2) >> 2;
    guess.clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;
    use std::path::PathBuf;

    const FILES: [&str; 6] = [
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
        "test_batch.bin",
    ];

    /// The files that the asset is made of, when they lie beside the checkout.
    fn originals() -> Option<Vec<Vec<u8>>> {
        let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/cifar10/sample");
        let dir = std::env::var_os("OUTRIGGER_CIFAR10_SAMPLE").map_or(beside, PathBuf::from);
        FILES.iter().map(|name| std::fs::read(dir.join(name)).ok()).collect()
    }

    fn pack(files: &[Vec<u8>]) -> Vec<u8> {
        let mut asset = (files.len() as u32).to_le_bytes().to_vec();
        let streams: Vec<Vec<u8>> = files.iter().map(|file| pack_part(file)).collect();
        for (file, stream) in files.iter().zip(&streams) {
            asset.extend(((file.len() / RECORD) as u32).to_le_bytes());
            asset.extend((stream.len() as u32).to_le_bytes());
        }
        asset.extend(streams.concat());
        asset
    }

    fn pack_part(file: &[u8]) -> Vec<u8> {
        let records = || file.chunks_exact(RECORD);
        let mut plain: Vec<u8> = records().map(|record| record[0]).collect();
        let errors: Vec<[Vec<u8>; 3]> =
            records().map(|r| [0, 1, 2].map(|c| errors(&r[1 + c * PLANE..][..PLANE]))).collect();
        for [_, green, _] in &errors {
            plain.extend(green);
        }
        for colour in [0, 2] {
            for planes in &errors {
                plain.extend(planes[colour].iter().zip(&planes[1]).map(|(x, green)| x.wrapping_sub(*green)));
            }
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    }

    /// What is left of a plane after the prediction, written from the definition.
    fn errors(plane: &[u8]) -> Vec<u8> {
        let at = |y: usize, x: usize| plane[y * SIDE + x];
        let guess = |y: usize, x: usize| match (y, x) {
            (0, 0) => 0,
            (0, _) => at(0, x - 1),
            (_, 0) => at(y - 1, 0),
            _ => predict(at(y, x - 1), at(y - 1, x), at(y - 1, x - 1)),
        };
        (0..PLANE).map(|i| plane[i].wrapping_sub(guess(i / SIDE, i % SIDE))).collect()
    }

    #[test]
    fn packing_and_unpacking_restores_every_byte() {
        let noise =
            |n: usize, salt: usize| (0..n).map(move |i| ((i * i + salt).wrapping_mul(2_654_435_761) >> 7) as u8);
        let files: Vec<Vec<u8>> = (0..3).map(|k| noise(k * RECORD, k).collect()).collect();
        assert_eq!(unpack(&pack(&files)).unwrap(), files);
    }

    #[test]
    fn damage_is_an_error() {
        let asset = pack(&[vec![7; RECORD], vec![9; 2 * RECORD]]);
        for length in 0..asset.len() {
            assert!(matches!(unpack(&asset[..length]), Err(DataError::Sample(_))), "{length}");
        }
        for byte in 0..asset.len() {
            let mut bad = asset.clone();
            bad[byte] ^= 0x11;
            assert!(unpack(&bad).is_err(), "byte {byte}");
        }
        assert!(unpack(&[&asset[..], &[0]].concat()).is_err());
    }

    /// With OUTRIGGER_BLESS=1 it writes the asset. What counts is that it restores the files: its own bytes may
    /// change with the version of the compressor.
    #[test]
    fn the_asset_restores_the_files() {
        let Some(files) = originals() else {
            eprintln!("not checked: ../shared/cifar10/sample is not beside the checkout");
            return;
        };
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/cifar10-sample.bin");
        if std::env::var_os("OUTRIGGER_BLESS").is_some() {
            std::fs::write(&path, pack(&files)).unwrap();
        }
        let asset = std::fs::read(&path).unwrap();
        assert!(unpack(&asset).unwrap() == files, "{} restores other bytes", path.display());
    }

    #[test]
    fn the_sample_is_all_there() {
        let cifar = sample().unwrap();
        assert_eq!((cifar.train.len(), cifar.test.len()), (3750, 750));
        assert_eq!(cifar.train.class_names()[6], "frog");
        // The first training image of CIFAR-10 is a frog.
        assert_eq!(cifar.train.labels()[0], 6);
    }
}
