//! Functions as layers.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::function::Function;
use super::kind::{Config, Kind, one};
use super::layer::Layer;
use crate::error::Error;
use crate::ops::Init;

/// Options of the layers that are functions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivationConfig {
    function: Function,
    /// A layer of the function's own name, where Keras has one, and not `Activation`.
    own: bool,
    /// The axis that the function is along, if it is not that of the channels.
    #[serde(default)]
    axis: Option<isize>,
}

impl ActivationConfig {
    fn own(function: Function) -> Self {
        ActivationConfig { function, own: true, axis: None }
    }
    pub(super) fn function(&self) -> Function {
        self.function
    }
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident($marker:ident, $function:expr);)*) => {
        $(
            #[doc(hidden)]
            #[derive(Clone, Copy, Debug)]
            pub struct $marker;

            $(#[$doc])*
            ///
            /// ```
            #[doc = concat!("use outrigger::nn::{Input, ", stringify!($name), "};")]
            ///
            /// let x = Input::torch("images", [8, 4, 4]);
            #[doc = concat!("assert_eq!(", stringify!($name), "::new().call(&x)?.shape(), [8, 4, 4]);")]
            /// # Ok::<(), outrigger::Error>(())
            /// ```
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
            impl From<$marker> for Kind {
                fn from(_: $marker) -> Self {
                    ActivationConfig::own($function).into()
                }
            }
        )*
    };
}

functions! {
    /// `max(x, 0)`.
    ReLU(ReluMarker, Function::Relu);
    /// `min(max(x, 0), 6)`.
    ReLU6(Relu6Marker, Function::Relu6);
    /// `x > 0 ? x : eˣ - 1` (Clevert et al. 2016), scaled so that activations keep their mean and variance
    /// (Klambauer et al. 2017).
    SELU(SeluMarker, Function::Selu);
    /// `x·Φ(x)` (Hendrycks & Gimpel 2016); [`Function::GeluTanh`] is its approximation.
    GELU(GeluMarker, Function::Gelu);
    /// `x·sigmoid(x)` (Ramachandran et al. 2017, as Swish).
    SiLU(SiluMarker, Function::Silu);
    /// `x·relu6(x + 3)/6` (Howard et al. 2019).
    Hardswish(HardswishMarker, Function::Hardswish);
    /// `relu6(x + 3)/6`.
    Hardsigmoid(HardsigmoidMarker, Function::Hardsigmoid);
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid(SigmoidMarker, Function::Sigmoid);
    /// Hyperbolic tangent.
    Tanh(TanhMarker, Function::Tanh);
    /// `ln(1 + eˣ)`.
    Softplus(SoftplusMarker, Function::Softplus);
    /// `x / (1 + |x|)`.
    Softsign(SoftsignMarker, Function::Softsign);
    /// `x·tanh(softplus(x))` (Misra 2019).
    Mish(MishMarker, Function::Mish);
    /// `x`: in the place of a layer that is taken out.
    Identity(IdentityMarker, Function::Identity);
}

