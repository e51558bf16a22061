//! Affine maps.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use super::weights::{Weighted, Weights};
use crate::error::Error;

/// Options of [`Linear`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearConfig {
    outputs: usize,
    weights: Weights,
}

/// `x·W + b` over the last axis.
///
/// ```
/// use outrigger::nn::{Dense, Function, Input, Linear};
///
/// let x = Input::torch("features", [64]);
/// assert_eq!(Linear::new(10).call(&x)?.shape(), [10]);
/// let x = Input::keras("features", [64]);
/// assert_eq!(Dense::new(10).activation(Function::Softmax).call(&x)?.shape(), [10]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Linear = Layer<LinearConfig>;
/// [`Linear`] under Keras's name.
pub type Dense = Linear;

impl Linear {
    /// `outputs` numbers for each row, with bias.
    pub fn new(outputs: usize) -> Self {
        Layer::of(LinearConfig { outputs, weights: Weights::default() })
    }
}

impl Weighted for LinearConfig {
    fn weights(&mut self) -> &mut Weights {
        &mut self.weights
    }
}

impl LinearConfig {
    pub(super) fn function(&self) -> Option<super::Function> {
        self.weights.function()
    }
}

impl Config for LinearConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Linear", "Dense")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.plain(one(x)?)?;
        let fans = [b.channels(x)?, self.outputs];
        let (weight, bias) = self.weights.add(b, fans, self.outputs, fans)?;
        let y = b.graph.linear(x, weight, bias)?;
        let y = b.of_plain(y);
        self.weights.activate(b, y)
    }
}
