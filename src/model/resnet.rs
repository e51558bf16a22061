//! The CIFAR-10 residual network of He et al. 2016 ("Deep Residual Learning for Image Recognition", §4.2, with
//! convolutions in the shortcuts), in the two forms in which PyTorch and Keras users write it.
//!
//! ```text
//!  images ─▶ conv 16 ─▶ bn ─▶ relu ─▶ stage 16 ─▶ stage 32 ─▶ stage 64 ─▶ mean of pixels ─▶ linear ─▶ logits
//!                                     32 × 32     16 × 16      8 × 8
//!
//!  block:  x ─┬─ conv ─ bn ─ relu ─ conv ─ bn ─┬─ add ─ relu ─▶
//!             └──── x, or conv ─ bn ───────────┘
//! ```
//!
//! The first block of a stage that halves the image has the convolution in its shortcut. All of them are 3 × 3.

use super::Model;
use crate::error::Error;
use crate::graph::{ConvOptions, Graph, Value};
use crate::ops::{BatchNorm, Init};
use crate::types::{DType, Padding};

/// Which framework's conventions a network follows: names, padding, biases, initial values, batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// PyTorch: `layer2.0.conv1.weight`; padding 1 on every side; no convolution bias; Kaiming uniform (a = √5);
    /// batch norm with epsilon 1e-5, momentum 0.1 of the new value and an unbiased running variance.
    Torch,
    /// Keras: `conv2d_3/kernel`; `same` padding (stride 2: nothing before, one after); convolution biases; Glorot
    /// uniform; batch norm with epsilon 1e-3, momentum 0.99 of the old value and a biased running variance.
    Keras,
}

impl Form {
    /// The framework's name in lower case, as it stands in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Form::Torch => "pytorch",
            Form::Keras => "keras",
        }
    }

    fn norm(self) -> BatchNorm {
        match self {
            Form::Torch => BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true },
            Form::Keras => BatchNorm { epsilon: 1e-3, momentum: 0.01, unbiased: false },
        }
    }
}

/// The residual network for 32 × 32 colour images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetCifar {
    /// Residual blocks in the stages of 16, 32 and 64 channels; `[n, n, n]` makes He et al.'s net of 6n+2 layers.
    pub layers: [usize; 3],
    /// Naming and numeric conventions.
    pub form: Form,
    /// Classes to tell apart.
    pub classes: usize,
}

impl Default for ResNetCifar {
    /// Two blocks a stage, PyTorch's form, ten classes.
    fn default() -> Self {
        ResNetCifar { layers: [2, 2, 2], form: Form::Torch, classes: 10 }
    }
}

/// Rows and columns of an image.
const SIDE: usize = 32;
/// Red, green, blue.
const COLOURS: usize = 3;
/// The most residual blocks of a stage. The deepest network of the paper has 200; far beyond, the graph alone fills
/// the memory.
pub const MOST_BLOCKS: usize = 1000;
/// Channels of the three stages.
const STAGES: [usize; 3] = [16, 32, 64];

impl Model for ResNetCifar {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, true)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, false)
    }
}

impl ResNetCifar {
    fn check(&self, batch: usize) -> Result<(), Error> {
        let refuse = |option: &str, reason: String| Err(Error::Option { option: option.to_string(), reason });
        if !self.layers.iter().all(|n| (1..=MOST_BLOCKS).contains(n)) {
            return refuse("layers", format!("every stage needs 1 to {MOST_BLOCKS} blocks, got {:?}", self.layers));
        }
        if self.classes < 2 {
            return refuse("classes", format!("a classifier needs at least two, got {}", self.classes));
        }
        if batch == 0 {
            return refuse("batch", "a batch holds at least one image".to_string());
        }
        Ok(())
    }

