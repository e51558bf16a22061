//! Residual networks (He et al. 2016, "Deep Residual Learning for Image Recognition") of basic blocks.
//!
//! ```text
//!  ResNetCifar, §4.2:
//!  images ─▶ conv 16 ─▶ bn ─▶ relu ─▶ stage 16 ─▶ stage 32 ─▶ stage 64 ─▶ mean of pixels ─▶ linear ─▶ logits
//!                                     32 × 32     16 × 16      8 × 8
//!  ResNetImageNet, §4.1:
//!  images ─▶ conv 7×7/2 64 ─▶ bn ─▶ relu ─▶ max 3×3/2 ─▶ stages 64, 128, 256, 512 ─▶ mean ─▶ linear ─▶ logits
//!                                                        56², 28², 14², 7²
//!
//!  block:  x ─┬─ conv ─ bn ─ relu ─ conv ─ bn ─┬─ add ─ relu ─▶
//!             └──── x, or conv ─ bn ───────────┘
//! ```
//!
//! The first block of a stage that halves the image has a convolution in its shortcut: 3 × 3 in the CIFAR network, in
//! the two forms in which PyTorch and Keras users write it, 1 × 1 in the ImageNet network, which is torchvision's.

use super::Model;
use super::builder::{Builder, Conv, Task, classifier, kaiming_normal_out};
use crate::error::Error;
use crate::graph::{ConvOptions, Graph, PoolOptions, Value};
use crate::nn::Form;
use crate::ops::Init;
use crate::types::Padding;

/// The residual network for small colour images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetCifar {
    /// Residual blocks in the stages of 16, 32 and 64 channels; `[n, n, n]` makes He et al.'s net of 6n+2 layers.
    pub layers: [usize; 3],
    /// Naming and numeric conventions.
    pub form: Form,
    /// Classes to tell apart.
    pub classes: usize,
    /// Rows and columns of an image.
    pub size: usize,
}

impl Default for ResNetCifar {
    /// Two blocks a stage, PyTorch's form, ten classes, 32 × 32 pixels.
    fn default() -> Self {
        ResNetCifar { layers: [2, 2, 2], form: Form::Torch, classes: 10, size: 32 }
    }
}

/// Red, green, blue.
pub(super) const COLOURS: usize = 3;
/// The most residual blocks of a stage. The deepest network of the paper has 200; far beyond, the graph alone fills
/// the memory.
pub const MOST_BLOCKS: usize = 1000;
/// Channels of the CIFAR network's three stages.
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
    fn build(&self, batch: usize, training: bool) -> Result<Graph, Error> {
        check_layers(&self.layers)?;
        let task = Task {
            name: format!("resnet_{}", self.form.name()),
            batch,
            image: [self.size, self.size, COLOURS],
            classes: self.classes,
            training,
            form: self.form,
        };
        classifier(&task, |builder, images| {
            let init = match self.form {
                Form::Torch => |kernel: usize, inputs: usize, _: usize| Init::kaiming_uniform(kernel * kernel * inputs),
                Form::Keras => |kernel: usize, inputs: usize, outputs: usize| {
                    Init::glorot_uniform(kernel * kernel * inputs, kernel * kernel * outputs)
                },
            };
            let mut net = Residual { builder, init, shortcut: 3, layers: 0 };
            let stem = net.conv_norm(images, [STAGES[0], 3, 1], ["conv", "bn"])?;
            let x = net.builder.graph.relu(stem)?;
            let x = net.stages(x, &STAGES, &self.layers)?;
            let features = net.builder.graph.global_avg_pool(x)?;
            match self.form {
                Form::Torch => net.builder.torch_linear(features, "fc", self.classes),
                Form::Keras => {
                    let init = Init::glorot_uniform(STAGES[2], self.classes);
                    net.builder.linear(features, "dense", self.classes, [init, Init::ZEROS])
                }
            }
        })
    }
}

/// The residual network for photographs, with the names of `torchvision.models.resnet18`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetImageNet {
    /// Residual blocks of the four stages: `[2, 2, 2, 2]` is ResNet-18, `[3, 4, 6, 3]` ResNet-34.
    pub layers: [usize; 4],
    /// Classes to tell apart.
    pub classes: usize,
    /// Rows and columns of an image.
    pub size: usize,
    /// Channels of the first stage; each of the others has twice as many as the one before.
    pub width: usize,
}

impl Default for ResNetImageNet {
    /// ResNet-18 for 1000 classes of 224 × 224 pixels.
    fn default() -> Self {
        ResNetImageNet { layers: [2; 4], classes: 1000, size: 224, width: 64 }
    }
}

impl Model for ResNetImageNet {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, true)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, false)
    }
}

