//! What else a training graph holds: names, outputs, the step counter; and what it refuses.

use std::collections::HashMap;

use outrigger::ops::Init;
use outrigger::reference::{RefTensor, run_exact};
use outrigger::train::optimizer::{
    Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd, TrainingOptions, training_graph, training_graph_with,
};
use outrigger::types::TensorType;
use outrigger::{DType, Error, Graph};

use crate::{CURVATURE, START, TARGET, close, gradient, quadratic, start, step};

#[test]
fn outputs_and_names() {
    let (graph, loss) = quadratic();
    let options = TrainingOptions { gradient_outputs: true, ..TrainingOptions::default() };
    let graph = training_graph_with(graph, loss, &options).unwrap();
    let names: Vec<&str> = graph.outputs().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["loss", "grad/fc.weight", "grad/fc.bias"]);
    let states: Vec<&str> = graph.states().map(|id| graph.get(id).unwrap().name.as_str()).collect();
    let moments = ["fc.weight.exp_avg", "fc.weight.exp_avg_sq", "fc.bias.exp_avg", "fc.bias.exp_avg_sq"];
    let mut expected = vec!["fc.weight", "fc.bias", "adam.bias_correction1", "adam.bias_correction2"];
    expected.extend(moments);
    assert_eq!(states, expected);
    let lr = graph.source("lr").unwrap();
    assert_eq!(graph.value_type(lr), Some(&TensorType::f32([])));
    assert_eq!(graph.updates().len(), states.len(), "every state is updated");

    let outcome = step(&graph, 0.1, &mut start(&graph));
    let want = gradient(&START);
    close(&outcome.outputs["grad/fc.weight"].data, &want[..3], "grad/fc.weight");
    close(&outcome.outputs["grad/fc.bias"].data, &want[3..], "grad/fc.bias");
    let p = (0..5).map(|i| f64::from(CURVATURE[i]) * (START[i] - f64::from(TARGET[i])).powi(2) / 2.0);
    close(&outcome.outputs["loss"].data, &[p.sum()], "loss");
}

#[test]
fn a_loss_that_is_an_output_already() {
    let (mut graph, loss) = quadratic();
    graph.set_output("loss", loss).unwrap();
    let graph = training_graph(graph, loss, &Optimizer::Sgd(Sgd::default())).unwrap();
    assert_eq!(graph.outputs().len(), 1);

    let (mut graph, loss) = quadratic();
    let other = graph.scalar(1.0).unwrap();
    graph.set_output("loss", other).unwrap();
    let refused = training_graph(graph, loss, &Optimizer::Sgd(Sgd::default()));
    assert!(matches!(refused, Err(Error::DuplicateName { what: "output", .. })));
}

#[test]
fn scopes_left_open_do_not_rename_the_optimizer() {
    let (mut graph, loss) = quadratic();
    graph.enter("model");
    let graph = training_graph(graph, loss, &Optimizer::keras_adam()).unwrap();
    assert!(graph.source("lr").is_ok() && graph.source("fc.bias.exp_avg").is_ok());
}

#[test]
fn the_step_counter_counts() {
    let mut graph = Graph::new("dropout");
    let x = graph.parameter("x", [400], Init::ONES).unwrap();
    let seed = graph.input("seed", DType::I32, []).unwrap();
    let counter = graph.scope("layer1", Graph::random_step).unwrap();
    assert_eq!(graph.random_step().unwrap(), counter, "one counter for the whole graph");
    let y = graph.dropout(x, 0.5, seed, counter).unwrap();
    let loss = graph.mean_all(y).unwrap();
    graph.set_output("y", y).unwrap();
    let graph = training_graph(graph, loss, &Optimizer::Sgd(Sgd::default())).unwrap();
    let mut state: HashMap<String, RefTensor> = [
        ("x".to_string(), RefTensor::f32([400], vec![1.0; 400]).unwrap()),
        ("rng.step".to_string(), RefTensor::new(TensorType::new(DType::I32, []), vec![0.0]).unwrap()),
    ]
    .into();
    let inputs = [
        ("lr".to_string(), RefTensor::f32([], vec![0.0]).unwrap()),
        ("seed".to_string(), RefTensor::new(TensorType::new(DType::I32, []), vec![7.0]).unwrap()),
    ]
    .into();
    let mut masks = Vec::new();
    for run in 1..=3 {
        let outcome = run_exact(&graph, &inputs, &state).unwrap();
        state.extend(outcome.updates);
        assert_eq!(state["rng.step"].data, [f64::from(run)]);
        masks.push(outcome.outputs["y"].data.clone());
    }
    assert!(masks[0] != masks[1] && masks[1] != masks[2], "each step draws another mask");
}

