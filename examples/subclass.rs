//! The seed's residual network, PyTorch's form, as structs.
//!
//! ```sh
//! cargo run --release --example subclass
//! ```

use outrigger::prelude::*;

fn conv3x3(channels: usize, stride: usize) -> Conv2d {
    Conv2d::new(channels, 3).stride(stride).padding(1).bias(false)
}

module! {
    struct ResidualBlock {
        conv1: Conv2d,
        bn1: BatchNorm2d,
        relu: ReLU,
        conv2: Conv2d,
        bn2: BatchNorm2d,
        downsample: Option<Sequential>,
    }
}

impl ResidualBlock {
    fn new(channels: usize, stride: usize, downsample: Option<Sequential>) -> Self {
        ResidualBlock {
            conv1: conv3x3(channels, stride),
            bn1: BatchNorm2d::new(),
            relu: ReLU::new(),
            conv2: conv3x3(channels, 1),
            bn2: BatchNorm2d::new(),
            downsample,
        }
    }
}

impl Module for ResidualBlock {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let mut residual = x.clone();
        let out = self.conv1.call(x)?;
        let out = self.bn1.call(&out)?;
        let out = self.relu.call(&out)?;
        let out = self.conv2.call(&out)?;
        let out = self.bn2.call(&out)?;
        if let Some(downsample) = &self.downsample {
            residual = downsample.call(x)?;
        }
        let out = out.add(&residual)?;
        self.relu.call(&out)
    }
}

module! {
    struct ResNet {
        conv: Conv2d,
        bn: BatchNorm2d,
        relu: ReLU,
        layer1: Sequential,
        layer2: Sequential,
        layer3: Sequential,
        avg_pool: AvgPool2d,
        fc: Linear,
    }
}

impl ResNet {
    fn new(layers: [usize; 3], num_classes: usize) -> Self {
        ResNet {
            conv: conv3x3(16, 1),
            bn: BatchNorm2d::new(),
            relu: ReLU::new(),
            layer1: ResNet::make_layer(16, layers[0], 1),
            layer2: ResNet::make_layer(32, layers[1], 2),
            layer3: ResNet::make_layer(64, layers[2], 2),
            avg_pool: AvgPool2d::new(8),
            fc: Linear::new(num_classes),
        }
    }

    fn make_layer(channels: usize, blocks: usize, stride: usize) -> Sequential {
        let downsample =
            (stride != 1).then(|| Sequential::new().add(conv3x3(channels, stride)).add(BatchNorm2d::new()));
        let first = Sequential::new().add(ResidualBlock::new(channels, stride, downsample));
        (1..blocks).fold(first, |layer, _| layer.add(ResidualBlock::new(channels, 1, None)))
    }
}

impl Module for ResNet {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let out = self.conv.call(x)?;
        let out = self.bn.call(&out)?;
        let out = self.relu.call(&out)?;
        let out = self.layer1.call(&out)?;
        let out = self.layer2.call(&out)?;
        let out = self.layer3.call(&out)?;
        let out = self.avg_pool.call(&out)?;
        let out = out.flatten()?;
        self.fc.call(&out)
    }
}

/// The network for `[3, 32, 32]` images.
pub fn resnet(layers: [usize; 3]) -> Result<Network, Error> {
    Network::of(&ResNet::new(layers, 10), Input::torch("images", [3, 32, 32]))
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
