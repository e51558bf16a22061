//! The optimizers of the training graph, over several steps of a quadratic loss, against the formulas
//! of the papers in plain f64; and what else the training graph adds.
//!
//! The loss is `Σ a·(p - t)²/2`, so the gradient is `a·(p - t)` by hand.

use std::collections::HashMap;

use outrigger::ops::{Init, Op};
use outrigger::reference::{Outcome, RefTensor, run_exact};
use outrigger::train::optimizer::{Optimizer, TrainingOptions, training_graph, training_graph_with};
use outrigger::{Graph, Tensor, Value};

mod formulas;
mod graph;
mod groups;
mod pytorch;

const CURVATURE: [f32; 5] = [2.0, 0.5, 1e-3, 4.0, 1.0];
const TARGET: [f32; 5] = [1.0, -2.0, 0.25, 0.0, 4.0];
const START: [f64; 5] = [0.3, 1.5, -0.75, 2.0, -1.25];
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

/// The starting point for parameters, what they were made with for the other states.
fn start(graph: &Graph) -> HashMap<String, RefTensor> {
    let mut state = HashMap::new();
    for id in graph.states() {
        let node = graph.get(id).unwrap();
        let ty = node.results[0].clone();
        let data = match node.name.as_str() {
            "fc.weight" => START[..3].to_vec(),
            "fc.bias" => START[3..].to_vec(),
            _ => match node.op {
                Op::Buffer(_, Init::Constant(value)) => vec![f64::from(value); ty.shape.elements()],
                _ => panic!("{} has no constant start", node.name),
            },
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

/// The parameters after a step with each rate.
fn trained(options: &TrainingOptions) -> HashMap<String, RefTensor> {
    let (graph, loss) = quadratic();
    let graph = training_graph_with(graph, loss, options).unwrap();
    graph.verify().unwrap();
    let mut state = start(&graph);
    for lr in RATES {
        step(&graph, lr, &mut state);
    }
    state
}
