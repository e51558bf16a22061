//! What is known when a file is written: parameters, buffers, constants, and what can be computed from them.
//!
//! ```text
//!  conv1.weight ─┐
//!  bn1.weight ───┼─▶ mul, rsqrt, … in f64 by the interpreter ──▶ one tensor, named "conv1.weight"
//!  bn1.running… ─┘
//! ```

use std::collections::{HashMap, HashSet};

use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::Op;
use crate::reference::{RefTensor, evaluate};
use crate::store::Store;
use crate::tensor::Tensor;

/// Elements that a computed weight may have whatever it is made from.
const SMALL: usize = 1024;

/// The values of a graph that do not depend on its inputs.
pub(super) struct Weights<'a> {
    graph: &'a Graph,
    store: &'a Store,
    folded: HashMap<Value, RefTensor>,
}

impl<'a> Weights<'a> {
    /// The weights of `graph` in `store`. A weight that is only moved is a weight, too; with `fold`, whatever depends on
    /// weights only. `nodes` are in topological order.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`]; [`Error::Export`] when the interpreter refuses a node.
    pub(super) fn new(graph: &'a Graph, store: &'a Store, nodes: &[NodeId], fold: bool) -> Result<Self, Error> {
        let mut weights = Weights { graph, store, folded: HashMap::new() };
        for &id in nodes {
            if fold || matches!(graph.node(id).op, Op::Reshape(_) | Op::Transpose(_)) {
                weights.fold(id)?;
            }
        }
        Ok(weights)
    }

    fn fold(&mut self, id: NodeId) -> Result<(), Error> {
        let node = self.graph.node(id);
        let foldable = !node.op.is_source() && !matches!(node.op, Op::Random(_) | Op::Fused(_));
        if !foldable || !node.operands.iter().all(|&v| self.known(v)) {
            return Ok(());
        }
        // what is larger than all it is made from would cost bytes of the file instead of time
        let elements = |v: Value| self.graph.ty(v).shape.elements();
        let made: usize = node.results.iter().map(|ty| ty.shape.elements()).sum();
        if made > SMALL.max(node.operands.iter().map(|&v| elements(v)).sum()) {
            return Ok(());
        }
        let sources: Vec<RefTensor> = node.operands.iter().map(|&v| self.exact(v)).collect::<Result<_, _>>()?;
        let results = evaluate(&node.op, &sources.iter().collect::<Vec<_>>())
            .map_err(|error| Error::Export { path: node.name.clone(), reason: error.to_string() })?;
        self.folded.extend(results.into_iter().enumerate().map(|(port, tensor)| (id.result(port), tensor)));
        Ok(())
    }

    /// Whether `value` is a weight.
    pub(super) fn known(&self, value: Value) -> bool {
        let op = &self.graph.node(value.node).op;
        self.folded.contains_key(&value) || op.is_state() || matches!(op, Op::Constant(_))
    }

    /// The value of a weight, rounded to its element type once.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a state that the store lacks, [`Error::Type`] for one of another type.
    pub(super) fn tensor(&self, value: Value) -> Result<Tensor, Error> {
        if let Some(folded) = self.folded.get(&value) {
            return folded.to_tensor();
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

    fn exact(&self, value: Value) -> Result<RefTensor, Error> {
        match self.folded.get(&value) {
            Some(folded) => Ok(folded.clone()),
            None => self.tensor(value).map(|tensor| RefTensor::from(&tensor)),
        }
    }

    /// The name of a weight: its own, or for a computed one that of the first state of its size that it is made of.
    pub(super) fn name(&self, value: Value) -> &str {
        let elements = |v: Value| self.graph.ty(v).shape.elements();
        let mut seen = HashSet::new();
        let mut stack = vec![value];
        while let Some(next) = stack.pop() {
            let node = self.graph.node(next.node);
            if !seen.insert(next) {
                continue;
            }
            if node.op.is_state() && elements(next) == elements(value) {
                return &node.name;
            }
            stack.extend(node.operands.iter().rev());
        }
        &self.graph.node(value.node).name
    }
}
