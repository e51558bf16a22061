//! A network as an ONNX file, for ONNX Runtime and whatever else reads the format.
//!
//! ```text
//!  Graph ──▶ [inference graph: folded] ──▶ cone of the outputs ──▶ writer: nodes, initializers ──▶ ModelProto ──▶ file
//!  Store ──▶ [its weights] ──────────────▶ weights ────────────────▲
//! ```
//!
//! A graph has channels last (NHWC, HWIO), ONNX's convolutions have them first (NCHW, OIHW). There is no `Transpose`
//! around every convolution: the writer knows for each value in which order of axes it is at hand (`order.rs`), operations
//! that have no preference keep the order of their operand, and a transposition is written where an operation needs
//! another order than there is. So a convolutional network has one at its input (or none with
//! [`DataFormat::ChannelsFirst`]), and convolution weights are written as ONNX wants them.
//!
//! Operations that ONNX lacks become several: a Gelu is five nodes in opset 17.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use prost::Message;

use super::inference::folded;
use super::portable::expect_portable;
use crate::error::Error;
use crate::formats::atomic::write_file;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::Op;
use crate::store::Store;
use batch::Batch;
use order::{Order, channels_first, identity};
use proto::{
    DataLocation, Dimension, Extent, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use weights::Weights;
use writer::Writer;

mod batch;
mod elementwise;
mod movement;
mod node;
mod order;
pub mod proto;
mod reduce;
mod weights;
mod windows;
mod writer;

/// Version of the operators that files use.
pub const OPSET: i64 = 17;
/// Version of the format that files are in: the first one with [`OPSET`].
const IR_VERSION: i64 = 8;
/// Weights of more bytes than this are written to a file of their own: a message of protobuf has at most 2 GiB, and
/// needs some of it for the nodes.
const LARGEST_FILE: usize = 1_900_000_000;
/// Where a tensor may begin in that file, so that it can be mapped to memory.
const PAGE: usize = 4096;

/// Where the channels of images are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DataFormat {
    /// `[batch, rows, columns, channels]`, as in the graph (and in Keras).
    #[default]
    ChannelsLast,
    /// `[batch, channels, rows, columns]`, as in PyTorch.
    ChannelsFirst,
}

impl DataFormat {
    fn order(self, rank: usize) -> Order {
        match self {
            DataFormat::ChannelsFirst if rank == 4 => channels_first(rank),
            DataFormat::ChannelsFirst | DataFormat::ChannelsLast => identity(rank),
        }
    }
}

/// How a file is written. The default folds batch norms and leaves images and the batch as they are in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Writes the graph of [`InferenceGraph`](super::inference::InferenceGraph): batch norms are folded into the
    /// convolutions before them, and what depends on weights only is computed. Otherwise there is a node for each node of
    /// the graph, but for transposed and reshaped weights and the biases of convolutions.
    pub fused: bool,
    /// Where inputs and outputs of four axes have their channels.
    pub data_format: DataFormat,
    /// Leaves the leading axis of the inputs open, as `batch`, instead of writing the graph's own extent.
    pub dynamic_batch: bool,
    /// Weights of more bytes than this are written to a file `NAME.data` beside the file.
    pub largest_file: usize,
}

impl Default for OnnxOptions {
    fn default() -> Self {
        OnnxOptions {
            fused: true,
            data_format: DataFormat::default(),
            dynamic_batch: false,
            largest_file: LARGEST_FILE,
        }
    }
}

/// Writes what the outputs `outputs` of `graph` need as the ONNX file `path`, with the weights in `store`.
///
/// Inputs and outputs keep their names, weights those of parameters and buffers, nodes those of the graph's nodes. Folded
/// weights have the names that they have in an `.outrigger` file (`conv1.weight`, `conv1.bias`).
///
/// # Errors
/// Those of [`model`]; [`Error::Io`] when a file cannot be written.
pub fn export(graph: &Graph, store: &Store, outputs: &[&str], options: &OnnxOptions, path: &Path) -> Result<(), Error> {
    let mut model = model(graph, store, outputs, options)?;
    let io = |path: &Path| {
        let file = path.display().to_string();
        move |source| Error::Io { file, source }
    };
    let tensors = model.graph.as_mut().map(|graph| graph.initializer.as_mut_slice()).unwrap_or_default();
    let bytes: usize = tensors.iter().filter_map(|tensor| tensor.raw_data.as_ref()).map(Vec::len).sum();
    if bytes > options.largest_file {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let data = path.with_file_name(format!("{name}.data"));
        move_out(tensors, &data).map_err(io(&data))?;
    }
    write_file(path, &[&model.encode_to_vec()]).map_err(io(path))
}

