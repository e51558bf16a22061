//! The safetensors format (<https://github.com/huggingface/safetensors>), which checkpoints have.
//!
//! ```text
//!   length of header: u64 │ {"name": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}, …} │ elements
//! ```
//!
//! Files are byte for byte the same for the same tensors and metadata. What is written carries a SHA-256 over
//! everything else, which is checked when it is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use super::atomic::write_file;
use super::file::{Entry, WeightFile};
use crate::error::Error;

/// Metadata key of the checksum over everything else.
const CHECKSUM: &str = "sha256";

impl WeightFile {
    /// Reads a safetensors file; [`read_weights`](super::read_weights) reads any format.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Checkpoint`] when it is not a safetensors file, is cut off,
    /// or does not match its own checksum.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { file: file.clone(), source })?;
        WeightFile::parse(&bytes, &file)
    }

    /// Reads the bytes of a safetensors file; `file` names it in errors.
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
        let mut entries = BTreeMap::new();
        for (name, view) in tensors.iter() {
            let entry = Entry::new(view.dtype(), view.shape().to_vec(), view.data().to_vec());
            entries.insert(name.to_string(), entry.map_err(|e| damaged(format!("tensor \"{name}\" {e}")))?);
        }
        let mut metadata: BTreeMap<_, _> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        if let Some(expected) = metadata.remove(CHECKSUM) {
            let actual = checksum(&entries, &metadata);
            if actual != expected {
                return Err(damaged(format!(
                    "damaged: its contents have sha256 {actual}, it was written with {expected}"
                )));
            }
        }
        Ok(WeightFile::of_entries(file, entries, metadata))
    }

    /// Writes a safetensors file: to a temporary one beside it, which takes its place when it is complete on disk.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that was there before is then unchanged.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let failed = |source| Error::Io { file: path.display().to_string(), source };
        let header = self.header().map_err(failed)?;
        let parts: Vec<&[u8]> =
            [&header[..]].into_iter().chain(self.in_order().into_iter().map(|(_, e)| &e.bytes[..])).collect();
        write_file(path, &parts).map_err(failed)
    }
    /// The bytes that [`WeightFile::write`] writes.
    ///
    /// # Errors
    /// [`Error::Io`] when the metadata cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = self.header().map_err(|source| Error::Io { file: self.file().to_string(), source })?;
        self.in_order().into_iter().for_each(|(_, entry)| bytes.extend_from_slice(&entry.bytes));
        Ok(bytes)
    }

    /// As the safetensors crate does: wider elements first, so that all are aligned, then by name.
    fn in_order(&self) -> Vec<(&String, &Entry)> {
        let mut order: Vec<_> = self.entries.iter().collect();
        order.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.dtype.bitsize()));
        order
    }
    /// All that stands before the tensors.
    fn header(&self) -> std::io::Result<Vec<u8>> {
        let mut metadata = self.metadata.clone();
        metadata.insert(CHECKSUM.to_string(), checksum(&self.entries, &self.metadata));
        let mut header = BTreeMap::from([("__metadata__", serde_json::json!(metadata))]);
        let mut offset = 0;
        for (name, entry) in self.in_order() {
            let end = offset + entry.bytes.len();
            let fields = serde_json::json!({
                "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [offset, end],
            });
            header.insert(name, fields);
            offset = end;
        }
        let mut text = serde_json::to_vec(&header)?;
        text.resize(text.len().next_multiple_of(8), b' ');
        Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
    }
}

/// SHA-256 over all that a file says, each part with its length so that none can run into the next.
pub(super) fn checksum(entries: &BTreeMap<String, Entry>, metadata: &BTreeMap<String, String>) -> String {
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
    use half::{bf16, f16};
    use safetensors::Dtype;

    use super::*;
    use crate::tensor::{Data, Tensor};
    use crate::types::Shape;

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
