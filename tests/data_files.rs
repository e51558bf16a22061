//! Data sets in files that the tests write: IDX, folders of images, NumPy's arrays; and the same files damaged.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{ImageFormat, Rgb, RgbImage};
use outrigger::data::{
    Array, ArrayDataset, DataError, DataLoader, Dataset, FASHION_MNIST, ImageFolder, LoaderOptions, MNIST, Npy, Resize,
    Split, Target, Values, read_idx, read_npz,
};
use proptest::prelude::*;
use tempfile::tempdir;
use zip::write::SimpleFileOptions;

fn idx(shape: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|extent| file.extend(extent.to_be_bytes()));
    file.extend(bytes);
    file
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two images for training, plain, and one for testing, gzipped.
fn write_mnist(dir: &Path) {
    fs::write(dir.join("train-images-idx3-ubyte"), idx(&[2, 2, 3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])).unwrap();
    fs::write(dir.join("train-labels-idx1-ubyte"), idx(&[2], &[9, 0])).unwrap();
    fs::write(dir.join("t10k-images-idx3-ubyte.gz"), gz(&idx(&[1, 2, 3], &[50; 6]))).unwrap();
    fs::write(dir.join("t10k-labels-idx1-ubyte.gz"), gz(&idx(&[1], &[4]))).unwrap();
}

fn contains(error: impl ToString, parts: &[&str]) {
    let error = error.to_string();
    parts.iter().for_each(|part| assert!(error.contains(part), "{error}: no {part}"));
}

#[test]
fn mnist_is_read_plain_and_gzipped_in_place_and_in_torchvisions_folder() {
    for folder in ["", "MNIST/raw"] {
        let dir = tempdir().unwrap();
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        write_mnist(&dir.path().join(folder));
        let split = MNIST.load(dir.path()).unwrap();
        assert_eq!((split.train.shape(), split.train.labels()), ([2, 3, 1], &[9, 0][..]));
        assert_eq!(split.train.image(1).unwrap(), [6, 7, 8, 9, 10, 11]);
        assert_eq!((split.test.images(), split.test.labels()), (&[50; 6][..], &[4][..]));
        assert_eq!(split.test.class_names()[9], "9");
    }
    let dir = tempdir().unwrap();
    let raw = dir.path().join("FashionMNIST/raw");
    fs::create_dir_all(&raw).unwrap();
    write_mnist(&raw);
    let split = FASHION_MNIST.load(dir.path()).unwrap();
    assert_eq!((split.train.labels(), split.train.class_names()[9].as_str()), (&[9, 0][..], "Ankle boot"));
}

#[test]
fn bad_idx_files_are_named() {
    let dir = tempdir().unwrap();
    let load = || MNIST.load(dir.path()).unwrap_err();
    contains(load(), &["no data set in", "t10k-labels-idx1-ubyte"]);
    write_mnist(dir.path());
    let labels = "train-labels-idx1-ubyte";
    let with = |name: &str, bytes: &[u8], parts: &[&str]| {
        let path = dir.path().join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        contains(load(), &[&[path.to_str().unwrap()], parts].concat());
        fs::write(&path, good).unwrap();
    };
    with(labels, &idx(&[2], &[9, 10]), &["record 1 has the label 10", "0 to 9"]);
    with(labels, &idx(&[3], &[9, 0, 0]), &["expected [2] labels", "found [3]"]);
    with(labels, &idx(&[2], &[9]), &["cut short", "[2] has 2 values, the file 1"]);
    with(labels, &idx(&[2], &[9, 0, 0]), &["too long"]);
    with(labels, &[0, 0, 13, 1, 0, 0, 0, 2], &["magic number is [00, 00, 0d, 01]"]);
    with(labels, &[0, 0, 8, 1, 0], &["no extent 0 of 1"]);
    with("train-images-idx3-ubyte", &idx(&[2, 6], &[0; 12]), &["[n, height, width], found [2, 6]"]);
    with("train-images-idx3-ubyte", &idx(&[u32::MAX; 3], &[]), &["more than"]);
    with("t10k-images-idx3-ubyte.gz", b"no gzip", &["no magic number"]);
    fs::remove_file(dir.path().join(labels)).unwrap();
    contains(load(), &["incomplete", labels]);
}

fn picture(width: u32, height: u32, salt: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 20 + salt) as u8, (y * 20) as u8, salt as u8]))
}

