//! PyTorch's files (`.pt`, `.pth`, `.ckpt`): what `torch.save` writes since PyTorch 1.6.
//!
//! ```text
//!   FILE.pt, a zip archive:  NAME/data.pkl    the dictionary, its tensors as views of numbered storages
//!                            NAME/data/0, …   elements of a storage
//!                            NAME/byteorder   "little" or "big"
//! ```
//!
//! Of the dictionary, the *state dict* is taken: the dictionary itself if it has tensors, else the one under
//! `state_dict`, `model_state_dict`, `model`, `net`, `network`, `module` or `weights`, searched in this order and
//! downwards. Where there is none of these, all tensors are taken but those of an `optimizer…`. Tensors in
//! dictionaries and lists within have the path as their name, with dots. Numbers and texts beside it (`epoch`) become
//! metadata.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;

use super::archive::{Archive, pack};
use super::convention::Convention;
use super::file::{Entry, MOST_AXES, WeightFile};
use super::pickle::{Id, Object, Pickle};
use crate::error::Error;

/// Where a state dict is looked for.
const STATE_DICTS: [&str; 7] = ["state_dict", "model_state_dict", "model", "net", "network", "module", "weights"];
/// The deepest nesting that is followed.
const DEEPEST: usize = 16;
/// All tensors together may have this many times the bytes of the file: views may share a storage, but few do.
const MOST_SHARING: usize = 8;

/// Names and texts together may have this many times the bytes of the pickle.
const MOST_NAMING: usize = 16;

/// Classes of storages and their elements.
const STORAGES: [(&str, Dtype); 10] = [
    ("FloatStorage", Dtype::F32),
    ("DoubleStorage", Dtype::F64),
    ("HalfStorage", Dtype::F16),
    ("BFloat16Storage", Dtype::BF16),
    ("LongStorage", Dtype::I64),
    ("IntStorage", Dtype::I32),
    ("ShortStorage", Dtype::I16),
    ("CharStorage", Dtype::I8),
    ("ByteStorage", Dtype::U8),
    ("BoolStorage", Dtype::BOOL),
];

/// Reads an archive of `bytes` bytes that has a `data.pkl`.
pub(super) fn read(archive: &mut Archive<'_>, pickle: &str, bytes: usize, file: &str) -> Result<WeightFile, Error> {
    let folder = pickle.strip_suffix("data.pkl").unwrap_or("");
    if archive.contains(&format!("{folder}constants.pkl")) {
        return Err(archive.error(
            pickle,
            "is a TorchScript program, which is not run; in PyTorch, save `model.state_dict()` instead",
        ));
    }
    let order = format!("{folder}byteorder");
    let big_endian = archive.contains(&order) && archive.read(&order)?.starts_with(b"big");
    let program = archive.read(pickle)?;
    let parsed = Pickle::parse(&program)
        .map_err(|refusal| archive.error(pickle, format!("byte {}: {}", refusal.at, refusal.reason)))?;

    let left = MOST_NAMING * program.len();
    let mut walk = Walk { pickle: &parsed, left, tensors: BTreeMap::new(), metadata: BTreeMap::new() };
    walk.state_dict().map_err(|reason| archive.error(pickle, reason))?;
    let Walk { tensors, mut metadata, .. } = walk;
    let mut storages = Storages { archive, folder, big_endian, read: HashMap::new() };
    let mut left = bytes.saturating_mul(MOST_SHARING);
    let mut entries = BTreeMap::new();
    for (name, id) in tensors {
        let entry = storages.tensor(&parsed, id, &mut left)?;
        let entry = entry.map_err(|reason| storages.archive.error(pickle, format!("tensor \"{name}\" {reason}")))?;
        entries.insert(name, entry);
    }
    metadata.insert("layout".to_string(), Convention::Torch.layout().describe().to_string());
    Ok(WeightFile::of_entries(file, entries, metadata))
}

/// Looks for tensors in the objects of a pickle.
struct Walk<'p> {
    pickle: &'p Pickle,
    /// Bytes that names and texts may still take: objects can be shared, so that a small pickle could name much.
    left: usize,
    tensors: BTreeMap<String, Id>,
    metadata: BTreeMap<String, String>,
}

