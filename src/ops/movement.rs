//! Operations that move elements without computing, and the sums of moved rows.

use serde::{Deserialize, Serialize};

use super::{Mismatch, expect_distance, expect_f32, expect_rank};
use crate::types::{DType, Shape, TensorType};

/// A border of `value`, per axis `low` elements before and `high` after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// Elements before, per axis.
    pub low: Vec<usize>,
    /// Elements after, per axis.
    pub high: Vec<usize>,
    /// What the border holds.
    pub value: f32,
}

impl Pad {
    pub(super) fn infer(&self, x: &TensorType) -> Result<TensorType, Mismatch> {
        let rank = x.shape.rank();
        if self.low.len() != rank || self.high.len() != rank {
            return Err(Mismatch::new(format!(
                "pads {} and {} axes of {x}; both lists need {rank} entries",
                self.low.len(),
                self.high.len()
            )));
        }
        let shape: Vec<_> =
            (0..rank).map(|i| x.shape.0[i].saturating_add(self.low[i]).saturating_add(self.high[i])).collect();
        Ok(TensorType::new(x.dtype, shape))
    }
}

/// `start..stop` with `step`, per axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// First index, per axis.
    pub start: Vec<usize>,
    /// Index behind the last, per axis.
    pub stop: Vec<usize>,
    /// Distance of the elements taken, at least 1, per axis.
    pub step: Vec<usize>,
}

impl Slice {
    pub(super) fn infer(&self, x: &TensorType) -> Result<TensorType, Mismatch> {
        let rank = x.shape.rank();
        if self.start.len() != rank || self.stop.len() != rank || self.step.len() != rank {
            return Err(Mismatch::new(format!("the slice of {x} needs {rank} starts, stops and steps")));
        }
        let mut shape = Vec::with_capacity(rank);
        for axis in 0..rank {
            let (start, stop, step) = (self.start[axis], self.stop[axis], self.step[axis]);
            if step == 0 || start >= stop || stop > x.shape.0[axis] {
                return Err(Mismatch::new(format!(
                    "axis {axis} of {x} has {} elements; {start}..{stop} step {step} is not a non-empty part of it",
                    x.shape.0[axis]
                )));
            }
            expect_distance("step", step)?;
            shape.push((stop - start).div_ceil(step));
        }
        Ok(TensorType::new(x.dtype, shape))
    }
}

pub(super) fn infer_reshape(x: &TensorType, shape: &Shape) -> Result<TensorType, Mismatch> {
    if x.shape.elements() != shape.elements() {
        return Err(Mismatch::new(format!(
            "{x} has {} elements, {shape} has {}; they must be equal",
            x.shape.elements(),
            shape.elements()
        )));
    }
    Ok(TensorType::new(x.dtype, shape.clone()))
}

pub(super) fn infer_transpose(x: &TensorType, permutation: &[usize]) -> Result<TensorType, Mismatch> {
    let mut seen = permutation.to_vec();
    seen.sort_unstable();
    if seen != (0..x.shape.rank()).collect::<Vec<_>>() {
        return Err(Mismatch::new(format!(
            "{permutation:?} is not a permutation of the {} axes of {x}",
            x.shape.rank()
        )));
    }
    Ok(TensorType::new(x.dtype, permutation.iter().map(|&p| x.shape.0[p]).collect::<Vec<_>>()))
}

pub(super) fn infer_broadcast(x: &TensorType, shape: &Shape) -> Result<TensorType, Mismatch> {
    if x.shape.broadcast(shape).as_ref() != Some(shape) {
        return Err(Mismatch::new(format!("{x} does not stretch to {shape}")));
    }
    Ok(TensorType::new(x.dtype, shape.clone()))
}

pub(super) fn infer_concat(inputs: &[&TensorType], axis: usize) -> Result<TensorType, Mismatch> {
    let Some(first) = inputs.first() else {
        return Err(Mismatch::new("takes at least one operand"));
    };
    if axis >= first.shape.rank() {
        return Err(Mismatch::new(format!("axis {axis} is out of range for {first}")));
    }
    let mut shape = first.shape.0.clone();
    for other in &inputs[1..] {
        let fits = other.dtype == first.dtype
            && other.shape.rank() == shape.len()
            && (0..shape.len()).all(|i| i == axis || shape[i] == other.shape.0[i]);
        if !fits {
            return Err(Mismatch::new(format!("{first} and {other} must agree on every axis but {axis}")));
        }
        shape[axis] = shape[axis].saturating_add(other.shape.0[axis]);
    }
    Ok(TensorType::new(first.dtype, shape))
}

pub(super) fn infer_one_hot(x: &TensorType, classes: usize) -> Result<TensorType, Mismatch> {
    if x.dtype != DType::I32 {
        return Err(Mismatch::new(format!("labels must be i32, got {x}; cast them first")));
    }
    let mut shape = x.shape.0.clone();
    shape.push(classes);
    Ok(TensorType::f32(shape))
}

fn expect_ids(ids: &TensorType) -> Result<(), Mismatch> {
    if ids.dtype == DType::I32 {
        return Ok(());
    }
    Err(Mismatch::new(format!("ids must be i32, got {ids}; cast them first")))
}

pub(super) fn infer_gather(table: &TensorType, ids: &TensorType) -> Result<TensorType, Mismatch> {
    expect_f32(table, "the table")?;
    expect_rank(table, 2, "the table ([rows, d])")?;
    expect_ids(ids)?;
    let mut shape = ids.shape.0.clone();
    shape.push(table.shape.last());
    Ok(TensorType::f32(shape))
}

pub(super) fn infer_scatter_add(rows: &TensorType, ids: &TensorType, n: usize) -> Result<TensorType, Mismatch> {
    expect_f32(rows, "the rows")?;
    expect_ids(ids)?;
    match rows.shape.0.split_last() {
        Some((&d, leading)) if leading == ids.shape.0 => Ok(TensorType::f32([n, d])),
        Some(_) | None => Err(Mismatch::new(format!(
            "the rows of {rows} must be numbered by ids of its shape without the last axis, got {ids}"
        ))),
    }
}
