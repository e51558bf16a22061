//! The seed's two networks, each as a list, as called layers, and as structs: one graph, to the letter.

#![allow(dead_code)] // the examples' own `main`

use outrigger::prelude::*;

#[path = "../../examples/functional.rs"]
mod functional;
#[path = "../../examples/sequential.rs"]
mod sequential;
#[path = "../../examples/subclass.rs"]
mod subclass;

/// PyTorch's network as called layers, which say their names themselves.
fn torch_functional() -> Result<Network, Error> {
    let conv = |x: &Symbol, name: &str, channels: usize, stride: usize| {
        Conv2d::new(channels, 3).stride(stride).padding(1).bias(false).name(name).call(x)
    };
    let norm = |x: &Symbol, name: &str| BatchNorm2d::new().name(name).call(x);
    let block = |x: &Symbol, path: &str, channels: usize, stride: usize| {
        let at = |name: &str| format!("{path}.{name}");
        let relu = ReLU::new().name(&at("relu"));
        let y = relu.call(&norm(&conv(x, &at("conv1"), channels, stride)?, &at("bn1"))?)?;
        let y = norm(&conv(&y, &at("conv2"), channels, 1)?, &at("bn2"))?;
        let residual = match stride {
            1 => x.clone(),
            _ => norm(&conv(x, &at("downsample.0"), channels, stride)?, &at("downsample.1"))?,
        };
        relu.call(&y.add(&residual)?)
    };
    let images = Input::torch("images", [3, 32, 32]);
    let mut x = ReLU::new().name("relu").call(&norm(&conv(&images, "conv", 16, 1)?, "bn")?)?;
    for (stage, channels) in [(1, 16), (2, 32), (3, 64)] {
        x = block(&x, &format!("layer{stage}.0"), channels, if stage == 1 { 1 } else { 2 })?;
        x = block(&x, &format!("layer{stage}.1"), channels, 1)?;
    }
    let x = AvgPool2d::new(8).name("avg_pool").call(&x)?;
    let logits = Linear::new(10).name("fc").call(&Flatten::new().call(&x)?)?;
    Network::new("functional", &images, &logits)
}

fn conv(filters: usize, strides: usize) -> Conv2D {
    Conv2D::new(filters, 3).stride(strides).padding(Padding::Same)
}
fn relu() -> Activation {
    Activation::new(Function::Relu)
}

/// Keras's network as a list.
fn keras_sequential() -> Result<Network, Error> {
    let block = |filters: usize, strides: usize| {
        let body = Sequential::new()
            .add(conv(filters, strides))
            .add(BatchNormalization::new())
            .add(relu())
            .add(conv(filters, 1))
            .add(BatchNormalization::new());
        let block = Residual::new(body).then(relu());
        match strides {
            1 => block,
            _ => block.downsample(Sequential::new().add(conv(filters, strides)).add(BatchNormalization::new())),
        }
    };
    let net = Sequential::new()
        .add(conv(16, 1))
        .add(BatchNormalization::new())
        .add(relu())
        .add(block(16, 1))
        .add(block(16, 1))
        .add(block(32, 2))
        .add(block(32, 1))
        .add(block(64, 2))
        .add(block(64, 1))
        .add(AveragePooling2D::new(8))
        .add(Flatten::new())
        .add(Dense::new(10).activation(Function::Softmax));
    Network::of(&net, Input::keras("images", [32, 32, 3]))
}

module! {
    struct KerasBlock {
        conv1: Conv2D,
        bn1: BatchNormalization,
        relu1: Activation,
        conv2: Conv2D,
        bn2: BatchNormalization,
        relu2: Activation,
        shortcut: Option<(Conv2D, BatchNormalization)>,
    }
}

impl KerasBlock {
    fn new(filters: usize, strides: usize) -> Self {
        KerasBlock {
            conv1: conv(filters, strides),
            bn1: BatchNormalization::new(),
            relu1: relu(),
            conv2: conv(filters, 1),
            bn2: BatchNormalization::new(),
            relu2: relu(),
            shortcut: (strides != 1).then(|| (conv(filters, strides), BatchNormalization::new())),
        }
    }
}

impl Module for KerasBlock {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let y = self.relu1.call(&self.bn1.call(&self.conv1.call(x)?)?)?;
        let y = self.bn2.call(&self.conv2.call(&y)?)?;
        let residual = match &self.shortcut {
            Some((conv, norm)) => norm.call(&conv.call(x)?)?,
            None => x.clone(),
        };
        self.relu2.call(&residual.add(&y)?)
    }
}

module! {
    struct KerasResidual {
        conv: Conv2D,
        bn: BatchNormalization,
        relu: Activation,
        blocks: Vec<KerasBlock>,
        pool: AveragePooling2D,
        flatten: Flatten,
        dense: Dense,
    }
}

impl Module for KerasResidual {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let mut y = self.relu.call(&self.bn.call(&self.conv.call(x)?)?)?;
        for block in &self.blocks {
            y = block.call(&y)?;
        }
        self.dense.call(&self.flatten.call(&self.pool.call(&y)?)?)
    }
}

/// Keras's network as structs.
fn keras_subclass() -> Result<Network, Error> {
    let net = KerasResidual {
        conv: conv(16, 1),
        bn: BatchNormalization::new(),
        relu: relu(),
        blocks: [(16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)].map(|(f, s)| KerasBlock::new(f, s)).into(),
        pool: AveragePooling2D::new(8),
        flatten: Flatten::new(),
        dense: Dense::new(10).activation(Function::Softmax),
    };
    Network::of(&net, Input::keras("images", [32, 32, 3]))
}

fn texts(network: Network) -> [String; 2] {
    let network = network.named("seed");
    [Mode::Train, Mode::Evaluate].map(|mode| network.graph(4, mode).unwrap().to_string())
}

#[test]
fn three_styles_and_the_zoo_make_one_graph_in_pytorchs_form() {
    let zoo = texts(models::resnet_cifar([2, 2, 2]).network().unwrap());
    for network in [sequential::resnet([2, 2, 2]), torch_functional(), subclass::resnet([2, 2, 2])] {
        assert_eq!(texts(network.unwrap()), zoo);
    }
    assert!(zoo[0].contains("layer2.0.downsample.0.weight"));
}

#[test]
fn three_styles_and_the_zoo_make_one_graph_in_kerass_form() {
    let zoo = texts(models::resnet_cifar([2, 2, 2]).form(Form::Keras).softmax(true).network().unwrap());
    for network in [keras_sequential(), functional::keras_residual([2, 2, 2]), keras_subclass()] {
        assert_eq!(texts(network.unwrap()), zoo);
    }
    assert!(zoo[0].contains("conv2d_14/kernel"));
}

/// The counts that PyTorch's and Keras's summaries of the seed print.
#[test]
fn parameters_are_counted_as_the_frameworks_do() {
    assert_eq!(subclass::resnet([2, 2, 2]).unwrap().parameter_count().unwrap(), 195_738);
    assert_eq!(functional::keras_residual([2, 2, 2]).unwrap().parameter_count().unwrap(), 196_298);
}
