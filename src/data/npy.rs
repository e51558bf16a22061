//! NumPy's files: `.npy`, one array, and `.npz`, a zip archive of them
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! ```text
//!   93 "NUMPY" │ version │ length of header │ {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), } │ values
//! ```
//!
//! Arrays of objects hold a pickle, which is a program: they are refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use half::f16;
use zip::ZipArchive;

use super::array::{Array, MOST_VALUES, elements};
use super::error::DataError;

/// The longest header that is read: a shape and a type need less.
const MOST_HEADER: usize = 1 << 16;

/// An array of a `.npy` file.
#[derive(Debug, Clone, PartialEq)]
pub struct Npy {
    origin: String,
    shape: Vec<usize>,
    values: Numbers,
}

/// Values of an array, widened to one of three types.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    /// Unsigned bytes.
    Bytes(Vec<u8>),
    /// All other integers, and booleans as 0 and 1.
    Integers(Vec<i64>),
    /// As f32, rounded.
    Floats(Vec<f32>),
}

impl Npy {
    /// Reads a `.npy` file of booleans, integers or floats of any size and byte order, in C or Fortran order.
    ///
    /// Errors: a file that can't be read, is damaged, cut short or too long, or holds something else.
    pub fn read(path: impl AsRef<Path>) -> Result<Npy, DataError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(DataError::io("read", path))?;
        Npy::parse(BufReader::new(file), path.display().to_string())
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values as bytes where they are unsigned bytes (pixels, which stand for 0 to 1), else as f32, rounded.
    pub fn into_array(self) -> Result<Array, DataError> {
        match self.values {
            Numbers::Bytes(values) => Array::new(self.shape, values),
            Numbers::Integers(values) => Array::new(self.shape, values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            Numbers::Floats(values) => Array::new(self.shape, values),
        }
    }

    /// The values as class indices, in the shape `[n]` or `[n, 1]`.
    ///
    /// Errors: another shape, floats, a number that fits no index.
    pub fn into_labels(self) -> Result<Vec<i32>, DataError> {
        let Npy { origin, shape, values } = self;
        let bad = |reason: String| DataError::Format { file: origin.clone(), reason };
        if !matches!(shape[..], [_] | [_, 1]) {
            return Err(bad(format!("labels have the shape [n] or [n, 1], found {shape:?}")));
        }
        let values = match values {
            Numbers::Bytes(values) => values.into_iter().map(i64::from).collect(),
            Numbers::Integers(values) => values,
            Numbers::Floats(_) => return Err(bad("labels are integers, found floats".into())),
        };
        let label = |(record, value): (usize, i64)| {
            i32::try_from(value).map_err(|_| bad(format!("record {record} has the label {value}")))
        };
        values.into_iter().enumerate().map(label).collect()
    }

    /// The extents and the values as they were read.
    pub(crate) fn into_parts(self) -> (Vec<usize>, Numbers) {
        (self.shape, self.values)
    }

    /// Reads a `.npy` file; `origin` names it in errors.
    pub(crate) fn parse(mut reader: impl Read, origin: String) -> Result<Npy, DataError> {
        let bad = |reason: String| DataError::Format { file: origin.clone(), reason };
        let mut take = |count: usize, what: &str| {
            let mut bytes = vec![0; count];
            reader.read_exact(&mut bytes).map_err(|error| bad(format!("no {what}: {error}")))?;
            Ok::<_, DataError>(bytes)
        };
        let start = take(8, "magic number")?;
        if !start.starts_with(b"\x93NUMPY") {
            return Err(bad("does not start as a .npy file".into()));
        }
        let width = match start[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Err(bad(format!("is of version {version}; 1 to 3 are known"))),
        };
        let length = take(width, "length of the header")?;
        let length = length.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
        if length > MOST_HEADER {
            return Err(bad(format!("a header of {length} bytes; at most {MOST_HEADER} are read")));
        }
        let header = String::from_utf8_lossy(&take(length, "header")?).into_owned();
        let Some((descr, fortran, shape)) = parse_header(&header) else {
            return Err(bad(format!("the header is not understood: {}", header.trim_end())));
        };
        let Some(kind) = Kind::parse(&descr) else {
            let known = "b1, i1 to i8, u1 to u8 and f2 to f8 are known";
            return Err(bad(format!("holds values of the type '{descr}'; {known}")));
        };
        let Some(count) = elements(&shape) else {
            return Err(bad(format!("the shape {shape:?} has more than {MOST_VALUES} values")));
        };
        let size = count * kind.size;
        let mut bytes = Vec::new();
        let read = reader.take(size as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| bad(format!("after {} of {size} bytes: {error}", bytes.len())))?;
        if bytes.len() != size {
            let found = if bytes.len() > size { "more".to_string() } else { bytes.len().to_string() };
            return Err(bad(format!("the shape {shape:?} of '{descr}' takes {size} bytes, the file has {found}")));
        }
        let mut values = kind.numbers(bytes);
        if fortran {
            values = match values {
                Numbers::Bytes(v) => Numbers::Bytes(transpose(&v, &shape)),
                Numbers::Integers(v) => Numbers::Integers(transpose(&v, &shape)),
                Numbers::Floats(v) => Numbers::Floats(transpose(&v, &shape)),
            };
        }
        Ok(Npy { origin, shape, values })
    }
}

/// Reads the arrays of a `.npz` file, by their names without `.npy`.
///
/// ```no_run
/// use outrigger::data::{ArrayDataset, read_npz};
///
/// let mut arrays = read_npz("mnist.npz")?;
/// if let (Some(x), Some(y)) = (arrays.remove("x_train"), arrays.remove("y_train")) {
///     let data = ArrayDataset::classes(x.into_array()?, y.into_labels()?, 10)?;
/// }
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
///
/// Errors: a file that can't be read or is no zip archive, and as [`Npy::read`] for each array.
pub fn read_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Npy>, DataError> {
    let path = path.as_ref();
    let origin = path.display().to_string();
    let bad = |error: zip::result::ZipError| DataError::Format { file: origin.clone(), reason: error.to_string() };
    let file = BufReader::new(File::open(path).map_err(DataError::io("read", path))?);
    let mut archive = ZipArchive::new(file).map_err(bad)?;
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(bad)?;
        let file_name = member.name().map_err(bad)?.into_owned();
        let name = file_name.strip_suffix(".npy").unwrap_or(&file_name).to_string();
        arrays.insert(name, Npy::parse(member, format!("{origin}, {file_name}"))?);
    }
    Ok(arrays)
}

