//! Building a graph: normalisations over a sample's own values, composed of simpler operations. Batch norm, whose
//! statistics are a batch's, is an operation of its own (`layers.rs`).
//!
//! ```text
//!  x ─▶ mean ─▶ x - mean ─┬─▶ mean of squares ─▶ 1/√(variance + epsilon) ─┐
//!                         └──────────────────────────────────────────────┴─▶ · ─▶ ·gamma + beta
//! ```
//!
//! The variance is that of all values (not `n - 1`), from the differences to the mean: two passes, since
//! `mean(x²) - mean²` cancels where the mean is large.

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::ReduceKind;
use crate::types::Shape;

impl Graph {
    /// Layer norm (Ba et al. 2016) over `axes`: `(x - mean)/√(variance + epsilon)·gamma + beta`. `gamma` and `beta`
    /// have the extents of `axes` in ascending order. PyTorch's `LayerNorm(shape)` takes the last axes, Keras's the
    /// last one unless told otherwise.
    ///
    /// # Errors
    /// [`Error::Operands`] for axes out of range, named twice or none, and when gamma or beta do not fit.
    pub fn layer_norm(
        &mut self,
        x: Value,
        axes: &[usize],
        gamma: Option<Value>,
        beta: Option<Value>,
        epsilon: f32,
    ) -> Result<Value, Error> {
        self.expect_type(x, "layer_norm")?;
        if axes.is_empty() {
            return Err(self.refused("layer_norm", &[x], "needs at least one axis to normalise".to_string()));
        }
        let y = self.standardized(x, axes, epsilon)?;
        self.affine("layer_norm", y, axes, gamma, beta)
    }

    /// Group norm (Wu & He 2018) of `x [n, .., c]`: the channels are cut into `groups`, each of which is normalised
    /// over its channels and all pixels of a sample; then `·gamma + beta`, both `[c]`. One group is PyTorch's
    /// `GroupNorm(1, c)`, a group a channel is [`Graph::instance_norm`].
    ///
    /// # Errors
    /// [`Error::Operands`] when the channels cannot be cut so, and when gamma or beta are not `[c]`.
    pub fn group_norm(
        &mut self,
        x: Value,
        groups: usize,
        gamma: Option<Value>,
        beta: Option<Value>,
        epsilon: f32,
    ) -> Result<Value, Error> {
        let ty = self.expect_type(x, "group_norm")?;
        let (samples, channels) = (ty.shape.0.first().copied().unwrap_or(1), ty.shape.last());
        if ty.shape.rank() < 2 || groups == 0 || !channels.is_multiple_of(groups) {
            let reason = format!("the last axis of {ty}, its channels, must be a multiple of the {groups} groups");
            return Err(self.refused("group_norm", &[x], reason));
        }
        let pixels = ty.shape.elements() / samples / channels;
        let x = self.reshape(x, [samples, pixels, channels])?;
        let mean = self.group_mean(x, groups)?;
        let centred = self.sub(x, mean)?;
        let square = self.mul(centred, centred)?;
        let variance = self.group_mean(square, groups)?;
        let rstd = self.rsqrt_above(variance, epsilon)?;
        let y = self.mul(centred, rstd)?;
        let last = ty.shape.rank() - 1;
        let y = self.reshape(y, ty.shape)?;
        self.affine("group_norm", y, &[last], gamma, beta)
    }

    /// Instance norm (Ulyanov et al. 2016) of `x [n, .., c]`: each channel of each sample over its pixels.
    ///
    /// # Errors
    /// As [`Graph::group_norm`].
    pub fn instance_norm(
        &mut self,
        x: Value,
        gamma: Option<Value>,
        beta: Option<Value>,
        epsilon: f32,
    ) -> Result<Value, Error> {
        let channels = self.expect_type(x, "instance_norm")?.shape.last();
        self.group_norm(x, channels, gamma, beta, epsilon)
    }

    /// `x/√(mean of squares over axes + epsilon)·gamma` (Zhang & Sennrich 2019): layer norm without mean and shift.
    /// `gamma` has the extents of `axes` in ascending order.
    ///
    /// # Errors
    /// [`Error::Operands`] as [`Graph::layer_norm`].
    pub fn rms_norm(&mut self, x: Value, axes: &[usize], gamma: Option<Value>, epsilon: f32) -> Result<Value, Error> {
        let rstd = self.reciprocal_root(x, axes, epsilon)?;
        let y = self.mul(x, rstd)?;
        self.affine("rms_norm", y, axes, gamma, None)
    }

    /// `y·gamma + beta`, both with the extents of `axes`.
    fn affine(
        &mut self,
        op: &str,
        y: Value,
        axes: &[usize],
        gamma: Option<Value>,
        beta: Option<Value>,
    ) -> Result<Value, Error> {
        let extents = self.ty(y).shape.0.iter().enumerate();
        let aligned = Shape(extents.map(|(axis, &n)| if axes.contains(&axis) { n } else { 1 }).collect());
        let first = axes.iter().copied().min().unwrap_or(0);
        let trailing = aligned.rank() - first == axes.len();
        let own = Shape((first..aligned.rank()).filter(|axis| axes.contains(axis)).map(|a| aligned.0[a]).collect());
        let mut result = y;
        for (vector, what) in [(gamma, "gamma"), (beta, "beta")] {
            let Some(vector) = vector else { continue };
            self.expect_shape_of(vector, &own, op, what)?;
            // the last axes line up as they are, and vectors of channels have faster kernels
            let vector = if trailing { vector } else { self.reshape(vector, aligned.clone())? };
            result = if what == "gamma" { self.mul(result, vector)? } else { self.add_values(result, vector)? };
        }
        Ok(result)
    }

    /// `(x - mean)/√(variance + epsilon)` over `axes`.
    fn standardized(&mut self, x: Value, axes: &[usize], epsilon: f32) -> Result<Value, Error> {
        let mean = self.reduce(ReduceKind::Mean, x, axes, true)?;
        let centred = self.sub(x, mean)?;
        let rstd = self.reciprocal_root(centred, axes, epsilon)?;
        self.mul(centred, rstd)
    }
    /// `1/√(mean of x² + epsilon)` over `axes`, which stay with extent 1.
    fn reciprocal_root(&mut self, x: Value, axes: &[usize], epsilon: f32) -> Result<Value, Error> {
        let square = self.mul(x, x)?;
        let variance = self.reduce(ReduceKind::Mean, square, axes, true)?;
        self.rsqrt_above(variance, epsilon)
    }
    /// `1/√(x + epsilon)`
    fn rsqrt_above(&mut self, x: Value, epsilon: f32) -> Result<Value, Error> {
        let epsilon = self.scalar(epsilon)?;
        let sum = self.add_values(x, epsilon)?;
        self.rsqrt(sum)
    }
    /// The mean of each sample and group of channels of `x [n, pixels, c]`, as `[n, 1, c]`. First over the pixels, a
    /// channel at a time, where rows are long; what is left is little.
    fn group_mean(&mut self, x: Value, groups: usize) -> Result<Value, Error> {
        let shape = self.ty(x).shape.0.clone();
        let [n, c] = [shape[0], shape[2]];
        let by_channel = self.reduce(ReduceKind::Mean, x, &[1], true)?;
        let cut = self.reshape(by_channel, [n, 1, groups, c / groups])?;
        let mean = self.reduce(ReduceKind::Mean, cut, &[3], true)?;
        let each = self.broadcast(mean, [n, 1, groups, c / groups])?;
        self.reshape(each, [n, 1, c])
    }
}
