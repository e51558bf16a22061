//! Functions that have no parameters: what activation layers compute, and the option `activation` of others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use crate::error::Error;

/// A function of each element, or of each row.
///
/// Parses from the names that both frameworks give it:
///
/// ```
/// use outrigger::nn::Function;
///
/// assert_eq!("relu".parse::<Function>()?, Function::Relu);
/// assert_eq!("swish".parse::<Function>()?, Function::Silu);
/// assert!("rely".parse::<Function>().unwrap_err().to_string().contains("relu"));
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x > 0 ? x : slope·x`. Written as text the slope is 0.2, as in `keras.activations`.
    LeakyRelu {
        /// Derivative below 0.
        slope: f32,
    },
    /// `x > 0 ? x : alpha·(eˣ - 1)` (Clevert et al. 2016). Written as text alpha is 1.
    Elu {
        /// Minus the limit at -∞.
        alpha: f32,
    },
    /// `1.0507·elu(x)` with alpha 1.67326 (Klambauer et al. 2017).
    Selu,
    /// `x·Φ(x)` (Hendrycks & Gimpel 2016).
    Gelu,
    /// [`Function::Gelu`] with the hyperbolic tangent for the error function.
    GeluTanh,
    /// `x·sigmoid(x)`, also called Swish (Ramachandran et al. 2017).
    Silu,
    /// `x·relu6(x + 3)/6` (Howard et al. 2019).
    Hardswish,
    /// `relu6(x + 3)/6`
    Hardsigmoid,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + eˣ)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x·tanh(softplus(x))` (Misra 2019).
    Mish,
    /// `eˣ / Σ eˣ` over channels: the first axis of the shape in PyTorch's form, the last one in Keras's.
    Softmax,
    /// `x - ln Σ eˣ` over channels, as [`Function::Softmax`].
    LogSoftmax,
    /// `x`
    Identity,
}

/// Names as `keras.activations` and `torch.nn.functional` have them; the first of a function is what it prints as.
const NAMES: [(&str, Function); 23] = [
    ("relu", Function::Relu),
    ("relu6", Function::Relu6),
    ("leaky_relu", Function::LeakyRelu { slope: 0.2 }),
    ("elu", Function::Elu { alpha: 1.0 }),
    ("selu", Function::Selu),
    ("gelu", Function::Gelu),
    ("gelu_tanh", Function::GeluTanh),
    ("silu", Function::Silu),
    ("swish", Function::Silu),
    ("hardswish", Function::Hardswish),
    ("hard_swish", Function::Hardswish),
    ("hard_silu", Function::Hardswish),
    ("hardsigmoid", Function::Hardsigmoid),
    ("hard_sigmoid", Function::Hardsigmoid),
    ("sigmoid", Function::Sigmoid),
    ("tanh", Function::Tanh),
    ("softplus", Function::Softplus),
    ("softsign", Function::Softsign),
    ("mish", Function::Mish),
    ("softmax", Function::Softmax),
    ("log_softmax", Function::LogSoftmax),
    ("linear", Function::Identity),
    ("identity", Function::Identity),
];

impl FromStr for Function {
    type Err = Error;
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    fn from_str(name: &str) -> Result<Function, Error> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|&(_, function)| function).ok_or_else(|| Error::UnknownName {
            what: "function",
            name: name.to_string(),
            near: crate::error::nearest(name, NAMES.iter().map(|&(known, _)| known)),
        })
    }
}

impl fmt::Display for Function {
    /// The function's name, without its numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = |function: &Function| std::mem::discriminant(function) == std::mem::discriminant(self);
        f.write_str(NAMES.iter().find(|(_, function)| same(function)).map_or("", |&(name, _)| name))
    }
}

impl Function {
    /// The function's class in `torch.nn`.
    pub(super) fn class(self) -> &'static str {
        match self {
            Function::Relu => "ReLU",
            Function::Relu6 => "ReLU6",
            Function::LeakyRelu { .. } => "LeakyReLU",
            Function::Elu { .. } => "ELU",
            Function::Selu => "SELU",
            Function::Gelu | Function::GeluTanh => "GELU",
            Function::Silu => "SiLU",
            Function::Hardswish => "Hardswish",
            Function::Hardsigmoid => "Hardsigmoid",
            Function::Sigmoid => "Sigmoid",
            Function::Tanh => "Tanh",
            Function::Softplus => "Softplus",
            Function::Softsign => "Softsign",
            Function::Mish => "Mish",
            Function::Softmax => "Softmax",
            Function::LogSoftmax => "LogSoftmax",
            Function::Identity => "Identity",
        }
    }

    /// Adds the function; one of rows is along `axis`, or else along the channels.
    pub(super) fn build(self, b: &mut Builder<'_>, x: Placed, axis: Option<isize>) -> Result<Placed, Error> {
        let channels = b.channel_axis();
        let g = &mut *b.graph;
        let value = match self {
            Function::Relu => g.relu(x.value),
            Function::Relu6 => g.relu6(x.value),
            Function::LeakyRelu { slope } => g.leaky_relu(x.value, slope),
            Function::Elu { alpha } => g.elu(x.value, alpha),
            Function::Selu => g.selu(x.value),
            Function::Gelu => g.gelu(x.value),
            Function::GeluTanh => g.gelu_tanh(x.value),
            Function::Silu => g.silu(x.value),
            Function::Hardswish => g.hardswish(x.value),
            Function::Hardsigmoid => g.hardsigmoid(x.value),
            Function::Sigmoid => g.sigmoid(x.value),
            Function::Tanh => g.tanh(x.value),
            Function::Softplus => g.softplus(x.value),
            Function::Softsign => g.softsign(x.value),
            Function::Mish => g.mish(x.value),
            Function::Identity => Ok(x.value),
            Function::Softmax | Function::LogSoftmax => {
                let axis = b.axis(&x, axis.unwrap_or(channels))?;
                if self == Function::Softmax {
                    b.graph.softmax(x.value, axis)
                } else {
                    b.graph.log_softmax(x.value, axis)
                }
            }
        };
        value.map(|value| Placed { value, ..x })
    }
}
