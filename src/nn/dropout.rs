//! Dropout.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Mode, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;
use crate::tensor::Tensor;

/// Options of [`Dropout`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropoutConfig {
    rate: f32,
}

/// Zeroes elements with probability `rate` in training and scales the others by `1/(1 - rate)` (Srivastava et al.
/// 2014); does nothing in evaluation.
///
/// ```
/// use outrigger::nn::{Dropout, Input};
///
/// let x = Input::torch("features", [64]);
/// assert_eq!(Dropout::new(0.5).call(&x)?.shape(), [64]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Dropout = Layer<DropoutConfig>;

impl Dropout {
    /// With a rate of at least 0 and below 1.
    pub fn new(rate: f32) -> Self {
        Layer::of(DropoutConfig { rate })
    }
}

impl Config for DropoutConfig {
    fn class(&self, _: Form) -> &'static str {
        "Dropout"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = one(x)?;
        if b.mode == Mode::Evaluate && (0.0..1.0).contains(&self.rate) {
            return Ok(x);
        }
        let step = b.graph.random_step()?;
        // layers differ by their streams, steps by the counter
        let seed = b.graph.constant(Tensor::i32([], vec![0])?)?;
        let value = b.graph.dropout(x.value, self.rate, seed, step)?;
        Ok(Placed { value, ..x })
    }
}