#[test]
fn a_folder_is_read_in_the_order_of_names() {
    let dir = tempdir().unwrap();
    for (name, salt) in [("dog/b.PNG", 3), ("dog/a.png", 2), ("cat/deep/c.png", 1), ("cat/z.jpg", 9)] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture(6, 4, salt).save(path).unwrap();
    }
    fs::write(dir.path().join("cat/notes.txt"), "not an image").unwrap();
    fs::write(dir.path().join("readme.png"), "not in a class").unwrap();
    let data = ImageFolder::new(dir.path()).unwrap();
    assert_eq!(data.class_names(), ["cat", "dog"]);
    let classes: Vec<_> = data.files().iter().map(|(_, class)| *class).collect();
    assert_eq!(classes, [0, 0, 1, 1]);
    for (index, salt) in [(0, 1), (2, 2), (3, 3)] {
        let sample = data.get(index).unwrap();
        assert_eq!(sample.input.shape(), [4, 6, 3]);
        assert_eq!(sample.input.values(), &Values::Bytes(picture(6, 4, salt).into_raw()));
    }
    // JPEG is near, not equal
    let sample = data.get(1).unwrap();
    assert_eq!(sample.target, Target::Class(0));
    let Values::Bytes(bytes) = sample.input.values() else { panic!("no bytes") };
    let far = bytes.iter().zip(picture(6, 4, 9).as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(far < Some(60), "{far:?}");
}

#[test]
fn images_of_a_folder_are_fitted() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    // columns of 0, 90, 180, 270 - 256 … red; twice as wide as high, so that a quarter is cut off on each side
    RgbImage::from_fn(8, 4, |x, _| Rgb([20 * x as u8, 0, 200])).save(dir.path().join("a/1.png")).unwrap();
    let folder = ImageFolder::new(dir.path()).unwrap();
    let images = folder.images([4, 4, 3]).unwrap();
    let row: Vec<u8> = (2..6).flat_map(|x| [20 * x, 0, 200]).collect();
    assert_eq!(
        (images.images(), images.labels(), images.class_names()),
        (&row.repeat(4)[..], &[0][..], &["a".into()][..])
    );
    // half of the size: the mean of what the triangle filter covers, of which nothing is left at the cut
    let half = folder.images([2, 2, 3]).unwrap();
    assert!(half.images().chunks(6).all(|row| row[0].abs_diff(50) <= 1 && row[3].abs_diff(90) <= 1), "{half:?}");
    // luma: 0.299 red, 0.114 blue
    let grey = folder.images([4, 4, 1]).unwrap();
    let row: Vec<u8> = (2..6).map(|x| (0.299 * f64::from(20 * x) + 22.8).round() as u8).collect();
    assert_eq!(grey.images(), row.repeat(4));
    contains(folder.images([4, 4, 2]).unwrap_err(), &["channels", "1 or 3"]);
}

#[test]
fn a_bad_folder_or_image_is_named() {
    let dir = tempdir().unwrap();
    let error = || ImageFolder::new(dir.path()).unwrap_err();
    contains(error(), &[dir.path().to_str().unwrap(), "no classes"]);
    fs::create_dir(dir.path().join("cat")).unwrap();
    contains(error(), &["cat", "no image in this class"]);
    contains(ImageFolder::new(dir.path().join("nowhere")).unwrap_err(), &["nowhere"]);

    fs::write(dir.path().join("cat/1.png"), b"\x89PNG\r\n\x1a\nrubbish").unwrap();
    let options = LoaderOptions { shuffle: false, workers: 2, ..LoaderOptions::default() };
    let load = || {
        let data = ImageFolder::new(dir.path()).unwrap();
        DataLoader::new(data, options).unwrap().epoch(0).next().unwrap()
    };
    contains(load().unwrap_err(), &["cat/1.png", "does not decode"]);
    picture(5, 5, 0).save(dir.path().join("cat/1.png")).unwrap();
    picture(5, 4, 0).save(dir.path().join("cat/2.png")).unwrap();
    contains(load().unwrap_err(), &["cat/2.png", "Resize", "[5, 5, 3]", "[4, 5, 3]"]);
    let loader = DataLoader::new(ImageFolder::new(dir.path()).unwrap(), options).unwrap();
    let batch = loader.transform(Resize::exactly([8, 8])).epoch(0).next().unwrap().unwrap();
    assert_eq!(batch.shape, [2, 8, 8, 3]);
}

fn npy(descr: &str, fortran: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), values].concat()
}

fn read_npy(bytes: &[u8]) -> Result<Npy, DataError> {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.npy");
    fs::write(&path, bytes).unwrap();
    Npy::read(&path)
}

#[test]
fn every_type_and_order_of_npy_is_read() {
    let le = |f: fn(i8) -> Vec<u8>| [1, -2, 3, 4, 5, 6].into_iter().flat_map(f).collect::<Vec<u8>>();
    let files = [
        ("<f8", le(|v| f64::from(v).to_le_bytes().to_vec())),
        (">f4", le(|v| f32::from(v).to_be_bytes().to_vec())),
        ("<f2", le(|v| half::f16::from_f32(v.into()).to_le_bytes().to_vec())),
        ("|i1", le(|v| v.to_le_bytes().to_vec())),
        (">i2", le(|v| i16::from(v).to_be_bytes().to_vec())),
        ("<i8", le(|v| i64::from(v).to_le_bytes().to_vec())),
    ];
    for (descr, values) in files {
        let array = read_npy(&npy(descr, "False", "(2, 3)", &values)).unwrap().into_array().unwrap();
        assert_eq!(array.shape(), [2, 3]);
        assert_eq!(array.into_floats(), [1., -2., 3., 4., 5., 6.], "{descr}");
        let columns = read_npy(&npy(descr, "True", "(2, 3)", &values)).unwrap().into_array().unwrap();
        assert_eq!(columns.into_floats(), [1., 3., 5., -2., 4., 6.], "{descr}");
    }
    let bytes = read_npy(&npy("|u1", "False", "(3,)", &[7, 8, 9])).unwrap();
    assert_eq!(bytes.clone().into_labels().unwrap(), [7, 8, 9]);
    assert_eq!(bytes.into_array().unwrap().values(), &Values::Bytes(vec![7, 8, 9]));
    // no shades of grey
    let bits = read_npy(&npy("|b1", "True", "(2, 2)", &[1, 0, 1, 1])).unwrap();
    assert_eq!(bits.into_array().unwrap().into_floats(), [1.0, 1.0, 0.0, 1.0]);
    let bits = read_npy(&npy("|b1", "False", "(2,)", &[1, 0])).unwrap();
    assert_eq!(bits.into_labels().unwrap(), [1, 0]);
}

