//! What is known when a file is written: parameters, buffers, constants, and those of them that are only moved.

use std::collections::HashMap;

use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::Op;
use crate::reference::{RefTensor, evaluate};
use crate::store::Store;
use crate::tensor::Tensor;

/// The values of a graph that do not depend on its inputs.
pub(super) struct Weights<'a> {
    graph: &'a Graph,
    store: &'a Store,
    moved: HashMap<Value, Tensor>,
}

impl<'a> Weights<'a> {
    /// The weights of `graph` in `store`; one that is reshaped or transposed is a weight, too. `nodes` are in topological
    /// order.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`]; [`Error::Export`] when the interpreter refuses a node.
    pub(super) fn new(graph: &'a Graph, store: &'a Store, nodes: &[NodeId]) -> Result<Self, Error> {
        let mut weights = Weights { graph, store, moved: HashMap::new() };
        for &id in nodes {
            let node = graph.node(id);
            let (Op::Reshape(_) | Op::Transpose(_), &[from]) = (&node.op, node.operands.as_slice()) else { continue };
            if weights.known(from) {
                let tensor = weights.tensor(from)?;
                let moved = evaluate(&node.op, &[&RefTensor::from(&tensor)])
                    .map_err(|error| Error::Export { path: node.name.clone(), reason: error.to_string() })?;
                for (port, tensor) in moved.iter().enumerate() {
                    weights.moved.insert(id.result(port), tensor.to_tensor()?);
                }
            }
        }
        Ok(weights)
    }

    /// Whether `value` is a weight.
    pub(super) fn known(&self, value: Value) -> bool {
        let op = &self.graph.node(value.node).op;
        self.moved.contains_key(&value) || op.is_state() || matches!(op, Op::Constant(_))
    }

    /// The value of a weight.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a state that the store lacks, [`Error::Type`] for one of another type.
    pub(super) fn tensor(&self, value: Value) -> Result<Tensor, Error> {
        if let Some(moved) = self.moved.get(&value) {
            return Ok(moved.clone());
        }
        let node = self.graph.node(value.node);
        if let Op::Constant(tensor) = &node.op {
            return Ok(tensor.clone());
        }
        let (tensor, expected) = (self.store.get(&node.name)?, self.graph.ty(value));
        if tensor.ty() != *expected {
            return Err(Error::Type { name: node.name.clone(), expected: expected.clone(), got: tensor.ty() });
        }
        Ok(tensor)
    }

    /// The name of a weight: its own, or that of what was moved.
    pub(super) fn name(&self, mut value: Value) -> &str {
        while let (true, [from]) = (self.moved.contains_key(&value), &self.graph.node(value.node).operands[..]) {
            value = *from;
        }
        &self.graph.node(value.node).name
    }
}
