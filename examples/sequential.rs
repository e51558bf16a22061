//! The seed's residual network, PyTorch's form, as a list of layers.
//!
//! ```sh
//! cargo run --release --example sequential
//! ```

use std::sync::Arc;

use outrigger::prelude::*;

fn conv3x3(channels: usize, stride: usize) -> Conv2d {
    Conv2d::new(channels, 3).stride(stride).padding(1).bias(false)
}

/// A block, whose one ReLU is called twice.
fn residual_block(channels: usize, stride: usize, downsample: bool) -> Residual {
    let relu = Arc::new(ReLU::new());
    let body = Sequential::new()
        .named("conv1", conv3x3(channels, stride))
        .named("bn1", BatchNorm2d::new())
        .named("relu", relu.clone())
        .named("conv2", conv3x3(channels, 1))
        .named("bn2", BatchNorm2d::new());
    let block = Residual::new(body).then(relu);
    if !downsample {
        return block;
    }
    block.downsample(Sequential::new().add(conv3x3(channels, stride)).add(BatchNorm2d::new()))
}

fn make_layer(channels: usize, blocks: usize, stride: usize) -> Sequential {
    let first = Sequential::new().add(residual_block(channels, stride, stride != 1));
    (1..blocks).fold(first, |layer, _| layer.add(residual_block(channels, 1, false)))
}

/// The network for `[3, 32, 32]` images.
pub fn resnet(layers: [usize; 3]) -> Result<Network, Error> {
    let net = Sequential::new()
        .named("conv", conv3x3(16, 1))
        .named("bn", BatchNorm2d::new())
        .named("relu", ReLU::new())
        .named("layer1", make_layer(16, layers[0], 1))
        .named("layer2", make_layer(32, layers[1], 2))
        .named("layer3", make_layer(64, layers[2], 2))
        .named("avg_pool", AvgPool2d::new(8))
        .named("flatten", Flatten::new())
        .named("fc", Linear::new(10));
    Network::of(&net, Input::torch("images", [3, 32, 32]))
}

fn main() -> Result<(), Error> {
    let cifar10 = data::sample()?;
    let mut model = Model::of(resnet([2, 2, 2])?, ModelOptions::default())?;
    print!("{}", model.summary()?);
    model.compile(Adam::default().lr(0.001), Loss::cross_entropy(), [Accuracy::new()])?;
    let validation_data = Some(cifar10.test.into());
    let options = FitOptions { epochs: 2, batch_size: 100, validation_data, ..FitOptions::default() };
    model.fit(cifar10.train, options)?;
    Ok(())
}