#[test]
fn bad_npy_files_are_named() {
    for (bytes, part) in [
        (npy("|O", "False", "(1,)", &[0; 8]), "type '|O'"),
        (npy("<f4", "False", "(2,)", &[0; 7]), "takes 8 bytes, the file has 7"),
        (npy("<f4", "False", "(2,)", &[0; 9]), "takes 8 bytes, the file has more"),
        (npy("<f4", "Maybe", "(2,)", &[0; 8]), "header is not understood"),
        (npy("<f4", "False", "(99999999, 99999999)", &[]), "more than"),
        (b"PK\x03\x04....".to_vec(), "does not start"),
        (b"\x93NUMPY\x01\x00\xff".to_vec(), "length of the header"),
    ] {
        contains(read_npy(&bytes).unwrap_err(), &["a.npy", part]);
    }
    let labels = |descr, shape, values: &[u8]| read_npy(&npy(descr, "False", shape, values)).unwrap().into_labels();
    contains(labels("<f4", "(1,)", &[0; 4]).unwrap_err(), &["a.npy", "found floats"]);
    contains(labels("<i8", "(1,)", &[255, 255, 255, 255, 1, 0, 0, 0]).unwrap_err(), &["record 0"]);
    contains(labels("|u1", "(1, 2)", &[0; 2]).unwrap_err(), &["found [1, 2]"]);
}

/// A shape without values may name any number of samples; a list of them would take all memory.
#[test]
fn a_data_set_of_endless_nothing_is_refused() {
    let endless = read_npy(&npy("<f4", "False", "(1000000000000000000, 0)", &[])).unwrap().into_array().unwrap();
    contains(ArrayDataset::unlabelled(endless).unwrap_err(), &["inputs of a data set", "1000000000000000000"]);
    let few = Array::new([3, 0], Vec::<f32>::new()).unwrap();
    assert_eq!(ArrayDataset::unlabelled(few).unwrap().len(), 3);
}

fn npz() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, file) in [("x", npy("<f4", "False", "(2, 1)", &[0; 8])), ("y", npy("|u1", "False", "(2,)", &[1, 0]))] {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        zip.write_all(&file).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn npz_is_arrays_by_name() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.npz");
    fs::write(&path, npz()).unwrap();
    contains(Split::read_npz(&path).unwrap_err(), &["a.npz", "has no array \"x_train\"", "it has x, y"]);
    let mut arrays = read_npz(&path).unwrap();
    let (x, y) = (arrays.remove("x").unwrap(), arrays.remove("y").unwrap());
    let data = ArrayDataset::classes(x.into_array().unwrap(), y.into_labels().unwrap(), 2).unwrap();
    assert_eq!((data.len(), data.get(0).unwrap().target), (2, Target::Class(1)));
    fs::write(&path, "no archive").unwrap();
    contains(read_npz(&path).unwrap_err(), &["a.npz"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A reader of a damaged file returns: an error, or another array. It never panics.
    #[test]
    fn mutated_files_never_panic(
        kind in 0usize..6, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(), cuts in any::<bool>(),
    ) {
        let coded = |format| {
            let mut bytes = Cursor::new(Vec::new());
            picture(9, 7, 3).write_to(&mut bytes, format).unwrap();
            bytes.into_inner()
        };
        let idx = idx(&[2, 2, 3], &[7; 12]);
        let (name, mut bytes) = match kind {
            0 => ("a", idx),
            1 => ("a.gz", gz(&idx)),
            2 => ("a.npy", npy("<i4", "True", "(2, 3)", &[9; 24])),
            3 => ("a.npz", npz()),
            4 => ("a.png", coded(ImageFormat::Png)),
            _ => ("a.jpg", coded(ImageFormat::Jpeg)),
        };
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let dir = tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = match kind {
            0 | 1 => read_idx(&path).err(),
            2 => Npy::read(&path).and_then(Npy::into_array).err(),
            3 => read_npz(&path).err(),
            _ => outrigger::data::read_image(&path).err(),
        };
        if let Some(error) = error {
            prop_assert!(error.to_string().contains(name), "{}", error);
        }
    }
}
