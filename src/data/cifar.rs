//! The binary form of CIFAR-10 and CIFAR-100 (<https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! ```text
//!   CIFAR-10 record            CIFAR-100 record
//!   label │ R │ G │ B          coarse │ fine │ R │ G │ B          a plane is 32 rows of 32 bytes
//!     1    1024 1024 1024         1      1    1024 1024 1024
//! ```
//!
//! A file is records and nothing else, without a header, so its length and its labels are all there is to check.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::array::check_labels;
use super::classes;
use super::error::DataError;
use super::images::{Images, Split};

/// Height and width of an image.
const SIDE: usize = 32;
/// Bytes in one colour plane.
const PLANE: usize = SIDE * SIDE;
/// [height, width, channels].
const SHAPE: [usize; 3] = [SIDE, SIDE, 3];

/// What a record looks like, and which of its labels counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One label of 10 classes.
    Cifar10,
    /// The fine label of CIFAR-100: 100 classes.
    Cifar100,
    /// The coarse label of CIFAR-100: 20 superclasses.
    Cifar100Coarse,
}

impl Layout {
    /// The layout's name, as in the messages of errors.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Cifar10 => "CIFAR-10",
            Layout::Cifar100 | Layout::Cifar100Coarse => "CIFAR-100",
        }
    }

    /// Bytes in one record.
    pub fn record_size(self) -> usize {
        self.label_bytes() + 3 * PLANE
    }

    /// The names of the classes, by their index.
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            Layout::Cifar10 => &classes::CIFAR10,
            Layout::Cifar100 => &classes::CIFAR100,
            Layout::Cifar100Coarse => &classes::CIFAR100_COARSE,
        }
    }

    /// Records in the layout's largest official file.
    fn most_records(self) -> u64 {
        match self {
            Layout::Cifar10 => 10_000,
            Layout::Cifar100 | Layout::Cifar100Coarse => 50_000,
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            Layout::Cifar10 => 1,
            Layout::Cifar100 | Layout::Cifar100Coarse => 2,
        }
    }

    fn label_index(self) -> usize {
        match self {
            Layout::Cifar10 | Layout::Cifar100Coarse => 0,
            Layout::Cifar100 => 1,
        }
    }

    /// Errors unless `length` bytes are one or more whole records.
    fn check_length(self, length: u64, origin: &str) -> Result<(), DataError> {
        let record = self.record_size();
        let size = record as u64;
        if length == 0 {
            Err(DataError::Empty { origin: origin.to_string(), layout: self.name(), record })
        } else if !length.is_multiple_of(size) {
            let down = length / size;
            Err(DataError::Length {
                origin: origin.to_string(),
                layout: self.name(),
                length,
                record,
                nearest: (down + u64::from(length % size > size / 2)).max(1),
            })
        } else {
            Ok(())
        }
    }
}

/// Reads records from memory; `origin` names them in errors.
///
/// Errors: no bytes, no whole number of records, a label without a class.
pub fn read_bytes(layout: Layout, bytes: &[u8], origin: &str) -> Result<Images, DataError> {
    layout.check_length(bytes.len() as u64, origin)?;
    let records = bytes.chunks_exact(layout.record_size());
    let labels: Vec<u8> = records.clone().map(|record| record[layout.label_index()]).collect();
    // Before the pixels are converted: a file of another kind fails here, with its own name.
    check_labels(&labels, layout.class_names().len(), origin)?;

    let mut images = vec![0; labels.len() * 3 * PLANE];
    for (record, image) in records.zip(images.chunks_exact_mut(3 * PLANE)) {
        let (red, rest) = record[layout.label_bytes()..].split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        let planes = red.iter().zip(green).zip(blue);
        for (pixel, ((&r, &g), &b)) in image.chunks_exact_mut(3).zip(planes) {
            pixel.copy_from_slice(&[r, g, b]);
        }
    }
    let class_names = layout.class_names().iter().map(|&name| name.into()).collect();
    Images::new(images, labels, SHAPE, class_names)
}

/// Reads one file of records.
///
/// Errors: as [`read_bytes`], a file that is missing or cannot be read, and one of more records than the largest
/// official file of the layout: 10,000 for CIFAR-10, 50,000 for CIFAR-100. The length is checked before the file is
/// read.
pub fn read_file(layout: Layout, path: impl AsRef<Path>) -> Result<Images, DataError> {
    let path = path.as_ref();
    read_at_most(layout, path, layout.most_records())
}

fn read_at_most(layout: Layout, path: &Path, most: u64) -> Result<Images, DataError> {
    let origin = path.display().to_string();
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let length = file.metadata().map_err(DataError::io("read", path))?.len();
    let record = layout.record_size();
    let limit = most * record as u64;
    let oversized = |length| DataError::Oversized { path: path.to_path_buf(), length, most, record };
    if length > limit {
        return Err(oversized(length));
    }
    // what is no regular file (a pipe) does not tell its length, and a file may grow: one byte more is enough to know
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(oversized(bytes.len() as u64));
    }
    read_bytes(layout, &bytes, &origin)
}

/// The files of one data set, as its archive names them.
struct Files {
    layout: Layout,
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Records in the official file of tests; one for training has at most its layout's.
    test_records: u64,
}