impl Walk<'_> {
    /// Finds the tensors of the state dict, and what else is in the dictionaries on the way to it.
    fn state_dict(&mut self) -> Result<(), String> {
        let pickle = self.pickle;
        let (mut at, mut depth) = (pickle.root, 0);
        loop {
            let Object::Dict(items) = pickle.get(at) else {
                return Err("is no dictionary; save `model.state_dict()`".to_string());
            };
            if items.iter().any(|&(_, value)| matches!(pickle.get(value), Object::Tensor { .. })) {
                return self.collect(at, "", 0, false);
            }
            for &(key, value) in items {
                if let (Some(key), Some(value)) = (self.key(key), self.plain(value)) {
                    self.charge(key.len() + value.len())?;
                    self.metadata.insert(key, value);
                }
            }
            let under = |wanted: &&str| {
                let named = |id: Id| matches!(pickle.get(id), Object::Text(text) if text == wanted);
                let found = items.iter().find(|&&(key, _)| named(key));
                found.map(|&(_, value)| value).filter(|&value| matches!(pickle.get(value), Object::Dict(_)))
            };
            match STATE_DICTS.iter().find_map(under) {
                Some(next) if depth < DEEPEST => (at, depth) = (next, depth + 1),
                _ => return self.collect(at, "", 0, true),
            }
        }
    }

    /// Takes the tensors in and below an object.
    fn collect(&mut self, id: Id, path: &str, depth: usize, skip_optimizer: bool) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("nests deeper than {DEEPEST} dictionaries"));
        }
        let pickle = self.pickle;
        let child = |walk: &mut Self, key: String, value: Id| {
            let path = if path.is_empty() { key } else { format!("{path}.{key}") };
            walk.charge(1 + path.len())?;
            walk.collect(value, &path, depth + 1, false)
        };
        match pickle.get(id) {
            Object::Tensor { .. } => {
                self.tensors.insert(path.to_string(), id);
                Ok(())
            }
            Object::Dict(items) => items.iter().try_for_each(|&(key, value)| match self.key(key) {
                Some(key) if !(skip_optimizer && key.starts_with("optimizer")) => child(self, key, value),
                _ => Ok(()),
            }),
            Object::List(items) | Object::Tuple(items) => {
                items.iter().enumerate().try_for_each(|(i, &value)| child(self, i.to_string(), value))
            }
            _ => Ok(()),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or("names the same objects too often")?;
        Ok(())
    }

    /// A key as a part of a name.
    fn key(&self, id: Id) -> Option<String> {
        match self.pickle.get(id) {
            Object::Text(text) => Some(text.clone()),
            Object::Int(Some(number)) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A number or a text as metadata.
    fn plain(&self, id: Id) -> Option<String> {
        match self.pickle.get(id) {
            Object::Text(text) => Some(text.clone()),
            Object::Int(Some(number)) => Some(number.to_string()),
            Object::Float(number) => Some(number.to_string()),
            Object::Bool(truth) => Some(truth.to_string()),
            _ => None,
        }
    }
}

/// Storages of an archive, read when they are first needed.
struct Storages<'a, 'b> {
    archive: &'a mut Archive<'b>,
    folder: &'a str,
    big_endian: bool,
    read: HashMap<String, Vec<u8>>,
}

impl Storages<'_, '_> {
    /// The elements of a tensor, row-major, or what is wrong with it.
    fn tensor(&mut self, pickle: &Pickle, id: Id, left: &mut usize) -> Result<Result<Entry, String>, Error> {
        let Object::Tensor { storage, offset, shape, strides } = pickle.get(id) else {
            return Ok(Err("is no tensor".to_string()));
        };
        let Object::Storage(class, key, count) = pickle.get(*storage) else {
            return Ok(Err("has no storage".to_string()));
        };
        let Object::Text(key) = pickle.get(*key) else { return Ok(Err("has a storage without a name".to_string())) };
        let Some(&(_, dtype)) = STORAGES.iter().find(|(name, _)| name == class) else {
            return Ok(Err(format!("has elements of a {class}")));
        };
        let extents = (pickle.extents(*shape, MOST_AXES), pickle.extents(*strides, MOST_AXES));
        let (Some(shape), Some(strides)) = extents else {
            return Ok(Err(format!("has a shape or strides that are no tuple of at most {MOST_AXES} extents")));
        };
        if !self.read.contains_key(key) {
            let bytes = self.archive.read(&format!("{}data/{key}", self.folder))?;
            self.read.insert(key.clone(), bytes);
        }
        let bytes = self.read.get(key).map_or(&[][..], |bytes| bytes);
        let view = View { size: dtype.bitsize() / 8, offset: *offset, shape: &shape, strides: &strides };
        if *count > (bytes.len() / view.size) as u64 {
            return Ok(Err(format!("has a storage of {count} elements, of which {} bytes are there", bytes.len())));
        }
        let elements = view.gather(&bytes[..*count as usize * view.size], left);
        Ok(elements.and_then(|mut elements| {
            if self.big_endian {
                elements.chunks_exact_mut(view.size).for_each(<[u8]>::reverse);
            }
            Entry::new(dtype, shape.clone(), elements)
        }))
    }
}

/// How a tensor lies in a storage, in elements of `size` bytes.
struct View<'s> {
    size: usize,
    offset: u64,
    shape: &'s [usize],
    strides: &'s [usize],
}