impl ResNetImageNet {
    fn build(&self, batch: usize, training: bool) -> Result<Graph, Error> {
        check_layers(&self.layers)?;
        let task = Task {
            name: format!("resnet{}", 2 + 2 * self.layers.iter().sum::<usize>()),
            batch,
            image: [self.size, self.size, COLOURS],
            classes: self.classes,
            training,
            form: Form::Torch,
        };
        classifier(&task, |builder, images| {
            let init = |kernel: usize, _: usize, outputs: usize| kaiming_normal_out(kernel, outputs);
            let mut net = Residual { builder, init, shortcut: 1, layers: 0 };
            let stem = net.conv_norm(images, [self.width, 7, 2], ["conv1", "bn1"])?;
            let x = net.builder.graph.relu(stem)?;
            let pool = PoolOptions { stride: Some([2, 2]), padding: Padding::all(1), ..PoolOptions::square(3) };
            let x = net.builder.graph.max_pool(x, pool)?;
            let stages = [1, 2, 4, 8].map(|factor: usize| self.width.saturating_mul(factor));
            let x = net.stages(x, &stages, &self.layers)?;
            let features = net.builder.graph.global_avg_pool(x)?;
            net.builder.torch_linear(features, "fc", self.classes)
        })
    }
}

fn check_layers(layers: &[usize]) -> Result<(), Error> {
    if layers.iter().all(|n| (1..=MOST_BLOCKS).contains(n)) {
        return Ok(());
    }
    let reason = format!("every stage needs 1 to {MOST_BLOCKS} blocks, got {layers:?}");
    Err(Error::Option { option: "layers".to_string(), reason })
}

/// Adds residual blocks.
struct Residual<'b, 'g, I> {
    builder: &'b mut Builder<'g>,
    /// First values of a convolution's weight, from window, inputs and outputs.
    init: I,
    /// Window of the convolution in a shortcut.
    shortcut: usize,
    /// Convolutions so far, each with its batch norm: Keras numbers layers of a kind in the order they are made.
    layers: usize,
}

impl<I: Fn(usize, usize, usize) -> Init> Residual<'_, '_, I> {
    fn stages(&mut self, mut x: Value, channels: &[usize], layers: &[usize]) -> Result<Value, Error> {
        for (stage, (&channels, &blocks)) in channels.iter().zip(layers).enumerate() {
            for block in 0..blocks {
                let halve = stage > 0 && block == 0;
                x = self.block(x, channels, halve, &format!("layer{}.{block}", stage + 1))?;
            }
        }
        Ok(x)
    }

    fn block(&mut self, x: Value, channels: usize, halve: bool, path: &str) -> Result<Value, Error> {
        let stride = if halve { 2 } else { 1 };
        let at = |name: &str| format!("{path}.{name}");
        let y = self.conv_norm(x, [channels, 3, stride], [&at("conv1"), &at("bn1")])?;
        let y = self.builder.graph.scope(path, |g| g.relu(y))?;
        let y = self.conv_norm(y, [channels, 3, 1], [&at("conv2"), &at("bn2")])?;
        let shortcut = if halve {
            let convolution = [channels, self.shortcut, stride];
            self.conv_norm(x, convolution, [&at("downsample.0"), &at("downsample.1")])?
        } else {
            x
        };
        self.builder.graph.scope(path, |g| {
            let sum = g.add_values(y, shortcut)?;
            g.relu(sum)
        })
    }

    /// A convolution of so many channels, window and stride, and its batch norm, named by their paths in PyTorch's form.
    fn conv_norm(&mut self, x: Value, [outputs, kernel, stride]: [usize; 3], torch: [&str; 2]) -> Result<Value, Error> {
        let number = self.layers;
        self.layers += 1;
        let weight = (self.init)(kernel, self.builder.channels(x, torch[0])?, outputs);
        let (conv, norm, padding, bias) = match self.builder.form {
            Form::Torch => (torch[0].to_string(), torch[1].to_string(), Padding::all(kernel / 2), None),
            Form::Keras => {
                let [conv, norm] = ["conv2d", "batch_normalization"].map(|kind| numbered(kind, number));
                (conv, norm, Padding::Same, Some(Init::ZEROS))
            }
        };
        let options = ConvOptions { stride: [stride; 2], padding, ..ConvOptions::default() };
        let y = self.builder.conv(x, &conv, Conv { outputs, kernel, options, weight, bias })?;
        self.builder.norm(y, &norm)
    }
}

/// Keras's name for the n-th layer of a kind: `conv2d`, `conv2d_1`, …
fn numbered(kind: &str, n: usize) -> String {
    if n == 0 { kind.to_string() } else { format!("{kind}_{n}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{parameters, states};

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
        assert_eq!(parameters(&torch), 195_738);
        let keras = ResNetCifar { form: Form::Keras, ..ResNetCifar::default() }.training(2).unwrap();
        assert_eq!(parameters(&keras), 196_298);
        assert_eq!(states(&keras).iter().map(|(_, ty)| ty.shape.elements()).sum::<usize>(), 197_418);
    }

    #[test]
    fn training_and_evaluation_share_their_state() {
        for form in [Form::Torch, Form::Keras] {
            let net = ResNetCifar { layers: [1, 3, 2], form, classes: 7, size: 32 };
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
