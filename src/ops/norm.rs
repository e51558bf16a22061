//! Batch normalisation over all axes but the last (Ioffe & Szegedy 2015), and the per-channel
//! coefficient kernels it is split into (Jung et al. 2018, "Restructuring Batch Normalization").
//!
//! ```text
//! mean = Σx/n   var = Σx²/n - mean²   rstd = 1/√(var + eps)
//! y = x·scale + shift   with scale = gamma·rstd, shift = beta - mean·scale
//! dx = a·dy + b·x + c   with a = gamma·rstd, b = -a·rstd·dgamma/n, c = -a·dbeta/n - b·mean
//! ```
//!
//! Compiled programs sum x and x² in f32 in one pass over x. Where a channel's mean is large against its
//! spread, Σx²/n - mean² cancels: the variance has a relative error of about 1e-7·mean²/var (with a mean of 30
//! standard deviations 1e-4; with 1000 nothing of it is left, as the rounding of x² is as large as var). A
//! mean that large comes from inputs that are not normalised, not from a convolution of normalised ones.

use serde::{Deserialize, Serialize};

use super::{Mismatch, expect_f32, expect_f32_of, expect_rank};
use crate::types::{Shape, TensorType};

/// Attributes of a training batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Weight of the new value in the running statistics: PyTorch's `momentum`, Keras's `1 - momentum`.
    pub momentum: f32,
    /// The running variance takes `n/(n-1)` of the batch's (PyTorch) or the batch's own (Keras).
    pub unbiased: bool,
}

/// Attributes of [`super::Op::Coefficients`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coefficients {
    /// The batch norm.
    pub norm: BatchNorm,
    /// Values per channel that the partial sums add up.
    pub count: usize,
}

/// Attributes of [`super::Op::GradCoefficients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GradCoefficients {
    /// Values per channel that the partial sums add up.
    pub count: usize,
}

fn channel_vectors(channels: usize, operands: &[&TensorType]) -> Result<TensorType, Mismatch> {
    let vector = Shape(vec![channels]);
    for operand in operands {
        expect_f32_of(operand, &vector, "each per-channel operand")?;
    }
    Ok(TensorType::f32(vector))
}

fn channels(x: &TensorType) -> Result<usize, Mismatch> {
    expect_f32(x, "the input")?;
    if x.shape.rank() < 2 {
        return Err(Mismatch::new(format!("the input needs at least two axes, channels last; got {x}")));
    }
    Ok(x.shape.last())
}

pub(super) fn infer_train(inputs: &[&TensorType]) -> Result<Vec<TensorType>, Mismatch> {
    let vector = channel_vectors(channels(inputs[0])?, &inputs[1..])?;
    let mut out = vec![inputs[0].clone()];
    out.extend(std::iter::repeat_n(vector, 4));
    Ok(out)
}

pub(super) fn infer_eval(inputs: &[&TensorType]) -> Result<TensorType, Mismatch> {
    channel_vectors(channels(inputs[0])?, &inputs[1..])?;
    Ok(inputs[0].clone())
}

pub(super) fn infer_grad(inputs: &[&TensorType]) -> Result<Vec<TensorType>, Mismatch> {
    expect_f32_of(inputs[1], &inputs[0].shape, "the input")?;
    let vector = channel_vectors(channels(inputs[0])?, &inputs[2..])?;
    Ok(vec![inputs[0].clone(), vector.clone(), vector])
}

/// The first `partial` operands are `[chunks, channels]`, the others `[channels]`; `count` is what sums are divided by.
pub(super) fn infer_coefficients(
    inputs: &[&TensorType],
    partial: usize,
    results: usize,
    count: usize,
) -> Result<Vec<TensorType>, Mismatch> {
    if count == 0 {
        return Err(Mismatch::new("the partial sums must add up at least 1 value per channel, got a count of 0"));
    }
    let first = inputs[0];
    let vector = channel_vectors(channels(first)?, &inputs[partial..])?;
    expect_rank(first, 2, "a partial sum ([chunks, channels])")?;
    for operand in &inputs[..partial] {
        expect_f32_of(operand, &first.shape, "each partial sum")?;
    }
    Ok(vec![vector; results])
}
