//! Networks as graphs: what each one needs to be trained and evaluated.
//!
//! ```text
//!   Model ──training(batch)───▶ Graph: images, labels ─▶ loss, logits   (batch statistics, running ones updated)
//!         ──evaluation(batch)─▶ Graph: images, labels ─▶ loss, logits   (running statistics)
//! ```
//!
//! Both graphs of a model name their state alike, so one [`Store`](crate::Store) serves both. The batch size is
//! part of a graph; another batch size is another graph.
//!
//! Parameters have the names that PyTorch or torchvision gives them (the CIFAR network alternatively Keras's), so that
//! their weight files fit.

use crate::error::Error;
use crate::graph::Graph;

mod builder;
mod lenet;
mod mlp;
mod mobilenet;
mod resnet;
#[cfg(test)]
mod tests;
mod vgg;

pub use crate::nn::Form;
pub use lenet::LeNet5;
pub use mlp::Mlp;
pub use mobilenet::MobileNetV2;
pub use resnet::{MOST_BLOCKS, ResNetCifar, ResNetImageNet};
pub use vgg::Vgg16;

/// A classifier that can be trained.
///
/// Its graphs have the inputs `images` (f32, the batch first) and `labels` (i32 `[batch]`, class indices) and the
/// outputs `loss` (f32 scalar: the mean over the batch) and `logits` (f32 `[batch, classes]`).
pub trait Model {
    /// The graph to differentiate: forward pass and loss with the batch's own statistics.
    ///
    /// # Errors
    /// [`Error::Option`] for sizes that make no network, and those of the graph's methods.
    fn training(&self, batch: usize) -> Result<Graph, Error>;
    /// The graph to evaluate: forward pass and loss with the running statistics.
    ///
    /// # Errors
    /// As [`Model::training`].
    fn evaluation(&self, batch: usize) -> Result<Graph, Error>;
}

impl<M: Model + ?Sized> Model for Box<M> {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        (**self).training(batch)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        (**self).evaluation(batch)
    }
}

/// Makes a model in its published form.
type Make = fn() -> Box<dyn Model>;

/// The networks that [`by_name`] knows. `resnetN` of 6n+2 layers are those for CIFAR-10, 14 being the default;
/// `resnet18` and `resnet34` those for ImageNet.
const MODELS: [(&str, Make); 12] = [
    ("resnet14", || Box::new(ResNetCifar::default())),
    ("resnet20", || Box::new(ResNetCifar { layers: [3; 3], ..ResNetCifar::default() })),
    ("resnet32", || Box::new(ResNetCifar { layers: [5; 3], ..ResNetCifar::default() })),
    ("resnet44", || Box::new(ResNetCifar { layers: [7; 3], ..ResNetCifar::default() })),
    ("resnet56", || Box::new(ResNetCifar { layers: [9; 3], ..ResNetCifar::default() })),
    ("resnet110", || Box::new(ResNetCifar { layers: [18; 3], ..ResNetCifar::default() })),
    ("resnet18", || Box::new(ResNetImageNet::default())),
    ("resnet34", || Box::new(ResNetImageNet { layers: [3, 4, 6, 3], ..ResNetImageNet::default() })),
    ("vgg16", || Box::new(Vgg16::default())),
    ("mobilenet_v2", || Box::new(MobileNetV2::default())),
    ("lenet5", || Box::new(LeNet5::default())),
    ("mlp", || Box::new(Mlp::default())),
];

/// The names that [`by_name`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|&(name, _)| name)
}

/// The network of a name such as `resnet56`, in its published form.
///
/// # Errors
/// [`Error::Option`] that lists the names there are.
pub fn by_name(name: &str) -> Result<Box<dyn Model>, Error> {
    match MODELS.iter().find(|&&(known, _)| known == name) {
        Some((_, make)) => Ok(make()),
        None => Err(Error::Option {
            option: "model".to_string(),
            reason: format!("there is no \"{name}\"; known are {}", names().collect::<Vec<_>>().join(", ")),
        }),
    }
}