macro_rules! row_functions {
    ($($(#[$doc:meta])* $name:ident($marker:ident, $function:expr);)*) => {
        $(
            #[doc(hidden)]
            #[derive(Clone, Copy, Debug)]
            pub struct $marker {
                axis: Option<isize>,
            }

            $(#[$doc])*
            ///
            /// ```
            #[doc = concat!("use outrigger::nn::{Input, ", stringify!($name), "};")]
            ///
            /// let x = Input::torch("scores", [8, 4, 4]);
            #[doc = concat!("assert_eq!(", stringify!($name), "::new().call(&x)?.shape(), [8, 4, 4]);")]
            #[doc = concat!("assert_eq!(", stringify!($name), "::new().axis(-1).call(&x)?.shape(), [8, 4, 4]);")]
            /// # Ok::<(), outrigger::Error>(())
            /// ```
            pub type $name = Layer<$marker>;

            impl $name {
                /// The function as a layer, over channels: the first axis of the shape in PyTorch's form, the last one
                /// in Keras's.
                pub fn new() -> Self {
                    Layer::of($marker { axis: None })
                }
                /// Along another axis: PyTorch's `dim`, Keras's `axis`. The batch counts as axis 0, and -1 is the last.
                #[doc(alias = "dim")]
                pub fn axis(mut self, axis: isize) -> Self {
                    self.config.axis = Some(axis);
                    self
                }
            }
            impl Default for $name {
                fn default() -> Self {
                    $name::new()
                }
            }
            impl From<$marker> for Kind {
                fn from(marker: $marker) -> Self {
                    ActivationConfig { axis: marker.axis, ..ActivationConfig::own($function) }.into()
                }
            }
        )*
    };
}

row_functions! {
    /// `eˣ / Σ eˣ` along an axis.
    Softmax(SoftmaxMarker, Function::Softmax);
    /// `x - ln Σ eˣ` along an axis.
    LogSoftmax(LogSoftmaxMarker, Function::LogSoftmax);
}

/// [`SiLU`] under its other name.
pub type Swish = SiLU;

/// Any function, as Keras's `Activation("relu")`.
///
/// ```
/// use outrigger::nn::{Activation, Function, Input};
///
/// let x = Input::keras("images", [4, 4, 8]);
/// assert_eq!(Activation::new(Function::Relu).call(&x)?.shape(), [4, 4, 8]);
/// assert_eq!(Activation::new("hard_swish".parse()?).call(&x)?.shape(), [4, 4, 8]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Activation = Layer<ActivationConfig>;

impl Activation {
    /// The function as a layer.
    pub fn new(function: Function) -> Self {
        Layer::of(ActivationConfig { own: false, ..ActivationConfig::own(function) })
    }
}

impl Config for ActivationConfig {
    fn class(&self, form: Form) -> &'static str {
        let keras = match self.function {
            Function::Relu
            | Function::LeakyRelu { .. }
            | Function::Elu { .. }
            | Function::Softmax
            | Function::Identity
                if self.own =>
            {
                self.function.class()
            }
            _ => "Activation",
        };
        form.pick(self.function.class(), keras)
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        self.function.build(b, one(x)?, self.axis)
    }
}

/// Options of [`LeakyReLU`].
#[derive(Clone, Copy, Debug)]
pub struct LeakyReluMarker(f32);

/// `x > 0 ? x : slope·x` (Maas et al. 2013).
///
/// ```
/// use outrigger::nn::{Input, LeakyReLU};
///
/// let x = Input::torch("images", [8, 4, 4]);
/// assert_eq!(LeakyReLU::new(0.01).call(&x)?.shape(), [8, 4, 4]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type LeakyReLU = Layer<LeakyReluMarker>;

impl LeakyReLU {
    /// With a slope below 0. PyTorch's default is 0.01, that of Keras's layer 0.3.
    pub fn new(slope: f32) -> Self {
        Layer::of(LeakyReluMarker(slope))
    }
}

impl From<LeakyReluMarker> for Kind {
    fn from(LeakyReluMarker(slope): LeakyReluMarker) -> Self {
        ActivationConfig::own(Function::LeakyRelu { slope }).into()
    }
}

/// Options of [`ELU`].
#[derive(Clone, Copy, Debug)]
pub struct EluMarker(f32);

/// `x > 0 ? x : alpha·(eˣ - 1)` (Clevert et al. 2016).
///
/// ```
/// use outrigger::nn::{ELU, Input};
///
/// let x = Input::torch("images", [8, 4, 4]);
/// assert_eq!(ELU::new(1.0).call(&x)?.shape(), [8, 4, 4]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type ELU = Layer<EluMarker>;

impl ELU {
    /// With alpha, minus the limit at -∞. The default of both frameworks is 1.
    pub fn new(alpha: f32) -> Self {
        Layer::of(EluMarker(alpha))
    }
}

impl From<EluMarker> for Kind {
    fn from(EluMarker(alpha): EluMarker) -> Self {
        ActivationConfig::own(Function::Elu { alpha }).into()
    }
}

/// Options of [`PReLU`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PReluConfig {
    per_channel: bool,
}

/// `x > 0 ? x : slope·x` with trained slopes (He et al. 2015). They start at 0.25 in PyTorch's form and at 0 in Keras's.
///
/// ```
/// use outrigger::nn::{Input, PReLU};
///
/// let x = Input::torch("images", [8, 4, 4]);
/// assert_eq!(PReLU::new().per_channel(true).call(&x)?.shape(), [8, 4, 4]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type PReLU = Layer<PReluConfig>;

impl PReLU {
    /// One slope for all elements in PyTorch's form, one for each element of a sample in Keras's.
    pub fn new() -> Self {
        Layer::of(PReluConfig { per_channel: false })
    }
    /// Whether each channel has a slope: PyTorch's `num_parameters=channels`, Keras's `shared_axes=[1, 2]`.
    pub fn per_channel(mut self, per_channel: bool) -> Self {
        self.config.per_channel = per_channel;
        self
    }
}

impl Default for PReLU {
    fn default() -> Self {
        PReLU::new()
    }
}

impl Config for PReluConfig {
    fn class(&self, _: Form) -> &'static str {
        "PReLU"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.images(one(x)?)?;
        let shape = b.graph.expect_type(x, "prelu")?.shape;
        let slopes = match (b.form, self.per_channel) {
            // Keras's tensor has an extent of 1 for each axis that shares
            (Form::Keras, true) => [vec![1; shape.rank().saturating_sub(2)], vec![shape.last()]].concat(),
            (Form::Keras, false) => shape.0.get(1..).unwrap_or_default().to_vec(),
            (Form::Torch, true) => vec![shape.last()],
            (Form::Torch, false) => vec![1],
        };
        let name = b.form.pick("weight", "alpha");
        let slope = b.parameter(name, slopes, b.form.pick(Init::Constant(0.25), Init::ZEROS))?;
        let y = b.graph.prelu(x, slope)?;
        b.of_images(y)
    }
}
