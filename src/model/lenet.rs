//! LeNet-5 (LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition"), in the form of PyTorch's
//! tutorial "Neural Networks": ReLU and maximum pooling, every map connected with every one before.
//!
//! ```text
//!  images ─▶ conv 5×5 6 ─▶ relu ─▶ max 2×2 ─▶ conv 5×5 16 ─▶ relu ─▶ max 2×2 ─▶ 120 ─▶ relu ─▶ 84 ─▶ relu ─▶ logits
//!  32²       28²                   14²        10²                    5²
//! ```

use super::Model;
use super::builder::{Conv, Task, classifier};
use crate::error::Error;
use crate::graph::{ConvOptions, Graph, PoolOptions};
use crate::nn::Form;
use crate::ops::Init;

/// LeNet-5 for grey images of 32 × 32 pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeNet5 {
    /// Classes to tell apart.
    pub classes: usize,
}

impl Default for LeNet5 {
    /// Ten digits.
    fn default() -> Self {
        LeNet5 { classes: 10 }
    }
}

impl Model for LeNet5 {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, true)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, false)
    }
}

impl LeNet5 {
    fn build(&self, batch: usize, training: bool) -> Result<Graph, Error> {
        let task = Task {
            name: "lenet5".to_string(),
            batch,
            image: [32, 32, 1],
            classes: self.classes,
            training,
            form: Form::Torch,
        };
        classifier(&task, |builder, images| {
            let mut x = images;
            for (layer, outputs) in [("conv1", 6), ("conv2", 16)] {
                let init = Init::kaiming_uniform(25 * builder.channels(x, layer)?);
                let conv = Conv { outputs, kernel: 5, options: ConvOptions::default(), weight: init, bias: Some(init) };
                x = builder.conv(x, layer, conv)?;
                x = builder.graph.relu(x)?;
                x = builder.graph.max_pool(x, PoolOptions::square(2))?;
            }
            x = builder.flatten(x)?;
            for (layer, outputs) in [("fc1", 120), ("fc2", 84)] {
                x = builder.torch_linear(x, layer, outputs)?;
                x = builder.graph.relu(x)?;
            }
            builder.torch_linear(x, "fc3", self.classes)
        })
    }
}
