//! The optimizers of the training graph, over several steps of a quadratic loss, against the formulas
//! of the papers in plain f64; and what else the training graph adds.
//!
//! The loss is `Σ a·(p - t)²/2`, so the gradient is `a·(p - t)` by hand.

use std::collections::HashMap;

use outrigger::ops::Init;
use outrigger::reference::{Outcome, RefTensor, run_exact};
use outrigger::train::optimizer::{
    Adam, AdamW, EpsilonMode, Optimizer, Sgd, TrainingOptions, training_graph, training_graph_with,
};
use outrigger::types::TensorType;
use outrigger::{DType, Error, Graph, Tensor, Value};

const CURVATURE: [f32; 5] = [2.0, 0.5, 1e-3, 4.0, 1.0];
const TARGET: [f32; 5] = [1.0, -2.0, 0.25, 0.0, 4.0];
const START: [f64; 5] = [0.3, 1.5, -0.75, 2.0, -1.0];
/// A learning rate that changes from step to step.
const RATES: [f64; 7] = [0.1, 0.05, 0.2, 0.01, 0.15, 0.1, 0.3];

/// The quadratic loss over a parameter of three and one of two elements.
fn quadratic() -> (Graph, Value) {
    let mut g = Graph::new("quadratic");
    let mut losses = Vec::new();
    for (name, range) in [("fc.weight", 0..3), ("fc.bias", 3..5)] {
        let p = g.parameter(name, [range.len()], Init::ZEROS).unwrap();
        let a = g.constant(Tensor::f32([range.len()], CURVATURE[range.clone()].to_vec()).unwrap()).unwrap();
        let t = g.constant(Tensor::f32([range.len()], TARGET[range].to_vec()).unwrap()).unwrap();
        let off = g.sub(p, t).unwrap();
        let square = g.mul(off, off).unwrap();
        let weighted = g.mul(square, a).unwrap();
        losses.push(g.sum(weighted, &[0]).unwrap());
    }
    let sum = g.add_values(losses[0], losses[1]).unwrap();
    let half = g.scalar(0.5).unwrap();
    let loss = g.mul(sum, half).unwrap();
    (g, loss)
}

fn gradient(p: &[f64; 5]) -> [f64; 5] {
    std::array::from_fn(|i| f64::from(CURVATURE[i]) * (p[i] - f64::from(TARGET[i])))
}

/// Zeros for every state but the parameters.
fn start(graph: &Graph) -> HashMap<String, RefTensor> {
    let mut state = HashMap::new();
    for id in graph.states() {
        let node = graph.get(id).unwrap();
        let ty = node.results[0].clone();
        let data = match node.name.as_str() {
            "fc.weight" => START[..3].to_vec(),
            "fc.bias" => START[3..].to_vec(),
            _ => vec![0.0; ty.shape.elements()],
        };
        state.insert(node.name.clone(), RefTensor::new(ty, data).unwrap());
    }
    state
}

fn step(graph: &Graph, lr: f64, state: &mut HashMap<String, RefTensor>) -> Outcome {
    let inputs = [("lr".to_string(), RefTensor::f32([], vec![lr]).unwrap())].into();
    let outcome = run_exact(graph, &inputs, state).unwrap();
    state.extend(outcome.updates.clone());
    outcome
}

/// Both parts of a state that is kept for each parameter.
fn joined(state: &HashMap<String, RefTensor>, suffix: &str) -> Vec<f64> {
    ["fc.weight", "fc.bias"].iter().flat_map(|name| state[&format!("{name}{suffix}")].data.clone()).collect()
}

fn close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-6 * want.abs().max(1e-3), "{what}: {got}, by the formula {want}");
    }
}

