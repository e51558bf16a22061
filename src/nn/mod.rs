//! Layers, and the three ways to make a network of them.
//!
//! ```text
//!   Sequential     a list of layers ─────────────────────┐
//!   functional     layers called on symbolic tensors ────┼──▶ Network ──graph(batch, mode)──▶ Graph
//!   Module         a struct of layers and its forward ───┘
//! ```
//!
//! A layer is a description: calling it on a [`Symbol`] makes another symbol, and nothing is computed. A
//! [`Network`] is what lies between its inputs and outputs; its [`Graph`](crate::Graph) of any batch size, for
//! training or for evaluation, is made when it is needed.
//!
//! Layers are written once and mean what they mean in the framework whose [`Form`] the input has: `Conv2d::new(16, 3)`
//! after [`Input::torch`] has PyTorch's initial values, names and channels-first shapes, after [`Input::keras`]
//! Keras's. [`Conv2D`], [`Dense`] and other names of Keras are aliases.
//!
//! | layers | with Keras's names for them |
//! |---|---|
//! | [`Conv2d`], [`Conv1d`], [`DepthwiseConv2d`], [`ConvTranspose2d`] | [`Conv2D`], [`Conv1D`], [`DepthwiseConv2D`], [`Conv2DTranspose`] |
//! | [`Linear`], [`Embedding`] | [`Dense`] |
//! | [`BatchNorm2d`], [`BatchNorm1d`], [`LayerNorm`], [`GroupNorm`], [`InstanceNorm2d`] | [`BatchNormalization`], [`LayerNormalization`], [`GroupNormalization`] |
//! | [`ReLU`] and other functions, [`PReLU`], [`Softmax`] | [`Activation`] of any [`Function`] |
//! | [`MaxPool2d`], [`AvgPool2d`], [`MaxPool1d`], [`AvgPool1d`], [`AdaptiveAvgPool2d`] | [`MaxPooling2D`], [`AveragePooling2D`], [`MaxPooling1D`], [`AveragePooling1D`] |
//! | [`GlobalAvgPool2d`], [`GlobalMaxPool2d`] | [`GlobalAveragePooling2D`], [`GlobalMaxPooling2D`] |
//! | [`Flatten`], [`Reshape`], [`Permute`], [`ZeroPad2d`], [`Upsample`] | [`ZeroPadding2D`], [`UpSampling2D`] |
//! | [`Add`], [`Subtract`], [`Multiply`], [`Average`], [`Maximum`], [`Concatenate`] | |
//! | [`Dropout`], [`Lambda`] | |
//!
//! ```
//! use outrigger::nn::{Conv2d, Flatten, Input, Linear, MaxPool2d, Network, ReLU};
//!
//! # fn main() -> Result<(), outrigger::Error> {
//! let image = Input::torch("image", [1, 28, 28]);
//! let x = Conv2d::new(8, 5).call(&image)?;
//! let x = ReLU::new().call(&x)?;
//! let x = MaxPool2d::new(2).call(&x)?;
//! assert_eq!(x.shape(), [8, 12, 12]);
//! let logits = Linear::new(10).call(&Flatten::new().call(&x)?)?;
//! let network = Network::new("digits", &image, &logits)?;
//! assert_eq!(network.graph(32, outrigger::nn::Mode::Train)?.parameters().count(), 4);
//! # Ok(())
//! # }
//! ```

mod activation;
mod builder;
mod conv;
mod conv_transpose;
mod dropout;
mod embedding;
mod form;
mod function;
mod keras_json;
mod kind;
mod lambda;
mod layer;
mod linear;
mod merge;
mod module;
mod names;
mod network;
mod norm;
mod pool;
mod resample;
mod residual;
mod sample_norm;
mod schema;
mod sequential;
mod shape;
mod summary;
mod symbol;
#[cfg(test)]
mod tests;
mod weights;
mod windows;

pub use activation::{
    Activation, ELU, GELU, Hardsigmoid, Hardswish, Identity, LeakyReLU, LogSoftmax, Mish, PReLU, ReLU, ReLU6, SELU,
    SiLU, Sigmoid, Softmax, Softplus, Softsign, Swish, Tanh,
};
pub use builder::Mode;
pub use conv::{Conv1D, Conv1d, Conv2D, Conv2d, DepthwiseConv2D, DepthwiseConv2d};
pub use conv_transpose::{Conv2DTranspose, ConvTranspose2d};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use form::Form;
pub use function::Function;
pub use lambda::Lambda;
pub use layer::Layer;
pub use linear::{Dense, Linear};
pub use merge::{Add, Average, Concatenate, Maximum, Multiply, Subtract};
#[doc(hidden)]
pub use module::join;
pub use module::{Children, Module, Paths};
pub(crate) use names::fits;
pub use network::{Network, PENALTY};
pub use norm::{BatchNorm1d, BatchNorm2d, BatchNormalization};
pub use pool::{
    AdaptiveAvgPool2d, AveragePooling1D, AveragePooling2D, AvgPool1d, AvgPool2d, GlobalAveragePooling2D,
    GlobalAvgPool2d, GlobalMaxPool2d, GlobalMaxPooling2D, MaxPool1d, MaxPool2d, MaxPooling1D, MaxPooling2D,
};
pub use resample::{Interpolation, UpSampling2D, Upsample, ZeroPad2d, ZeroPadding2D};
pub use residual::Residual;
pub(crate) use residual::sum;
pub use sample_norm::{GroupNorm, GroupNormalization, InstanceNorm2d, LayerNorm, LayerNormalization};
pub use sequential::Sequential;
pub use shape::{Extents, Flatten, Permute, Reshape};
pub use summary::{Summary, SummaryRow};
pub use symbol::{Input, Symbol, Symbols};
pub use windows::{Pair, Single};