/// Moves the elements of large tensors to the file `data`, which lies beside the one that names it.
fn move_out(tensors: &mut [TensorProto], data: &Path) -> std::io::Result<()> {
    let location = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut file = std::io::BufWriter::new(std::fs::File::create(data)?);
    let mut offset = 0;
    // shapes and the like stay: a reader needs them before it looks for other files
    for tensor in tensors.iter_mut().filter(|tensor| tensor.raw_data.as_ref().is_some_and(|raw| raw.len() > 1024)) {
        let raw = tensor.raw_data.take().unwrap_or_default();
        let start = usize::next_multiple_of(offset, PAGE);
        file.write_all(&vec![0; start - offset])?;
        file.write_all(&raw)?;
        offset = start + raw.len();
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: Some(key.to_string()), value: Some(value) };
        tensor.external_data = vec![
            entry("location", location.clone()),
            entry("offset", start.to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(DataLocation::External as i32);
    }
    file.flush()
}

/// What [`export`] writes, as a value.
///
/// # Errors
/// [`Error::UnknownName`] for an output that `graph` or a state that `store` lacks, [`Error::Type`] for a state of another
/// type; [`Error::DuplicateName`] for an output called as an input or a state; [`Error::Export`] that names the node for
/// what belongs to training or to compiled programs, and for a batch that cannot be left open; [`Error::Option`] when no
/// output is asked for; [`Error::Invalid`] for an invalid graph.
pub fn model(graph: &Graph, store: &Store, outputs: &[&str], options: &OnnxOptions) -> Result<ModelProto, Error> {
    graph.verify()?;
    if outputs.is_empty() {
        let reason = "name at least one output of the graph".to_string();
        return Err(Error::Option { option: "outputs".to_string(), reason });
    }
    if options.fused {
        let (graph, store) = folded(graph, store, outputs)?;
        write(&graph, &store, outputs, options)
    } else {
        let cone = graph.cone(outputs)?;
        expect_portable(&cone)?;
        write(&cone, store, outputs, options)
    }
}

/// The nodes of `graph` as those of a file.
fn write(graph: &Graph, store: &Store, outputs: &[&str], options: &OnnxOptions) -> Result<ModelProto, Error> {
    let outputs: Vec<(String, Value)> = outputs
        .iter()
        .map(|&name| graph.output(name).map(|value| (name.to_string(), value)))
        .collect::<Result<_, _>>()?;
    let roots: Vec<Value> = outputs.iter().map(|&(_, value)| value).collect();
    let weights = Weights::new(graph, store, &cone(graph, &roots, |_| false))?;
    // what weights are made of is not written
    let nodes = cone(graph, &roots, |value| weights.known(value));
    let batch = if options.dynamic_batch { batch::open(graph, &nodes)? } else { Batch::default() };

    let biases = node::Biases::find(graph, &nodes, |value| weights.known(value));
    let mut w = Writer::new(graph, weights, batch, reserved(graph, &nodes, &outputs)?);
    let mut inputs = Vec::new();
    for &id in nodes.iter().filter(|&&id| matches!(graph.node(id).op, Op::Input(_))) {
        let value = id.result(0);
        let order = options.data_format.order(w.rank(value));
        inputs.push(info(&w, &graph.node(id).name, value, &order));
        w.input(value, order);
    }
    for &id in &nodes {
        node::write(&mut w, id, &biases)?;
    }
    let mut results = Vec::new();
    let mut done: Vec<String> = Vec::new();
    for (name, value) in &outputs {
        let order = options.data_format.order(w.rank(*value));
        w.output(name, *value, &order, &done)?;
        done.push(name.clone());
        results.push(info(&w, name, *value, &order));
    }
    let mut written = w.finish();
    (written.name, written.input, written.output) = (Some(graph.name().to_string()), inputs, results);
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some(env!("CARGO_PKG_NAME").to_string()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_string()),
        graph: Some(written),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
    })
}

/// The nodes that `roots` depend on, in topological order; values that are `known` need nothing but themselves.
fn cone(graph: &Graph, roots: &[Value], known: impl Fn(Value) -> bool) -> Vec<NodeId> {
    let mut needed = HashSet::new();
    let mut stack = roots.to_vec();
    while let Some(value) = stack.pop() {
        if !known(value) && needed.insert(value.node) {
            stack.extend(&graph.node(value.node).operands);
        }
    }
    graph.topological().into_iter().filter(|id| needed.contains(id)).collect()
}

/// Names that inputs, outputs and the states that nodes read have to themselves.
fn reserved(graph: &Graph, nodes: &[NodeId], outputs: &[(String, Value)]) -> Result<HashSet<String>, Error> {
    let read = nodes.iter().flat_map(|&id| graph.node(id).operands.clone());
    let states = read.chain(outputs.iter().map(|&(_, value)| value)).map(|value| value.node);
    let sources: HashSet<NodeId> =
        states.chain(nodes.iter().copied()).filter(|&id| graph.node(id).op.has_unique_name()).collect();
    let mut names: HashSet<String> = sources.into_iter().map(|id| graph.node(id).name.clone()).collect();
    for (name, _) in outputs {
        if !names.insert(name.clone()) {
            return Err(Error::DuplicateName { what: "input, state or output", name: name.clone() });
        }
    }
    Ok(names)
}

/// Name and type of an input or output.
fn info(w: &Writer<'_>, name: &str, value: Value, order: &[usize]) -> ValueInfoProto {
    let ty = w.graph.ty(value);
    let batch = w.batch.axis(value);
    let dim = |&axis: &usize| {
        let extent = ty.shape.0[axis];
        let value = match (batch == Some(axis), extent == w.batch.extent) {
            (false, _) => Some(Extent::Value(extent as i64)),
            (true, true) => Some(Extent::Param("batch".to_string())),
            // several rows for each of the batch
            (true, false) => None,
        };
        Dimension { value }
    };
    let shape = TensorShapeProto { dim: order.iter().map(dim).collect() };
    let tensor = TensorTypeProto { elem_type: Some(writer::data_type(ty.dtype) as i32), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_string()), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
