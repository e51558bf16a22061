//! The IDX form of MNIST and Fashion-MNIST (<http://yann.lecun.com/exdb/mnist/>), plain or gzipped.
//!
//! ```text
//!   0 0 08 rank │ extent × rank (u32, big-endian) │ bytes, row-major       08: unsigned bytes
//!   images: n, 28, 28                labels: n
//! ```

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::array::{Array, MOST_VALUES, check_labels, elements};
use super::error::DataError;
use super::images::{Images, Split};

/// A data set in four IDX files, named as in MNIST.
///
/// ```no_run
/// let split = outrigger::data::MNIST.load("data/mnist")?;
/// assert_eq!(split.train.shape(), [28, 28, 1]);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdxDataset<'a> {
    /// What people call it.
    pub name: &'a str,
    /// The names of the classes, by their index.
    pub class_names: &'a [&'a str],
}

/// Handwritten digits: 60,000 + 10,000 grey images of 28×28 (LeCun et al., 1998).
pub const MNIST: IdxDataset<'static> =
    IdxDataset { name: "MNIST", class_names: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] };

/// Pictures of clothes in MNIST's form (Xiao et al., 2017).
pub const FASHION_MNIST: IdxDataset<'static> = IdxDataset {
    name: "FashionMNIST",
    class_names: &[
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
};

/// Images and labels for training and testing.
const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

impl IdxDataset<'_> {
    /// Reads the four files, each plain or as `.gz`, from `dir` or from torchvision's folder in it (`MNIST/raw`).
    ///
    /// Errors: a file is missing, damaged or of another kind; images and labels that do not belong together.
    pub fn load(&self, dir: impl AsRef<Path>) -> Result<Split, DataError> {
        let dir = dir.as_ref();
        let torchvision = dir.join(self.name).join("raw");
        let find = |place: &Path| FILES.map(|name| find(place, name));
        let places = [find(dir), find(&torchvision)];
        let found = places.iter().find(|files| files.iter().any(Option::is_some));
        let Some(files) = found else {
            let looked_for =
                format!("{} ({}, also as .gz, there or in {}/raw/)", self.name, FILES.join(", "), self.name);
            return Err(DataError::NotFound { dir: dir.to_path_buf(), looked_for });
        };
        let [Some(a), Some(b), Some(c), Some(d)] = files else {
            let missing = FILES.iter().zip(files).filter(|(_, file)| file.is_none()).map(|(name, _)| name.to_string());
            return Err(DataError::Incomplete { dir: dir.to_path_buf(), missing: missing.collect() });
        };
        Ok(Split { train: self.read(a, b)?, test: self.read(c, d)? })
    }

    fn read(&self, images: &Path, labels: &Path) -> Result<Images, DataError> {
        let (shape, pixels) = read_bytes(images)?;
        let [count, height, width] = shape[..] else {
            return Err(format(images, format!("expected the shape [n, height, width], found {shape:?}")));
        };
        let (shape, classes) = read_bytes(labels)?;
        if shape != [count] {
            let reason =
                format!("expected [{count}] labels, as many as images in {}, found {shape:?}", images.display());
            return Err(format(labels, reason));
        }
        check_labels(&classes, self.class_names.len(), &labels.display().to_string())?;
        let class_names = self.class_names.iter().map(|&name| name.into()).collect();
        Images::new(pixels, classes, [height, width, 1], class_names).map_err(|error| format(images, error.to_string()))
    }
}

/// The file in `dir`, plain or gzipped.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    [dir.join(name), dir.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

fn format(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Format { file: path.display().to_string(), reason: reason.into() }
}

/// Reads an IDX file of unsigned bytes; one whose name ends in `.gz` is unpacked.
///
/// Errors: a file that can't be read, is no IDX file, is cut short or too long, or holds other numbers than bytes.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Array, DataError> {
    let path = path.as_ref();
    let (shape, bytes) = read_bytes(path)?;
    Array::new(shape, bytes)
}

/// Shape and values of an IDX file.
fn read_bytes(path: &Path) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let file = BufReader::new(File::open(path).map_err(DataError::io("read", path))?);
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        parse(MultiGzDecoder::new(file), path)
    } else {
        parse(file, path)
    }
}

fn parse(mut reader: impl Read, path: &Path) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let mut word = |what: &str| {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(|error| format(path, format!("no {what}: {error}")))?;
        Ok::<_, DataError>(bytes)
    };
    let magic = word("magic number")?;
    let [0, 0, 8, rank @ 1..=8] = magic else {
        let allowed = "expected 00 00 08 and a rank from 1 to 8, of an IDX file of bytes";
        return Err(format(path, format!("the magic number is {magic:02x?}: {allowed}")));
    };
    let mut shape = Vec::new();
    for axis in 0..rank {
        shape.push(u32::from_be_bytes(word(&format!("extent {axis} of {rank}"))?) as usize);
    }
    let Some(count) = elements(&shape) else {
        return Err(format(path, format!("the shape {shape:?} has more than {MOST_VALUES} values")));
    };
    // not reserved: a damaged extent does not ask for more memory than the file has
    let mut bytes = Vec::new();
    let read = reader.take(count as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| format(path, format!("after {} of {count} values: {error}", bytes.len())))?;
    match bytes.len() {
        found if found < count => {
            Err(format(path, format!("cut short: the shape {shape:?} has {count} values, the file {found}")))
        }
        found if found > count => {
            Err(format(path, format!("too long: the shape {shape:?} has {count} values, more follow")))
        }
        _ => Ok((shape, bytes)),
    }
}
