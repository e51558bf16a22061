//! Layers that only move elements.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed, refused};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::{Layer, plain_layers};
use crate::error::Error;

plain_layers! {
    /// One row a sample, in the order of the shape: channels before pixels in PyTorch's form, after them in Keras's.
    ///
    /// ```
    /// use outrigger::nn::{Flatten, Input};
    ///
    /// let x = Input::torch("images", [64, 2, 2]);
    /// assert_eq!(Flatten::new().call(&x)?.shape(), [256]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Flatten(FlattenConfig);
}

impl Config for FlattenConfig {
    fn class(&self, _: Form) -> &'static str {
        "Flatten"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = one(x)?;
        let shape = b.declared(&x)?.0;
        // one pixel, or one channel, has the same order either way
        let same = shape.first() == Some(&1) || shape.iter().skip(1).all(|&extent| extent == 1);
        let x = if x.channels_first && same { x.value } else { b.plain(x)? };
        let y = b.graph.flatten(x)?;
        Ok(b.of_plain(y))
    }
}

/// Options of [`Reshape`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReshapeConfig {
    shape: Vec<usize>,
}

/// The same elements of a sample under another shape, in the order of the shape.
///
/// ```
/// use outrigger::nn::{Input, Reshape};
///
/// let x = Input::torch("features", [48]);
/// assert_eq!(Reshape::new([3, 4, 4]).call(&x)?.shape(), [3, 4, 4]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Reshape = Layer<ReshapeConfig>;

impl Reshape {
    /// To `shape`, without the batch.
    pub fn new(shape: impl Into<Vec<usize>>) -> Self {
        Layer::of(ReshapeConfig { shape: shape.into() })
    }
}

impl Config for ReshapeConfig {
    fn class(&self, _: Form) -> &'static str {
        "Reshape"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.plain(one(x)?)?;
        let batch = b.graph.expect_type(x, "reshape")?.shape.0.first().copied().unwrap_or(1);
        let y = b.graph.reshape(x, [&[batch], &self.shape[..]].concat())?;
        Ok(b.of_plain(y))
    }
}

/// Options of [`Permute`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PermuteConfig {
    axes: Vec<usize>,
}

/// The axes of a sample in another order. The batch counts as axis 0, so the first one of the shape is 1, as in Keras's
/// layer and in `torch.permute`.
///
/// ```
/// use outrigger::nn::{Input, Permute};
///
/// let x = Input::torch("images", [3, 32, 16]);
/// assert_eq!(Permute::new([2, 3, 1]).call(&x)?.shape(), [32, 16, 3]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Permute = Layer<PermuteConfig>;

impl Permute {
    /// Axis `axes[i]` of the input becomes axis `i + 1`.
    pub fn new(axes: impl Into<Vec<usize>>) -> Self {
        Layer::of(PermuteConfig { axes: axes.into() })
    }
}

impl Config for PermuteConfig {
    fn class(&self, _: Form) -> &'static str {
        "Permute"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.plain(one(x)?)?;
        let rank = b.graph.expect_type(x, "permute")?.shape.rank();
        let mut sorted = self.axes.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(1..rank) {
            let reason = format!("takes each axis from 1 to {} once, got {:?}", rank.saturating_sub(1), self.axes);
            return Err(refused(reason));
        }
        let y = b.graph.transpose(x, &[&[0], &self.axes[..]].concat())?;
        Ok(b.of_plain(y))
    }
}
