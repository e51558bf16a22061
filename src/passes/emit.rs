//! Adds nodes in the place of one, named after it.

use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::{Binary, Op, Unary};
use crate::tensor::Tensor;
use crate::types::Shape;

/// A graph and the path under which nodes are added.
pub(super) struct Emit<'a> {
    pub(super) graph: &'a mut Graph,
    path: &'a str,
}

impl<'a> Emit<'a> {
    pub(super) fn new(graph: &'a mut Graph, path: &'a str) -> Self {
        Emit { graph, path }
    }
    /// A node under the path, with `.part` behind it unless `part` is empty.
    pub(super) fn add(&mut self, op: Op, operands: &[Value], part: &str) -> Result<NodeId, Error> {
        let path = if part.is_empty() { self.path.to_string() } else { format!("{}.{part}", self.path) };
        self.graph.insert(op, operands, path)
    }
    /// The first result of [`Emit::add`].
    pub(super) fn value(&mut self, op: Op, operands: &[Value], part: &str) -> Result<Value, Error> {
        self.add(op, operands, part).map(|id| id.result(0))
    }
    pub(super) fn unary(&mut self, op: Unary, x: Value, part: &str) -> Result<Value, Error> {
        self.value(Op::Unary(op), &[x], part)
    }
    pub(super) fn binary(&mut self, op: Binary, a: Value, b: Value, part: &str) -> Result<Value, Error> {
        self.value(Op::Binary(op), &[a, b], part)
    }
    pub(super) fn scalar(&mut self, value: f32, part: &str) -> Result<Value, Error> {
        self.value(Op::Constant(Tensor::scalar(value)), &[], part)
    }
    pub(super) fn shape(&self, x: Value) -> Shape {
        self.graph.ty(x).shape.clone()
    }
    /// `gamma / √(var + epsilon)`, the factor of an inference batch norm.
    pub(super) fn batch_norm_scale(&mut self, gamma: Value, var: Value, epsilon: f32) -> Result<Value, Error> {
        let epsilon = self.scalar(epsilon, "epsilon")?;
        let var = self.binary(Binary::Add, var, epsilon, "var_epsilon")?;
        let rstd = self.unary(Unary::Rsqrt, var, "rstd")?;
        self.binary(Binary::Mul, gamma, rstd, "scale")
    }
    /// For a node whose number of operands is not its operation's, which the verifier would have found.
    pub(super) fn wrong_operands(&self) -> Error {
        let reason = "has another number of operands than its operation".to_string();
        Error::Invalid { after: None, violations: vec![format!("{} {reason}", self.path)] }
    }
}