/// A type of numbers.
struct Kind {
    letter: u8,
    size: usize,
    big_endian: bool,
}

impl Kind {
    fn parse(descr: &str) -> Option<Kind> {
        let [order, letter, size] = *descr.as_bytes() else { return None };
        let kind = Kind { letter, size: usize::from(size.checked_sub(b'0')?), big_endian: order == b'>' };
        let known = match letter {
            b'b' => kind.size == 1,
            b'i' | b'u' => [1, 2, 4, 8].contains(&kind.size),
            b'f' => [2, 4, 8].contains(&kind.size),
            _ => false,
        };
        (known && b"<>|=".contains(&order)).then_some(kind)
    }

    fn numbers(&self, bytes: Vec<u8>) -> Numbers {
        if self.size == 1 && self.letter == b'u' {
            return Numbers::Bytes(bytes);
        }
        // each number as the low bytes of a u64
        let words = bytes.chunks_exact(self.size).map(|number| {
            let join = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
            if self.big_endian { number.iter().fold(0, join) } else { number.iter().rev().fold(0, join) }
        });
        let spare = 64 - 8 * self.size as u32;
        match (self.letter, self.size) {
            (b'f', 2) => Numbers::Floats(words.map(|w| f16::from_bits(w as u16).to_f32()).collect()),
            (b'f', 4) => Numbers::Floats(words.map(|w| f32::from_bits(w as u32)).collect()),
            (b'f', _) => Numbers::Floats(words.map(|w| f64::from_bits(w) as f32).collect()),
            (b'i', _) => Numbers::Integers(words.map(|w| (w << spare) as i64 >> spare).collect()),
            _ => Numbers::Integers(words.map(|w| i64::try_from(w).unwrap_or(i64::MAX)).collect()),
        }
    }
}

/// Type, order and shape of a header, a Python dictionary with these three keys.
fn parse_header(header: &str) -> Option<(String, bool, Vec<usize>)> {
    let after = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = after("descr")?.strip_prefix('\'')?.split_once('\'')?.0.to_string();
    let order = after("fortran_order")?;
    let fortran = order.starts_with("True");
    if !fortran && !order.starts_with("False") {
        return None;
    }
    let extents = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let extents = extents.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    // Python 2 wrote 3L
    let shape = extents.map(|extent| extent.trim_end_matches('L').parse().ok()).collect::<Option<Vec<usize>>>()?;
    Some((descr, fortran, shape))
}

/// Row-major values from column-major ones.
fn transpose<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let mut index = vec![0; shape.len()];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        let at = index.iter().zip(shape).rev().fold(0, |at, (&i, &extent)| at * extent + i);
        out.push(values[at]);
        for (i, &extent) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < extent {
                break;
            }
            *i = 0;
        }
    }
    out
}
