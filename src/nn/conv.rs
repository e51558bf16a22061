//! Convolutions over images and sequences.
//!
//! ```text
//!   stride, padding           ─▶ Windows ─┐
//!   dilation, groups                      ├─▶ Graph::conv2d, conv1d, depthwise_conv2d ─▶ activation
//!   bias, first values, l1, l2 ─▶ Weights ─┘
//! ```

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use super::weights::{Weighted, Weights};
use super::windows::{Pair, Single, Windowed, Windows1d, Windows2d};
use crate::error::Error;
use crate::graph::{Conv1dOptions, ConvOptions};
use crate::types::{Padding, Padding1d};

/// Options of [`Conv2d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvConfig {
    filters: usize,
    windows: Windows2d,
    dilation: Pair,
    groups: usize,
    weights: Weights,
}

/// Convolution over rows and columns of `[channels, height, width]` (PyTorch's form) or `[height, width, channels]`
/// (Keras's). Input channels follow from what the layer is called on.
///
/// ```
/// use outrigger::nn::{Conv2D, Conv2d, Input};
/// use outrigger::Padding;
///
/// let x = Input::torch("images", [3, 32, 32]);
/// let y = Conv2d::new(16, 3).stride(2).padding(1).bias(false).call(&x)?;
/// assert_eq!(y.shape(), [16, 16, 16]);
/// let x = Input::keras("images", [32, 32, 3]);
/// assert_eq!(Conv2D::new(16, [3, 5]).padding(Padding::Same).call(&x)?.shape(), [32, 32, 16]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Conv2d = Layer<ConvConfig>;
/// [`Conv2d`] under Keras's name.
pub type Conv2D = Conv2d;

impl Conv2d {
    /// `filters` output channels and a window of `kernel`, with bias, stride 1 and no padding.
    pub fn new(filters: usize, kernel: impl Into<Pair>) -> Self {
        let (windows, weights) = (Windows2d::new(kernel), Weights::default());
        Layer::of(ConvConfig { filters, windows, dilation: Pair([1; 2]), groups: 1, weights })
    }
    /// Input pixels from one tap to the next; default 1.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.config.dilation = dilation.into();
        self
    }
    /// Groups of channels that are convolved apart; default 1.
    pub fn groups(mut self, groups: usize) -> Self {
        self.config.groups = groups;
        self
    }
}

impl Windowed for ConvConfig {
    type Extent = Pair;
    type Padding = Padding;
    fn windows(&mut self) -> &mut Windows2d {
        &mut self.windows
    }
}
impl Weighted for ConvConfig {
    fn weights(&mut self) -> &mut Weights {
        &mut self.weights
    }
}

impl Config for ConvConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Conv2d", "Conv2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let [rows, columns] = self.windows.size.0;
        let (inputs, fans) = fans(b, x, self.groups, rows.saturating_mul(columns), self.filters)?;
        let (weight, bias) = self.weights.add(b, [rows, columns, inputs, self.filters], self.filters, fans)?;
        let options = ConvOptions {
            stride: self.windows.stride.unwrap_or(Pair([1; 2])).0,
            padding: self.windows.padding,
            dilation: self.dilation.0,
            groups: self.groups,
        };
        let y = b.graph.conv2d(x, weight, bias, options)?;
        let y = b.of_images(y)?;
        self.weights.activate(b, y)
    }
}

/// Input channels of a group; and how many products a window of so many taps adds up for an output, and how many
/// outputs an input goes into.
fn fans(
    b: &Builder<'_>,
    x: crate::graph::Value,
    groups: usize,
    window: usize,
    filters: usize,
) -> Result<(usize, [usize; 2]), Error> {
    let inputs = b.channels(x)? / groups.max(1);
    // Keras counts all filters, PyTorch looks at the products alone
    Ok((inputs, [window.saturating_mul(inputs), window.saturating_mul(filters)]))
}

/// Options of [`Conv1d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conv1dConfig {
    filters: usize,
    windows: Windows1d,
    dilation: usize,
    groups: usize,
    weights: Weights,
}

/// Convolution along `[channels, length]` (PyTorch's form) or `[length, channels]` (Keras's).
///
/// ```
/// use outrigger::nn::{Conv1D, Conv1d, Input};
/// use outrigger::types::Padding1d;
///
/// let x = Input::torch("signal", [2, 100]);
/// assert_eq!(Conv1d::new(8, 5).stride(2).padding(2).call(&x)?.shape(), [8, 50]);
/// let x = Input::keras("signal", [100, 2]);
/// assert_eq!(Conv1D::new(8, 5).padding(Padding1d::Causal).call(&x)?.shape(), [100, 8]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Conv1d = Layer<Conv1dConfig>;
/// [`Conv1d`] under Keras's name.
pub type Conv1D = Conv1d;

