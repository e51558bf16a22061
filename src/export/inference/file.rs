//! `.outrigger` files: a safetensors file whose metadata hold the graph.
//!
//! ```text
//!   NAME.outrigger   tensors     conv.weight f32/f16/bf16, conv.bias f32, …
//!                    metadata    format       "outrigger inference graph"
//!                                version      "1"
//!                                graph        the text form of the folded graph
//!                                certificate  JSON: weights_sha256, comparison
//!                                layout       "NHWC, conv HWIO"
//!                                sha256       over all of the above
//! ```
//!
//! Any safetensors reader opens the file and finds the weights by name. Reading trusts nothing: the checksum, the
//! graph's text, each type, each operation and each tensor are checked, and memory is taken only for what is there:
//! at most [`MEMORY_FACTOR`] times the file's size, whatever shapes the graph claims.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::{Certificate, InferenceGraph};
use crate::error::Error;
use crate::formats::{Storage, WeightFile};
use crate::graph::Graph;
use crate::store::Store;

/// What the metadata's `format` says.
const FORMAT: &str = "outrigger inference graph";
/// The newest version that is read, and the one that is written.
const VERSION: u32 = 1;
/// Lines of a graph's text: a residual network of a thousand layers has a tenth.
const MOST_LINES: usize = 1 << 16;
/// Memory that reading a file takes at most, in bytes for each of the file's (and [`MEMORY_BASE`] more).
pub const MEMORY_FACTOR: usize = 64;
/// Memory that reading takes at most besides what the file's size allows.
pub const MEMORY_BASE: usize = 1 << 20;

/// The file of a graph with its tensors and what is known about them.
pub(super) fn to_file(network: &InferenceGraph) -> Result<WeightFile, Error> {
    let certificate = serde_json::to_string(&network.certificate)
        .map_err(|e| Error::Option { option: "certificate".to_string(), reason: e.to_string() })?;
    let metadata = [
        ("format", FORMAT.to_string()),
        ("version", VERSION.to_string()),
        ("graph", network.graph.to_string()),
        ("certificate", certificate),
        ("layout", crate::formats::Layout::Native.describe().to_string()),
    ];
    let metadata = metadata.map(|(key, text)| (key.to_string(), text));
    weights(&network.store, BTreeMap::from(metadata), network.storage)
}

/// All tensors of a store, as they are stored.
pub(super) fn weights(
    store: &Store,
    metadata: BTreeMap<String, String>,
    storage: Storage,
) -> Result<WeightFile, Error> {
    let tensors = store.entries().iter().map(|(name, _)| Ok((name.clone(), store.get(name)?)));
    let tensors: Vec<_> = tensors.collect::<Result<_, Error>>()?;
    WeightFile::new(tensors, metadata).stored_as(storage)
}

impl InferenceGraph {
    /// Writes an `.outrigger` file (see the top of `export/inference/file.rs`): to a temporary one beside it, which takes
    /// its place when it is complete on disk.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that was there before is then unchanged.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        to_file(self)?.write(path)
    }
    /// The bytes that [`InferenceGraph::save`] writes.
    ///
    /// # Errors
    /// None in practice; the signature is that of writing.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        to_file(self)?.to_bytes()
    }

    /// Reads an `.outrigger` file and verifies all of it, in at most [`MEMORY_FACTOR`] times its size and [`MEMORY_BASE`]
    /// bytes of memory. Only a session takes memory for the shapes that it claims, at most
    /// [`MOST_ARENA`](super::MOST_ARENA) bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] for a file that is damaged, of another kind, or of a newer version.
    pub fn load(path: &Path) -> Result<InferenceGraph, Error> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { file: file.clone(), source })?;
        InferenceGraph::from_bytes(&bytes, &file)
    }
    /// As [`InferenceGraph::load`] from the file's bytes; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn from_bytes(bytes: &[u8], file: &str) -> Result<InferenceGraph, Error> {
        let file = WeightFile::parse(bytes, file)?;
        if file.metadata().get("format").map(String::as_str) != Some(FORMAT) {
            return Err(
                file.error("is a safetensors file without an inference graph; such weights belong into a model")
            );
        }
        let version: u32 = file.meta_as("version")?;
        if version == 0 || version > VERSION {
            let reason = format!("has version {version}, but versions up to {VERSION} are read; update outrigger");
            return Err(file.error(reason));
        }
        let text = file.meta("graph")?;
        if text.lines().take(MOST_LINES + 1).count() > MOST_LINES {
            return Err(file.error(format!("has a graph of more than {MOST_LINES} lines")));
        }
        let graph = Graph::parse(text).map_err(|error| file.error(format!("its graph: {error}")))?;
        let certificate: Certificate = serde_json::from_str(file.meta("certificate")?)
            .map_err(|error| file.error(format!("its certificate: {error}")))?;
        let store = read_tensors(&graph, &file)?;
        let network = InferenceGraph { graph, store, storage: storage_of(&file), certificate };
        network.verify().map_err(|error| file.error(error.to_string()))?;
        Ok(network)
    }
}

/// The graph's state with the file's tensors, which must be exactly those.
fn read_tensors(graph: &Graph, file: &WeightFile) -> Result<Store, Error> {
    // every claim about a size is compared with what the file holds before memory is taken
    let mut names = HashSet::new();
    for id in graph.states() {
        let node = graph.node(id);
        names.insert(node.name.as_str());
        let got = file.ty(&node.name).ok_or_else(|| file.error(format!("has no tensor \"{}\"", node.name)))?;
        if got != node.results[0] {
            let reason = format!("tensor \"{}\" must be {}, got {got}", node.name, node.results[0]);
            return Err(file.error(reason));
        }
    }
    if let Some(other) = file.names().find(|name| !names.contains(name)) {
        return Err(file.error(format!("has a tensor \"{other}\" that its graph has not")));
    }
    let store = Store::new(graph, 0)?;
    for name in names {
        store.set(name, &file.tensor(name)?)?;
    }
    Ok(store)
}

/// How the file's weights are stored.
fn storage_of(file: &WeightFile) -> Storage {
    file.names().filter_map(|name| file.storage(name)).find(|&s| s != Storage::F32).unwrap_or_default()
}
