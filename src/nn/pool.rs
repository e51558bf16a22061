//! Pooling.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::{Layer, plain_layers};
use super::windows::{Pair, Single, Windowed, Windows1d, Windows2d};
use crate::error::Error;
use crate::graph::{Pool1dOptions, PoolOptions};
use crate::types::{Padding, Padding1d};

macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident = $keras:ident:
        $config:ident { $($option:ident: $ty:ty),* }($windows:ty, $size:ty, $extent:ty, $padding:ty);)*) => {
        $(
            #[doc = concat!("Options of [`", stringify!($name), "`].")]
            #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $config {
                #[serde(flatten)]
                windows: $windows,
                #[serde(default)]
                ceil_mode: bool,
                $(#[serde(default)] $option: $ty,)*
            }

            $(#[$doc])*
            pub type $name = Layer<$config>;
            #[doc = concat!("[`", stringify!($name), "`] under Keras's name.")]
            pub type $keras = $name;

            impl $name {
                /// Windows of `size` that step by their size, without padding.
                pub fn new(size: $size) -> Self {
                    let windows = <$windows>::new(size);
                    Layer::of($config { windows, ceil_mode: false, $($option: None),* })
                }
                /// Whether a last window that begins inside, or in the padding before, is kept though it ends outside:
                /// PyTorch's option, default false.
                pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
                    self.config.ceil_mode = ceil_mode;
                    self
                }
                $(
                    /// Whether padded zeros count in a mean; what a window of [`ceil_mode`](Self::ceil_mode) reaches over
                    /// never does. Default true in PyTorch's form and false in Keras's.
                    pub fn $option(mut self, $option: bool) -> Self {
                        self.config.$option = Some($option);
                        self
                    }
                )*
            }
            impl Windowed for $config {
                type Extent = $extent;
                type Padding = $padding;
                fn windows(&mut self) -> &mut $windows {
                    &mut self.windows
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
    /// assert_eq!(MaxPool2d::new(3).stride(2).ceil_mode(true).call(&x)?.shape(), [16, 16, 16]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    MaxPool2d = MaxPooling2D: MaxPoolConfig {}(Windows2d, impl Into<Pair>, Pair, Padding);
    /// Mean over windows of rows and columns. Padded zeros count in PyTorch's form and do not in Keras's.
    ///
    /// ```
    /// use outrigger::nn::{AveragePooling2D, Input};
    ///
    /// let x = Input::keras("images", [8, 8, 64]);
    /// assert_eq!(AveragePooling2D::new(8).call(&x)?.shape(), [1, 1, 64]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    AvgPool2d = AveragePooling2D: AvgPoolConfig { count_include_pad: Option<bool> }(Windows2d, impl Into<Pair>, Pair, Padding);
    /// Maximum over windows of a sequence.
    ///
    /// ```
    /// use outrigger::nn::{Input, MaxPool1d};
    ///
    /// let x = Input::torch("signal", [16, 32]);
    /// assert_eq!(MaxPool1d::new(2).call(&x)?.shape(), [16, 16]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    MaxPool1d = MaxPooling1D: MaxPool1dConfig {}(Windows1d, usize, Single, Padding1d);
    /// Mean over windows of a sequence. Padded zeros count in PyTorch's form and do not in Keras's.
    ///
    /// ```
    /// use outrigger::nn::{AvgPool1d, Input};
    ///
    /// let x = Input::keras("signal", [32, 16]);
    /// assert_eq!(AvgPool1d::new(4).stride(2).call(&x)?.shape(), [15, 16]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    AvgPool1d = AveragePooling1D: AvgPool1dConfig { count_include_pad: Option<bool> }(Windows1d, usize, Single, Padding1d);
}

impl Windows2d {
    fn pool(self, ceil_mode: bool, count_padding: bool) -> PoolOptions {
        let Windows2d { size, stride, padding } = self;
        PoolOptions { size: size.0, stride: stride.map(|s| s.0), padding, count_padding, ceil_mode }
    }
}

impl Windows1d {
    fn pool(self, ceil_mode: bool, count_padding: bool) -> Pool1dOptions {
        let Windows1d { size, stride, padding } = self;
        Pool1dOptions { size: size.0, stride: stride.map(|s| s.0), padding, count_padding, ceil_mode }
    }
}

impl Config for MaxPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("MaxPool2d", "MaxPooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let y = b.graph.max_pool(x, self.windows.pool(self.ceil_mode, false))?;
        b.of_images(y)
    }
}

impl Config for AvgPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("AvgPool2d", "AveragePooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let counted = self.count_include_pad.unwrap_or(b.form == Form::Torch);
        let y = b.graph.avg_pool(x, self.windows.pool(self.ceil_mode, counted))?;
        b.of_images(y)
    }
}

impl Config for MaxPool1dConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("MaxPool1d", "MaxPooling1D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 1)?;
        let y = b.graph.max_pool1d(x, self.windows.pool(self.ceil_mode, false))?;
        b.of_images(y)
    }
}

