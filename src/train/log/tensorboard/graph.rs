//! A [`Graph`] as TensorFlow's GraphDef, which TensorBoard draws.
//!
//! ```text
//!   %7 = conv2d(%0, %6.1) "layer1.0.conv1"   ─▶   name: "layer1/0/conv1"  op: "conv2d"  input: ["x", "layer1/0/bn:1"]
//! ```

use std::collections::{BTreeMap, HashSet};

use super::proto::{Attr, AttrList, AttrValue, Dim, GraphDef, NodeDef, TensorShapeProto, VersionDef};
use crate::graph::{Graph, Node, Value};
use crate::ops::Op;
use crate::types::{DType, Shape, TensorType};

/// The version of GraphDef that is written: the newest that changed what a reader must know.
const PRODUCER: i32 = 22;

/// Nodes in topological order, then one for each output and each update of state.
pub(super) fn graph_def(graph: &Graph) -> GraphDef {
    let mut taken = HashSet::new();
    let mut names = vec![String::new(); graph.len()];
    let mut nodes = Vec::new();
    for id in graph.topological() {
        let node = graph.node(id);
        names[id.index()] = unique(&node.name, &mut taken);
        let input = node.operands.iter().map(|&v| reference(&names, v)).collect();
        nodes.push(NodeDef {
            name: names[id.index()].clone(),
            op: node.op.kind().to_string(),
            input,
            attr: attributes(node),
        });
    }
    for (name, value) in graph.outputs() {
        let name = unique(&format!("output.{name}"), &mut taken);
        nodes.push(sink(name, "output", vec![reference(&names, *value)], graph.ty(*value)));
    }
    for &(state, value) in graph.updates() {
        let name = unique(&format!("{}.update", graph.node(state).name), &mut taken);
        let input = vec![names[state.index()].clone(), reference(&names, value)];
        nodes.push(sink(name, "update", input, graph.ty(value)));
    }
    GraphDef { node: nodes, versions: Some(VersionDef { producer: PRODUCER }) }
}

/// A path with `/` between scopes, numbered when it is there already.
fn unique(path: &str, taken: &mut HashSet<String>) -> String {
    // an empty scope would make TensorBoard draw a box without a name
    let base = path.split('.').filter(|scope| !scope.is_empty()).collect::<Vec<_>>().join("/");
    let mut name = base.clone();
    let mut number = 0;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{base}_{number}");
    }
    name
}

fn reference(names: &[String], value: Value) -> String {
    match (&names[value.node.index()], value.port) {
        (name, 0) => name.clone(),
        (name, port) => format!("{name}:{port}"),
    }
}

fn sink(name: String, op: &str, input: Vec<String>, ty: &TensorType) -> NodeDef {
    NodeDef { name, op: op.to_string(), input, attr: types(std::slice::from_ref(ty)) }
}

/// Result types, and the operation as the text form writes it. Constants are left out: they may hold megabytes.
fn attributes(node: &Node) -> BTreeMap<String, AttrValue> {
    let mut attr = types(&node.results);
    if let (false, Ok(text)) = (matches!(node.op, Op::Constant(_)), ron::to_string(&node.op)) {
        attr.insert("attributes".to_string(), AttrValue { value: Some(Attr::Bytes(text.into_bytes())) });
    }
    attr
}

/// `T`, the type of the first result, and `_output_shapes`, from which TensorBoard labels edges.
fn types(results: &[TensorType]) -> BTreeMap<String, AttrValue> {
    let shape = results.iter().map(|ty| shape_proto(&ty.shape)).collect();
    let shapes = ("_output_shapes".to_string(), Attr::List(AttrList { shape }));
    let dtype = results.first().map(|ty| ("T".to_string(), Attr::Type(dtype_number(ty.dtype))));
    [shapes].into_iter().chain(dtype).map(|(name, attr)| (name, AttrValue { value: Some(attr) })).collect()
}

fn shape_proto(shape: &Shape) -> TensorShapeProto {
    TensorShapeProto { dim: shape.0.iter().map(|&extent| Dim { size: extent as i64 }).collect() }
}

/// Numbers of `types.proto`.
fn dtype_number(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::I32 => 3,
        DType::U8 => 4,
        DType::Bf16 => 14,
    }
}
