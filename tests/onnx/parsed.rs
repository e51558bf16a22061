//! A file read back, and what must be true of every one.

use std::collections::{HashMap, HashSet};

use outrigger::Error;
use outrigger::export::onnx::proto::{Dimension, Extent, GraphProto, ModelProto, NodeProto, TensorProto};
use outrigger::export::onnx::{OPSET, OnnxOptions, model};
use outrigger::graph::Graph;
use outrigger::store::Store;
use prost::Message;

/// The file for `outputs`, written, read back, and checked.
pub fn exported(graph: &Graph, store: &Store, outputs: &[&str], options: &OnnxOptions) -> Result<GraphProto, Error> {
    let written = model(graph, store, outputs, options)?;
    let read = ModelProto::decode(written.encode_to_vec().as_slice()).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.opset_import.len(), 1);
    assert_eq!(read.opset_import[0].version, Some(OPSET));
    let read = read.graph.unwrap();
    check(&read);
    assert_eq!(read.output.iter().map(|o| o.name.as_deref().unwrap()).collect::<Vec<_>>(), outputs);
    Ok(read)
}

/// Names are unique, operands are made before they are used, and everything is used.
fn check(graph: &GraphProto) {
    let mut made = HashSet::new();
    let sources = graph.input.iter().map(|v| &v.name).chain(graph.initializer.iter().map(|t| &t.name));
    for name in sources.flatten() {
        assert!(made.insert(name.as_str()), "two inputs or initializers are called {name}");
    }
    let mut used = HashSet::new();
    let mut names = HashSet::new();
    for node in &graph.node {
        let name = node.name.as_deref().unwrap();
        assert!(names.insert(name), "two nodes are called {name}");
        for operand in &node.input {
            assert!(made.contains(operand.as_str()), "{name} uses {operand} before it is made");
            used.insert(operand.as_str());
        }
        for result in &node.output {
            assert!(made.insert(result), "{result} is made twice");
        }
    }
    used.extend(graph.output.iter().flat_map(|v| v.name.as_deref()));
    let dead: Vec<_> = made.difference(&used).collect();
    assert!(dead.is_empty(), "nobody uses {dead:?}");
    let missing: Vec<_> = used.difference(&made).collect();
    assert!(missing.is_empty(), "nobody makes {missing:?}");
}

/// How many nodes there are of each operator.
pub fn kinds(graph: &GraphProto) -> HashMap<&str, usize> {
    let mut kinds = HashMap::new();
    for node in &graph.node {
        *kinds.entry(node.op_type.as_deref().unwrap()).or_insert(0) += 1;
    }
    kinds
}

pub fn node<'a>(graph: &'a GraphProto, name: &str) -> &'a NodeProto {
    graph.node.iter().find(|node| node.name.as_deref() == Some(name)).unwrap_or_else(|| panic!("no node {name}"))
}

pub fn initializer<'a>(graph: &'a GraphProto, name: &str) -> &'a TensorProto {
    graph.initializer.iter().find(|t| t.name.as_deref() == Some(name)).unwrap_or_else(|| panic!("no tensor {name}"))
}

/// Floats of a tensor.
pub fn floats(tensor: &TensorProto) -> Vec<f32> {
    let raw = tensor.raw_data.as_ref().unwrap();
    raw.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

/// Extents of an input or output as text: `batch`, `3`, `?`.
pub fn extents(graph: &GraphProto, name: &str) -> Vec<String> {
    let mut infos = graph.input.iter().chain(&graph.output);
    let info = infos.rfind(|v| v.name.as_deref() == Some(name)).unwrap();
    let text = |dim: &Dimension| match &dim.value {
        Some(Extent::Value(extent)) => extent.to_string(),
        Some(Extent::Param(name)) => name.clone(),
        None => "?".to_string(),
    };
    let ty = info.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    ty.shape.as_ref().unwrap().dim.iter().map(text).collect()
}
