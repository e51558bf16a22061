//! Layers that only move elements.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;

/// Options of [`Flatten`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlattenConfig {}

/// One row a sample, in the order of the shape: channels before pixels in PyTorch's form, after them in Keras's.
///
/// ```
/// use outrigger::nn::{Flatten, Input};
///
/// let x = Input::torch("images", [64, 2, 2]);
/// assert_eq!(Flatten::new().call(&x)?.shape(), [256]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Flatten = Layer<FlattenConfig>;

impl Flatten {
    /// The layer; it has no options.
    pub fn new() -> Self {
        Layer::of(FlattenConfig {})
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Flatten::new()
    }
}

impl Config for FlattenConfig {
    fn class(&self, _: Form) -> &'static str {
        "Flatten"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = one(x)?;
        // one pixel has its channels in the same order either way
        let pixels: usize = b.declared(&x)?.0.iter().skip(1).product();
        let x = if x.channels_first && pixels == 1 { x.value } else { b.plain(x)? };
        let y = b.graph.flatten(x)?;
        Ok(b.of_plain(y))
    }
}
