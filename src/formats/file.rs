//! Named tensors and text metadata: what every format is read to and written from.
//!
//! Elements stay as the file has them, so that a file of f64 or bf16 can be converted without loss; [`WeightFile::tensor`]
//! makes them what a model holds: f32 (also of f16, bf16 and f64), i32 and u8.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::Dtype;

use super::layout::{Layout, permutation, permuted};
use crate::error::{Error, nearest};
use crate::store::Store;
use crate::tensor::{Data, Tensor};
use crate::types::Shape;

/// The most axes of a tensor.
pub(super) const MOST_AXES: usize = 32;

/// A tensor of a file, not yet converted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Shape,
    /// Row-major, little-endian.
    pub(super) bytes: Vec<u8>,
}

impl Entry {
    /// A tensor of a file that says this about it; what is wrong otherwise. No arithmetic on a shape that passed
    /// overflows, not even with extents of zero.
    pub(super) fn new(dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Entry, String> {
        let bits = dtype.bitsize();
        if !bits.is_multiple_of(8) {
            return Err(format!("has elements of type {dtype:?}, of less than a byte"));
        }
        if shape.len() > MOST_AXES {
            return Err(format!("has {} axes; at most {MOST_AXES} are read", shape.len()));
        }
        let largest = shape.iter().try_fold(bits / 8, |n, &extent| n.checked_mul(extent.max(1)));
        let Some(largest) = largest.filter(|&n| isize::try_from(n).is_ok()) else {
            return Err(format!("has the shape {shape:?}, which no memory holds"));
        };
        let needed = if shape.contains(&0) { 0 } else { largest };
        if needed != bytes.len() {
            return Err(format!("has {} bytes; {shape:?} of {dtype:?} takes {needed}", bytes.len()));
        }
        Ok(Entry { dtype, shape: Shape(shape), bytes })
    }

    /// Bytes of an element.
    pub(super) fn size(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    /// As f32, if the elements are f16 or bf16.
    pub(super) fn widened(&self) -> Entry {
        let values = match self.dtype {
            Dtype::F16 => words(&self.bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => words(&self.bytes, |b| bf16::from_le_bytes(b).to_f32()),
            _ => return self.clone(),
        };
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Entry { dtype: Dtype::F32, shape: self.shape.clone(), bytes }
    }

    /// With axis `i` of the result being axis `axes[i]`.
    pub(super) fn permuted(&self, axes: &[usize]) -> Entry {
        if axes.is_sorted() {
            return self.clone();
        }
        let size = self.size();
        let sources = permutation(&self.shape, axes);
        let bytes = sources.iter().flat_map(|&s| &self.bytes[s * size..][..size]).copied().collect();
        Entry { dtype: self.dtype, shape: permuted(&self.shape, axes), bytes }
    }
}

/// Named tensors and metadata, read from a file or about to be written to one.
#[derive(Clone, Debug)]
pub struct WeightFile {
    /// Path for error messages.
    file: String,
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) metadata: BTreeMap<String, String>,
}

impl WeightFile {
    pub(super) fn of_entries(
        file: &str,
        entries: BTreeMap<String, Entry>,
        metadata: BTreeMap<String, String>,
    ) -> WeightFile {
        WeightFile { file: file.to_string(), entries, metadata }
    }

    /// Path for error messages.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Other tensors under the same file's name.
    pub(super) fn with_entries(&self, entries: BTreeMap<String, Entry>, metadata: BTreeMap<String, String>) -> Self {
        WeightFile { file: self.file.clone(), entries, metadata }
    }

    /// All state of `store` in `layout`, with `metadata`; the layout is added under `layout`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] never in practice: the store names its own tensors.
    pub fn of_store(store: &Store, layout: Layout, metadata: BTreeMap<String, String>) -> Result<Self, Error> {
        let mut tensors = Vec::new();
        for (name, _) in store.entries() {
            tensors.push((name.clone(), layout.to_file(store.axes(name), &store.get(name)?)?));
        }
        let mut metadata = metadata;
        metadata.insert("layout".to_string(), layout.describe().to_string());
        Ok(WeightFile::new(tensors, metadata))
    }

    /// A file of `tensors` as they are.
    pub fn new(tensors: impl IntoIterator<Item = (String, Tensor)>, metadata: BTreeMap<String, String>) -> Self {
        let entry = |tensor: Tensor| {
            let (dtype, bytes) = match tensor.data() {
                Data::F32(v) => (Dtype::F32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
                Data::I32(v) => (Dtype::I32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
                Data::U8(v) => (Dtype::U8, v.clone()),
            };
            Entry { dtype, shape: tensor.shape().clone(), bytes }
        };
        let entries = tensors.into_iter().map(|(name, tensor)| (name, entry(tensor))).collect();
        WeightFile { file: "weights".to_string(), entries, metadata }
    }

    /// Text entries of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
    /// A text entry of the header.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not there.
    pub fn meta(&self, key: &str) -> Result<&str, Error> {
        self.metadata
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| self.error(format!("has no \"{key}\" in its metadata")))
    }
    /// A text entry of the header as a number or another parsed value.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not there or does not parse.
    pub fn meta_as<T: std::str::FromStr>(&self, key: &str) -> Result<T, Error> {
        let text = self.meta(key)?;
        text.trim().parse().map_err(|_| {
            self.error(format!("\"{key}\" in its metadata is \"{text}\", which is no {}", std::any::type_name::<T>()))
        })
    }
    /// The layout that the metadata names, if it does.
    pub fn layout(&self) -> Option<Layout> {
        self.metadata.get("layout").and_then(|text| Layout::from_description(text))
    }
    /// The layout that the metadata names, else the one that goes with the names: PyTorch's with `fc.weight`, ours with
    /// Keras's `dense/kernel`.
    pub fn assumed_layout(&self) -> Layout {
        self.layout().unwrap_or_else(|| self.convention().layout())
    }
    /// Names of all tensors, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
    /// The tensors whose names begin with `prefix`, without it; the metadata stays.
    pub fn section(&self, prefix: &str) -> WeightFile {
        let entries = self.entries.iter();
        let entries = entries.filter_map(|(name, e)| Some((name.strip_prefix(prefix)?.to_string(), e.clone())));
        WeightFile { file: self.file.clone(), entries: entries.collect(), metadata: self.metadata.clone() }
    }
    /// An error about this file.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::Checkpoint { file: self.file.clone(), reason: reason.into() }
    }

    /// Extents of a tensor, as it lies in the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not there (with the nearest names).
    pub fn shape(&self, name: &str) -> Result<&Shape, Error> {
        self.entry(name).map(|entry| &entry.shape)
    }
    /// A tensor, as it lies in the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not there (with the nearest names) or has an element type that is not read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let entry = self.entry(name)?;
        let unreadable = |what: String| self.error(format!("tensor \"{name}\" {what}"));
        let data = match entry.dtype {
            Dtype::F32 => Data::F32(words(&entry.bytes, f32::from_le_bytes)),
            Dtype::F16 => Data::F32(words(&entry.bytes, |b| f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => Data::F32(words(&entry.bytes, |b| bf16::from_le_bytes(b).to_f32())),
            Dtype::F64 => {
                let values = words(&entry.bytes, f64::from_le_bytes);
                if let Some(large) = values.iter().find(|x| x.is_finite() && !(**x as f32).is_finite()) {
                    return Err(unreadable(format!("holds {large}, which is too large for f32")));
                }
                Data::F32(values.into_iter().map(|x| x as f32).collect())
            }
            Dtype::I32 => Data::I32(words(&entry.bytes, i32::from_le_bytes)),
            Dtype::U8 => Data::U8(entry.bytes.clone()),
            other => {
                return Err(unreadable(format!(
                    "has elements of type {other:?}; f32, f16, bf16, f64, i32 and u8 are read"
                )));
            }
        };
        Tensor::new(entry.shape.clone(), data).map_err(|e| unreadable(e.to_string()))
    }

    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.entries.get(name).ok_or_else(|| {
            let near = nearest(name, self.names());
            let near = near.first().map_or(String::new(), |near| format!(" (nearest: \"{near}\")"));
            self.error(format!("has no tensor \"{name}\"{near}"))
        })
    }
}

/// Elements of `N` bytes each.
pub(super) fn words<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| convert(chunk)).collect()
}
