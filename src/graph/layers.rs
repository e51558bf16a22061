//! Building a graph: convolution, pooling and batch norm, with their options.

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::{BatchNorm, Conv2d, Op, Pool};
use crate::types::{Padding, Shape, Window};

/// How a convolution is placed; the default is stride 1, no padding, no dilation, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Border handling.
    pub padding: Padding,
    /// Rows, columns.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for ConvOptions {
    fn default() -> Self {
        ConvOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 }
    }
}

/// How a pooling window is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Window, rows and columns.
    pub size: [usize; 2],
    /// Distance of windows; `None` is the window's size, as in PyTorch and Keras.
    pub stride: Option<[usize; 2]>,
    /// Border handling.
    pub padding: Padding,
    /// Whether an average counts padded zeros (see [`Pool::count_padding`]).
    pub count_padding: bool,
    /// Whether a last window that begins inside, or in the padding before, is kept though it ends outside. An average
    /// never counts what lies beyond the padding.
    pub ceil_mode: bool,
}

impl PoolOptions {
    /// A square window that steps by its size, without padding.
    pub fn square(size: usize) -> Self {
        PoolOptions { size: [size; 2], stride: None, padding: Padding::Valid, count_padding: true, ceil_mode: false }
    }
}

/// Results of a training batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// The normalised tensor.
    pub y: Value,
    /// The batch's mean, per channel.
    pub mean: Value,
    /// `1/√(variance + epsilon)` of the batch, per channel.
    pub rstd: Value,
    /// The running mean after this batch.
    pub running_mean: Value,
    /// The running variance after this batch.
    pub running_var: Value,
}

/// Rows and columns of an NHWC tensor with its padding.
fn padded(x: &Shape, padding: [[usize; 2]; 2]) -> [usize; 2] {
    [0, 1].map(|a| {
        let extent = x.0.get(a + 1).copied().unwrap_or(1);
        extent.saturating_add(padding[a][0]).saturating_add(padding[a][1])
    })
}

impl Graph {
    /// Convolution of `x` (NHWC) with `w` (HWIO), plus `bias [out]`.
    ///
    /// # Errors
    /// [`Error::Operands`] when channels, groups or the window do not fit.
    pub fn conv2d(&mut self, x: Value, w: Value, bias: Option<Value>, options: ConvOptions) -> Result<Value, Error> {
        let (xs, ws) = (self.expect_type(x, "conv2d")?.shape, self.expect_type(w, "conv2d")?.shape);
        let padding = [0, 1].map(|axis| {
            let window = Window {
                size: ws.0.get(axis).copied().unwrap_or(1),
                stride: options.stride[axis],
                dilation: options.dilation[axis],
            };
            options.padding.resolve(axis, xs.0.get(axis + 1).copied().unwrap_or(1), window)
        });
        // one window or one tap is at the same place whatever the distance to the next
        let reach = padded(&xs, padding);
        let stride = [0, 1].map(|axis| options.stride[axis].min(reach[axis]));
        let dilation = [0, 1].map(|axis| options.dilation[axis].min(reach[axis]));
        let attributes = Conv2d { stride, padding, dilation, groups: options.groups };
        let y = self.op(Op::Conv2d(attributes), &[x, w])?;
        bias.map_or(Ok(y), |b| self.add_values(y, b))
    }

    /// The windows, and by how much the last ones reach over the padding below and at the right.
    fn pool(&self, x: Value, options: PoolOptions) -> Result<(Pool, [usize; 2]), Error> {
        let shape = self.expect_type(x, "pool")?.shape;
        let stride = options.stride.unwrap_or(options.size);
        let (mut padding, mut over) = ([[0; 2]; 2], [0; 2]);
        for axis in [0, 1] {
            let window = Window { size: options.size[axis], stride: stride[axis], dilation: 1 };
            let input = shape.0.get(axis + 1).copied().unwrap_or(1);
            padding[axis] = options.padding.resolve(axis, input, window);
            if options.ceil_mode {
                over[axis] = window.overhang(input, padding[axis]);
            }
        }
        let reach = padded(&shape, padding);
        let stride = [0, 1].map(|axis| stride[axis].min(reach[axis]));
        Ok((Pool { size: options.size, stride, padding, count_padding: options.count_padding }, over))
    }
    /// Maximum over windows of an NHWC tensor.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn max_pool(&mut self, x: Value, options: PoolOptions) -> Result<Value, Error> {
        let (mut pool, over) = self.pool(x, options)?;
        (0..2).for_each(|axis| pool.padding[axis][1] += over[axis]);
        self.op(Op::MaxPool(pool), &[x])
    }
    /// Mean over windows of an NHWC tensor.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn avg_pool(&mut self, x: Value, options: PoolOptions) -> Result<Value, Error> {
        let (mut pool, over) = self.pool(x, options)?;
        let mut x = x;
        if over != [0; 2] {
            // zeros that count are pixels like others; what windows reach over does not count
            if pool.count_padding && pool.padding != [[0; 2]; 2] {
                x = self.zero_pad2d(x, pool.padding)?;
                pool.padding = [[0; 2]; 2];
            }
            pool.count_padding = false;
            (0..2).for_each(|axis| pool.padding[axis][1] += over[axis]);
        }
        self.op(Op::AvgPool(pool), &[x])
    }
    /// Mean over all pixels: `[n, h, w, c] → [n, c]`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn global_avg_pool(&mut self, x: Value) -> Result<Value, Error> {
        self.mean(x, &[1, 2])
    }

    /// Training batch norm over all axes but the last; updates the two running buffers at the end of
    /// a run. Where they have an update already, as of the first call of a shared norm, this one goes on from it.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn batch_norm(
        &mut self,
        x: Value,
        gamma: Value,
        beta: Value,
        running: [Value; 2],
        attributes: BatchNorm,
    ) -> Result<Normalized, Error> {
        let [mean, var] = running.map(|state| self.updated(state));
        let id = self.add(Op::BatchNorm(attributes), &[x, gamma, beta, mean, var], "")?;
        self.replace_update(running[0], id.result(3))?;
        self.replace_update(running[1], id.result(4))?;
        Ok(Normalized {
            y: id.result(0),
            mean: id.result(1),
            rstd: id.result(2),
            running_mean: id.result(3),
            running_var: id.result(4),
        })
    }
    /// Inference batch norm with given statistics.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn batch_norm_eval(
        &mut self,
        x: Value,
        gamma: Value,
        beta: Value,
        statistics: [Value; 2],
        epsilon: f32,
    ) -> Result<Value, Error> {
        self.op(Op::BatchNormEval(epsilon), &[x, gamma, beta, statistics[0], statistics[1]])
    }
}
