//! Models through Keras's `fit` and PyTorch's loop.

mod average;
mod callbacks;
mod errors;
mod fit;
mod golden;
mod steps;
mod targets;

use outrigger::graph::Loss;
use outrigger::nn::{Add, BatchNorm2d, Conv2d, Flatten, Input, Linear, ReLU};
use outrigger::train::Model;
use outrigger::{Error, Tensor};

/// The usual loss.
const CROSS_ENTROPY: Loss = Loss::CrossEntropy { label_smoothing: 0.0 };

/// A residual block and a classifier of four classes for images of 3 × 6 × 6, in PyTorch's form.
fn classifier() -> Result<Model, Error> {
    let x = Input::torch("images", [3, 6, 6]);
    let stem = Conv2d::new(8, 3).padding(1).bias(false).call(&x)?;
    let y = ReLU::new().call(&BatchNorm2d::new().call(&stem)?)?;
    let y = Conv2d::new(8, 3).padding(1).call(&y)?;
    let y = ReLU::new().call(&Add::new().call([&y, &stem])?)?;
    Model::new(&x, &Linear::new(4).name("fc").call(&Flatten::new().call(&y)?)?)
}

/// Numbers that look random, from -1 to 1.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Images `[n, 3, 6, 6]` and labels.
fn batch(n: usize, seed: u32) -> Result<(Tensor, Tensor), Error> {
    let labels = (0..n).map(|i| ((i as u32 * 7 + seed) % 4) as i32).collect();
    Ok((Tensor::f32([n, 3, 6, 6], noise(n * 108, seed))?, Tensor::i32([n], labels)?))
}

/// All parameters and running statistics, without what belongs to training.
fn weights(model: &Model) -> Vec<(String, Vec<f32>)> {
    let entries =
        model.store().entries().iter().filter(|(name, _)| !outrigger::train::optimizer::is_training_state(name));
    entries.map(|(name, _)| (name.clone(), model.store().get(name).unwrap().as_f32().unwrap().to_vec())).collect()
}
