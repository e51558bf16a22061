//! VGG-16 (Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
//! configuration D), with the names of `torchvision.models.vgg16`.
//!
//! ```text
//!  images ─▶ 2 × conv 64 ─▶ max 2×2 ─▶ 2 × 128 ─▶ max ─▶ 3 × 256 ─▶ max ─▶ 3 × 512 ─▶ max ─▶ 3 × 512 ─▶ max ─┐
//!            224²                      112²              56²               28²               14²             │ 7²
//!            logits ◀─ linear ◀─ dropout ◀─ relu ◀─ linear 4096 ◀─ dropout ◀─ relu ◀─ linear 4096 ◀─ flatten ┘
//! ```

use super::{COLOURS, images, kaiming_normal_out};
use crate::error::Error;
use crate::nn::{Conv2d, Dropout, Flatten, Form, Linear, MaxPool2d, Network, ReLU, Sequential};
use crate::ops::Init;

/// VGG-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vgg16 {
    /// Classes to tell apart.
    pub classes: usize,
    /// Rows and columns of an image, at least 32. Its last `size/32` × `size/32` pixels go into the first linear layer as
    /// they are; torchvision would resample them to 7 × 7.
    pub size: usize,
    /// Channels of the first convolutions, of which the later ones have 2, 4 and 8 times as many.
    pub width: usize,
    /// Features of the two hidden linear layers.
    pub hidden: usize,
}

impl Default for Vgg16 {
    /// For 1000 classes of 224 × 224 pixels.
    fn default() -> Self {
        Vgg16 { classes: 1000, size: 224, width: 64, hidden: 4096 }
    }
}

/// Convolutions of each stage, and their channels as a multiple of the first ones'.
const STAGES: [(usize, usize); 5] = [(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)];

impl Vgg16 {
    /// The network.
    ///
    /// # Errors
    /// [`Error::Option`] for fewer than two classes; [`Error::Layer`] for images of fewer than 32 pixels.
    pub fn network(&self) -> Result<Network, Error> {
        let images = images(Form::Torch, self.size, COLOURS, self.classes)?;
        let mut features = Sequential::new();
        for (convolutions, factor) in STAGES {
            let channels = self.width.saturating_mul(factor);
            for _ in 0..convolutions {
                let conv = Conv2d::new(channels, 3).padding(1);
                let conv = conv.weight_init(kaiming_normal_out(3, channels)).bias_init(Init::ZEROS);
                features = features.add(conv).add(ReLU::new());
            }
            features = features.add(MaxPool2d::new(2));
        }
        let linear = |outputs| Linear::new(outputs).weight_init(Init::Normal(0.01)).bias_init(Init::ZEROS);
        let classifier = Sequential::new()
            .add(linear(self.hidden))
            .add(ReLU::new())
            .add(Dropout::new(0.5))
            .add(linear(self.hidden))
            .add(ReLU::new())
            .add(Dropout::new(0.5))
            .add(linear(self.classes));
        let net = Sequential::new()
            .named("features", features)
            .named("flatten", Flatten::new())
            .named("classifier", classifier);
        Ok(Network::of(&net, images)?.named("vgg16"))
    }
}
