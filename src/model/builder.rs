//! What the networks are made of: layers with their parameters, named and initialised as a framework has them.
//!
//! ```text
//!   classifier(task, body):  images, labels ─▶ body: Builder adds layers ─▶ logits ─▶ cross-entropy ─▶ loss
//! ```

use crate::error::Error;
use crate::graph::{ConvOptions, Graph, Value};
use crate::nn::Form;
use crate::ops::Init;
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// What a classifier's graph is made for.
pub(super) struct Task {
    /// Name of the network.
    pub(super) name: String,
    /// Images of a run.
    pub(super) batch: usize,
    /// Rows, columns, colours of an image.
    pub(super) image: [usize; 3],
    /// Classes to tell apart.
    pub(super) classes: usize,
    /// For training, or for evaluation.
    pub(super) training: bool,
    /// Naming and numeric conventions.
    pub(super) form: Form,
}

/// The graph of a [`Model`](super::Model) whose logits `body` makes from the images.
///
/// # Errors
/// [`Error::Option`] for fewer than two classes or an empty batch; those of the graph's methods.
pub(super) fn classifier(
    task: &Task,
    body: impl FnOnce(&mut Builder<'_>, Value) -> Result<Value, Error>,
) -> Result<Graph, Error> {
    let refuse = |option: &str, reason: String| Err(Error::Option { option: option.to_string(), reason });
    if task.classes < 2 {
        return refuse("classes", format!("a classifier needs at least two, got {}", task.classes));
    }
    if task.batch == 0 {
        return refuse("batch", "a batch holds at least one image".to_string());
    }
    let mut graph = Graph::new(format!("{}_{}", task.name, if task.training { "train" } else { "eval" }));
    let [rows, columns, colours] = task.image;
    let images = graph.input("images", DType::F32, [task.batch, rows, columns, colours])?;
    let labels = graph.input("labels", DType::I32, [task.batch])?;
    let logits = body(&mut Builder { graph: &mut graph, form: task.form, training: task.training }, images)?;
    let loss = graph.cross_entropy(logits, labels)?;
    graph.set_output("loss", loss)?;
    graph.set_output("logits", logits)?;
    Ok(graph)
}

/// A convolution layer with a square window.
pub(super) struct Conv {
    /// Output channels.
    pub(super) outputs: usize,
    /// Rows and columns of the window.
    pub(super) kernel: usize,
    /// How it is placed.
    pub(super) options: ConvOptions,
    /// First values of the weight.
    pub(super) weight: Init,
    /// Those of the bias, if there is one.
    pub(super) bias: Option<Init>,
}

/// PyTorch's `kaiming_normal_(mode="fan_out", nonlinearity="relu")` (He et al. 2015): for a square window of `kernel`
/// and `outputs` channels.
pub(super) fn kaiming_normal_out(kernel: usize, outputs: usize) -> Init {
    Init::Normal((2.0 / (kernel * kernel * outputs).max(1) as f32).sqrt())
}

/// Adds layers to a graph in one form, for training or for evaluation.
pub(super) struct Builder<'g> {
    pub(super) graph: &'g mut Graph,
    pub(super) form: Form,
    training: bool,
}

impl Builder<'_> {
    /// Extent of the last axis of `x`.
    pub(super) fn channels(&self, x: Value, layer: &str) -> Result<usize, Error> {
        Ok(self.graph.expect_type(x, layer)?.shape.last())
    }

    pub(super) fn conv(&mut self, x: Value, layer: &str, conv: Conv) -> Result<Value, Error> {
        let Conv { outputs, kernel, options, .. } = conv;
        let inputs = self.channels(x, layer)? / options.groups.max(1);
        let [weight, bias] = self.form.weights();
        let weight = self.parameter(layer, weight, [kernel, kernel, inputs, outputs], conv.weight)?;
        let bias = conv.bias.map(|init| self.parameter(layer, bias, [outputs], init)).transpose()?;
        self.graph.scope(layer, |g| g.conv2d(x, weight, bias, options))
    }

    pub(super) fn norm(&mut self, x: Value, layer: &str) -> Result<Value, Error> {
        let channels = self.channels(x, layer)?;
        let names = self.form.norm_weights();
        let gamma = self.parameter(layer, names[0], [channels], Init::ONES)?;
        let beta = self.parameter(layer, names[1], [channels], Init::ZEROS)?;
        let mean = self.graph.buffer(&self.form.path(layer, names[2]), DType::F32, [channels], Init::ZEROS)?;
        let var = self.graph.buffer(&self.form.path(layer, names[3]), DType::F32, [channels], Init::ONES)?;
        let attributes = self.form.norm();
        let training = self.training;
        self.graph.scope(layer, |g| {
            if training {
                g.batch_norm(x, gamma, beta, [mean, var], attributes).map(|n| n.y)
            } else {
                g.batch_norm_eval(x, gamma, beta, [mean, var], attributes.epsilon)
            }
        })
    }

    /// A linear layer with bias; `init` are the first values of weight and bias.
    pub(super) fn linear(&mut self, x: Value, layer: &str, outputs: usize, init: [Init; 2]) -> Result<Value, Error> {
        let inputs = self.channels(x, layer)?;
        let [weight, bias] = self.form.weights();
        let weight = self.parameter(layer, weight, [inputs, outputs], init[0])?;
        let bias = self.parameter(layer, bias, [outputs], init[1])?;
        self.graph.scope(layer, |g| g.linear(x, weight, Some(bias)))
    }
    /// A linear layer with PyTorch's first values, which draws the bias from the weight's own range.
    pub(super) fn torch_linear(&mut self, x: Value, layer: &str, outputs: usize) -> Result<Value, Error> {
        let init = Init::kaiming_uniform(self.channels(x, layer)?);
        self.linear(x, layer, outputs, [init; 2])
    }

    /// Dropout in training, nothing in evaluation.
    pub(super) fn dropout(&mut self, x: Value, layer: &str, rate: f32) -> Result<Value, Error> {
        if !self.training {
            return Ok(x);
        }
        let step = self.graph.random_step()?;
        // layers differ by their streams, steps by the counter
        let seed = self.graph.constant(Tensor::i32([], vec![0])?)?;
        self.graph.scope(layer, |g| g.dropout(x, rate, seed, step))
    }

    /// One row an image in PyTorch's order, channels before pixels, so that PyTorch's weights of the next layer fit.
    pub(super) fn flatten(&mut self, x: Value) -> Result<Value, Error> {
        let x = self.graph.transpose(x, &[0, 3, 1, 2])?;
        self.graph.flatten(x)
    }

    fn parameter(&mut self, layer: &str, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Value, Error> {
        self.graph.parameter(&self.form.path(layer, name), shape, init)
    }
}
