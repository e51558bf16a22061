//! A multilayer perceptron, that of PyTorch's tutorial "Quickstart".
//!
//! ```text
//!  images 28² ─▶ flatten ─▶ linear 512 ─▶ relu ─▶ linear 512 ─▶ relu ─▶ linear ─▶ logits
//! ```

use super::Model;
use super::builder::{Task, classifier};
use crate::error::Error;
use crate::graph::Graph;
use crate::nn::Form;

/// Two hidden layers over grey images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mlp {
    /// Classes to tell apart.
    pub classes: usize,
    /// Rows and columns of an image.
    pub size: usize,
    /// Features of each hidden layer.
    pub hidden: usize,
}

impl Default for Mlp {
    /// 512 features, ten classes of 28 × 28 pixels.
    fn default() -> Self {
        Mlp { classes: 10, size: 28, hidden: 512 }
    }
}

impl Model for Mlp {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, true)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, false)
    }
}

impl Mlp {
    fn build(&self, batch: usize, training: bool) -> Result<Graph, Error> {
        let task = Task {
            name: "mlp".to_string(),
            batch,
            image: [self.size, self.size, 1],
            classes: self.classes,
            training,
            form: Form::Torch,
        };
        classifier(&task, |builder, images| {
            let mut x = builder.graph.flatten(images)?;
            for layer in ["linear_relu_stack.0", "linear_relu_stack.2"] {
                x = builder.torch_linear(x, layer, self.hidden)?;
                x = builder.graph.relu(x)?;
            }
            builder.torch_linear(x, "linear_relu_stack.4", self.classes)
        })
    }
}