    fn build(&self, batch: usize, training: bool) -> Result<Graph, Error> {
        self.check(batch)?;
        let name = format!("resnet_{}_{}", self.form.name(), if training { "train" } else { "eval" });
        let mut graph = Graph::new(name);
        let images = graph.input("images", DType::F32, [batch, SIDE, SIDE, COLOURS])?;
        let labels = graph.input("labels", DType::I32, [batch])?;
        let mut b = Builder { graph: &mut graph, form: self.form, training, layers: 0 };
        let logits = b.network(images, self)?;
        let loss = graph.cross_entropy(logits, labels)?;
        graph.set_output("loss", loss)?;
        graph.set_output("logits", logits)?;
        Ok(graph)
    }
}

/// Adds layers to a graph in one form, for training or for evaluation.
struct Builder<'g> {
    graph: &'g mut Graph,
    form: Form,
    training: bool,
    /// Convolutions so far, each with its batch norm: Keras numbers layers of a kind in the order they are made.
    layers: usize,
}

impl Builder<'_> {
    fn network(&mut self, images: Value, net: &ResNetCifar) -> Result<Value, Error> {
        let stem = self.conv_norm(images, STAGES[0], 1, ["conv", "bn"])?;
        let mut x = self.graph.relu(stem)?;
        for (stage, (&channels, &blocks)) in STAGES.iter().zip(&net.layers).enumerate() {
            for block in 0..blocks {
                let halve = stage > 0 && block == 0;
                x = self.block(x, channels, halve, &format!("layer{}.{block}", stage + 1))?;
            }
        }
        let features = self.graph.global_avg_pool(x)?;
        self.classifier(features, net.classes)
    }

    fn block(&mut self, x: Value, channels: usize, halve: bool, path: &str) -> Result<Value, Error> {
        let stride = if halve { 2 } else { 1 };
        let at = |name: &str| format!("{path}.{name}");
        let y = self.conv_norm(x, channels, stride, [&at("conv1"), &at("bn1")])?;
        let y = self.graph.scope(path, |g| g.relu(y))?;
        let y = self.conv_norm(y, channels, 1, [&at("conv2"), &at("bn2")])?;
        let shortcut =
            if halve { self.conv_norm(x, channels, stride, [&at("downsample.0"), &at("downsample.1")])? } else { x };
        self.graph.scope(path, |g| {
            let sum = g.add_values(y, shortcut)?;
            g.relu(sum)
        })
    }

    /// A 3 × 3 convolution and its batch norm, named by their paths in PyTorch's form.
    fn conv_norm(&mut self, x: Value, channels: usize, stride: usize, torch: [&str; 2]) -> Result<Value, Error> {
        let number = self.layers;
        self.layers += 1;
        let inputs = self.graph.expect_type(x, torch[0])?.shape.last();
        let weight_shape = [3, 3, inputs, channels];
        let (fan_in, fan_out) = (9 * inputs, 9 * channels);
        match self.form {
            Form::Torch => {
                let weight = self.parameter(torch[0], "weight", weight_shape, Init::kaiming_uniform(fan_in))?;
                let options = ConvOptions { stride: [stride; 2], padding: Padding::all(1), ..ConvOptions::default() };
                let y = self.graph.scope(torch[0], |g| g.conv2d(x, weight, None, options))?;
                self.norm(y, channels, torch[1], ["weight", "bias", "running_mean", "running_var"])
            }
            Form::Keras => {
                let (conv, norm) = (numbered("conv2d", number), numbered("batch_normalization", number));
                let weight = self.parameter(&conv, "kernel", weight_shape, Init::glorot_uniform(fan_in, fan_out))?;
                let bias = self.parameter(&conv, "bias", [channels], Init::ZEROS)?;
                let options = ConvOptions { stride: [stride; 2], padding: Padding::Same, ..ConvOptions::default() };
                let y = self.graph.scope(&conv, |g| g.conv2d(x, weight, Some(bias), options))?;
                self.norm(y, channels, &norm, ["gamma", "beta", "moving_mean", "moving_variance"])
            }
        }
    }

    fn norm(&mut self, x: Value, channels: usize, layer: &str, names: [&str; 4]) -> Result<Value, Error> {
        let gamma = self.parameter(layer, names[0], [channels], Init::ONES)?;
        let beta = self.parameter(layer, names[1], [channels], Init::ZEROS)?;
        let mean = self.graph.buffer(&self.path(layer, names[2]), DType::F32, [channels], Init::ZEROS)?;
        let var = self.graph.buffer(&self.path(layer, names[3]), DType::F32, [channels], Init::ONES)?;
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

    fn classifier(&mut self, x: Value, classes: usize) -> Result<Value, Error> {
        let inputs = self.graph.expect_type(x, "classifier")?.shape.last();
        let (layer, weight, weight_init, bias_init) = match self.form {
            // PyTorch draws the bias from the weight's own range
            Form::Torch => ("fc", "weight", Init::kaiming_uniform(inputs), Init::kaiming_uniform(inputs)),
            Form::Keras => ("dense", "kernel", Init::glorot_uniform(inputs, classes), Init::ZEROS),
        };
        let weight = self.parameter(layer, weight, [inputs, classes], weight_init)?;
        let bias = self.parameter(layer, "bias", [classes], bias_init)?;
        self.graph.scope(layer, |g| g.linear(x, weight, Some(bias)))
    }

    fn parameter<const N: usize>(
        &mut self,
        layer: &str,
        name: &str,
        shape: [usize; N],
        init: Init,
    ) -> Result<Value, Error> {
        self.graph.parameter(&self.path(layer, name), shape, init)
    }

    /// The full name of a layer's tensor: `bn.weight` or `batch_normalization/gamma`.
    fn path(&self, layer: &str, name: &str) -> String {
        match self.form {
            Form::Torch => format!("{layer}.{name}"),
            Form::Keras => format!("{layer}/{name}"),
        }
    }
}

