//! Reading Keras's weights in HDF5, and `.keras` archives that hold such a file.
//!
//! ```text
//!   MODEL.keras, a zip archive:   config.json          architecture
//!                                 model.weights.h5     weights ──┐
//!   MODEL.weights.h5, Keras 3:    layers/GROUP/vars/0, 1, …   ◀──┘ ──▶  LAYER/kernel, LAYER/bias   (see `keras`)
//!   MODEL.h5, Keras 2:            [model_weights/]LAYER/…/kernel:0 ──▶  LAYER/kernel
//! ```
//!
//! The optimizer's variables have numbers only and are left out. f16 becomes f32, as `hdf5-pure` reads it. Keras's depthwise kernels `[rows, columns, channels, multiplier]` become
//! `[rows, columns, 1, channels · multiplier]`, as ours are and PyTorch's.
//!
//! A file is a graph of objects that a damaged one can tie into knots, so what is listed and read is bounded by the
//! length of the file.

use std::collections::BTreeMap;

use hdf5_pure::{AttrValue, DType, Dataset, File, Group};
use safetensors::Dtype;

use super::archive::Archive;
use super::convention::Convention;
use super::file::{Entry, WeightFile};
use super::keras::{self, Layer};
use crate::error::Error;

/// The architecture and the weights of a `.keras` archive.
pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "model.weights.h5";

/// Metadata key of the text of [`CONFIG`].
pub(crate) const KERAS_ARCHITECTURE: &str = "keras_architecture";

/// Objects within objects are followed so far.
const DEEPEST: usize = 32;
/// The least that a link takes in a file, bytes.
const LEAST_LINK: usize = 16;
/// Compressed data may unpack to this many times the size of the file.
const MOST_GROWTH: usize = 32;

/// Reads a `.keras` archive.
pub(super) fn read_archive(archive: &mut Archive<'_>, file: &str) -> Result<WeightFile, Error> {
    let config = archive.read(CONFIG)?;
    let config = String::from_utf8_lossy(&config).into_owned();
    let layers = keras::groups(&config).map_err(|reason| archive.error(CONFIG, reason))?;
    let bytes = archive.read(WEIGHTS)?;
    let mut weights = read_with(bytes, &format!("{file}, {WEIGHTS}"), &layers)?;
    weights.metadata.insert(KERAS_ARCHITECTURE.to_string(), config);
    Ok(weights)
}

/// Reads a `.weights.h5` or `.h5` file.
pub(super) fn read(bytes: &[u8], file: &str) -> Result<WeightFile, Error> {
    read_with(bytes.to_vec(), file, &BTreeMap::new())
}

fn read_with(bytes: Vec<u8>, file: &str, layers: &BTreeMap<String, Layer>) -> Result<WeightFile, Error> {
    let (links, size) = (64 + bytes.len() / LEAST_LINK, (1 << 16) + bytes.len().saturating_mul(MOST_GROWTH));
    let mut reader = Reader { layers, links, size, entries: BTreeMap::new(), groups: BTreeMap::new() };
    reader.file(bytes).map_err(|reason| Error::Checkpoint { file: file.to_string(), reason })?;
    let layout = Convention::Keras.layout().describe().to_string();
    let mut weights = WeightFile::of_entries(file, reader.entries, BTreeMap::from([("layout".to_string(), layout)]));
    weights.set_groups(reader.groups);
    Ok(weights)
}

struct Reader<'l> {
    /// By the paths of their groups.
    layers: &'l BTreeMap<String, Layer>,
    /// Links that may still be followed.
    links: usize,
    /// Bytes that may still be read.
    size: usize,
    entries: BTreeMap<String, Entry>,
    /// Groups by their layers' names.
    groups: BTreeMap<String, keras::Place>,
}

/// An HDF5 group and what it is called: the path in the file, and the names of the layers on it.
struct Place<'p> {
    group: &'p Group,
    path: &'p str,
    layer: &'p str,
    depth: usize,
}

