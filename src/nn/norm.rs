//! Normalisation.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;
use crate::ops::Init;

/// Options of [`BatchNorm2d`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNormConfig {
    epsilon: Option<f32>,
    momentum: Option<f32>,
}

/// Batch normalisation of each channel (Ioffe & Szegedy 2015): with the batch's statistics in training, with running
/// ones in evaluation and when the layer is frozen.
///
/// ```
/// use outrigger::nn::{BatchNorm2d, Input};
///
/// let x = Input::torch("images", [16, 32, 32]);
/// assert_eq!(BatchNorm2d::new().call(&x)?.shape(), [16, 32, 32]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type BatchNorm2d = Layer<BatchNormConfig>;
/// [`BatchNorm2d`] under Keras's name.
pub type BatchNormalization = BatchNorm2d;

impl BatchNorm2d {
    /// With the framework's epsilon (1e-5 in PyTorch, 1e-3 in Keras) and momentum.
    pub fn new() -> Self {
        Layer::of(BatchNormConfig { epsilon: None, momentum: None })
    }
    /// What is added to the variance.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.config.epsilon = Some(epsilon);
        self
    }
    /// Momentum in the framework's sense: the share of the new value in PyTorch (0.1), of the old one in Keras (0.99).
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.config.momentum = Some(momentum);
        self
    }
}

impl Default for BatchNorm2d {
    fn default() -> Self {
        BatchNorm2d::new()
    }
}

impl Config for BatchNormConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("BatchNorm2d", "BatchNormalization")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.images(one(x)?)?;
        let channels = b.channels(x)?;
        let names = b.form.norm_weights();
        let gamma = b.parameter(names[0], [channels], Init::ONES)?;
        let beta = b.parameter(names[1], [channels], Init::ZEROS)?;
        let mean = b.buffer(names[2], [channels], Init::ZEROS)?;
        let variance = b.buffer(names[3], [channels], Init::ONES)?;
        let mut attributes = b.form.norm();
        attributes.epsilon = self.epsilon.unwrap_or(attributes.epsilon);
        if let Some(momentum) = self.momentum {
            attributes.momentum = b.form.pick(momentum, 1.0 - momentum);
        }
        let y = if b.learns() {
            b.graph.batch_norm(x, gamma, beta, [mean, variance], attributes)?.y
        } else {
            b.graph.batch_norm_eval(x, gamma, beta, [mean, variance], attributes.epsilon)?
        };
        b.of_images(y)
    }
}
