//! Known networks, in their published forms.
//!
//! ```text
//!   resnet_cifar([2, 2, 2]).form(Form::Keras) ──network()──▶ nn::Network ──graph(batch, mode)──▶ Graph
//!   by_name("resnet56") ────────────────────────────────────────┘
//! ```
//!
//! Parameters have the names that PyTorch or torchvision gives them (the CIFAR network's alternatively Keras's), so that
//! their weight files fit.
//!
//! ```
//! use outrigger::models::resnet_cifar;
//! use outrigger::nn::{Form, Mode};
//!
//! # fn main() -> Result<(), outrigger::Error> {
//! let network = resnet_cifar([2, 2, 2]).form(Form::Keras).classes(100).network()?;
//! assert_eq!(network.outputs()[0].shape(), [100]);
//! let graph = network.graph(32, Mode::Train)?;
//! assert!(graph.source("conv2d_14/kernel").is_ok());
//! # Ok(())
//! # }
//! ```

use crate::error::Error;
use crate::nn::{Form, Input, Network, Symbol};
use crate::ops::Init;

mod classifier;
mod lenet;
mod mlp;
mod mobilenet;
mod resnet;
#[cfg(test)]
mod tests;
mod vgg;

pub use classifier::Classifier;
pub use lenet::LeNet5;
pub use mlp::Mlp;
pub use mobilenet::MobileNetV2;
pub use resnet::{MOST_BLOCKS, ResNetCifar, ResNetImageNet, resnet_cifar};
pub use vgg::Vgg16;

/// Makes a network in its published form.
type Make = fn() -> Result<Network, Error>;

/// The networks that [`by_name`] knows. `resnetN` of 6n+2 layers are those for CIFAR-10, 14 being the default;
/// `resnet18` and `resnet34` those for ImageNet; `vgg16_cifar` is VGG-16 for small images.
const MODELS: [(&str, Make); 13] = [
    ("resnet14", || resnet_cifar([2; 3]).network()),
    ("resnet20", || resnet_cifar([3; 3]).network()),
    ("resnet32", || resnet_cifar([5; 3]).network()),
    ("resnet44", || resnet_cifar([7; 3]).network()),
    ("resnet56", || resnet_cifar([9; 3]).network()),
    ("resnet110", || resnet_cifar([18; 3]).network()),
    ("resnet18", || ResNetImageNet::default().network()),
    ("resnet34", || ResNetImageNet { layers: [3, 4, 6, 3], ..ResNetImageNet::default() }.network()),
    ("vgg16", || Vgg16::default().network()),
    ("vgg16_cifar", || Vgg16 { classes: 10, size: 32, hidden: 512, ..Vgg16::default() }.network()),
    ("mobilenet_v2", || MobileNetV2::default().network()),
    ("lenet5", || LeNet5::default().network()),
    ("mlp", || Mlp::default().network()),
];

/// The names that [`by_name`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|&(name, _)| name)
}

/// The network of a name such as `resnet56`, in its published form.
///
/// # Errors
/// [`Error::Option`] that lists the names there are.
pub fn by_name(name: &str) -> Result<Network, Error> {
    match MODELS.iter().find(|&&(known, _)| known == name) {
        Some((_, make)) => make(),
        None => Err(Error::Option {
            option: "model".to_string(),
            reason: format!("there is no \"{name}\"; known are {}", names().collect::<Vec<_>>().join(", ")),
        }),
    }
}

/// Square images of `size` pixels a side, the input of all networks here.
///
/// # Errors
/// [`Error::Option`] for fewer than two classes.
fn images(form: Form, size: usize, colours: usize, classes: usize) -> Result<Symbol, Error> {
    if classes < 2 {
        let reason = format!("a classifier needs at least two, got {classes}");
        return Err(Error::Option { option: "classes".to_string(), reason });
    }
    Ok(match form {
        Form::Torch => Input::torch("images", [colours, size, size]),
        Form::Keras => Input::keras("images", [size, size, colours]),
    })
}

/// Red, green, blue.
const COLOURS: usize = 3;

/// PyTorch's `kaiming_normal_(mode="fan_out", nonlinearity="relu")` (He et al. 2015): for a square window of `kernel`
/// and `outputs` channels.
fn kaiming_normal_out(kernel: usize, outputs: usize) -> Init {
    let fan = kernel.saturating_mul(kernel).saturating_mul(outputs);
    Init::Normal((2.0 / fan.max(1) as f32).sqrt())
}
