//! Groups, averages and frozen layers through a model.

use outrigger::nn::{BatchNorm2d, Conv2d, Dense, Flatten, Input, Linear, ReLU};
use outrigger::train::callback::SwapEMAWeights;
use outrigger::train::log::Verbose;
use outrigger::train::optimizer::{Adam, ParameterGroup, Sgd};
use outrigger::train::{Callback, FitOptions, Model};
use outrigger::{Tensor, graph::Loss};

use super::{CROSS_ENTROPY, noise, weights};

const DECAY: f64 = 0.75;

/// One layer with the steps that its optimizer makes, and data for it.
fn averaged() -> (Model, Tensor, Tensor) {
    let x = Input::keras("x", [3]);
    let mut model = Model::new(&x, &Dense::new(2).call(&x).unwrap()).unwrap();
    let group = ParameterGroup { lr_scale: 0.0, ..ParameterGroup::new("*/bias") };
    model.compile(Sgd::default().lr(0.2).group(group).ema(DECAY), Loss::MeanSquaredError, ()).unwrap();
    (model, Tensor::f32([8, 3], noise(24, 1)).unwrap(), Tensor::f32([8, 2], noise(16, 2)).unwrap())
}

#[test]
fn averages_follow_and_are_used_for_validation() {
    let (mut model, x, y) = averaged();
    assert!(model.swap_ema().is_err(), "before the first step there is none");
    let bias = model.store().get("dense/bias").unwrap();
    let mut average: Vec<f64> = Vec::new();
    for step in 0..4 {
        model.train_on_batch(&x, &y).unwrap();
        let kernel = model.store().get("dense/kernel").unwrap().to_f64();
        average = match step {
            0 => kernel,
            _ => average.iter().zip(kernel).map(|(a, k)| DECAY * a + (1.0 - DECAY) * k).collect(),
        };
    }
    assert_eq!(model.store().get("dense/bias").unwrap(), bias, "its group has no rate");
    let last = weights(&model);
    model.swap_ema().unwrap();
    let kernel = model.store().get("dense/kernel").unwrap().to_f64();
    assert!(kernel.iter().zip(&average).all(|(k, a)| (k - a).abs() < 1e-6), "{kernel:?} {average:?}");
    assert_ne!(weights(&model), last);
    model.swap_ema().unwrap();
    assert_eq!(weights(&model), last);

    // the callback validates with the averages, trains without, and ends with them
    let fit = |callbacks: Vec<Box<dyn Callback>>| {
        let (mut model, x, y) = averaged();
        let validation_data = Some((x.clone(), y.clone()).into());
        let options = FitOptions {
            epochs: 3,
            batch_size: 4,
            validation_data,
            callbacks,
            verbose: Verbose::Silent,
            ..FitOptions::default()
        };
        let history = model.fit((x, y), options).unwrap();
        (model, history)
    };
    let (mut plain, plainly) = fit(vec![]);
    let (mut swapped, history) = fit(vec![Box::new(SwapEMAWeights)]);
    assert_eq!(history.get("loss").unwrap(), plainly.get("loss").unwrap());
    assert_ne!(history.get("val_loss").unwrap(), plainly.get("val_loss").unwrap());
    let loss = |model: &mut Model| model.evaluate((x.clone(), y.clone()), 8).unwrap().get("loss").unwrap();
    assert!((history.last("val_loss").unwrap() - loss(&mut swapped)).abs() < 1e-6);
    plain.swap_ema().unwrap();
    assert_eq!(weights(&plain), weights(&swapped));
}

#[test]
fn frozen_layers_stay_and_their_norms_use_what_they_know() {
    let x = Input::torch("images", [3, 6, 6]);
    let y = Conv2d::new(4, 3).name("conv").call(&x).unwrap();
    let y = ReLU::new().call(&BatchNorm2d::new().name("bn").call(&y).unwrap()).unwrap();
    let y = Linear::new(4).name("fc").call(&Flatten::new().call(&y).unwrap()).unwrap();
    let mut model = Model::new(&x, &y).unwrap();
    model.compile(Adam::default().lr(0.01), CROSS_ENTROPY, ()).unwrap();
    let (images, labels) = super::batch(6, 4).unwrap();
    let changed = |model: &mut Model| -> Vec<String> {
        let before = weights(model);
        model.train_on_batch(&images, &labels).unwrap();
        let pairs = before.into_iter().zip(weights(model)).filter(|(a, b)| a.1 != b.1);
        pairs.map(|((name, _), _)| name).collect()
    };
    assert_eq!(changed(&mut model).len(), 8);
    assert_eq!(model.freeze("conv").unwrap() + model.freeze("bn").unwrap(), 2);
    assert_eq!(changed(&mut model), ["fc.weight", "fc.bias"]);
    // a frozen norm in training is one in evaluation
    model.train();
    let training = model.forward(&images).unwrap();
    assert_eq!(training[0].shape().0, [6, 4]);
    model.eval();
    let evaluation = model.forward(&images).unwrap();
    let close = |a: &Tensor, b: &Tensor| a.to_f64().iter().zip(b.to_f64()).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&training[0], &evaluation[0]));
    model.train();
    model.unfreeze("*").unwrap();
    assert_eq!(changed(&mut model).len(), 8);
}
