//! Weight files: named tensors and text metadata in the safetensors format.
//!
//! ```text
//!   Store ──▶ tensors in the file's layout ──▶ temporary file, fsync, rename ──▶ FILE.safetensors
//!         ◀── checked: names, shapes, types ◀── checked: header, sizes, sha256 ◀──┘
//! ```
//!
//! A file is read or written whole, and a store is changed only when everything fits. Files are byte for byte the
//! same for the same tensors and metadata. What is written is f32, i32 and u8, or f16 and bf16 if asked for (`write.rs`);
//! f16, bf16 and f64 are read as f32.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::layout::Layout;
use super::optimizer::is_training_state;
use crate::error::{Error, nearest};
use crate::store::Store;
use crate::tensor::{Data, Tensor};
use crate::types::Shape;

mod write;

pub use write::Storage;

/// Metadata key of the checksum over everything else.
const CHECKSUM: &str = "sha256";

/// PyTorch counts batches per batch norm and never uses the count at a fixed momentum.
const IGNORED: &str = "num_batches_tracked";

/// What a weight file must hold to be put into a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Every tensor of the store: training continues as if it had not stopped.
    Everything,
    /// Parameters and running statistics; what belongs to training is neither needed nor changed.
    Model,
}

/// A tensor of a file, not yet converted.
#[derive(Clone, Debug)]
struct Entry {
    dtype: Dtype,
    shape: Shape,
    bytes: Vec<u8>,
}