impl View<'_> {
    /// The elements in row-major order; `left` is what they may still take.
    fn gather(&self, storage: &[u8], left: &mut usize) -> Result<Vec<u8>, String> {
        let View { size, shape, strides, .. } = *self;
        if shape.len() != strides.len() {
            return Err(format!("has {} extents and {} strides", shape.len(), strides.len()));
        }
        if shape.contains(&0) {
            return Ok(Vec::new());
        }
        let outside = || format!("reaches beyond its storage: shape {shape:?}, strides {strides:?}");
        let offset = usize::try_from(self.offset).map_err(|_| outside())?;
        let mut last = Some(offset);
        for (&extent, &stride) in shape.iter().zip(strides) {
            last = last.and_then(|at| at.checked_add((extent - 1).checked_mul(stride)?));
        }
        if last.is_none_or(|last| last >= storage.len() / size) {
            return Err(outside());
        }
        let total = shape.iter().try_fold(size, |n, &extent| n.checked_mul(extent));
        let rest = total.and_then(|total| left.checked_sub(total));
        *left = rest.ok_or_else(|| format!("of shape {shape:?} repeats the elements of a small storage"))?;
        let mut elements = Vec::with_capacity(total.unwrap_or(0));
        let mut index = vec![0; shape.len()];
        // the innermost axis in one piece where it is contiguous
        let run = match (shape.last(), strides.last()) {
            (Some(&extent), Some(&1)) => extent,
            _ => 1,
        };
        let outer = if run > 1 { shape.len() - 1 } else { shape.len() };
        loop {
            let at = offset + index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
            elements.extend_from_slice(&storage[at * size..(at + run) * size]);
            let Some(axis) = (0..outer).rev().find(|&axis| index[axis] + 1 < shape[axis]) else { break };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
        Ok(elements)
    }
}

/// The file that `torch.save` would write of the tensors as a state dict.
///
/// # Errors
/// [`Error::Checkpoint`] for elements of a type that PyTorch has no storage class for.
pub(super) fn write(weights: &WeightFile) -> Result<Vec<u8>, Error> {
    let mut pickle = Writer::default();
    let mut members =
        vec![("archive/data.pkl".to_string(), Vec::new()), ("archive/byteorder".to_string(), b"little".to_vec())];
    pickle.bytes.extend([0x80, 2]);
    pickle.global("collections", "OrderedDict");
    pickle.bytes.extend(b")R(");
    for (i, (name, entry)) in weights.entries.iter().enumerate() {
        let Some((class, _)) = STORAGES.iter().find(|(_, dtype)| *dtype == entry.dtype) else {
            return Err(weights.error(format!("tensor \"{name}\" of {:?} has no storage in PyTorch", entry.dtype)));
        };
        pickle.tensor(name, class, i, entry);
        members.push((format!("archive/data/{i}"), entry.bytes.clone()));
    }
    pickle.bytes.extend(b"u.");
    members[0].1 = pickle.bytes;
    members.push(("archive/version".to_string(), b"3\n".to_vec()));
    pack(&members).map_err(|e| weights.error(format!("cannot be packed: {e}")))
}

/// Instructions of a pickle of protocol 2.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }
    fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.bytes());
    }
    fn integer(&mut self, value: usize) {
        match i32::try_from(value) {
            Ok(small) => {
                self.bytes.push(b'J');
                self.bytes.extend(small.to_le_bytes());
            }
            Err(_) => {
                self.bytes.extend([0x8a, 8]);
                self.bytes.extend((value as i64).to_le_bytes());
            }
        }
    }
    fn integers(&mut self, values: &[usize]) {
        self.bytes.push(b'(');
        values.iter().for_each(|&value| self.integer(value));
        self.bytes.push(b't');
    }
    /// `name: torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`
    fn tensor(&mut self, name: &str, class: &str, key: usize, entry: &Entry) {
        self.text(name);
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend(b"((");
        self.text("storage");
        self.global("torch", class);
        self.text(&key.to_string());
        self.text("cpu");
        self.integer(entry.shape.elements());
        self.bytes.extend(b"tQ");
        self.integer(0);
        self.integers(&entry.shape.0);
        self.integers(&entry.shape.strides());
        self.bytes.push(0x89);
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")RtR");
    }
}
