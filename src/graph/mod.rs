//! The dataflow graph: nodes are operations, values are their typed results.
//!
//! ```text
//!  %0 = input ──▶ %2 = conv2d ──▶ %3.0 .. %3.4 = batch_norm ──▶ … ──▶ output "loss"
//!  %1 = parameter ──┘                    └──▶ update of a buffer
//! ```
//!
//! The petgraph graph is private to this module: nodes are only ever appended, ids are never reused, and
//! every node is type-checked as it is added. Rewrites go through [`Patch`]; [`Graph::compact`] drops what
//! no output or update needs.

use std::collections::HashMap;
use std::fmt;

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::error::{Error, nearest};
use crate::ops::Op;
use crate::types::TensorType;

mod activations;
mod build;
mod compact;
mod convs;
mod layers;
mod loss;
mod losses;
mod norms;
mod patch;
mod pools;
mod random;
mod resample;
mod text;
mod verify;

pub use convs::{Conv1dOptions, ConvTranspose1dOptions, ConvTransposeOptions};
pub use layers::{ConvOptions, Normalized, PoolOptions};
pub use loss::{Loss, Reduction};
pub use patch::Patch;
pub use pools::Pool1dOptions;

/// A node. Prints as `%7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// A result of a node. Prints as `%7`, or `%7.1` for results after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// The node that makes it.
    pub node: NodeId,
    /// Which of its results.
    pub port: u32,
}

impl NodeId {
    /// The node's position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
    /// Result `port` of this node.
    pub fn result(self, port: usize) -> Value {
        Value { node: self, port: port as u32 }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => write!(f, "{}", self.node),
            port => write!(f, "{}.{port}", self.node),
        }
    }
}

/// An operation in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Its path: scopes and name (`layer2.0.conv1`). Unique for inputs and state.
    pub name: String,
    /// Operands in the operation's order.
    pub operands: Vec<Value>,
    /// Result types.
    pub results: Vec<TensorType>,
}