/// Named tensors and metadata, read from a file or about to be written to one.
#[derive(Clone, Debug)]
pub struct WeightFile {
    /// Path for error messages.
    file: String,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

impl WeightFile {
    /// All state of `store` in `layout`, with `metadata`; the layout is added under `layout`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] never in practice: the store names its own tensors.
    pub fn of_store(store: &Store, layout: Layout, metadata: BTreeMap<String, String>) -> Result<Self, Error> {
        let mut tensors = Vec::new();
        for (name, _) in store.entries() {
            tensors.push((name.clone(), layout.to_file(&store.get(name)?)?));
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

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Checkpoint`] when it is not a safetensors file, is cut off,
    /// or does not match its own checksum.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { file: file.clone(), source })?;
        WeightFile::parse(&bytes, &file)
    }

    /// Reads a file's bytes; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as [`WeightFile::read`].
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self, Error> {
        let damaged = |reason: String| Error::Checkpoint { file: file.to_string(), reason };
        let broken = |e: safetensors::SafeTensorError| {
            damaged(format!("not a whole safetensors file ({} bytes): {e}", bytes.len()))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let entries = tensors.iter().map(|(name, view)| {
            let (dtype, shape) = (view.dtype(), Shape::from(view.shape()));
            (name.to_string(), Entry { dtype, shape, bytes: view.data().to_vec() })
        });
        let entries: BTreeMap<_, _> = entries.collect();
        let mut metadata: BTreeMap<_, _> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        if let Some(expected) = metadata.remove(CHECKSUM) {
            let actual = checksum(&entries, &metadata);
            if actual != expected {
                return Err(damaged(format!(
                    "damaged: its contents have sha256 {actual}, it was written with {expected}"
                )));
            }
        }
        Ok(WeightFile { file: file.to_string(), entries, metadata })
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

    /// A tensor, as it lies in the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not there (with the nearest names) or has an element type that is not read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let Some(entry) = self.entries.get(name) else {
            return Err(self.error(format!("has no tensor \"{name}\"{}", self.near(name))));
        };
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

    /// Puts the file's tensors into `store`, which changes only if all of them fit. Tensors of the file that the
    /// model does not have are an error too: it would be another model's file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming each tensor that is missing, unknown, or of another type or shape.
    pub fn restore(&self, store: &Store, layout: Layout, what: Restore) -> Result<(), Error> {
        let wanted = |name: &str| what == Restore::Everything || !is_training_state(name);
        let mut problems = Vec::new();
        let mut values = Vec::new();
        for (name, ty) in store.entries().iter().filter(|(name, _)| wanted(name)) {
            let Some(entry) = self.entries.get(name) else {
                problems.push(format!("has no tensor \"{name}\"{}", self.near(name)));
                continue;
            };
            let expected = layout.file_shape(&ty.shape);
            if entry.shape != expected {
                problems.push(format!(
                    "tensor \"{name}\" must be {expected} ({}), got {}",
                    layout.describe(),
                    entry.shape
                ));
                continue;
            }
            let value = layout.from_file(&self.tensor(name)?)?;
            if value.dtype() == ty.dtype {
                values.push((name, value));
            } else {
                problems.push(format!("tensor \"{name}\" must hold {}, got {}", ty.dtype, value.dtype()));
            }
        }
        for name in self.names().filter(|name| wanted(name) && !name.ends_with(IGNORED)) {
            if !store.entries().iter().any(|(known, _)| known == name) {
                problems.push(format!("has a tensor \"{name}\" that this model has not"));
            }
        }
        if !problems.is_empty() {
            return Err(self.error(summary(&problems)));
        }
        values.iter().try_for_each(|(name, value)| store.set(name, value))
    }

    fn near(&self, name: &str) -> String {
        match nearest(name, self.names()).first() {
            Some(near) => format!(" (nearest: \"{near}\")"),
            None => String::new(),
        }
    }
}

/// The first few problems in one line.
fn summary(problems: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > SHOWN {
        let _ = write!(text, "; and {} more", problems.len() - SHOWN);
    }
    text
}

/// Elements of `N` bytes each.
fn words<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| convert(chunk)).collect()
}

/// SHA-256 over all that a file says, each part with its length so that none can run into the next.
fn checksum(entries: &BTreeMap<String, Entry>, metadata: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    for (key, value) in metadata {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    for (name, entry) in entries {
        add(name.as_bytes());
        add(format!("{:?}{}", entry.dtype, entry.shape).as_bytes());
        add(&entry.bytes);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> WeightFile {
        let tensors = [
            ("a.weight".to_string(), Tensor::f32([2, 3], vec![1.0, -2.5, 3.0, 0.0, 5e-30, f32::NAN]).unwrap()),
            ("b".to_string(), Tensor::new([3], Data::U8(vec![1, 2, 3])).unwrap()),
            ("step".to_string(), Tensor::i32(Shape::scalar(), vec![-7]).unwrap()),
        ];
        let metadata =
            BTreeMap::from([("epoch".to_string(), "3".to_string()), ("note".to_string(), "ä\"".to_string())]);
        WeightFile::new(tensors, metadata)
    }

    fn written(weights: &WeightFile) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        weights.write(&path).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes = written(&example());
        let back = WeightFile::parse(&bytes, "w").unwrap();
        assert_eq!(back.names().collect::<Vec<_>>(), ["a.weight", "b", "step"]);
        for name in example().names() {
            // by bytes: NaN is not equal to itself
            let (old, new) = (example().tensor(name).unwrap(), back.tensor(name).unwrap());
            assert_eq!((old.ty(), old.to_bytes()), (new.ty(), new.to_bytes()));
        }
        assert_eq!(back.metadata(), example().metadata());
        assert_eq!(back.meta_as::<u64>("epoch").unwrap(), 3);
        assert!(back.meta_as::<u64>("note").is_err() && back.meta("nothing").is_err());
        assert_eq!(bytes, written(&back), "a file is a function of its contents");
    }

    #[test]
    fn every_part_of_a_file_is_refused() {
        let bytes = written(&example());
        for length in 0..bytes.len() {
            let error = WeightFile::parse(&bytes[..length], "part.safetensors").expect_err(&format!("{length} bytes"));
            assert!(matches!(&error, Error::Checkpoint { file, .. } if file == "part.safetensors"), "{error}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(WeightFile::parse(&longer, "w"), Err(Error::Checkpoint { .. })));
    }

    #[test]
    fn no_changed_bit_is_read_as_something_else() {
        let bytes = written(&example());
        let original = WeightFile::parse(&bytes, "w").unwrap();
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = WeightFile::parse(&changed, "w") {
                // a bit of the padding's spaces, or one that JSON reads the same way
                let same = |name| read.tensor(name).unwrap().to_bytes() == original.tensor(name).unwrap().to_bytes();
                let names: Vec<_> = original.names().collect();
                let unchanged = read.names().eq(names.iter().copied()) && names.iter().all(|name| same(name));
                // without its checksum's name, the checksum is one more line of text
                let renamed = !read.metadata().contains_key("sha256") && read.metadata().len() == 3;
                assert!(unchanged && (renamed || read.metadata() == original.metadata()), "bit {bit}");
            }
        }
    }

    #[test]
    fn half_and_double_precision_become_single() {
        let entry = |dtype, bytes: Vec<u8>| Entry { dtype, shape: Shape::from([2]), bytes };
        let values = [1.5f32, -0.25];
        let mut file = WeightFile::new([], BTreeMap::new());
        let mut add = |name: &str, dtype, bytes| file.entries.insert(name.to_string(), entry(dtype, bytes));
        add("f16", Dtype::F16, values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect());
        add("bf16", Dtype::BF16, values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect());
        add("f64", Dtype::F64, values.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect());
        add("large", Dtype::F64, [1e300f64, 0.0].iter().flat_map(|x| x.to_le_bytes()).collect());
        add("i64", Dtype::I64, vec![0; 16]);
        let file = WeightFile::parse(&written(&file), "w").unwrap();
        for name in ["f16", "bf16", "f64"] {
            assert_eq!(file.tensor(name).unwrap().as_f32().unwrap(), values, "{name}");
        }
        for (name, part) in [("large", "too large for f32"), ("i64", "I64"), ("f61", "nearest: \"f64\"")] {
            let error = file.tensor(name).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("w.safetensors");
        assert!(matches!(example().write(&path), Err(Error::Io { .. })));
        assert!(matches!(WeightFile::read(&path), Err(Error::Io { .. })));
        // a directory in the file's place cannot be replaced
        assert!(matches!(example().write(dir.path()), Err(Error::Io { .. })));
        assert!(dir.path().is_dir());
    }
}
