//! The seed's residual network, Keras's form, as layers called on tensors.
//!
//! ```sh
//! cargo run --release --example functional
//! ```

use outrigger::prelude::*;

fn conv3x3(x: &Symbol, filters: usize, strides: usize) -> Result<Symbol, Error> {
    Conv2D::new(filters, 3).stride(strides).padding(Padding::Same).call(x)
}

fn relu(x: &Symbol) -> Result<Symbol, Error> {
    Activation::new(Function::Relu).call(x)
}

fn residual_block(x: &Symbol, filters: usize, strides: usize, downsample: bool) -> Result<Symbol, Error> {
    let mut residual = x.clone();
    let out = conv3x3(x, filters, strides)?;
    let out = BatchNormalization::new().call(&out)?;
    let out = relu(&out)?;
    let out = conv3x3(&out, filters, 1)?;
    let out = BatchNormalization::new().call(&out)?;
    if downsample {
        residual = conv3x3(&residual, filters, strides)?;
        residual = BatchNormalization::new().call(&residual)?;
    }
    let out = Add::new().call([&residual, &out])?;
    relu(&out)
}

fn make_layer(x: &Symbol, filters: usize, blocks: usize, strides: usize) -> Result<Symbol, Error> {
    let downsample = strides != 1 || x.shape().last() != Some(&filters);
    let mut out = residual_block(x, filters, strides, downsample)?;
    for _ in 1..blocks {
        out = residual_block(&out, filters, 1, false)?;
    }
    Ok(out)
}

/// The network for `[32, 32, 3]` images.
pub fn keras_residual(layers: [usize; 3]) -> Result<Network, Error> {
    let images = Input::keras("images", [32, 32, 3]);
    let out = conv3x3(&images, 16, 1)?;
    let out = BatchNormalization::new().call(&out)?;
    let out = relu(&out)?;
    let layer1_out = make_layer(&out, 16, layers[0], 1)?;
    let layer2_out = make_layer(&layer1_out, 32, layers[1], 2)?;
    let layer3_out = make_layer(&layer2_out, 64, layers[2], 2)?;
    let out = AveragePooling2D::new(8).call(&layer3_out)?;
    let out = Flatten::new().call(&out)?;
    let out = Dense::new(10).activation(Function::Softmax).call(&out)?;
    Network::new("keras_residual", &images, &out)
}

fn main() -> Result<(), Error> {
    let cifar10 = data::sample()?;
    let mut model = Model::of(keras_residual([2, 2, 2])?, ModelOptions::default())?;
    print!("{}", model.summary()?);
    model.compile(Optimizer::keras_adam().lr(0.001), Loss::categorical_cross_entropy(), [Accuracy::new()])?;
    let validation_data = Some(cifar10.test.into());
    let options = FitOptions { epochs: 2, batch_size: 100, validation_data, ..FitOptions::default() };
    model.fit(cifar10.train, options)?;
    Ok(())
}
