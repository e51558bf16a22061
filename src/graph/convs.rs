//! Building a graph: convolutions that are a two-dimensional one in disguise: over one axis, a channel at a time, and
//! backwards.
//!
//! ```text
//!  conv1d            [n, l, c]  ─reshape─▶ [n, 1, l, c] ─▶ conv2d ─▶ [n, 1, m, o] ─reshape─▶ [n, m, o]
//!  depthwise         [kh, kw, c, m] ─reshape─▶ [kh, kw, 1, c·m], conv2d in c groups
//!  conv_transpose2d  [n, h, w, in] ─▶ what a convolution from `out` to `in` channels gives its input as gradient
//! ```
//!
//! Weights in other frameworks:
//!
//! | here | Keras | PyTorch |
//! |---|---|---|
//! | `conv1d` `[k, in/groups, out]` | the same | `[out, in/groups, k]` |
//! | `depthwise_conv2d` `[kh, kw, c, m]` | the same | `[c·m, 1, kh, kw]` of a `Conv2d` with c groups |
//! | `conv_transpose2d` `[kh, kw, out/groups, in]` | the same, `[kh, kw, out, in]` | `[in, out/groups, kh, kw]` |
//! | `conv_transpose1d` `[k, out/groups, in]` | the same, `[k, out, in]` | `[in, out/groups, k]` |

use super::{ConvOptions, Graph, Value};
use crate::error::Error;
use crate::ops::{Conv2d, Op};
use crate::types::{Padding, Padding1d, Shape, Window};

/// How a convolution along one axis is placed; the default is stride 1, no padding, no dilation, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1dOptions {
    /// Input elements from one output element to the next.
    pub stride: usize,
    /// Border handling.
    pub padding: Padding1d,
    /// Input elements from one tap to the next.
    pub dilation: usize,
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for Conv1dOptions {
    fn default() -> Self {
        Conv1dOptions { stride: 1, padding: Padding1d::Valid, dilation: 1, groups: 1 }
    }
}

/// How a transposed convolution is placed; the default is stride 1, no padding, no dilation, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTransposeOptions {
    /// Output pixels from one input pixel to the next; rows, columns.
    pub stride: [usize; 2],
    /// What is cut off around the output: `Explicit` as PyTorch's `padding`; `Same` gives `stride` pixels for each
    /// input pixel, as Keras does.
    pub padding: Padding,
    /// Pixels added after the output, less than the stride: several sizes of a convolution's input give one size of
    /// its output, and this says which is meant. Keras's `valid` with a kernel smaller than the stride has
    /// `stride - kernel` here.
    pub output_padding: [usize; 2],
    /// Output pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for ConvTransposeOptions {
    fn default() -> Self {
        ConvTransposeOptions {
            stride: [1, 1],
            padding: Padding::Valid,
            output_padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        }
    }
}

/// How a transposed convolution along one axis is placed: [`ConvTransposeOptions`] with one number each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose1dOptions {
    /// Output elements from one input element to the next.
    pub stride: usize,
    /// What is cut off around the output.
    pub padding: Padding1d,
    /// Elements added after the output, less than the stride.
    pub output_padding: usize,
    /// Output elements from one tap to the next.
    pub dilation: usize,
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for ConvTranspose1dOptions {
    fn default() -> Self {
        ConvTranspose1dOptions { stride: 1, padding: Padding1d::Valid, output_padding: 0, dilation: 1, groups: 1 }
    }
}

impl Graph {
    /// Convolution of `x [n, l, in]` with `w [k, in/groups, out]` along `l`, plus `bias [out]`.
    ///
    /// # Errors
    /// [`Error::Operands`] when channels, groups or the window do not fit.
    pub fn conv1d(&mut self, x: Value, w: Value, bias: Option<Value>, options: Conv1dOptions) -> Result<Value, Error> {
        let (rows, taps) = (self.one_row("conv1d", x)?, self.one_row_of_taps("conv1d", w)?);
        let options = ConvOptions {
            stride: [1, options.stride],
            padding: self.one_row_padding(options.padding, taps, options.dilation),
            dilation: [1, options.dilation],
            groups: options.groups,
        };
        let y = self.conv2d(rows, taps, bias, options)?;
        self.without_row(y)
    }

    /// Convolution of each channel of `x [n, h, w, c]` with `m` kernels of its own, `w [kh, kw, c, m]`, plus
    /// `bias [c·m]`. Result channel `c·m + j` is channel `c` under its kernel `j`. The groups of `options` are not
    /// looked at.
    ///
    /// # Errors
    /// [`Error::Operands`] when channels or the window do not fit.
    pub fn depthwise_conv2d(
        &mut self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        options: ConvOptions,
    ) -> Result<Value, Error> {
        let channels = self.expect_type(x, "depthwise_conv2d")?.shape.last();
        let kernel = self.expect_type(w, "depthwise_conv2d")?;
        let &[rows, columns, of, each] = kernel.shape.0.as_slice() else {
            let reason = "the weight must have 4 axes, [kh,kw,channels,multiplier]".to_string();
            return Err(self.refused("depthwise_conv2d", &[x, w], reason));
        };
        if of != channels {
            let reason = format!("the input has {channels} channels (NHWC); the weight must be [kh,kw,{channels},m]");
            return Err(self.refused("depthwise_conv2d", &[x, w], reason));
        }
        let w = self.reshape(w, [rows, columns, 1, of.saturating_mul(each)])?;
        self.conv2d(x, w, bias, ConvOptions { groups: channels, ..options })
    }

