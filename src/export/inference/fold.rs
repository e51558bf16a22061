//! Computes all that depends on weights only, once: the folded graph and the values of its tensors.
//!
//! ```text
//!   weight ─┐                                    conv.weight ─┐
//!   gamma ──┼─ mul ─▶ conv(x, ·) ─▶ add(·)  ──▶     x ─▶ conv(x, ·) ─▶ add(·) ─▶
//!   mean … ─┴─ sub ───────────────────┘                    conv.bias ───┘
//! ```
//!
//! The pass `fold-batch-norm` writes a folded batch norm as operations on parameters; here the reference interpreter
//! computes them in f64, and the result, rounded once, is a parameter of the new graph.

use std::collections::{HashMap, HashSet};

use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::{Init, Op};
use crate::reference::{RefTensor, evaluate};
use crate::store::Store;
use crate::tensor::Tensor;
use crate::types::DType;

/// Elements up to which a constant is written in the graph's text; larger ones are tensors of the file.
const SMALL: usize = 16;

/// A graph without computations on weights alone, and the value of each of its states.
struct Folded {
    graph: Graph,
    values: Vec<(String, Tensor)>,
}

/// Folds `graph`, a portable graph whose state is in `store`: the new graph, and a store with its tensors.
///
/// # Errors
/// [`Error::UnknownName`] or [`Error::Type`] for a state that the store lacks or has in another type.
pub(super) fn fold(graph: &Graph, store: &Store) -> Result<(Graph, Store), Error> {
    let order = graph.topological();
    let known = known(graph, &order);
    // what is computed on the way to a value that the graph keeps, in f64
    let mut computed: HashMap<NodeId, RefTensor> = HashMap::new();
    for &id in order.iter().filter(|id| known[id.index()]) {
        let node = graph.node(id);
        if node.op.is_source() {
            continue;
        }
        let mut operands = Vec::with_capacity(node.operands.len());
        for operand in &node.operands {
            operands.push(match computed.get(&operand.node) {
                Some(tensor) => tensor.clone(),
                None => RefTensor::from(&source(graph, operand.node, store)?),
            });
        }
        computed.extend(evaluate(&node.op, &operands.iter().collect::<Vec<_>>())?.pop().map(|tensor| (id, tensor)));
    }
    let mut build = Build {
        from: graph,
        folded: Folded { graph: Graph::new(graph.name()), values: Vec::new() },
        to: HashMap::new(),
        names: graph.inputs().map(|id| graph.node(id).name.clone()).collect(),
    };
    for &id in order.iter().filter(|id| !known[id.index()]) {
        let node = graph.node(id);
        let mut operands = Vec::with_capacity(node.operands.len());
        for &operand in &node.operands {
            operands.push(build.operand(id, operand, &computed, store)?);
        }
        let new = build.folded.graph.insert(node.op.clone(), &operands, node.name.clone())?;
        build.to.extend((0..node.results.len()).map(|port| (id.result(port), new.result(port))));
    }
    for (name, value) in graph.outputs() {
        let value = build.operand(value.node, *value, &computed, store)?;
        build.folded.graph.set_output(name, value)?;
    }
    let Folded { graph, values } = build.folded;
    let store = Store::new(&graph, 0)?;
    values.iter().try_for_each(|(name, value)| store.set(name, value))?;
    Ok((graph, store))
}

/// Nodes that are known before a run. One that has more elements than what it is made from is not: a bias stretched
/// over the batch would take memory and fix the batch size.
fn known(graph: &Graph, order: &[NodeId]) -> Vec<bool> {
    let mut known = vec![false; graph.len()];
    for &id in order {
        let node = graph.node(id);
        let elements = |v: &Value| graph.ty(*v).shape.elements();
        let largest = node.operands.iter().map(elements).max().unwrap_or(0);
        known[id.index()] = match node.op {
            Op::Input(_) => false,
            _ if node.op.is_source() => true,
            _ => {
                node.results.len() == 1
                    && node.operands.iter().all(|v| known[v.node.index()])
                    && node.results[0].shape.elements() <= largest.max(SMALL)
            }
        };
    }
    known
}

