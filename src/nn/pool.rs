//! Pooling.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::conv::Pair;
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;
use crate::graph::PoolOptions;
use crate::types::Padding;

/// How a window is placed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Windows {
    size: Pair,
    stride: Option<Pair>,
    padding: Padding,
}

impl Windows {
    fn new(size: Pair) -> Self {
        Windows { size, stride: None, padding: Padding::Valid }
    }
    fn options(&self, count_padding: bool) -> PoolOptions {
        PoolOptions { size: self.size.0, stride: self.stride.map(|s| s.0), padding: self.padding, count_padding }
    }
}

macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident($config:ident);)*) => {
        $(
            #[doc = concat!("Options of [`", stringify!($name), "`].")]
            #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $config(Windows);

            $(#[$doc])*
            pub type $name = Layer<$config>;

            impl $name {
                /// Windows of `size` that step by their size, without padding.
                pub fn new(size: impl Into<Pair>) -> Self {
                    Layer::of($config(Windows::new(size.into())))
                }
                /// Pixels from one window to the next; default: the window's size.
                pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
                    self.config.0.stride = Some(stride.into());
                    self
                }
                /// Pixels on every side as in PyTorch, or [`Padding::Same`] as in Keras; default none.
                pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
                    self.config.0.padding = padding.into();
                    self
                }
            }
        )*
    };
}

pools! {
    /// Maximum over windows of rows and columns; padding never wins.
    ///
    /// ```
    /// use outrigger::nn::{Input, MaxPool2d};
    ///
    /// let x = Input::torch("images", [16, 32, 32]);
    /// assert_eq!(MaxPool2d::new(3).stride(2).padding(1).call(&x)?.shape(), [16, 16, 16]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    MaxPool2d(MaxPoolConfig);
    /// Mean over windows of rows and columns. Padded zeros count in PyTorch's form and do not in Keras's.
    ///
    /// ```
    /// use outrigger::nn::{AvgPool2d, Input};
    ///
    /// let x = Input::keras("images", [8, 8, 64]);
    /// assert_eq!(AvgPool2d::new(8).call(&x)?.shape(), [1, 1, 64]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    AvgPool2d(AvgPoolConfig);
}

impl Config for MaxPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("MaxPool2d", "MaxPooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.images(one(x)?)?;
        let y = b.graph.max_pool(x, self.0.options(false))?;
        b.of_images(y)
    }
}

impl Config for AvgPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("AvgPool2d", "AveragePooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.images(one(x)?)?;
        let y = b.graph.avg_pool(x, self.0.options(b.form == Form::Torch))?;
        b.of_images(y)
    }
}

/// Options of [`GlobalAvgPool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobalAvgPoolConfig {}

/// Mean over all rows and columns: one number a channel.
///
/// ```
/// use outrigger::nn::{GlobalAvgPool2d, Input};
///
/// let x = Input::keras("images", [8, 8, 64]);
/// assert_eq!(GlobalAvgPool2d::new().call(&x)?.shape(), [64]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type GlobalAvgPool2d = Layer<GlobalAvgPoolConfig>;

impl GlobalAvgPool2d {
    /// The layer; it has no options.
    pub fn new() -> Self {
        Layer::of(GlobalAvgPoolConfig {})
    }
}

impl Default for GlobalAvgPool2d {
    fn default() -> Self {
        GlobalAvgPool2d::new()
    }
}

impl Config for GlobalAvgPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("GlobalAvgPool2d", "GlobalAveragePooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.images(one(x)?)?;
        let y = b.graph.global_avg_pool(x)?;
        b.of_images(y)
    }
}