    /// Transposed convolution of `x [n, h, w, in]` with `w [kh, kw, out/groups, in]`, plus `bias [out]`: the adjoint of
    /// the convolution from `out` to `in` channels with the same options, which is its gradient with respect to the
    /// input. An axis of `h` pixels becomes `(h - 1)·stride + (k - 1)·dilation + 1 + output_padding` without the
    /// padding on both sides (`torch.nn.ConvTranspose2d`); with [`Padding::Same`] `h·stride`.
    ///
    /// # Errors
    /// [`Error::Operands`] when channels or groups do not fit, when an output padding is not less than the stride, or
    /// nothing is left between the padding.
    pub fn conv_transpose2d(
        &mut self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        options: ConvTransposeOptions,
    ) -> Result<Value, Error> {
        const OP: &str = "conv_transpose2d";
        let (xs, ws) = (self.expect_type(x, OP)?.shape, self.expect_type(w, OP)?.shape);
        let (&[n, height, width, channels], &[rows, columns, each, of]) = (xs.0.as_slice(), ws.0.as_slice()) else {
            let reason = "takes an input [n,h,w,in] and a weight [kh,kw,out/groups,in]".to_string();
            return Err(self.refused(OP, &[x, w], reason));
        };
        let groups = options.groups;
        if of != channels || groups == 0 || !channels.is_multiple_of(groups) {
            let reason = format!(
                "the input has {channels} channels (NHWC), in {groups} groups; \
                 the weight must be [kh,kw,out/groups,{channels}] and the channels a multiple of the groups"
            );
            return Err(self.refused(OP, &[x, w], reason));
        }
        let (mut padding, mut extents) = ([[0; 2]; 2], [0; 2]);
        for (axis, (input, size)) in [(height, rows), (width, columns)].into_iter().enumerate() {
            let window = Window { size, stride: options.stride[axis], dilation: options.dilation[axis] };
            let placed = transposed(axis, input, window, options.padding, options.output_padding[axis]);
            (extents[axis], padding[axis]) = placed.map_err(|reason| self.refused(OP, &[x, w], reason))?;
        }
        let attributes = Conv2d { stride: options.stride, padding, dilation: options.dilation, groups };
        let shape = Shape(vec![n, extents[0], extents[1], each.saturating_mul(groups)]);
        let y = self.op(Op::Conv2dGradInput(attributes, shape), &[x, w])?;
        bias.map_or(Ok(y), |b| self.add_values(y, b))
    }

    /// [`Graph::conv_transpose2d`] along the axis `l` of `x [n, l, in]`, with `w [k, out/groups, in]`.
    ///
    /// # Errors
    /// As [`Graph::conv_transpose2d`].
    pub fn conv_transpose1d(
        &mut self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        options: ConvTranspose1dOptions,
    ) -> Result<Value, Error> {
        let (rows, taps) = (self.one_row("conv_transpose1d", x)?, self.one_row_of_taps("conv_transpose1d", w)?);
        let options = ConvTransposeOptions {
            stride: [1, options.stride],
            padding: self.one_row_padding(options.padding, taps, options.dilation),
            output_padding: [0, options.output_padding],
            dilation: [1, options.dilation],
            groups: options.groups,
        };
        let y = self.conv_transpose2d(rows, taps, bias, options)?;
        self.without_row(y)
    }

    /// `[n, l, c]` as images of one row.
    pub(super) fn one_row(&mut self, op: &str, x: Value) -> Result<Value, Error> {
        match *self.expect_type(x, op)?.shape.0.as_slice() {
            [n, l, c] => self.reshape(x, [n, 1, l, c]),
            _ => Err(self.refused(op, &[x], "the input must have 3 axes, [n,length,channels]".to_string())),
        }
    }
    /// `[n, 1, l, c]` as `[n, l, c]`.
    pub(super) fn without_row(&mut self, y: Value) -> Result<Value, Error> {
        let mut shape = self.ty(y).shape.clone();
        shape.0.remove(1);
        self.reshape(y, shape)
    }
    fn one_row_of_taps(&mut self, op: &str, w: Value) -> Result<Value, Error> {
        match *self.expect_type(w, op)?.shape.0.as_slice() {
            [k, i, o] => self.reshape(w, [1, k, i, o]),
            _ => Err(self.refused(op, &[w], "the weight must have 3 axes, [taps,in,out]".to_string())),
        }
    }
    fn one_row_padding(&self, padding: Padding1d, taps: Value, dilation: usize) -> Padding {
        padding.of_row(Window { size: self.ty(taps).shape.0[1], stride: 1, dilation })
    }
}

/// Output pixels of a transposed convolution along one axis, and the padding of the convolution that it transposes.
fn transposed(
    axis: usize,
    input: usize,
    window: Window,
    padding: Padding,
    output_padding: usize,
) -> Result<(usize, [usize; 2]), String> {
    let stride = window.stride;
    if output_padding >= stride.max(1) {
        return Err(format!("the output padding {output_padding} must be less than the stride {stride}"));
    }
    let padded = input.saturating_sub(1).saturating_mul(stride).saturating_add(window.span());
    let reach = padded.saturating_add(output_padding);
    match padding {
        Padding::Same if output_padding > 0 => {
            Err("an output padding says nothing with padding `Same`, whose output is the stride times the input"
                .to_string())
        }
        Padding::Same => {
            let output = input.saturating_mul(stride);
            Ok((output, padding.resolve(axis, output, window)))
        }
        Padding::Valid | Padding::Explicit(_) => {
            let cut = padding.resolve(axis, reach, window);
            match reach.checked_sub(cut[0].saturating_add(cut[1])) {
                Some(output) if output > 0 => Ok((output, cut)),
                Some(_) | None => Err(format!("nothing is left of {reach} pixels without a padding of {cut:?}")),
            }
        }
    }
}
