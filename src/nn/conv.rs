//! Convolution.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;
use crate::graph::ConvOptions;
use crate::ops::Init;
use crate::types::Padding;

/// Rows and columns: `3` means `[3, 3]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair(pub [usize; 2]);

impl From<usize> for Pair {
    fn from(both: usize) -> Self {
        Pair([both; 2])
    }
}
impl From<[usize; 2]> for Pair {
    fn from(pair: [usize; 2]) -> Self {
        Pair(pair)
    }
}

/// Options of [`Conv2d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvConfig {
    filters: usize,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: usize,
    bias: bool,
    weight_init: Option<Init>,
    l2: f32,
}

/// Convolution over rows and columns of `[channels, height, width]` (PyTorch's form) or `[height, width, channels]`
/// (Keras's). Input channels follow from what the layer is called on.
///
/// ```
/// use outrigger::nn::{Conv2d, Input};
///
/// let x = Input::torch("images", [3, 32, 32]);
/// let y = Conv2d::new(16, 3).stride(2).padding(1).bias(false).call(&x)?;
/// assert_eq!(y.shape(), [16, 16, 16]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Conv2d = Layer<ConvConfig>;
/// [`Conv2d`] under Keras's name.
pub type Conv2D = Conv2d;

impl Conv2d {
    /// `filters` output channels and a window of `kernel`, with bias, stride 1 and no padding.
    pub fn new(filters: usize, kernel: impl Into<Pair>) -> Self {
        Layer::of(ConvConfig {
            filters,
            kernel: kernel.into(),
            stride: Pair([1; 2]),
            padding: Padding::Valid,
            dilation: Pair([1; 2]),
            groups: 1,
            bias: true,
            weight_init: None,
            l2: 0.0,
        })
    }
    /// Input pixels from one output pixel to the next; default 1.
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.config.stride = stride.into();
        self
    }
    /// Pixels on every side as in PyTorch (`padding(1)`), or [`Padding::Same`] as in Keras; default none.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.config.padding = padding.into();
        self
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
    /// Whether a bias is added; default true.
    pub fn bias(mut self, bias: bool) -> Self {
        self.config.bias = bias;
        self
    }
    /// First values of the weight instead of the framework's.
    pub fn weight_init(mut self, init: Init) -> Self {
        self.config.weight_init = Some(init);
        self
    }
    /// Adds `factor · Σ w²` of the weight to the training loss; default 0.
    pub fn l2(mut self, factor: f32) -> Self {
        self.config.l2 = factor;
        self
    }
}

impl Config for ConvConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Conv2d", "Conv2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.images(one(x)?)?;
        let [rows, columns] = self.kernel.0;
        let inputs = b.channels(x)? / self.groups.max(1);
        let window = rows.saturating_mul(columns);
        let fans = [window.saturating_mul(inputs), window.saturating_mul(self.filters / self.groups.max(1))];
        let [weight, bias] = b.form.weights();
        let init = self.weight_init.unwrap_or(b.form.weight_init(fans));
        let weight = b.parameter(weight, [rows, columns, inputs, self.filters], init)?;
        b.penalise(weight, self.l2);
        let bias = match self.bias {
            true => Some(b.parameter(bias, [self.filters], b.form.bias_init(fans))?),
            false => None,
        };
        let options = ConvOptions {
            stride: self.stride.0,
            padding: self.padding,
            dilation: self.dilation.0,
            groups: self.groups,
        };
        let y = b.graph.conv2d(x, weight, bias, options)?;
        b.of_images(y)
    }
}
