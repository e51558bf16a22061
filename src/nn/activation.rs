//! Functions of each element, and of rows.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;

/// A function that has no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// `max(x, 0)`
    Relu,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `eˣ / Σ eˣ` over the last axis in Keras, over channels in PyTorch.
    Softmax,
}

/// Options of the layers that are functions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationConfig {
    function: Function,
}

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident: $marker:ident = $function:expr;)*) => {
        $(
            #[doc(hidden)]
            #[derive(Clone, Copy, Debug)]
            pub struct $marker;

            $(#[$doc])*
            pub type $name = Layer<$marker>;

            impl $name {
                /// The function as a layer.
                pub fn new() -> Self {
                    Layer::of($marker)
                }
            }
            impl Default for $name {
                fn default() -> Self {
                    $name::new()
                }
            }
            impl From<$marker> for super::kind::Kind {
                fn from(_: $marker) -> Self {
                    ActivationConfig { function: $function }.into()
                }
            }
        )*
    };
}

activations! {
    /// `max(x, 0)`.
    ReLU: ReluMarker = Function::Relu;
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid: SigmoidMarker = Function::Sigmoid;
    /// Hyperbolic tangent.
    Tanh: TanhMarker = Function::Tanh;
    /// `eˣ / Σ eˣ` over classes.
    Softmax: SoftmaxMarker = Function::Softmax;
}

/// Any function, as Keras's `Activation("relu")`.
pub type Activation = Layer<ActivationConfig>;

impl Activation {
    /// The function as a layer.
    pub fn new(function: Function) -> Self {
        Layer::of(ActivationConfig { function })
    }
}

impl Config for ActivationConfig {
    fn class(&self, form: Form) -> &'static str {
        let torch = match self.function {
            Function::Relu => "ReLU",
            Function::Sigmoid => "Sigmoid",
            Function::Tanh => "Tanh",
            Function::Softmax => "Softmax",
        };
        form.pick(torch, "Activation")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = one(x)?;
        let value = match self.function {
            Function::Relu => b.graph.relu(x.value)?,
            Function::Sigmoid => b.graph.sigmoid(x.value)?,
            Function::Tanh => b.graph.tanh(x.value)?,
            // channels lie last in memory in both forms
            Function::Softmax => {
                let rank = b.graph.expect_type(x.value, "softmax")?.shape.rank();
                b.graph.softmax(x.value, rank - 1)?
            }
        };
        Ok(Placed { value, ..x })
    }
}