/// The value of a parameter, buffer or constant.
fn source(graph: &Graph, id: NodeId, store: &Store) -> Result<Tensor, Error> {
    let node = graph.node(id);
    if let Op::Constant(tensor) = &node.op {
        return Ok(tensor.clone());
    }
    let value = store.get(&node.name)?;
    if value.ty() == node.results[0] {
        Ok(value)
    } else {
        Err(Error::Type { name: node.name.clone(), expected: node.results[0].clone(), got: value.ty() })
    }
}

/// The new graph in the making.
struct Build<'g> {
    from: &'g Graph,
    folded: Folded,
    to: HashMap<Value, Value>,
    /// Names of inputs and states.
    names: HashSet<String>,
}

impl Build<'_> {
    /// The new graph's value for `old`, which `user` reads; what is known becomes a constant or a parameter.
    fn operand(
        &mut self,
        user: NodeId,
        old: Value,
        computed: &HashMap<NodeId, RefTensor>,
        store: &Store,
    ) -> Result<Value, Error> {
        if let Some(&new) = self.to.get(&old) {
            return Ok(new);
        }
        let (value, source) = match computed.get(&old.node) {
            Some(tensor) => (tensor.to_tensor()?, false),
            None => (source(self.from, old.node, store)?, true),
        };
        let node = self.from.node(old.node);
        let is_constant = matches!(node.op, Op::Constant(_));
        let new = if value.shape().elements() <= SMALL && (is_constant || value.shape().rank() == 0) {
            self.folded.graph.insert(Op::Constant(value), &[], node.name.clone())?
        } else {
            let wanted = if source && !is_constant { node.name.clone() } else { self.name(user, old) };
            let name = self.fresh(wanted);
            let trained = value.dtype() == DType::F32 && !matches!(node.op, Op::Buffer(..) | Op::Constant(_));
            let op = if trained { Op::Parameter } else { Op::Buffer };
            let id = self.folded.graph.insert(op(value.ty(), Init::ZEROS), &[], name.clone())?;
            self.folded.values.push((name, value));
            id
        };
        self.to.insert(old, new.result(0));
        Ok(new.result(0))
    }

    /// A name for a computed tensor. A folded or moved weight keeps the name of the weight; what is added to a convolution with
    /// the weight `conv1.weight` (`conv1/kernel`) is `conv1.bias` (`conv1/bias`); else it is the node's own path.
    fn name(&self, user: NodeId, old: Value) -> String {
        let from = self.from;
        let (reader, path) = (from.node(user), &from.node(old.node).name);
        let moved = matches!(from.node(old.node).op, Op::Reshape(_) | Op::Transpose(_));
        if moved || (matches!(reader.op, Op::Conv2d(_)) && reader.operands.get(1) == Some(&old)) {
            return self.weight(old).unwrap_or_else(|| path.clone());
        }
        let convolution = reader.operands.iter().find(|v| matches!(from.node(v.node).op, Op::Conv2d(_)));
        let weight = convolution.and_then(|v| self.to.get(&from.node(v.node).operands[1]));
        let weight = weight.map(|v| self.folded.graph.node(v.node).name.as_str());
        let stem = weight.and_then(|name| name.strip_suffix("weight").or_else(|| name.strip_suffix("kernel")));
        match stem {
            Some(stem) => format!("{stem}bias"),
            None => path.clone(),
        }
    }

    /// The only parameter of as many elements that it is computed from: it may have been reshaped.
    fn weight(&self, value: Value) -> Option<String> {
        let elements = self.from.ty(value).shape.elements();
        let (mut stack, mut seen, mut found) = (vec![value.node], HashSet::new(), Vec::new());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = self.from.node(id);
            stack.extend(node.operands.iter().map(|v| v.node));
            if matches!(node.op, Op::Parameter(..)) && node.results[0].shape.elements() == elements {
                found.push(node.name.clone());
            }
        }
        if found.len() == 1 { found.pop() } else { None }
    }

    /// `name`, or with a number behind it when it is taken.
    fn fresh(&mut self, name: String) -> String {
        let mut unique = name.clone();
        let mut number = 1;
        while !self.names.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        unique
    }
}
