//! Transposed convolution.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use super::weights::{Weighted, Weights};
use super::windows::{Pair, Windowed, Windows2d};
use crate::error::Error;
use crate::graph::ConvTransposeOptions;
use crate::types::{Padding, Window};

/// Options of [`ConvTranspose2d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvTransposeConfig {
    filters: usize,
    windows: Windows2d,
    output_padding: Option<Pair>,
    dilation: Pair,
    groups: usize,
    weights: Weights,
}

/// Transposed convolution: each input pixel adds a weighted window to the output, windows lying `stride` pixels apart
/// (Zeiler et al. 2010). The gradient of a convolution with respect to its input, as an operation of its own.
///
/// ```
/// use outrigger::nn::{Conv2DTranspose, ConvTranspose2d, Input};
/// use outrigger::Padding;
///
/// let x = Input::torch("images", [8, 16, 16]);
/// assert_eq!(ConvTranspose2d::new(4, 2).stride(2).call(&x)?.shape(), [4, 32, 32]);
/// let x = Input::keras("images", [16, 16, 8]);
/// assert_eq!(Conv2DTranspose::new(4, 3).stride(2).padding(Padding::Same).call(&x)?.shape(), [32, 32, 4]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type ConvTranspose2d = Layer<ConvTransposeConfig>;
/// [`ConvTranspose2d`] under Keras's name.
pub type Conv2DTranspose = ConvTranspose2d;

impl ConvTranspose2d {
    /// `filters` output channels and a window of `kernel`, with bias, stride 1 and nothing cut off.
    pub fn new(filters: usize, kernel: impl Into<Pair>) -> Self {
        let (windows, weights) = (Windows2d::new(kernel), Weights::default());
        let dilation = Pair([1; 2]);
        Layer::of(ConvTransposeConfig { filters, windows, output_padding: None, dilation, groups: 1, weights })
    }
    /// Pixels added below and at the right of the output, less than the stride. Default none; in Keras's form, without
    /// padding, as many as a window smaller than the stride leaves of the last one.
    pub fn output_padding(mut self, pixels: impl Into<Pair>) -> Self {
        self.config.output_padding = Some(pixels.into());
        self
    }
    /// Output pixels from one tap to the next; default 1.
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

impl Windowed for ConvTransposeConfig {
    type Extent = Pair;
    type Padding = Padding;
    fn windows(&mut self) -> &mut Windows2d {
        &mut self.windows
    }
}
impl Weighted for ConvTransposeConfig {
    fn weights(&mut self) -> &mut Weights {
        &mut self.weights
    }
}

impl ConvTransposeConfig {
    /// The output padding; see [`ConvTranspose2d::output_padding`] for the default.
    fn added(&self, form: Form, stride: [usize; 2]) -> [usize; 2] {
        match self.output_padding {
            Some(Pair(pixels)) => pixels,
            None if form == Form::Keras && self.windows.padding == Padding::Valid => [0, 1].map(|axis| {
                let window = Window { size: self.windows.size.0[axis], stride: 1, dilation: self.dilation.0[axis] };
                stride[axis].saturating_sub(window.span())
            }),
            None => [0, 0],
        }
    }
}

impl Config for ConvTransposeConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("ConvTranspose2d", "Conv2DTranspose")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let [rows, columns] = self.windows.size.0;
        let (inputs, outputs) = (b.channels(x)?, self.filters / self.groups.max(1));
        // both frameworks count as if the layer were the convolution from its output to its input
        let fans = [outputs, inputs].map(|n| rows.saturating_mul(columns).saturating_mul(n));
        let (weight, bias) = self.weights.add(b, [rows, columns, outputs, inputs], self.filters, fans)?;
        let stride = self.windows.stride.unwrap_or(Pair([1; 2])).0;
        let options = ConvTransposeOptions {
            stride,
            padding: self.windows.padding,
            output_padding: self.added(b.form, stride),
            dilation: self.dilation.0,
            groups: self.groups,
        };
        let y = b.graph.conv_transpose2d(x, weight, bias, options)?;
        let y = b.of_images(y)?;
        self.weights.activate(b, y)
    }
}