#[test]
fn names_that_are_taken() {
    for name in ["lr", "fc.weight.exp_avg", "adam.bias_correction2"] {
        let (mut graph, loss) = quadratic();
        graph.buffer(name, DType::F32, [3], Init::ZEROS).unwrap();
        match training_graph(graph, loss, &Optimizer::keras_adam()) {
            Err(Error::DuplicateName { name: taken, .. }) => assert_eq!(taken, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    let mut graph = Graph::new("g");
    graph.input("rng.step", DType::F32, []).unwrap();
    assert!(matches!(graph.random_step(), Err(Error::Type { .. })));
}

#[test]
fn parameters_that_cannot_be_trained() {
    let sgd = Optimizer::Sgd(Sgd::default());
    let (mut graph, loss) = quadratic();
    graph.parameter("head.weight", [2], Init::ZEROS).unwrap();
    match training_graph(graph, loss, &sgd) {
        Err(Error::Gradient { path, reason }) => {
            assert!(path == "head.weight" && reason.contains("does not depend on it"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let mut graph = Graph::new("empty");
    let loss = graph.input("x", DType::F32, []).unwrap();
    assert!(matches!(training_graph(graph, loss, &sgd), Err(Error::Gradient { path, .. }) if path == "empty"));
    let (mut graph, loss) = quadratic();
    let bias = graph.source("fc.bias").unwrap();
    graph.set_update(bias, bias).unwrap();
    assert!(matches!(training_graph(graph, loss, &sgd), Err(Error::DuplicateName { .. })));
}

#[test]
fn options_out_of_range() {
    let adam = Adam::default();
    let bad = [
        ("nesterov", Optimizer::Sgd(Sgd { nesterov: true, ..Sgd::default() })),
        ("momentum", Optimizer::Sgd(Sgd { momentum: 1.0, ..Sgd::default() })),
        ("weight_decay", Optimizer::Sgd(Sgd { weight_decay: -1e-4, ..Sgd::default() })),
        ("beta1", Optimizer::Adam(Adam { beta1: -0.1, ..adam })),
        ("beta2", Optimizer::Adam(Adam { beta2: 1.0, ..adam })),
        ("epsilon", Optimizer::Adam(Adam { epsilon: f64::NAN, ..adam })),
        ("nesterov", Optimizer::Sgd(Sgd { nesterov: true, momentum: 0.9, dampening: 0.1, ..Sgd::default() })),
        ("dampening", Optimizer::Sgd(Sgd { dampening: 1.5, ..Sgd::default() })),
        ("alpha", Optimizer::RmsProp(RmsProp { alpha: 1.0, ..RmsProp::default() })),
        ("momentum", Optimizer::RmsProp(RmsProp { momentum: -0.5, ..RmsProp::default() })),
        ("lr_decay", Optimizer::Adagrad(Adagrad { lr_decay: -1.0, ..Adagrad::default() })),
        (
            "initial_accumulator_value",
            Optimizer::Adagrad(Adagrad { initial_accumulator_value: -0.1, ..Adagrad::default() }),
        ),
        ("beta2", Optimizer::Lion(Lion { beta2: 1.0, ..Lion::default() })),
        ("weight_decay", Optimizer::AdamW(AdamW { weight_decay: f64::INFINITY, ..AdamW::default() })),
    ];
    for (name, optimizer) in bad {
        let (graph, loss) = quadratic();
        match training_graph(graph, loss, &optimizer) {
            Err(Error::Option { option, .. }) => assert_eq!(option, name),
            other => panic!("{optimizer:?}: {other:?}"),
        }
    }
}