impl Conv1d {
    /// `filters` output channels and a window of `kernel` elements, with bias, stride 1 and no padding.
    pub fn new(filters: usize, kernel: usize) -> Self {
        let (windows, weights) = (Windows1d::new(kernel), Weights::default());
        Layer::of(Conv1dConfig { filters, windows, dilation: 1, groups: 1, weights })
    }
    /// Input elements from one tap to the next; default 1.
    pub fn dilation(mut self, dilation: usize) -> Self {
        self.config.dilation = dilation;
        self
    }
    /// Groups of channels that are convolved apart; default 1.
    pub fn groups(mut self, groups: usize) -> Self {
        self.config.groups = groups;
        self
    }
}

impl Windowed for Conv1dConfig {
    type Extent = Single;
    type Padding = Padding1d;
    fn windows(&mut self) -> &mut Windows1d {
        &mut self.windows
    }
}
impl Weighted for Conv1dConfig {
    fn weights(&mut self) -> &mut Weights {
        &mut self.weights
    }
}

impl Config for Conv1dConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Conv1d", "Conv1D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 1)?;
        let Single(taps) = self.windows.size;
        let (inputs, fans) = fans(b, x, self.groups, taps, self.filters)?;
        let (weight, bias) = self.weights.add(b, [taps, inputs, self.filters], self.filters, fans)?;
        let options = Conv1dOptions {
            stride: self.windows.stride.unwrap_or(Single(1)).0,
            padding: self.windows.padding,
            dilation: self.dilation,
            groups: self.groups,
        };
        let y = b.graph.conv1d(x, weight, bias, options)?;
        let y = b.of_images(y)?;
        self.weights.activate(b, y)
    }
}

/// Options of [`DepthwiseConv2d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthwiseConvConfig {
    multiplier: usize,
    windows: Windows2d,
    dilation: Pair,
    weights: Weights,
}

/// Convolution of each channel by itself: `Conv2d` with as many groups as channels in PyTorch's form, Keras's
/// `DepthwiseConv2D` in Keras's.
///
/// ```
/// use outrigger::nn::{DepthwiseConv2D, Input};
/// use outrigger::Padding;
///
/// let x = Input::keras("images", [32, 32, 8]);
/// let y = DepthwiseConv2D::new(3).multiplier(2).padding(Padding::Same).call(&x)?;
/// assert_eq!(y.shape(), [32, 32, 16]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type DepthwiseConv2d = Layer<DepthwiseConvConfig>;
/// [`DepthwiseConv2d`] under Keras's name.
pub type DepthwiseConv2D = DepthwiseConv2d;

impl DepthwiseConv2d {
    /// A window of `kernel`, one output channel for each input channel, with bias, stride 1 and no padding.
    pub fn new(kernel: impl Into<Pair>) -> Self {
        let (windows, weights) = (Windows2d::new(kernel), Weights::default());
        Layer::of(DepthwiseConvConfig { multiplier: 1, windows, dilation: Pair([1; 2]), weights })
    }
    /// Output channels of each input channel; default 1.
    pub fn multiplier(mut self, multiplier: usize) -> Self {
        self.config.multiplier = multiplier;
        self
    }
    /// Input pixels from one tap to the next; default 1.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.config.dilation = dilation.into();
        self
    }
}

impl Windowed for DepthwiseConvConfig {
    type Extent = Pair;
    type Padding = Padding;
    fn windows(&mut self) -> &mut Windows2d {
        &mut self.windows
    }
}
impl Weighted for DepthwiseConvConfig {
    fn weights(&mut self) -> &mut Weights {
        &mut self.weights
    }
}

impl Config for DepthwiseConvConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Conv2d", "DepthwiseConv2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let channels = b.channels(x)?;
        let [rows, columns] = self.windows.size.0;
        let (window, outputs) = (rows.saturating_mul(columns), channels.saturating_mul(self.multiplier));
        // Keras takes the channels for inputs of one sum, which they are not
        let fans = b.form.pick([1, outputs], [channels, self.multiplier]).map(|n| window.saturating_mul(n));
        let shape = b.form.pick([rows, columns, 1, outputs], [rows, columns, channels, self.multiplier]);
        let (weight, bias) = self.weights.add(b, shape, outputs, fans)?;
        let options = ConvOptions {
            stride: self.windows.stride.unwrap_or(Pair([1; 2])).0,
            padding: self.windows.padding,
            dilation: self.dilation.0,
            groups: channels,
        };
        let y = match b.form {
            Form::Torch => b.graph.conv2d(x, weight, bias, options)?,
            Form::Keras => b.graph.depthwise_conv2d(x, weight, bias, options)?,
        };
        let y = b.of_images(y)?;
        self.weights.activate(b, y)
    }
}
