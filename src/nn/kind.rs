//! The closed set of layers. A new layer does not compile until it has a class in both frameworks and a meaning.

use serde::{Deserialize, Serialize};

use super::activation::ActivationConfig;
use super::builder::{Builder, Placed};
use super::conv::ConvConfig;
use super::dropout::DropoutConfig;
use super::form::Form;
use super::linear::LinearConfig;
use super::merge::{AddConfig, ConcatenateConfig, MultiplyConfig};
use super::norm::BatchNormConfig;
use super::pool::{AvgPoolConfig, GlobalAvgPoolConfig, MaxPoolConfig};
use super::shape::FlattenConfig;
use crate::error::Error;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident($config:ty),)*) => {
        /// A layer's options, by kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        pub enum Kind {
            $($(#[$doc])* $name($config),)*
        }

        impl Kind {
            /// The layer's class in the framework of `form`: `Conv2d`, `Conv2D`.
            pub(super) fn class(&self, form: Form) -> &'static str {
                match self {
                    $(Kind::$name(config) => config.class(form),)*
                }
            }
            /// Adds the layer to a graph.
            pub(super) fn build(&self, builder: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
                match self {
                    $(Kind::$name(config) => config.build(builder, x),)*
                }
            }
        }

        $(impl From<$config> for Kind {
            fn from(config: $config) -> Kind {
                Kind::$name(config)
            }
        })*
    };
}

kinds! {
    /// Convolution over rows and columns.
    Conv2d(ConvConfig),
    /// Affine map of the last axis.
    Linear(LinearConfig),
    /// Batch normalisation.
    BatchNorm(BatchNormConfig),
    /// A function of each element, or of each row.
    Activation(ActivationConfig),
    /// Random zeros in training.
    Dropout(DropoutConfig),
    /// Maximum over windows.
    MaxPool2d(MaxPoolConfig),
    /// Mean over windows.
    AvgPool2d(AvgPoolConfig),
    /// Mean over rows and columns.
    GlobalAvgPool2d(GlobalAvgPoolConfig),
    /// One row a sample.
    Flatten(FlattenConfig),
    /// Sum of operands.
    Add(AddConfig),
    /// Product of operands.
    Multiply(MultiplyConfig),
    /// Operands side by side.
    Concatenate(ConcatenateConfig),
}

/// What a kind of layer is: how frameworks call it, and what it computes.
pub(super) trait Config {
    /// Class in the framework of `form`.
    fn class(&self, form: Form) -> &'static str;
    /// Adds the layer to a graph.
    fn build(&self, builder: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error>;
}

/// The only operand.
pub(super) fn one(x: &[Placed]) -> Result<Placed, Error> {
    match x {
        [x] => Ok(*x),
        _ => Err(Error::Operands {
            path: String::new(),
            op: "layer".to_string(),
            operands: x.len().to_string(),
            reason: format!("takes one input, got {}", x.len()),
        }),
    }
}
