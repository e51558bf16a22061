//! Where a window lies: what convolutions and pools, over images and over sequences, have in common.

use serde::{Deserialize, Serialize};

use super::layer::Layer;
use crate::types::{Padding, Padding1d};

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

/// Elements of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Single(pub usize);

impl From<usize> for Single {
    fn from(elements: usize) -> Self {
        Single(elements)
    }
}

/// Size and place of a window of extents `E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows<E, P> {
    pub(super) size: E,
    /// The layer's default if there is none.
    pub(super) stride: Option<E>,
    pub(super) padding: P,
}

/// The window of a layer over images.
pub type Windows2d = Windows<Pair, Padding>;
/// The window of a layer over sequences.
pub type Windows1d = Windows<Single, Padding1d>;

impl Windows2d {
    pub(super) fn new(size: impl Into<Pair>) -> Self {
        Windows { size: size.into(), stride: None, padding: Padding::Valid }
    }
}

impl Windows1d {
    pub(super) fn new(size: usize) -> Self {
        Windows { size: Single(size), stride: None, padding: Padding1d::Valid }
    }
}

/// Options with [`Windows`].
pub trait Windowed {
    /// [`Pair`] for images, [`Single`] for sequences.
    type Extent;
    /// [`Padding`] for images, [`Padding1d`] for sequences.
    type Padding;
    /// The window.
    fn windows(&mut self) -> &mut Windows<Self::Extent, Self::Padding>;
}

impl<K: Windowed> Layer<K> {
    /// Pixels from one window to the next: `2`, or `[2, 1]` for rows and columns. Default: 1 for a convolution, the
    /// window's size for a pool. In a transposed convolution the output's pixels are meant.
    pub fn stride(mut self, stride: impl Into<K::Extent>) -> Self {
        self.config.windows().stride = Some(stride.into());
        self
    }
    /// Pixels on every side as in PyTorch (`padding(1)`, or `padding([1, 2])` for rows and columns), or [`Padding::Same`] as in Keras; default none. What is cut
    /// off around the output of a transposed convolution.
    pub fn padding(mut self, padding: impl Into<K::Padding>) -> Self {
        self.config.windows().padding = padding.into();
        self
    }
}