const KNOWN: [Files; 2] = [
    Files {
        layout: Layout::Cifar10,
        folder: "cifar-10-batches-bin",
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        test_records: 10_000,
    },
    Files {
        layout: Layout::Cifar100,
        folder: "cifar-100-binary",
        train: &["train.bin"],
        test: "test.bin",
        test_records: 10_000,
    },
];

/// Reads CIFAR-10 or CIFAR-100 (fine labels) from `dir`, which holds the `.bin` files or the folder of the
/// official archive with them.
///
/// Errors: none of the files is there, some are missing, or one is bad (as [`read_file`]).
pub fn load_dir(dir: impl AsRef<Path>) -> Result<Split, DataError> {
    let dir = dir.as_ref();
    for files in &KNOWN {
        for place in [dir.to_path_buf(), dir.join(files.folder)] {
            let names = || files.train.iter().chain([&files.test]);
            let mut missing = Vec::new();
            for name in names() {
                let path = place.join(name);
                if !path.try_exists().or_else(not_a_directory).map_err(DataError::io("look for", &path))? {
                    missing.push(name.to_string());
                }
            }
            if missing.is_empty() {
                return read_all(files, &place);
            }
            if missing.len() < names().count() {
                return Err(DataError::Incomplete { dir: place, missing });
            }
        }
    }
    let sets: Vec<String> = KNOWN
        .iter()
        .map(|files| {
            let all = [files.train, &[files.test]].concat().join(", ");
            format!("{} ({all}, there or in {}/)", files.layout.name(), files.folder)
        })
        .collect();
    Err(DataError::NotFound { dir: dir.to_path_buf(), looked_for: sets.join(" and ") })
}

/// A path below something that is a file does not exist: that is no failure of looking.
fn not_a_directory(error: io::Error) -> io::Result<bool> {
    if error.kind() == io::ErrorKind::NotADirectory { Ok(false) } else { Err(error) }
}

fn read_all(files: &Files, place: &Path) -> Result<Split, DataError> {
    let read = |name: &str| read_file(files.layout, place.join(name));
    let mut train = read(files.train[0])?;
    for name in &files.train[1..] {
        train.append(&read(name)?)?;
    }
    let test = read_at_most(files.layout, &place.join(files.test), files.test_records)?;
    Ok(Split { train, test })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `labels.len()` records whose pixel bytes count up, so that every position is recognisable.
    fn records(layout: Layout, labels: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (i, label) in labels.iter().enumerate() {
            assert_eq!(label.len(), layout.label_bytes());
            bytes.extend_from_slice(label);
            bytes.extend((0..3 * PLANE).map(|p| (p * 7 + i * 13 + p / 256) as u8));
        }
        bytes
    }

    #[test]
    fn planes_become_pixels() {
        let bytes = records(Layout::Cifar10, &[&[3], &[9]]);
        let set = read_bytes(Layout::Cifar10, &bytes, "memory").unwrap();
        assert_eq!(set.labels(), [3, 9]);
        assert_eq!(set.shape(), [32, 32, 3]);
        for n in 0..2 {
            for y in 0..32 {
                for x in 0..32 {
                    for c in 0..3 {
                        let planar = bytes[n * 3073 + 1 + c * 1024 + y * 32 + x];
                        assert_eq!(set.images()[((n * 32 + y) * 32 + x) * 3 + c], planar);
                    }
                }
            }
        }
    }

    #[test]
    fn cifar_100_has_two_labels() {
        let bytes = records(Layout::Cifar100, &[&[19, 99], &[4, 0]]);
        let fine = read_bytes(Layout::Cifar100, &bytes, "memory").unwrap();
        let coarse = read_bytes(Layout::Cifar100Coarse, &bytes, "memory").unwrap();
        assert_eq!((fine.labels(), fine.classes()), (&[99, 0][..], 100));
        assert_eq!((coarse.labels(), coarse.classes()), (&[19, 4][..], 20));
        assert_eq!(fine.images(), coarse.images());
        assert_eq!(fine.images()[1], bytes[2 + 1024]);
    }

    #[test]
    fn a_wrong_length_names_the_nearest_right_one() {
        let bytes = records(Layout::Cifar10, &[&[3], &[9]]);
        let error = |length: usize| read_bytes(Layout::Cifar10, &bytes[..length], "some.bin").unwrap_err().to_string();
        assert_eq!(
            error(6145),
            "some.bin holds 6145 bytes, which is no whole number of 3073-byte CIFAR-10 records: the nearest is 2 \
             records, 6146 bytes"
        );
        assert!(error(3074).contains("1 records, 3073 bytes"));
        assert!(error(1).contains("1 records, 3073 bytes"));
        assert_eq!(error(0), "some.bin is empty: expected 3073-byte CIFAR-10 records");
    }

    #[test]
    fn a_label_without_a_class_names_the_record() {
        let bytes = records(Layout::Cifar10, &[&[3], &[10]]);
        let error = read_bytes(Layout::Cifar10, &bytes, "some.bin").unwrap_err();
        assert_eq!(error.to_string(), "some.bin: record 1 has the label 10, but the 10 classes are numbered 0 to 9");
    }
}
