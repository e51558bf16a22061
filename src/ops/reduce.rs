//! Reductions over axes, and softmax.

use serde::{Deserialize, Serialize};

use super::{Mismatch, expect_f32};
use crate::types::TensorType;

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReduceKind {
    /// Σ
    Sum,
    /// Σ / n
    Mean,
    /// The largest; its gradient is shared equally by all elements that attain it.
    Max,
    /// The smallest.
    Min,
}

impl ReduceKind {
    /// The name in texts.
    pub fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "reduce_sum",
            ReduceKind::Mean => "reduce_mean",
            ReduceKind::Max => "reduce_max",
            ReduceKind::Min => "reduce_min",
        }
    }
}

/// A reduction of f32 over `axes` (ascending, distinct).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Axes to reduce, ascending.
    pub axes: Vec<usize>,
    /// Keep the reduced axes with extent 1.
    pub keep_dims: bool,
}

impl Reduce {
    pub(super) fn infer(&self, x: &TensorType) -> Result<TensorType, Mismatch> {
        expect_f32(x, "the operand")?;
        let ascending = self.axes.windows(2).all(|w| w[0] < w[1]);
        if !ascending || self.axes.last().is_some_and(|&a| a >= x.shape.rank()) {
            return Err(Mismatch::new(format!(
                "axes {:?} must be ascending, distinct and below {} for {x}",
                self.axes,
                x.shape.rank()
            )));
        }
        let mut shape = Vec::new();
        for (axis, &extent) in x.shape.0.iter().enumerate() {
            match (self.axes.contains(&axis), self.keep_dims) {
                (false, _) => shape.push(extent),
                (true, true) => shape.push(1),
                (true, false) => {}
            }
        }
        Ok(TensorType::f32(shape))
    }
}

pub(super) fn infer_softmax(x: &TensorType, axis: usize) -> Result<TensorType, Mismatch> {
    expect_f32(x, "the operand")?;
    if axis >= x.shape.rank() {
        return Err(Mismatch::new(format!("axis {axis} is out of range for {x}")));
    }
    Ok(x.clone())
}
