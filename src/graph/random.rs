//! Building a graph: random numbers and dropout.

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::{Init, Op, Random};
use crate::types::{DType, Shape, TensorType};

impl Graph {
    /// Uniform numbers in [0, 1) from a seed and a step (both i32 scalars).
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn random(&mut self, seed: Value, step: Value, shape: impl Into<Shape>) -> Result<Value, Error> {
        let next = |id| match &self.node(id).op {
            Op::Random(random) => random.stream.wrapping_add(1),
            _ => 0,
        };
        let stream = self.nodes().map(next).max().unwrap_or(0);
        self.op(Op::Random(Random { shape: shape.into(), stream }), &[seed, step])
    }
    /// The graph's step counter for [`Graph::random`] and [`Graph::dropout`]: the `i32[]` buffer named
    /// [`Random::STEP`], zero at first and made by the first call. A training graph adds 1 to it in
    /// every run, so that each step draws other numbers and a resumed training the same ones.
    ///
    /// # Errors
    /// [`Error::Type`] when the name is taken by something else.
    pub fn random_step(&mut self) -> Result<Value, Error> {
        let expected = TensorType::new(DType::I32, []);
        match self.source(Random::STEP) {
            Ok(step) if matches!(self.node(step.node).op, Op::Buffer(..)) && *self.ty(step) == expected => Ok(step),
            Ok(other) => Err(Error::Type { name: Random::STEP.to_string(), expected, got: self.ty(other).clone() }),
            Err(_) => {
                self.insert(Op::Buffer(expected, Init::ZEROS), &[], Random::STEP.to_string()).map(|id| id.result(0))
            }
        }
    }
    /// Training dropout: zeroes elements with probability `rate` and scales the others by
    /// `1/(1 - rate)`. The same seed and step give the same mask, whatever the number of threads.
    ///
    /// # Errors
    /// [`Error::Operands`], also for a rate outside [0, 1).
    pub fn dropout(&mut self, x: Value, rate: f32, seed: Value, step: Value) -> Result<Value, Error> {
        let ty = self.expect_type(x, "dropout")?;
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::Operands {
                path: self.scoped("dropout"),
                op: "dropout".to_string(),
                operands: ty.to_string(),
                reason: format!("the rate must be at least 0 and below 1, got {rate}"),
            });
        }
        let uniform = self.random(seed, step, ty.shape)?;
        let rate_value = self.scalar(rate)?;
        let keep = self.greater_equal(uniform, rate_value)?;
        let scale = self.scalar(1.0 / (1.0 - rate))?;
        let mask = self.mul(keep, scale)?;
        self.mul(x, mask)
    }
}