/// Keras's name for the n-th layer of a kind: `conv2d`, `conv2d_1`, …
fn numbered(kind: &str, n: usize) -> String {
    if n == 0 { kind.to_string() } else { format!("{kind}_{n}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Op;

    fn count(graph: &Graph, trainable_only: bool) -> usize {
        let states = graph.states().filter(|&id| !trainable_only || matches!(graph.node(id).op, Op::Parameter(..)));
        states.map(|id| graph.ty(id.result(0)).shape.elements()).sum()
    }

    #[test]
    fn a_stage_has_a_sane_number_of_blocks() {
        for layers in [[0, 1, 1], [1, MOST_BLOCKS + 1, 1], [1, 1, usize::MAX]] {
            let error = ResNetCifar { layers, ..ResNetCifar::default() }.training(1).unwrap_err();
            assert!(matches!(&error, Error::Option { option, .. } if option == "layers"), "{error}");
        }
    }

    #[test]
    fn parameter_counts_are_the_frameworks_own() {
        let torch = ResNetCifar::default().training(2).unwrap();
        // PyTorch's summaries count what is trained
        assert_eq!(count(&torch, true), 195_738);
        let keras = ResNetCifar { form: Form::Keras, ..ResNetCifar::default() }.training(2).unwrap();
        assert_eq!(count(&keras, true), 196_298);
        assert_eq!(count(&keras, false), 197_418);
    }

    #[test]
    fn training_and_evaluation_share_their_state() {
        for form in [Form::Torch, Form::Keras] {
            let net = ResNetCifar { layers: [1, 3, 2], form, classes: 7 };
            let states = |g: &Graph| -> Vec<_> {
                g.states().map(|id| (g.node(id).name.clone(), g.ty(id.result(0)).clone())).collect()
            };
            let (train, eval) = (net.training(4).unwrap(), net.evaluation(9).unwrap());
            assert_eq!(states(&train), states(&eval));
            assert!(eval.updates().is_empty());
            // every convolution (1 + two a block + two shortcuts) has two running statistics
            assert_eq!(train.updates().len(), 2 * (1 + 2 * 6 + 2));
        }
    }

    #[test]
    fn sizes_that_make_no_network_are_refused() {
        let net = ResNetCifar::default();
        assert!(matches!(net.training(0), Err(Error::Option { .. })));
        assert!(matches!(ResNetCifar { layers: [1, 0, 1], ..net }.training(1), Err(Error::Option { .. })));
        assert!(matches!(ResNetCifar { classes: 1, ..net }.evaluation(1), Err(Error::Option { .. })));
    }
}
