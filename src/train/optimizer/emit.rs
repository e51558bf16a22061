//! The operations that optimizers are written with, named after what they update.

use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::{Binary, Init, Op, Unary};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// A graph, and the path that new operations get.
pub(super) struct Emit {
    pub graph: Graph,
    pub path: String,
}

impl Emit {
    pub fn op(&mut self, op: Op, operands: &[Value]) -> Result<Value, Error> {
        self.graph.insert(op, operands, self.path.clone()).map(|id| id.result(0))
    }
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Add), &[a, b])
    }
    pub fn sub(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Sub), &[a, b])
    }
    pub fn mul(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Mul), &[a, b])
    }
    pub fn div(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Div), &[a, b])
    }
    pub fn unary(&mut self, f: Unary, x: Value) -> Result<Value, Error> {
        self.op(Op::Unary(f), &[x])
    }
    pub fn scalar(&mut self, value: f64) -> Result<Value, Error> {
        self.op(Op::Constant(Tensor::scalar(value as f32)), &[])
    }
    /// The number, or nothing for zero.
    pub fn positive(&mut self, value: f64) -> Result<Option<Value>, Error> {
        if value > 0.0 { self.scalar(value).map(Some) } else { Ok(None) }
    }
    /// An input or buffer under a complete name.
    pub fn source(&mut self, op: Op, name: &str) -> Result<Value, Error> {
        if self.graph.source(name).is_ok() {
            return Err(Error::DuplicateName { what: "input or state", name: name.to_string() });
        }
        self.graph.insert(op, &[], name.to_string()).map(|id| id.result(0))
    }
    /// A buffer of equal numbers.
    pub fn buffer(&mut self, ty: TensorType, start: f64, name: &str) -> Result<Value, Error> {
        self.source(Op::Buffer(ty, Init::Constant(start as f32)), name)
    }
    /// A buffer like `parameter`, of equal numbers, named after it.
    pub fn like(&mut self, parameter: Value, start: f64, name: &str) -> Result<Value, Error> {
        let name = format!("{}.{name}", self.graph.node(parameter.node).name);
        self.buffer(self.graph.ty(parameter).clone(), start, &name)
    }
    /// A buffer of zeros like `parameter`, named after it.
    pub fn moment(&mut self, parameter: Value, name: &str) -> Result<Value, Error> {
        self.like(parameter, 0.0, name)
    }
    /// A factor and what it lacks to 1.
    pub fn decay(&mut self, kept: f64) -> Result<Decay, Error> {
        Ok(Decay { kept: self.scalar(kept)?, complement: self.scalar(1.0 - kept)? })
    }
    /// `decay·old + complement·new`
    pub fn mix(&mut self, old: Value, new: Value, decay: &Decay) -> Result<Value, Error> {
        let kept = self.mul(old, decay.kept)?;
        let added = self.mul(new, decay.complement)?;
        self.add(kept, added)
    }
    /// `decay·old + complement·new`, which becomes the value of the buffer `old`.
    pub fn average(&mut self, old: Value, new: Value, decay: &Decay) -> Result<Value, Error> {
        let sum = self.mix(old, new, decay)?;
        self.graph.set_update(old, sum)?;
        Ok(sum)
    }
}

/// A factor and what it lacks to 1.
pub(super) struct Decay {
    kept: Value,
    complement: Value,
}
