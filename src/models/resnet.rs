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

use super::{COLOURS, images, kaiming_normal_out};
use crate::error::Error;
use crate::module;
use crate::nn::{
    Activation, AvgPool2d, BatchNorm2d, Conv2d, Form, Function, GlobalAvgPool2d, Linear, MaxPool2d, Module, Network,
    ReLU, Sequential, Symbol, sum,
};
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
    /// Whether the network ends in a softmax and gives probabilities; default false, logits.
    pub softmax: bool,
}

impl Default for ResNetCifar {
    /// Two blocks a stage, PyTorch's form, logits of ten classes, 32 × 32 pixels.
    fn default() -> Self {
        ResNetCifar { layers: [2, 2, 2], form: Form::Torch, classes: 10, size: 32, softmax: false }
    }
}

/// The residual network for CIFAR-10 with so many blocks of 16, 32 and 64 channels: [`ResNetCifar`].
pub fn resnet_cifar(layers: [usize; 3]) -> ResNetCifar {
    ResNetCifar { layers, ..ResNetCifar::default() }
}

/// The most residual blocks of a stage. The deepest network of the paper has 200; far beyond, the graph alone fills
/// the memory.
pub const MOST_BLOCKS: usize = 1000;

module! {
    /// The basic block.
    struct ResidualBlock {
        conv1: Conv2d,
        bn1: BatchNorm2d,
        relu: Activation,
        conv2: Conv2d,
        bn2: BatchNorm2d,
        downsample: Option<Sequential>,
        /// The activation after the sum, where it is not `relu` once more: Keras's users make a layer for every call.
        relu2: Option<Activation>,
    }
}

impl Module for ResidualBlock {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let y = self.relu.call(&self.bn1.call(&self.conv1.call(x)?)?)?;
        let y = self.bn2.call(&self.conv2.call(&y)?)?;
        let residual = match &self.downsample {
            Some(downsample) => downsample.call(x)?,
            None => x.clone(),
        };
        self.relu2.as_ref().unwrap_or(&self.relu).call(&sum(&y, &residual)?)
    }
}

module! {
    /// The network for small images.
    struct ResNet {
        conv: Conv2d,
        bn: BatchNorm2d,
        relu: Activation,
        layer1: Sequential,
        layer2: Sequential,
        layer3: Sequential,
        avg_pool: AvgPool2d,
        fc: Linear,
    }
}

impl Module for ResNet {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let y = self.relu.call(&self.bn.call(&self.conv.call(x)?)?)?;
        let y = self.layer3.call(&self.layer2.call(&self.layer1.call(&y)?)?)?;
        self.fc.call(&self.avg_pool.call(&y)?.flatten()?)
    }
}

/// Stages of so many channels and blocks, of which all but the first halve the image; `conv` makes a convolution of so
/// many channels, window and stride.
fn stages<const N: usize>(
    channels: [usize; N],
    layers: [usize; N],
    shortcut: usize,
    form: Form,
    conv: impl Fn(usize, usize, usize) -> Conv2d,
) -> [Sequential; N] {
    let block = |stage: usize, place: usize| {
        let (channels, halves) = (channels[stage], stage > 0 && place == 0);
        let stride = if halves { 2 } else { 1 };
        let downsample = || Sequential::new().add(conv(channels, shortcut, stride)).add(BatchNorm2d::new());
        ResidualBlock {
            conv1: conv(channels, 3, stride),
            bn1: BatchNorm2d::new(),
            relu: Activation::new(Function::Relu),
            conv2: conv(channels, 3, 1),
            bn2: BatchNorm2d::new(),
            downsample: halves.then(downsample),
            relu2: (form == Form::Keras).then(|| Activation::new(Function::Relu)),
        }
    };
    std::array::from_fn(|stage| {
        (0..layers[stage]).fold(Sequential::new(), |blocks, place| blocks.add(block(stage, place)))
    })
}

impl ResNetCifar {
    /// The same with other conventions.
    #[must_use]
    pub fn form(self, form: Form) -> Self {
        ResNetCifar { form, ..self }
    }
    /// The same for another number of classes.
    #[must_use]
    pub fn classes(self, classes: usize) -> Self {
        ResNetCifar { classes, ..self }
    }
    /// The same for images of `size` × `size` pixels.
    #[must_use]
    pub fn size(self, size: usize) -> Self {
        ResNetCifar { size, ..self }
    }
    /// The same with or without a softmax at the end.
    #[must_use]
    pub fn softmax(self, softmax: bool) -> Self {
        ResNetCifar { softmax, ..self }
    }