/// A dataflow graph with named outputs and updates of its state.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    name: String,
    inner: DiGraph<Node, ()>,
    outputs: Vec<(String, Value)>,
    /// State node → the value it takes at the end of a run, in the order of definition.
    updates: Vec<(NodeId, Value)>,
    scopes: Vec<String>,
    /// How often a path was asked for, to number automatic names.
    taken: HashMap<String, usize>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }
    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.inner.node_count()
    }
    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Ids of all nodes in the order they were added, which is a topological order only until a
    /// patch is applied; see [`Graph::topological`].
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.len() as u32).map(NodeId)
    }
    /// A node, or `None` for an id of another graph.
    pub fn get(&self, id: NodeId) -> Option<&Node> {
        self.inner.node_weight(NodeIndex::new(id.index()))
    }
    /// A node of this graph.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.inner[NodeIndex::new(id.index())]
    }
    /// The type of a value, or `None` when it is not of this graph.
    pub fn value_type(&self, value: Value) -> Option<&TensorType> {
        self.get(value.node)?.results.get(value.port as usize)
    }
    /// The type of a value of this graph.
    pub(crate) fn ty(&self, value: Value) -> &TensorType {
        &self.node(value.node).results[value.port as usize]
    }
    /// Named results, in the order they were marked.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }
    /// State nodes with the values they take at the end of a run.
    pub fn updates(&self) -> &[(NodeId, Value)] {
        &self.updates
    }
    /// State nodes (parameters and buffers) in order.
    pub fn states(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|&id| self.node(id).op.is_state())
    }
    /// Trainable parameters in order.
    pub fn parameters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|&id| matches!(self.node(id).op, Op::Parameter(..)))
    }
    /// Inputs in order.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|&id| matches!(self.node(id).op, Op::Input(_)))
    }
    /// Finds an input or state node by its name.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    pub fn source(&self, name: &str) -> Result<Value, Error> {
        let sources = || self.nodes().filter(|&id| self.node(id).op.has_unique_name());
        match self.find_source(name) {
            Some(id) => Ok(id.result(0)),
            None => Err(Error::UnknownName {
                what: "input or state",
                name: name.to_string(),
                near: nearest(name, sources().map(|id| self.node(id).name.as_str())),
            }),
        }
    }
    fn find_source(&self, name: &str) -> Option<NodeId> {
        self.nodes().find(|&id| self.node(id).op.has_unique_name() && self.node(id).name == name)
    }
    /// Finds an output by its name.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    pub fn output(&self, name: &str) -> Result<Value, Error> {
        self.outputs.iter().find(|(n, _)| n == name).map(|&(_, v)| v).ok_or_else(|| Error::UnknownName {
            what: "output",
            name: name.to_string(),
            near: nearest(name, self.outputs.iter().map(|(n, _)| n.as_str())),
        })
    }

    /// Nodes that use a result of `id`, each once, ascending.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<_> =
            self.inner.edges(NodeIndex::new(id.index())).map(|e| NodeId(e.target().index() as u32)).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Nodes in an order in which operands come before their users; ties by id, so it is a pure
    /// function of the graph. Nodes on a cycle are left out (the verifier reports them).
    pub fn topological(&self) -> Vec<NodeId> {
        let mut waiting: Vec<usize> = vec![0; self.len()];
        for edge in self.inner.edge_references() {
            waiting[edge.target().index()] += 1;
        }
        let mut ready: std::collections::BTreeSet<u32> =
            (0..self.len() as u32).filter(|&i| waiting[i as usize] == 0).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(next) = ready.pop_first() {
            order.push(NodeId(next));
            for edge in self.inner.edges(NodeIndex::new(next as usize)) {
                let target = edge.target().index();
                waiting[target] -= 1;
                if waiting[target] == 0 {
                    ready.insert(target as u32);
                }
            }
        }
        order
    }

    /// Adds an operation, checking its operands. `name` is appended to the open scopes; an empty
    /// name becomes the operation's kind, numbered.
    ///
    /// # Errors
    /// [`Error::Operands`], [`Error::UnknownValue`]; [`Error::DuplicateName`] for a second input or
    /// state of one path.
    pub fn add(&mut self, op: Op, operands: &[Value], name: &str) -> Result<NodeId, Error> {
        let path = self.path(name, op.kind());
        if op.has_unique_name() && self.find_source(&path).is_some() {
            return Err(Error::DuplicateName { what: "input or state", name: path });
        }
        self.insert(op, operands, path)
    }

    /// Adds an operation under a complete path.
    pub(crate) fn insert(&mut self, op: Op, operands: &[Value], path: String) -> Result<NodeId, Error> {
        let results = self.infer(&op, operands, &path)?;
        let id = self.inner.add_node(Node { op, name: path, operands: operands.to_vec(), results });
        for operand in operands {
            self.inner.add_edge(NodeIndex::new(operand.node.index()), id, ());
        }
        Ok(NodeId(id.index() as u32))
    }

    /// Result types of `op` on `operands`, with the node's path in the error.
    fn infer(&self, op: &Op, operands: &[Value], path: &str) -> Result<Vec<TensorType>, Error> {
        let mut types = Vec::with_capacity(operands.len());
        for &operand in operands {
            types.push(self.value_type(operand).ok_or_else(|| Error::UnknownValue {
                path: path.to_string(),
                value: operand.to_string(),
                nodes: self.len(),
            })?);
        }
        op.infer(&types).map_err(|mismatch| Error::Operands {
            path: path.to_string(),
            op: op.kind().to_string(),
            operands: types.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", "),
            reason: mismatch.0,
        })
    }

    /// Opens a scope: names added until [`Graph::leave`] get `name.` in front.
    pub fn enter(&mut self, name: &str) {
        self.scopes.push(name.to_string());
    }
    /// Closes the innermost scope.
    pub fn leave(&mut self) {
        self.scopes.pop();
    }
    /// Runs `body` inside the scope `name`.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn scope<T>(&mut self, name: &str, body: impl FnOnce(&mut Graph) -> Result<T, Error>) -> Result<T, Error> {
        self.enter(name);
        let result = body(self);
        self.leave();
        result
    }

    /// `name` behind the open scopes.
    fn scoped(&self, name: &str) -> String {
        self.scopes.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }

    /// The full path for `name`, or a fresh one from `kind` when it is empty.
    fn path(&mut self, name: &str, kind: &str) -> String {
        let path = self.scoped(if name.is_empty() { kind } else { name });
        if !name.is_empty() {
            return path;
        }
        let count = self.taken.entry(path.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { path } else { format!("{path}_{}", *count - 1) }
    }

    /// Names `value` as a result of the graph.
    ///
    /// # Errors
    /// [`Error::DuplicateName`], [`Error::UnknownValue`].
    pub fn set_output(&mut self, name: &str, value: Value) -> Result<(), Error> {
        if self.outputs.iter().any(|(n, _)| n == name) {
            return Err(Error::DuplicateName { what: "output", name: name.to_string() });
        }
        self.push_output(name, value)
    }
    /// [`Graph::set_output`] of a name that is known to be new.
    fn push_output(&mut self, name: &str, value: Value) -> Result<(), Error> {
        self.expect_value(value, name)?;
        self.outputs.push((name.to_string(), value));
        Ok(())
    }

    /// Lets `state` (a parameter or buffer) take `value` at the end of a run.
    ///
    /// # Errors
    /// [`Error::Operands`] when `state` is no state or the types differ; [`Error::DuplicateName`]
    /// when it already has an update; [`Error::UnknownValue`].
    pub fn set_update(&mut self, state: Value, value: Value) -> Result<(), Error> {
        if self.updates.iter().any(|&(s, _)| s == state.node) {
            return Err(Error::DuplicateName { what: "update of a state", name: self.node(state.node).name.clone() });
        }
        self.push_update(state, value)
    }
    /// What a state will be at the end of a run, as far as is known.
    fn updated(&self, state: Value) -> Value {
        self.updates.iter().find(|&&(s, _)| s == state.node).map_or(state, |&(_, value)| value)
    }
    /// [`Graph::set_update`] in place of the one before, if there is one.
    fn replace_update(&mut self, state: Value, value: Value) -> Result<(), Error> {
        let before = self.updates.iter().position(|&(s, _)| s == state.node);
        self.push_update(state, value)?;
        if let Some(before) = before {
            self.updates.swap_remove(before);
        }
        Ok(())
    }
    /// [`Graph::set_update`] of a state that is known to have none.
    fn push_update(&mut self, state: Value, value: Value) -> Result<(), Error> {
        self.expect_value(state, "update")?;
        self.expect_value(value, "update")?;
        let node = self.node(state.node);
        let refuse = |reason: &str| {
            Err(Error::Operands {
                path: node.name.clone(),
                op: "update".to_string(),
                operands: format!("{}, {}", self.ty(state), self.ty(value)),
                reason: reason.to_string(),
            })
        };
        if !node.op.is_state() {
            return refuse("only a parameter or a buffer can be updated");
        }
        if self.ty(state) != self.ty(value) {
            return refuse("the new value must have the state's type");
        }
        self.updates.push((state.node, value));
        Ok(())
    }

    fn expect_value(&self, value: Value, path: &str) -> Result<(), Error> {
        match self.value_type(value) {
            Some(_) => Ok(()),
            None => Err(Error::UnknownValue { path: path.to_string(), value: value.to_string(), nodes: self.len() }),
        }
    }
}
