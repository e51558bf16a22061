//! Layers that make images larger.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use super::windows::Pair;
use crate::error::Error;

/// Options of [`ZeroPad2d`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZeroPadConfig {
    border: [[usize; 2]; 2],
}

/// A border of zeros.
///
/// ```
/// use outrigger::nn::{Input, ZeroPad2d, ZeroPadding2D};
///
/// let x = Input::torch("images", [3, 8, 8]);
/// assert_eq!(ZeroPad2d::new(1).call(&x)?.shape(), [3, 10, 10]);
/// let x = Input::keras("images", [8, 8, 3]);
/// assert_eq!(ZeroPadding2D::sides([[0, 1], [2, 0]]).call(&x)?.shape(), [9, 10, 3]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type ZeroPad2d = Layer<ZeroPadConfig>;
/// [`ZeroPad2d`] under Keras's name.
pub type ZeroPadding2D = ZeroPad2d;

impl ZeroPad2d {
    /// So many pixels above and below, and left and right.
    pub fn new(border: impl Into<Pair>) -> Self {
        let Pair([rows, columns]) = border.into();
        ZeroPad2d::sides([[rows; 2], [columns; 2]])
    }
    /// `[[above, below], [left, right]]`, as in Keras.
    pub fn sides(border: [[usize; 2]; 2]) -> Self {
        Layer::of(ZeroPadConfig { border })
    }
}

impl Config for ZeroPadConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("ZeroPad2d", "ZeroPadding2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let y = b.graph.zero_pad2d(x, self.border)?;
        b.of_images(y)
    }
}

/// Where the pixels of a larger image come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// The four nearest, linearly in both directions. Borders of the image stay in place, as in Keras and with PyTorch's
    /// `align_corners=False`.
    Bilinear,
}

/// Options of [`Upsample`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpsampleConfig {
    scale: Pair,
    interpolation: Interpolation,
}

/// Images enlarged by whole factors.
///
/// ```
/// use outrigger::nn::{Input, Interpolation, UpSampling2D, Upsample};
///
/// let x = Input::torch("images", [3, 8, 8]);
/// assert_eq!(Upsample::new(2).call(&x)?.shape(), [3, 16, 16]);
/// let x = Input::keras("images", [8, 8, 3]);
/// let y = UpSampling2D::new([2, 1]).interpolation(Interpolation::Bilinear).call(&x)?;
/// assert_eq!(y.shape(), [16, 8, 3]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Upsample = Layer<UpsampleConfig>;
/// [`Upsample`] under Keras's name.
pub type UpSampling2D = Upsample;

impl Upsample {
    /// By `scale` in rows and columns, from the nearest pixel.
    pub fn new(scale: impl Into<Pair>) -> Self {
        Layer::of(UpsampleConfig { scale: scale.into(), interpolation: Interpolation::Nearest })
    }
    /// Where pixels come from; default the nearest.
    pub fn interpolation(mut self, interpolation: Interpolation) -> Self {
        self.config.interpolation = interpolation;
        self
    }
}

impl Config for UpsampleConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Upsample", "UpSampling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let y = match self.interpolation {
            Interpolation::Nearest => b.graph.upsample_nearest(x, self.scale.0)?,
            Interpolation::Bilinear => b.graph.upsample_bilinear(x, self.scale.0, false)?,
        };
        b.of_images(y)
    }
}
