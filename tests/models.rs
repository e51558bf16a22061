//! Every network of the zoo in a small size: a compiled training step and an evaluation against the interpreter.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger::models::{Classifier, LeNet5, Mlp, MobileNetV2, ResNetCifar, ResNetImageNet, Vgg16};
use outrigger::reference;
use outrigger::train::optimizer::{Optimizer, Sgd, TrainingOptions, training_graph_with};
use outrigger::{Graph, Options, Store, Team, Tensor, compile};

/// Pixels in [-1, 1) without a pattern.
fn noise(elements: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..elements).map(|_| next()).collect()
}

/// Euclidean length.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// Runs `graph` compiled and interpreted on the same values, and compares every output.
fn compare(name: &str, graph: &Graph, batch: usize, tolerance: f64) {
    let images = graph.value_type(graph.source("images").unwrap()).unwrap().clone();
    let labels: Vec<i32> = (0..batch).map(|i| (i % 3) as i32).collect();
    let mut inputs = HashMap::from([
        ("images".to_string(), Tensor::f32(images.shape.clone(), noise(images.shape.elements())).unwrap()),
        ("labels".to_string(), Tensor::i32([batch], labels).unwrap()),
    ]);
    if graph.source("lr").is_ok() {
        inputs.insert("lr".to_string(), Tensor::scalar(0.01));
    }
    let store = Store::new(graph, 3).unwrap();
    let state = store.entries().iter().map(|(name, _)| (name.clone(), store.get(name).unwrap())).collect();
    let expected = reference::run(graph, &inputs, &state).unwrap();

    let program = compile(graph, &Options::default()).unwrap();
    let mut session = program.session(&store, &Arc::new(Team::new(2).unwrap())).unwrap();
    for (name, value) in &inputs {
        session.set(name, value).unwrap();
    }
    session.run().unwrap();
    // A gradient may be the small rest of large terms, or zero in truth (a bias before a batch norm): it has their
    // rounding, not its own.
    let largest = expected.outputs.values().map(|value| norm(value.data.iter().copied())).fold(0.0, f64::max);
    for (output, expected) in &expected.outputs {
        let actual = session.get(output).unwrap().to_f64();
        let error = norm(actual.iter().zip(&expected.data).map(|(a, e)| a - e));
        let size = norm(expected.data.iter().copied()) + 0.01 * largest;
        assert!(error < tolerance * size, "{name}: {output}: {error:e} of {size:e}");
    }
}

fn check(name: &str, model: &dyn Classifier, tolerance: f64) {
    let batch = 3;
    let forward = model.training(batch).unwrap();
    let loss = forward.output("loss").unwrap();
    let optimizer = Optimizer::Sgd(Sgd { momentum: 0.9, ..Sgd::default() });
    let options = TrainingOptions { optimizer, gradient_outputs: true, ..TrainingOptions::default() };
    compare(name, &training_graph_with(forward, loss, &options).unwrap(), batch, tolerance);
    compare(name, &model.evaluation(1).unwrap(), 1, tolerance);
}

#[test]
fn perceptron() {
    check("mlp", &Mlp { hidden: 24, ..Mlp::default() }, 1e-5);
}
#[test]
fn lenet() {
    check("lenet5", &LeNet5 { classes: 7 }, 1e-5);
}
#[test]
fn cifar_resnet_of_another_size() {
    check("resnet_cifar", &ResNetCifar { layers: [1, 1, 1], size: 11, ..ResNetCifar::default() }, 1e-5);
}
#[test]
fn imagenet_resnet() {
    check("resnet18", &ResNetImageNet { layers: [1; 4], classes: 5, size: 40, width: 8 }, 1e-5);
}
#[test]
fn vgg() {
    check("vgg16", &Vgg16 { classes: 5, size: 64, width: 4, hidden: 24 }, 1e-5);
}
#[test]
fn mobilenet() {
    // 52 batch norms one after the other, the last ones over 12 values, each of which may divide by a small deviation
    check("mobilenet_v2", &MobileNetV2 { classes: 5, size: 40, width: 0.25 }, 1e-4);
}