    /// The network.
    ///
    /// # Errors
    /// [`Error::Option`] for sizes that make no network.
    pub fn network(&self) -> Result<Network, Error> {
        check_layers(&self.layers)?;
        let form = self.form;
        let images = images(form, self.size, COLOURS, self.classes)?;
        let conv = |channels: usize, kernel: usize, stride: usize| {
            let conv = Conv2d::new(channels, kernel).stride(stride);
            match form {
                Form::Torch => conv.padding(kernel / 2).bias(false),
                Form::Keras => conv.padding(Padding::Same),
            }
        };
        let [layer1, layer2, layer3] = stages([16, 32, 64], self.layers, 3, form, conv);
        let fc = Linear::new(self.classes);
        let net = ResNet {
            conv: conv(16, 3, 1),
            bn: BatchNorm2d::new(),
            relu: Activation::new(Function::Relu),
            layer1,
            layer2,
            layer3,
            // two stages halve the image, and round up
            avg_pool: AvgPool2d::new(self.size.div_ceil(4)),
            fc: if self.softmax { fc.activation(Function::Softmax) } else { fc },
        };
        Ok(Network::of(&net, images)?.named(&format!("resnet_{}", form.name())))
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

impl ResNetImageNet {
    /// The network.
    ///
    /// # Errors
    /// [`Error::Option`] for sizes that make no network.
    pub fn network(&self) -> Result<Network, Error> {
        check_layers(&self.layers)?;
        let images = images(Form::Torch, self.size, COLOURS, self.classes)?;
        let conv = |channels: usize, kernel: usize, stride: usize| {
            let conv = Conv2d::new(channels, kernel).stride(stride).padding(kernel / 2).bias(false);
            conv.weight_init(kaiming_normal_out(kernel, channels))
        };
        let widths = [1, 2, 4, 8].map(|factor: usize| self.width.saturating_mul(factor));
        let [layer1, layer2, layer3, layer4] = stages(widths, self.layers, 1, Form::Torch, conv);
        let net = Sequential::new()
            .named("conv1", conv(self.width, 7, 2))
            .named("bn1", BatchNorm2d::new())
            .named("relu", ReLU::new())
            .named("maxpool", MaxPool2d::new(3).stride(2).padding(1))
            .named("layer1", layer1)
            .named("layer2", layer2)
            .named("layer3", layer3)
            .named("layer4", layer4)
            .named("avgpool", GlobalAvgPool2d::new())
            .named("fc", Linear::new(self.classes));
        let depth = 2 + 2 * self.layers.iter().sum::<usize>();
        Ok(Network::of(&net, images)?.named(&format!("resnet{depth}")))
    }
}

fn check_layers(layers: &[usize]) -> Result<(), Error> {
    if layers.iter().all(|n| (1..=MOST_BLOCKS).contains(n)) {
        return Ok(());
    }
    let reason = format!("every stage needs 1 to {MOST_BLOCKS} blocks, got {layers:?}");
    Err(Error::Option { option: "layers".to_string(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Classifier;
    use crate::models::tests::{parameters, states};

    #[test]
    fn a_stage_has_a_sane_number_of_blocks() {
        for layers in [[0, 1, 1], [1, MOST_BLOCKS + 1, 1], [1, 1, usize::MAX]] {
            let error = resnet_cifar(layers).training(1).unwrap_err();
            assert!(matches!(&error, Error::Option { option, .. } if option == "layers"), "{error}");
        }
    }

    #[test]
    fn parameter_counts_are_the_frameworks_own() {
        let torch = resnet_cifar([2; 3]).training(2).unwrap();
        // PyTorch's summaries count what is trained
        assert_eq!(parameters(&torch), 195_738);
        let keras = resnet_cifar([2; 3]).form(Form::Keras).training(2).unwrap();
        assert_eq!(parameters(&keras), 196_298);
        assert_eq!(states(&keras).iter().map(|(_, ty)| ty.shape.elements()).sum::<usize>(), 197_418);
    }

    #[test]
    fn training_and_evaluation_share_their_state() {
        for form in [Form::Torch, Form::Keras] {
            let net = resnet_cifar([1, 3, 2]).form(form).classes(7);
            let (train, eval) = (net.training(4).unwrap(), net.evaluation(9).unwrap());
            assert_eq!(states(&train), states(&eval));
            assert!(eval.updates().is_empty());
            // every convolution (1 + two a block + two shortcuts) has two running statistics
            assert_eq!(train.updates().len(), 2 * (1 + 2 * 6 + 2));
        }
    }

    #[test]
    fn sizes_that_make_no_network_are_refused() {
        let net = resnet_cifar([2; 3]);
        assert!(matches!(net.training(0), Err(Error::Option { .. })));
        assert!(matches!(resnet_cifar([1, 0, 1]).training(1), Err(Error::Option { .. })));
        assert!(matches!(net.classes(1).evaluation(1), Err(Error::Option { .. })));
        assert!(matches!(net.size(0).evaluation(1), Err(Error::Layer { .. })));
    }
}
