//! The closed set of layers. A new layer does not compile until it has a class in both frameworks and a meaning.

use serde::{Deserialize, Serialize};

use super::activation::{ActivationConfig, PReluConfig};
use super::builder::{Builder, Placed, refused};
use super::conv::{Conv1dConfig, ConvConfig, DepthwiseConvConfig};
use super::conv_transpose::ConvTransposeConfig;
use super::dropout::DropoutConfig;
use super::embedding::EmbeddingConfig;
use super::form::Form;
use super::function::Function;
use super::lambda::LambdaConfig;
use super::linear::LinearConfig;
use super::merge::{AddConfig, AverageConfig, ConcatenateConfig, MaximumConfig, MultiplyConfig, SubtractConfig};
use super::norm::{BatchNorm1dConfig, BatchNormConfig};
use super::pool::{
    AdaptiveAvgPoolConfig, AvgPool1dConfig, AvgPoolConfig, GlobalAvgPoolConfig, GlobalMaxPoolConfig, MaxPool1dConfig,
    MaxPoolConfig,
};
use super::resample::{UpsampleConfig, ZeroPadConfig};
use super::sample_norm::{GroupNormConfig, InstanceNormConfig, LayerNormConfig};
use super::shape::{FlattenConfig, PermuteConfig, ReshapeConfig};
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
    /// Convolution along a sequence.
    Conv1d(Conv1dConfig),
    /// Convolution of each channel by itself.
    DepthwiseConv2d(DepthwiseConvConfig),
    /// Transposed convolution.
    ConvTranspose2d(ConvTransposeConfig),
    /// Affine map of the last axis.
    Linear(LinearConfig),
    /// Rows of a table by their numbers.
    Embedding(EmbeddingConfig),
    /// Batch normalisation of images.
    BatchNorm2d(BatchNormConfig),
    /// Batch normalisation of features and sequences.
    BatchNorm1d(BatchNorm1dConfig),
    /// Normalisation of a sample's last axes.
    LayerNorm(LayerNormConfig),
    /// Normalisation of a sample's groups of channels.
    GroupNorm(GroupNormConfig),
    /// Normalisation of a sample's channels.
    InstanceNorm2d(InstanceNormConfig),
    /// A function of each element, or of each row.
    Activation(ActivationConfig),
    /// A function of each element with trained slopes.
    PRelu(PReluConfig),
    /// Random zeros in training.
    Dropout(DropoutConfig),
    /// Maximum over windows of images.
    MaxPool2d(MaxPoolConfig),
    /// Mean over windows of images.
    AvgPool2d(AvgPoolConfig),
    /// Maximum over windows of sequences.
    MaxPool1d(MaxPool1dConfig),
    /// Mean over windows of sequences.
    AvgPool1d(AvgPool1dConfig),
    /// Mean over rows and columns.
    GlobalAvgPool2d(GlobalAvgPoolConfig),
    /// Maximum over rows and columns.
    GlobalMaxPool2d(GlobalMaxPoolConfig),
    /// Mean over windows that make a size.
    AdaptiveAvgPool2d(AdaptiveAvgPoolConfig),
    /// One row a sample.
    Flatten(FlattenConfig),
    /// Another shape.
    Reshape(ReshapeConfig),
    /// Axes in another order.
    Permute(PermuteConfig),
    /// A border of zeros.
    ZeroPad2d(ZeroPadConfig),
    /// Larger images.
    Upsample(UpsampleConfig),
    /// Sum of operands.
    Add(AddConfig),
    /// Difference of two operands.
    Subtract(SubtractConfig),
    /// Product of operands.
    Multiply(MultiplyConfig),
    /// Mean of operands.
    Average(AverageConfig),
    /// Larger of operands, element by element.
    Maximum(MaximumConfig),
    /// Operands side by side.
    Concatenate(ConcatenateConfig),
    /// A function of the user's.
    Lambda(LambdaConfig),
}

impl Kind {
    /// The function that makes the layer's result, if it is one or has one as an option.
    pub(super) fn function(&self) -> Option<Function> {
        match self {
            Kind::Activation(config) => Some(config.function()),
            Kind::Linear(config) => config.function(),
            _ => None,
        }
    }
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
        _ => Err(refused(format!("takes one input, got {}", x.len()))),
    }
}