impl Config for AvgPool1dConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("AvgPool1d", "AveragePooling1D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 1)?;
        let counted = self.count_include_pad.unwrap_or(b.form == Form::Torch);
        let y = b.graph.avg_pool1d(x, self.windows.pool(self.ceil_mode, counted))?;
        b.of_images(y)
    }
}

plain_layers! {
    /// Mean over all rows and columns: one number a channel.
    ///
    /// ```
    /// use outrigger::nn::{GlobalAveragePooling2D, Input};
    ///
    /// let x = Input::keras("images", [8, 8, 64]);
    /// assert_eq!(GlobalAveragePooling2D::new().call(&x)?.shape(), [64]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    GlobalAvgPool2d(GlobalAvgPoolConfig);
    /// Maximum over all rows and columns: one number a channel.
    ///
    /// ```
    /// use outrigger::nn::{GlobalMaxPool2d, Input};
    ///
    /// let x = Input::torch("images", [64, 8, 8]);
    /// assert_eq!(GlobalMaxPool2d::new().call(&x)?.shape(), [64]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    GlobalMaxPool2d(GlobalMaxPoolConfig);
}

/// [`GlobalAvgPool2d`] under Keras's name.
pub type GlobalAveragePooling2D = GlobalAvgPool2d;
/// [`GlobalMaxPool2d`] under Keras's name.
pub type GlobalMaxPooling2D = GlobalMaxPool2d;

impl Config for GlobalAvgPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("GlobalAvgPool2d", "GlobalAveragePooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let y = b.graph.global_avg_pool(x)?;
        b.of_images(y)
    }
}

impl Config for GlobalMaxPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("GlobalMaxPool2d", "GlobalMaxPooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let y = b.graph.global_max_pool(x)?;
        b.of_images(y)
    }
}

/// Options of [`AdaptiveAvgPool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveAvgPoolConfig {
    size: Pair,
}

/// Mean over windows that make an image of the wanted size, whatever the input's (`torch.nn.AdaptiveAvgPool2d`).
///
/// ```
/// use outrigger::nn::{AdaptiveAvgPool2d, Input};
///
/// let x = Input::torch("images", [64, 10, 9]);
/// assert_eq!(AdaptiveAvgPool2d::new([7, 7]).call(&x)?.shape(), [64, 7, 7]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type AdaptiveAvgPool2d = Layer<AdaptiveAvgPoolConfig>;

impl AdaptiveAvgPool2d {
    /// Images of `size`.
    pub fn new(size: impl Into<Pair>) -> Self {
        Layer::of(AdaptiveAvgPoolConfig { size: size.into() })
    }
}

impl Config for AdaptiveAvgPoolConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("AdaptiveAvgPool2d", "AdaptiveAveragePooling2D")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let y = b.graph.adaptive_avg_pool(x, self.size.0)?;
        b.of_images(y)
    }
}