impl Reader<'_> {
    fn file(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        let broken = |e: hdf5_pure::Error| format!("not a whole HDF5 file: {e}");
        let file = File::from_bytes(bytes).map_err(broken)?;
        let root = file.root();
        let attributes = root.attrs().map_err(broken)?;
        if attributes.contains_key("layer_names") {
            return self.legacy(&root);
        }
        match self.groups_of(&root, "")?.iter().find(|(name, _)| name == "model_weights") {
            Some((_, weights)) => self.legacy(weights),
            None => self.group(&Place { group: &root, path: "", layer: "", depth: 0 }),
        }
    }

    /// Variables in and below a group of a Keras 3 file.
    fn group(&mut self, place: &Place<'_>) -> Result<(), String> {
        if place.depth > DEEPEST {
            return Err(format!("{}: groups nest deeper than {DEEPEST}", place.path));
        }
        for (name, group) in self.groups_of(place.group, place.path)? {
            let path = if place.path.is_empty() { name.clone() } else { format!("{}/{name}", place.path) };
            if name == "vars" {
                self.variables(&group, &path, place)?;
            } else if path != "optimizer" {
                let own = self.layer_name(&group, &path, &name)?;
                let layer = match (place.layer, &own[..]) {
                    (above, "layers") => above.to_string(),
                    ("", own) => own.to_string(),
                    (above, own) => format!("{above}/{own}"),
                };
                self.group(&Place { group: &group, path: &path, layer: &layer, depth: place.depth + 1 })?;
            }
        }
        Ok(())
    }

    /// A layer's own name: the attribute of its `vars`, the architecture's, or that of its group.
    fn layer_name(&mut self, group: &Group, path: &str, name: &str) -> Result<String, String> {
        let vars = self.groups_of(group, path)?.into_iter().find(|(name, _)| name == "vars");
        if let Some((_, vars)) = vars {
            let attributes = vars.attrs().map_err(|e| format!("{path}/vars: {e}"))?;
            if let Some(name) = attributes.get("name").and_then(AttrValue::as_str) {
                return Ok(name.to_string());
            }
        }
        Ok(self.layers.get(path).map_or(name, |layer| layer.name.as_str()).to_string())
    }

    fn variables(&mut self, vars: &Group, path: &str, place: &Place<'_>) -> Result<(), String> {
        let group = place.path.rsplit('/').next().unwrap_or("");
        let mut datasets = self.datasets_of(vars, path)?;
        datasets.sort_by_key(|(name, _)| name.parse::<usize>().unwrap_or(usize::MAX));
        let (count, mut depth_multiplier) = (datasets.len(), 1);
        for (index, (name, dataset)) in datasets.into_iter().enumerate() {
            let mut entry = self.read(&dataset, &format!("{path}/{name}"))?;
            let variable = keras::variable(group, index, count, self.layers.get(place.path));
            let depthwise = variable == "depthwise_kernel" || keras::stem(group) == "depthwise_conv2d";
            if let ([rows, columns, channels, multiplier], true) = (&entry.shape.0[..], depthwise) {
                depth_multiplier = *multiplier;
                entry.shape.0 = vec![*rows, *columns, 1, channels * multiplier];
            }
            self.insert(place.layer, &variable, entry, path)?;
        }
        if count > 0 {
            self.groups.insert(place.layer.to_string(), (place.path.to_string(), depth_multiplier));
        }
        Ok(())
    }

    /// Variables of a Keras 2 file: a group a layer, with the names of its variables as an attribute.
    fn legacy(&mut self, root: &Group) -> Result<(), String> {
        for (layer, group) in self.groups_of(root, "")? {
            let attributes = group.attrs().map_err(|e| format!("{layer}: {e}"))?;
            let Some(names) = attributes.get("weight_names").and_then(AttrValue::as_strings) else { continue };
            for name in names {
                self.links = self.links.checked_sub(1).ok_or("has more links than bytes for them")?;
                let dataset = group.dataset(name).map_err(|e| format!("{layer}/{name}: {e}"))?;
                let entry = self.read(&dataset, &format!("{layer}/{name}"))?;
                // "conv/kernel:0", "model/conv/kernel" and "kernel" of the layer "conv" are all its kernel
                let plain = name.rsplit_once(':').map_or(name.as_str(), |(plain, _)| plain);
                let parts: Vec<&str> = plain.split('/').filter(|part| !part.is_empty()).collect();
                let own = parts.iter().position(|part| *part == layer).map_or(&parts[..], |at| &parts[at + 1..]);
                self.insert(&layer, &own.join("/"), entry, name)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, layer: &str, variable: &str, entry: Entry, path: &str) -> Result<(), String> {
        let name = if layer.is_empty() { variable.to_string() } else { format!("{layer}/{variable}") };
        match self.entries.insert(name.clone(), entry) {
            None => Ok(()),
            Some(_) => Err(format!("{path}: a second variable called \"{name}\"")),
        }
    }

    fn groups_of(&mut self, group: &Group, path: &str) -> Result<Vec<(String, Group)>, String> {
        let groups = group.iter_groups().map_err(|e| format!("/{path}: {e}"))?;
        self.links = self.links.checked_sub(groups.len()).ok_or("has more links than bytes for them")?;
        Ok(groups.collect())
    }

    fn datasets_of(&mut self, group: &Group, path: &str) -> Result<Vec<(String, Dataset)>, String> {
        let datasets = group.iter_datasets().map_err(|e| format!("/{path}: {e}"))?;
        self.links = self.links.checked_sub(datasets.len()).ok_or("has more links than bytes for them")?;
        Ok(datasets.collect())
    }

    fn read(&mut self, dataset: &Dataset, path: &str) -> Result<Entry, String> {
        let broken = |e: hdf5_pure::Error| format!("{path}: {e}");
        let extents = dataset.shape().map_err(broken)?;
        let element = dataset.element_size().map_err(broken)?;
        let total = extents.iter().try_fold(element, |n, &extent| n.checked_mul(extent));
        let left = total.and_then(|total| self.size.checked_sub(usize::try_from(total).ok()?));
        self.size = left.ok_or_else(|| format!("{path}: the shape {extents:?} is larger than the file can hold"))?;
        let dtype = dataset.dtype().map_err(broken)?;
        let (dtype, bytes): (Dtype, Vec<u8>) = match dtype {
            DType::F64 => (Dtype::F64, le(dataset.read_f64(), f64::to_le_bytes).map_err(broken)?),
            DType::I64 => (Dtype::I64, le(dataset.read_i64(), i64::to_le_bytes).map_err(broken)?),
            DType::I32 => (Dtype::I32, le(dataset.read_i32(), i32::to_le_bytes).map_err(broken)?),
            DType::U32 => (Dtype::U32, le(dataset.read_u32(), u32::to_le_bytes).map_err(broken)?),
            DType::U8 => (Dtype::U8, dataset.read_u8().map_err(broken)?),
            // f16, a float without a name of its own
            DType::F32 | DType::Other(_) if element <= 4 => {
                (Dtype::F32, le(dataset.read_f32(), f32::to_le_bytes).map_err(broken)?)
            }
            other => {
                return Err(format!("{path}: has elements of type {other}; floats, i32, i64, u8 and u32 are read"));
            }
        };
        let shape: Option<Vec<usize>> = extents.iter().map(|&extent| usize::try_from(extent).ok()).collect();
        let shape = shape.ok_or_else(|| format!("{path}: the shape {extents:?} is too large"))?;
        Entry::new(dtype, shape, bytes).map_err(|reason| format!("{path}: {reason}"))
    }
}

fn le<T, const N: usize>(
    values: Result<Vec<T>, hdf5_pure::Error>,
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Vec<u8>, hdf5_pure::Error> {
    Ok(values?.into_iter().flat_map(bytes).collect())
}
