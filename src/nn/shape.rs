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
    shape: Extents,
}

/// Extents of a shape, of which one may be -1: what the others leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extents(pub Vec<i64>);

impl<const N: usize> From<[i32; N]> for Extents {
    fn from(extents: [i32; N]) -> Self {
        Extents(extents.map(i64::from).to_vec())
    }
}
impl<const N: usize> From<[usize; N]> for Extents {
    fn from(extents: [usize; N]) -> Self {
        extents.as_slice().into()
    }
}
impl From<Vec<usize>> for Extents {
    fn from(extents: Vec<usize>) -> Self {
        extents.as_slice().into()
    }
}
impl From<&[usize]> for Extents {
    fn from(extents: &[usize]) -> Self {
        Extents(extents.iter().map(|&extent| i64::try_from(extent).unwrap_or(i64::MAX)).collect())
    }
}

impl Extents {
    /// The extents of so many elements.
    fn of(&self, elements: usize) -> Result<Vec<usize>, Error> {
        let given = || self.0.iter().filter_map(|&extent| usize::try_from(extent).ok());
        if self.0.iter().any(|&extent| extent < -1) || given().count() + 1 < self.0.len() {
            return Err(refused(format!("takes extents, of which one may be -1; got {:?}", self.0)));
        }
        let product = given().fold(1, usize::saturating_mul);
        let rest = elements.checked_div(product).unwrap_or(0);
        Ok(self.0.iter().map(|&extent| usize::try_from(extent).unwrap_or(rest)).collect())
    }
}

/// The same elements of a sample under another shape, in the order of the shape.
///
/// ```
/// use outrigger::nn::{Input, Reshape};
///
/// let x = Input::torch("features", [48]);
/// assert_eq!(Reshape::new([3, 4, 4]).call(&x)?.shape(), [3, 4, 4]);
/// assert_eq!(Reshape::new([-1, 16]).call(&x)?.shape(), [3, 16]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Reshape = Layer<ReshapeConfig>;

impl Reshape {
    /// To `shape`, without the batch. One extent may be -1, for what the others leave.
    pub fn new(shape: impl Into<Extents>) -> Self {
        Layer::of(ReshapeConfig { shape: shape.into() })
    }
}

impl Config for ReshapeConfig {
    fn class(&self, _: Form) -> &'static str {
        "Reshape"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.plain(one(x)?)?;
        let shape = b.graph.expect_type(x, "reshape")?.shape;
        let batch = shape.0.first().copied().unwrap_or(1);
        let extents = self.shape.of(shape.elements() / batch.max(1))?;
        let y = b.graph.reshape(x, [&[batch], &extents[..]].concat())?;
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
