//! VGG-16 (Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
//! configuration D), with the names of `torchvision.models.vgg16`.
//!
//! ```text
//!  images ─▶ 2 × conv 64 ─▶ max 2×2 ─▶ 2 × 128 ─▶ max ─▶ 3 × 256 ─▶ max ─▶ 3 × 512 ─▶ max ─▶ 3 × 512 ─▶ max ─┐
//!            224²                      112²              56²               28²               14²             │ 7²
//!            logits ◀─ linear ◀─ dropout ◀─ relu ◀─ linear 4096 ◀─ dropout ◀─ relu ◀─ linear 4096 ◀─ flatten ┘
//! ```

use super::Model;
use super::builder::{Builder, Conv, Task, classifier, kaiming_normal_out};
use super::resnet::COLOURS;
use crate::error::Error;
use crate::graph::{ConvOptions, Graph, PoolOptions, Value};
use crate::nn::Form;
use crate::ops::Init;
use crate::types::Padding;

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

impl Model for Vgg16 {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, true)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, false)
    }
}

/// Convolutions of each stage, and their channels as a multiple of the first ones'.
const STAGES: [(usize, usize); 5] = [(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)];

impl Vgg16 {
    fn build(&self, batch: usize, training: bool) -> Result<Graph, Error> {
        let task = Task {
            name: "vgg16".to_string(),
            batch,
            image: [self.size, self.size, COLOURS],
            classes: self.classes,
            training,
            form: Form::Torch,
        };
        classifier(&task, |builder, images| {
            let x = self.features(builder, images)?;
            let x = builder.flatten(x)?;
            let init = [Init::Normal(0.01), Init::ZEROS];
            let mut x = builder.linear(x, "classifier.0", self.hidden, init)?;
            for (dropout, next, outputs) in [(2, 3, self.hidden), (5, 6, self.classes)] {
                x = builder.graph.relu(x)?;
                x = builder.dropout(x, &format!("classifier.{dropout}"), 0.5)?;
                x = builder.linear(x, &format!("classifier.{next}"), outputs, init)?;
            }
            Ok(x)
        })
    }

    fn features(&self, builder: &mut Builder<'_>, mut x: Value) -> Result<Value, Error> {
        // torchvision counts every convolution, ReLU and pooling
        let mut layer = 0;
        for (convolutions, factor) in STAGES {
            for _ in 0..convolutions {
                let outputs = self.width.saturating_mul(factor);
                let conv = Conv {
                    outputs,
                    kernel: 3,
                    options: ConvOptions { padding: Padding::all(1), ..ConvOptions::default() },
                    weight: kaiming_normal_out(3, outputs),
                    bias: Some(Init::ZEROS),
                };
                x = builder.conv(x, &format!("features.{layer}"), conv)?;
                x = builder.graph.relu(x)?;
                layer += 2;
            }
            x = builder.graph.max_pool(x, PoolOptions::square(2))?;
            layer += 1;
        }
        Ok(x)
    }
}
