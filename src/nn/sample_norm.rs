//! Normalisations within a sample, the same in training and in evaluation.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed, refused};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use super::norm::{Affine, Normalising};
use crate::error::Error;

/// Options of [`LayerNorm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNormConfig {
    axes: usize,
    epsilon: Option<f32>,
    #[serde(flatten)]
    affine: Affine,
}

/// Normalisation over the last axes of a sample (Ba et al. 2016), then a trained scale and shift for each of their
/// elements.
///
/// ```
/// use outrigger::nn::{Input, LayerNorm};
///
/// let x = Input::torch("tokens", [20, 64]);
/// assert_eq!(LayerNorm::new(1).call(&x)?.shape(), [20, 64]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type LayerNorm = Layer<LayerNormConfig>;
/// [`LayerNorm`] under Keras's name.
pub type LayerNormalization = LayerNorm;

impl LayerNorm {
    /// Over the last `axes` axes: 1 is Keras's default, PyTorch's `LayerNorm(shape)` has as many as `shape`. Epsilon is
    /// 1e-5 in PyTorch's form and 1e-3 in Keras's.
    pub fn new(axes: usize) -> Self {
        Layer::of(LayerNormConfig { axes, epsilon: None, affine: Affine::default() })
    }
    /// What is added to the variance.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.config.epsilon = Some(epsilon);
        self
    }
}

impl Normalising for LayerNormConfig {
    fn affine(&mut self) -> &mut Affine {
        &mut self.affine
    }
}

impl Config for LayerNormConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("LayerNorm", "LayerNormalization")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        // the axes are those of the user's shape
        let x = b.plain(one(x)?)?;
        let shape = b.graph.expect_type(x, "layer_norm")?.shape;
        let rank = shape.rank();
        if !(1..rank).contains(&self.axes) {
            let reason = format!("normalises 1 to {} axes of this, asked for {}", rank - 1, self.axes);
            return Err(refused(reason));
        }
        let axes: Vec<usize> = (rank - self.axes..rank).collect();
        let [scale, shift] = self.affine.add(b, &shape.0[rank - self.axes..])?;
        let epsilon = self.epsilon.unwrap_or(b.form.norm().epsilon);
        let y = b.graph.layer_norm(x, &axes, scale, shift, epsilon)?;
        Ok(b.of_plain(y))
    }
}

/// Options of [`GroupNorm`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupNormConfig {
    groups: usize,
    epsilon: Option<f32>,
    #[serde(flatten)]
    affine: Affine,
}

/// Normalisation of groups of channels over all pixels of a sample (Wu & He 2018), then a trained scale and shift for
/// each channel.
///
/// ```
/// use outrigger::nn::{GroupNorm, Input};
///
/// let x = Input::torch("images", [16, 8, 8]);
/// assert_eq!(GroupNorm::new(4).call(&x)?.shape(), [16, 8, 8]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type GroupNorm = Layer<GroupNormConfig>;
/// [`GroupNorm`] under Keras's name.
pub type GroupNormalization = GroupNorm;

impl GroupNorm {
    /// In so many groups, which must divide the channels. Epsilon is 1e-5 in PyTorch's form and 1e-3 in Keras's.
    pub fn new(groups: usize) -> Self {
        Layer::of(GroupNormConfig { groups, epsilon: None, affine: Affine::default() })
    }
    /// What is added to the variance.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.config.epsilon = Some(epsilon);
        self
    }
}

impl Normalising for GroupNormConfig {
    fn affine(&mut self) -> &mut Affine {
        &mut self.affine
    }
}

impl Config for GroupNormConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("GroupNorm", "GroupNormalization")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.images(one(x)?)?;
        let channels = b.channels(x)?;
        let [scale, shift] = self.affine.add(b, &[channels])?;
        let epsilon = self.epsilon.unwrap_or(b.form.norm().epsilon);
        let y = b.graph.group_norm(x, self.groups, scale, shift, epsilon)?;
        b.of_images(y)
    }
}

/// Options of [`InstanceNorm2d`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceNormConfig {
    #[serde(flatten)]
    affine: Affine,
    epsilon: f32,
}

/// Normalisation of each channel over the pixels of a sample (Ulyanov et al. 2016).
///
/// ```
/// use outrigger::nn::{Input, InstanceNorm2d};
///
/// let x = Input::torch("images", [16, 8, 8]);
/// assert_eq!(InstanceNorm2d::new().affine(true).call(&x)?.shape(), [16, 8, 8]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type InstanceNorm2d = Layer<InstanceNormConfig>;

impl InstanceNorm2d {
    /// Without scale and shift, with epsilon 1e-5, as in PyTorch.
    pub fn new() -> Self {
        Layer::of(InstanceNormConfig { affine: Affine::NONE, epsilon: 1e-5 })
    }
    /// What is added to the variance.
    pub fn epsilon(mut self, epsilon: f32) -> Self {
        self.config.epsilon = epsilon;
        self
    }
}

impl Default for InstanceNorm2d {
    fn default() -> Self {
        InstanceNorm2d::new()
    }
}

impl Normalising for InstanceNormConfig {
    fn affine(&mut self) -> &mut Affine {
        &mut self.affine
    }
}

impl Config for InstanceNormConfig {
    fn class(&self, _: Form) -> &'static str {
        "InstanceNorm2d"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.spatial(one(x)?, 2)?;
        let channels = b.channels(x)?;
        let [scale, shift] = self.affine.add(b, &[channels])?;
        let y = b.graph.instance_norm(x, scale, shift, self.epsilon)?;
        b.of_images(y)
    }
}
