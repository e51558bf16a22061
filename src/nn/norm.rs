//! Normalisation over a batch.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed, refused};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;
use crate::graph::Value;
use crate::ops::Init;
use crate::tensor::Tensor;

/// Which trained tensors a normalisation has behind it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Affine {
    #[serde(default = "yes")]
    scale: bool,
    #[serde(default = "yes")]
    center: bool,
}

fn yes() -> bool {
    true
}

impl Default for Affine {
    fn default() -> Self {
        Affine { scale: true, center: true }
    }
}

/// Options that hold [`Affine`].
pub trait Normalising {
    /// Those.
    fn affine(&mut self) -> &mut Affine;
}

impl<K: Normalising> Layer<K> {
    /// Whether there are a trained scale and shift: PyTorch's `affine` or `elementwise_affine`. Default true, but false
    /// for [`InstanceNorm2d`](super::InstanceNorm2d).
    #[doc(alias = "elementwise_affine")]
    pub fn affine(mut self, affine: bool) -> Self {
        *self.config.affine() = Affine { scale: affine, center: affine };
        self
    }
    /// Whether there is a trained scale, Keras's `scale`.
    pub fn scale(mut self, scale: bool) -> Self {
        self.config.affine().scale = scale;
        self
    }
    /// Whether there is a trained shift, Keras's `center`; PyTorch's `LayerNorm` calls it `bias`.
    pub fn center(mut self, center: bool) -> Self {
        self.config.affine().center = center;
        self
    }
}

impl Affine {
    pub(super) const NONE: Affine = Affine { scale: false, center: false };

    /// Scale and shift of a shape, from ones and zeros.
    pub(super) fn add(self, b: &mut Builder<'_>, shape: &[usize]) -> Result<[Option<Value>; 2], Error> {
        let [scale, shift, ..] = b.form.norm_weights();
        let scale = if self.scale { Some(b.parameter(scale, shape, Init::ONES)?) } else { None };
        let shift = if self.center { Some(b.parameter(shift, shape, Init::ZEROS)?) } else { None };
        Ok([scale, shift])
    }
}

/// What both batch norms can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct BatchNorm {
    epsilon: Option<f32>,
    momentum: Option<f32>,
    #[serde(flatten)]
    affine: Affine,
}

macro_rules! batch_norms {
    ($($(#[$doc:meta])* $name:ident($config:ident);)*) => {
        $(
            #[doc = concat!("Options of [`", stringify!($name), "`].")]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
            pub struct $config(BatchNorm);

            $(#[$doc])*
            pub type $name = Layer<$config>;

            impl $name {
                /// With the framework's epsilon (1e-5 in PyTorch, 1e-3 in Keras) and momentum.
                pub fn new() -> Self {
                    Layer::of($config::default())
                }
                /// What is added to the variance.
                pub fn epsilon(mut self, epsilon: f32) -> Self {
                    self.config.0.epsilon = Some(epsilon);
                    self
                }
                /// Momentum in the framework's sense: the share of the new value in PyTorch (0.1), of the old one in
                /// Keras (0.99).
                pub fn momentum(mut self, momentum: f32) -> Self {
                    self.config.0.momentum = Some(momentum);
                    self
                }
            }
            impl Default for $name {
                fn default() -> Self {
                    $name::new()
                }
            }
            impl Normalising for $config {
                fn affine(&mut self) -> &mut Affine {
                    &mut self.0.affine
                }
            }
        )*
    };
}

batch_norms! {
    /// Batch normalisation of each channel of images (Ioffe & Szegedy 2015): with the batch's statistics in training,
    /// with running ones in evaluation and when the layer is frozen.
    ///
    /// ```
    /// use outrigger::nn::{BatchNorm2d, Input};
    ///
    /// let x = Input::torch("images", [16, 32, 32]);
    /// assert_eq!(BatchNorm2d::new().call(&x)?.shape(), [16, 32, 32]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    BatchNorm2d(BatchNormConfig);
    /// [`BatchNorm2d`] for features `[channels]` and sequences `[channels, length]`.
    ///
    /// ```
    /// use outrigger::nn::{BatchNorm1d, Input};
    ///
    /// let x = Input::torch("features", [16]);
    /// assert_eq!(BatchNorm1d::new().call(&x)?.shape(), [16]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    BatchNorm1d(BatchNorm1dConfig);
}

/// [`BatchNorm2d`] under Keras's name; in Keras's form it takes any number of axes, the last ones being channels.
///
/// ```
/// use outrigger::nn::{BatchNormalization, Input};
///
/// let x = Input::keras("features", [16]);
/// assert_eq!(BatchNormalization::new().call(&x)?.shape(), [16]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type BatchNormalization = BatchNorm2d;

impl BatchNorm {
    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Placed, Error> {
        let channels = b.channels(x)?;
        let names = b.form.norm_weights();
        let [gamma, beta] = self.affine.add(b, &[channels])?;
        let same = |b: &mut Builder<'_>, value| b.graph.constant(Tensor::f32([channels], vec![value; channels])?);
        let gamma = gamma.map_or_else(|| same(b, 1.0), Ok)?;
        let beta = beta.map_or_else(|| same(b, 0.0), Ok)?;
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

impl Config for BatchNormConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("BatchNorm2d", "BatchNormalization")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = one(x)?;
        let x = if b.form == Form::Torch { b.spatial(x, 2)? } else { b.images(x)? };
        self.0.build(b, x)
    }
}

impl Config for BatchNorm1dConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("BatchNorm1d", "BatchNormalization")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = one(x)?;
        let axes = b.declared(&x)?.0.len();
        if !(1..=2).contains(&axes) {
            return Err(refused(format!("takes [channels] or a sequence, without the batch; got {axes} axes")));
        }
        let x = b.images(x)?;
        self.0.build(b, x)
    }
}
