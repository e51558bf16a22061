//! Keras's golden run through Keras's form of the network, ending in its softmax, with labels as rows.

use std::path::{Path, PathBuf};

use outrigger::data::{Images, load_dir};
use outrigger::formats::{LoadOptions, WeightFile, load_by_name};
use outrigger::graph::Loss;
use outrigger::nn::Form;
use outrigger::train::optimizer::Optimizer;
use outrigger::train::{Model, ModelOptions};
use outrigger::{Tensor, data, models};

/// A file beside the checkout; `None`, with a message, where it is missing.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    let found = path.exists();
    if !found {
        eprintln!("skipped: {} is not there", path.display());
    }
    found.then_some(path)
}

/// The seed's network: probabilities of ten classes.
fn network() -> Model {
    let network = models::resnet_cifar([2, 2, 2]).form(Form::Keras).softmax(true).network().unwrap();
    let mut model = Model::of(network, ModelOptions::default()).unwrap();
    model.compile(Optimizer::keras_adam().lr(0.001), Loss::categorical_cross_entropy(), ()).unwrap();
    model
}

/// Images `[n, 32, 32, 3]` from `first` on, and the labels as rows.
fn batch(images: &Images, first: usize, n: usize) -> (Tensor, Tensor) {
    let size = images.image_size();
    let pixels = images.images()[first * size..(first + n) * size].iter().map(|&byte| f32::from(byte) / 255.0);
    let labels: Vec<i32> = images.labels()[first..first + n].iter().map(|&label| label.into()).collect();
    let rows = data::to_categorical(&labels, 10).unwrap();
    (Tensor::f32([n, 32, 32, 3], pixels.collect()).unwrap(), Tensor::f32([n, 10], rows).unwrap())
}

#[test]
fn the_losses_of_probabilities_and_rows_are_kerass() {
    let (Some(file), Some(sample)) = (shared("golden/keras_resnet_adam.safetensors"), shared("cifar10/sample")) else {
        return;
    };
    let (golden, images) = (WeightFile::read(&file).unwrap(), load_dir(&sample).unwrap().train);
    let losses: Vec<f64> = serde_json::from_str(golden.meta("losses").unwrap()).unwrap();
    let n: usize = golden.meta_as("batch").unwrap();
    let mut model = network();
    let options = LoadOptions { strict: true, layout: golden.layout(), ..LoadOptions::default() };
    load_by_name(&golden.section("init/"), model.store(), &options).unwrap();
    for (step, expected) in losses.iter().enumerate() {
        let (inputs, targets) = batch(&images, step * n, n);
        let loss = model.train_on_batch(&inputs, &targets).unwrap().get("loss").unwrap();
        let limit = if step == 0 { 1e-5 } else { 5e-3 };
        assert!((loss - expected).abs() < limit * expected, "step {step}: {loss} {expected}");
    }
}

#[test]
fn kerass_last_weights_predict_what_keras_predicted() {
    let (Some(h5), Some(sample)) = (shared("golden/keras_resnet_adam.final.weights.h5"), shared("cifar10/sample"))
    else {
        return;
    };
    let golden = WeightFile::read(shared("golden/keras_resnet_adam.safetensors").unwrap()).unwrap();
    let evaluation = golden.section("eval/");
    let expected = evaluation.tensor(evaluation.names().next().unwrap()).unwrap();
    let (images, _) = batch(&load_dir(&sample).unwrap().test, 0, expected.shape().0[0]);
    let mut model = network();
    model.load_weights(h5).unwrap();
    // in two batches, of different sizes
    let probabilities = &model.predict(images, 64).unwrap()[0];
    assert_eq!(probabilities.shape(), expected.shape());
    for (p, expected) in probabilities.to_f64().iter().zip(expected.to_f64()) {
        assert!((p - expected).abs() < 1e-4, "{p} {expected}");
    }
}