/// Runs the training graph beside `formula(step from 1, lr, p, gradient)`, which moves `p` and returns the
/// optimizer's buffers by suffix.
fn compare(
    optimizer: Optimizer,
    mut formula: impl FnMut(i32, f64, &mut [f64; 5], [f64; 5]) -> Vec<(&'static str, [f64; 5])>,
) {
    let (graph, loss) = quadratic();
    let graph = training_graph(graph, loss, &optimizer).unwrap();
    graph.verify().unwrap();
    let mut state = start(&graph);
    let mut p = START;
    for (t, lr) in RATES.into_iter().enumerate() {
        step(&graph, lr, &mut state);
        let before = gradient(&p);
        let buffers = formula(t as i32 + 1, lr, &mut p, before);
        close(&joined(&state, ""), &p, &format!("{optimizer:?}, step {t}"));
        for (suffix, want) in buffers {
            close(&joined(&state, suffix), &want, &format!("{optimizer:?}, step {t}, {suffix}"));
        }
    }
}

#[test]
fn sgd() {
    // powers of two and their sums, which f32 holds exactly
    let (heavy, light) = (0.125, 1.0 / 1024.0);
    for (momentum, nesterov, weight_decay) in [
        (0.0, false, 0.0),
        (0.0, false, heavy),
        (0.875, false, 0.0),
        (0.875, false, light),
        (0.875, true, 0.0),
        (0.75, true, heavy),
    ] {
        let mut buf = None;
        compare(Optimizer::Sgd(Sgd { momentum, nesterov, weight_decay }), |_, lr, p, g| {
            let d: [f64; 5] = std::array::from_fn(|i| g[i] + weight_decay * p[i]);
            // the first direction is the gradient itself, as in torch.optim.SGD
            let new = buf.map_or(d, |old: [f64; 5]| std::array::from_fn(|i| momentum * old[i] + d[i]));
            buf = Some(new);
            for i in 0..5 {
                p[i] -= lr * if nesterov { d[i] + momentum * new[i] } else { new[i] };
                if momentum == 0.0 {
                    assert_eq!(new, d);
                }
            }
            if momentum == 0.0 { vec![] } else { vec![(".momentum_buffer", new)] }
        });
    }
}

/// Adam with the bias corrections as powers, and the two places of epsilon.
fn adam(optimizer: Optimizer, options: Adam, decoupled: f64) {
    let Adam { beta1, beta2, epsilon, epsilon_mode, weight_decay } = options;
    let (mut m, mut v) = ([0.0; 5], [0.0; 5]);
    compare(optimizer, |t, lr, p, g| {
        let (c1, c2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
        for i in 0..5 {
            let g = g[i] + weight_decay * p[i];
            p[i] *= 1.0 - lr * decoupled;
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            p[i] -= match epsilon_mode {
                EpsilonMode::Corrected => lr * (m[i] / c1) / ((v[i] / c2).sqrt() + epsilon),
                EpsilonMode::Hat => lr * c2.sqrt() / c1 * m[i] / (v[i].sqrt() + epsilon),
            };
        }
        vec![(".exp_avg", m), (".exp_avg_sq", v)]
    });
}

#[test]
fn adam_of_pytorch() {
    let large = Adam { beta1: 0.8, beta2: 0.95, epsilon: 0.3, weight_decay: 0.1, ..Adam::default() };
    for options in [Adam::default(), large] {
        adam(Optimizer::Adam(options), options, 0.0);
    }
}

#[test]
fn adam_of_keras() {
    let keras = Adam { epsilon: 1e-7, epsilon_mode: EpsilonMode::Hat, ..Adam::default() };
    assert_eq!(Optimizer::keras_adam(), Optimizer::Adam(keras));
    // an epsilon that shows: the two modes differ by far more than the tolerance
    for options in [keras, Adam { epsilon: 0.3, ..keras }] {
        adam(Optimizer::Adam(options), options, 0.0);
    }
}

#[test]
fn adamw() {
    let AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay } = AdamW::default();
    assert_eq!(weight_decay, 0.01);
    let options = Adam { beta1, beta2, epsilon, epsilon_mode, weight_decay: 0.0 };
    adam(Optimizer::AdamW(AdamW::default()), options, 0.01);
    adam(Optimizer::AdamW(AdamW { weight_decay: 0.5, ..AdamW::default() }), options, 0.5);
    adam(Optimizer::AdamW(AdamW { weight_decay: 0.0, ..AdamW::default() }), options, 0.0);
}

#[test]
fn bias_corrections_are_one_minus_powers() {
    let (graph, loss) = quadratic();
    let graph = training_graph(graph, loss, &Optimizer::Adam(Adam::default())).unwrap();
    let mut state = start(&graph);
    for t in 1..=50 {
        step(&graph, 1e-3, &mut state);
        for (i, beta) in [(1, 0.9_f64), (2, 0.999)] {
            let got = state[&format!("adam.bias_correction{i}")].data[0];
            let want = 1.0 - beta.powi(t);
            assert!((got - want).abs() <= 1e-6 * want, "step {t}: {got}, {want}");
        }
    }
}

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
