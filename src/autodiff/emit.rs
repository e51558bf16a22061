//! What the derivative rules write with: operations named after the forward node, and shared constants.

use std::collections::HashMap;

use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::{Binary, Op, Reduce, ReduceKind, Unary};
use crate::types::{Shape, TensorType};

/// A forward node whose derivative is being written.
pub(super) struct Site {
    pub id: NodeId,
    pub op: Op,
    pub operands: Vec<Value>,
    /// Which operands lead to a value whose gradient was asked for.
    pub wanted: Vec<bool>,
}

impl Site {
    /// The node's first result.
    pub fn y(&self) -> Value {
        self.id.result(0)
    }
}

/// Appends the backward pass to the graph.
pub(super) struct Emit<'g> {
    pub graph: &'g mut Graph,
    /// Name of the nodes being added: the forward node's path and `.grad`.
    path: String,
    /// Scalars by their bits, one node each.
    scalars: HashMap<u32, Value>,
}

impl<'g> Emit<'g> {
    pub fn new(graph: &'g mut Graph) -> Self {
        Emit { graph, path: String::new(), scalars: HashMap::new() }
    }
    /// Names the nodes that follow after `id`.
    pub fn at(&mut self, id: NodeId) {
        self.path = format!("{}.grad", self.graph.node(id).name);
    }
    /// Adds an operation.
    pub fn node(&mut self, op: Op, operands: &[Value]) -> Result<NodeId, Error> {
        self.graph.insert(op, operands, self.path.clone())
    }
    /// Adds an operation with one result.
    pub fn op(&mut self, op: Op, operands: &[Value]) -> Result<Value, Error> {
        self.node(op, operands).map(|id| id.result(0))
    }
    /// The number `value`.
    pub fn scalar(&mut self, value: f32) -> Result<Value, Error> {
        if let Some(&known) = self.scalars.get(&value.to_bits()) {
            return Ok(known);
        }
        let constant = self.graph.scalar(value)?;
        self.scalars.insert(value.to_bits(), constant);
        Ok(constant)
    }
    pub fn unary(&mut self, f: Unary, x: Value) -> Result<Value, Error> {
        self.op(Op::Unary(f), &[x])
    }
    pub fn binary(&mut self, f: Binary, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(f), &[a, b])
    }
    pub fn mul(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.binary(Binary::Mul, a, b)
    }
    /// `a·factor`
    pub fn scale(&mut self, a: Value, factor: f32) -> Result<Value, Error> {
        let factor = self.scalar(factor)?;
        self.mul(a, factor)
    }
    /// `offset - a`
    pub fn rsub(&mut self, offset: f32, a: Value) -> Result<Value, Error> {
        let offset = self.scalar(offset)?;
        self.binary(Binary::Sub, offset, a)
    }
    /// `condition != 0 ? a : 0`. A select and no product, so that an infinity on the side not taken stays out.
    pub fn keep_if(&mut self, condition: Value, a: Value) -> Result<Value, Error> {
        let zero = self.scalar(0.0)?;
        self.op(Op::Select, &[condition, a, zero])
    }
    /// Sum over `axes`.
    pub fn reduce_sum(&mut self, x: Value, axes: Vec<usize>, keep_dims: bool) -> Result<Value, Error> {
        self.op(Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep_dims }), &[x])
    }

    /// Extents of a value.
    pub fn shape(&self, value: Value) -> Shape {
        self.graph.ty(value).shape.clone()
    }
    /// `x` under `shape`, which may be the one it has.
    pub fn reshape(&mut self, x: Value, shape: Shape) -> Result<Value, Error> {
        if self.shape(x) == shape { Ok(x) } else { self.op(Op::Reshape(shape), &[x]) }
    }
    /// `x` stretched to `shape`, which may be the one it has.
    pub fn broadcast(&mut self, x: Value, shape: Shape) -> Result<Value, Error> {
        if self.shape(x) == shape { Ok(x) } else { self.op(Op::Broadcast(shape), &[x]) }
    }
    /// The adjoint of broadcasting `shape` to `g`'s shape: sums over every axis that was stretched.
    pub fn unbroadcast(&mut self, g: Value, shape: &Shape) -> Result<Value, Error> {
        let from = self.shape(g);
        let added = from.rank().saturating_sub(shape.rank());
        let axes: Vec<usize> = (0..from.rank())
            .filter(|&axis| from.0[axis] != 1 && (axis < added || shape.0[axis - added] == 1))
            .collect();
        let g = if axes.is_empty() { g } else { self.reduce_sum(g, axes, false)? };
        self.reshape(g, shape.clone())
    }

    /// The gradient of a result of `id` from the contributions of its uses, added in order.
    pub fn sum(&mut self, id: NodeId, parts: &[Value]) -> Result<Value, Error> {
        self.at(id);
        let [first, rest @ ..] = parts else {
            return Err(self.refuse(id, "has no contributions to its gradient".to_string()));
        };
        rest.iter().try_fold(*first, |sum, &part| self.binary(Binary::Add, sum, part))
    }
    /// A rule that yields a gradient of another type than its value's is wrong, whatever the graph.
    pub fn expect_gradient_type(&self, of: Value, gradient: Value) -> Result<(), Error> {
        let (of, got): (&TensorType, &TensorType) = (self.graph.ty(of), self.graph.ty(gradient));
        if of == got {
            return Ok(());
        }
        Err(Error::Gradient { path: self.path.clone(), reason: format!("the gradient of a {of} came out as {got}") })
    }
    /// The error for an operation that has no derivative.
    pub fn no_derivative(&self, site: &Site, hint: &str) -> Error {
        let types: Vec<String> = site.operands.iter().map(|&v| self.graph.ty(v).to_string()).collect();
        let reason = format!("{}({}) has no derivative: {hint}", site.op.kind(), types.join(", "));
        self.refuse(site.id, reason)
    }
    fn refuse(&self, id: NodeId, reason: String) -> Error {
        Error::Gradient { path: self.graph.node(id).name.clone(), reason }
    }
}
