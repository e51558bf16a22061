//! What layers with a weight have in common: a bias, first values, penalties, and a function of the result.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::function::Function;
use super::layer::Layer;
use crate::error::Error;
use crate::graph::Value;
use crate::ops::Initializer;
use crate::types::Shape;

/// Options of layers with a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    bias: bool,
    weight_init: Option<Initializer>,
    bias_init: Option<Initializer>,
    l1: f32,
    l2: f32,
    activation: Option<Function>,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { bias: true, weight_init: None, bias_init: None, l1: 0.0, l2: 0.0, activation: None }
    }
}

/// Options that hold [`Weights`].
pub trait Weighted {
    /// Those.
    fn weights(&mut self) -> &mut Weights;
}

impl<K: Weighted> Layer<K> {
    /// Whether a bias is added; default true.
    pub fn bias(mut self, bias: bool) -> Self {
        self.config.weights().bias = bias;
        self
    }
    /// First values of the weight instead of the framework's: Keras's `kernel_initializer`, one of `torch.nn.init`, or
    /// an [`Init`](crate::ops::Init).
    ///
    /// ```
    /// use outrigger::nn::{Conv2d, Linear};
    /// use outrigger::ops::{Init, Initializer};
    ///
    /// let conv = Conv2d::new(16, 3).weight_init(Initializer::he_normal());
    /// let linear = Linear::new(10).weight_init(Init::Normal(0.01)).bias_init(Initializer::zeros());
    /// ```
    #[doc(alias = "kernel_initializer")]
    pub fn weight_init(mut self, init: impl Into<Initializer>) -> Self {
        self.config.weights().weight_init = Some(init.into());
        self
    }
    /// First values of the bias instead of the framework's: Keras's `bias_initializer`.
    #[doc(alias = "bias_initializer")]
    pub fn bias_init(mut self, init: impl Into<Initializer>) -> Self {
        self.config.weights().bias_init = Some(init.into());
        self
    }
    /// Adds `factor · Σ |w|` of the weight to the model's loss, in training and in evaluation; default 0.
    pub fn l1(mut self, factor: f32) -> Self {
        self.config.weights().l1 = factor;
        self
    }
    /// Adds `factor · Σ w²` of the weight to the model's loss, in training and in evaluation; default 0. Keras's
    /// `kernel_regularizer=L2(factor)`.
    #[doc(alias = "kernel_regularizer")]
    pub fn l2(mut self, factor: f32) -> Self {
        self.config.weights().l2 = factor;
        self
    }
    /// A function of the result, as Keras's `activation="relu"`; default none.
    pub fn activation(mut self, function: Function) -> Self {
        self.config.weights().activation = Some(function);
        self
    }
}

impl Weights {
    /// The function of the result.
    pub(super) fn function(&self) -> Option<Function> {
        self.activation
    }

    /// The weight of `shape` and the bias of `outputs` elements, under the framework's names. An output sums `fans[0]`
    /// products, and an input goes into `fans[1]`.
    pub(super) fn add(
        &self,
        b: &mut Builder<'_>,
        shape: impl Into<Shape>,
        outputs: usize,
        fans: [usize; 2],
    ) -> Result<(Value, Option<Value>), Error> {
        let [weight, bias] = b.form.weights();
        let init = self.weight_init.map_or(b.form.weight_init(fans), |init| init.resolve(fans[0], fans[1]));
        let weight = b.parameter(weight, shape, init)?;
        b.penalise(weight, [self.l1, self.l2]);
        if !self.bias {
            return Ok((weight, None));
        }
        let init = self.bias_init.map_or(b.form.bias_init(fans), |init| init.resolve(outputs, outputs));
        Ok((weight, Some(b.parameter(bias, [outputs], init)?)))
    }

    /// The function of `y`, if there is one.
    pub(super) fn activate(&self, b: &mut Builder<'_>, y: Placed) -> Result<Placed, Error> {
        self.activation.map_or(Ok(y), |function| function.build(b, y))
    }
}
