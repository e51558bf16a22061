//! Affine maps.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;
use crate::ops::Init;

/// Options of [`Linear`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearConfig {
    outputs: usize,
    bias: bool,
    weight_init: Option<Init>,
    l2: f32,
}

/// `x·W + b` over the last axis.
///
/// ```
/// use outrigger::nn::{Input, Linear};
///
/// let x = Input::torch("features", [64]);
/// assert_eq!(Linear::new(10).call(&x)?.shape(), [10]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Linear = Layer<LinearConfig>;
/// [`Linear`] under Keras's name.
pub type Dense = Linear;

impl Linear {
    /// `outputs` numbers for each row, with bias.
    pub fn new(outputs: usize) -> Self {
        Layer::of(LinearConfig { outputs, bias: true, weight_init: None, l2: 0.0 })
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

impl Config for LinearConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Linear", "Dense")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.plain(one(x)?)?;
        let fans = [b.channels(x)?, self.outputs];
        let [weight, bias] = b.form.weights();
        let init = self.weight_init.unwrap_or(b.form.weight_init(fans));
        let weight = b.parameter(weight, fans, init)?;
        b.penalise(weight, self.l2);
        let bias = match self.bias {
            true => Some(b.parameter(bias, [self.outputs], b.form.bias_init(fans))?),
            false => None,
        };
        let y = b.graph.linear(x, weight, bias)?;
        Ok(b.of_plain(y))
    }
}
