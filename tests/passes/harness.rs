//! Runs a graph before and after the passes through the reference interpreter and compares.

use std::collections::HashMap;

use outrigger::graph::NodeId;
use outrigger::ops::{Init, Op};
use outrigger::passes::{PASSES, PassOptions, Report, optimise};
use outrigger::reference::{Outcome, RefTensor, run_exact};
use outrigger::{DType, Graph};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random values for every input and state. Labels are below `classes`; variances,
/// moments and gammas are positive.
pub fn values(graph: &Graph, seed: u64, classes: i32) -> HashMap<String, RefTensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = HashMap::new();
    for id in graph.states().chain(graph.inputs()) {
        let node = graph.get(id).unwrap();
        let ty = node.results[0].clone();
        let positive =
            matches!(node.op, Op::Parameter(_, Init::Constant(c)) if c > 0.0) || matches!(node.op, Op::Buffer(..));
        let mut number = || match ty.dtype {
            DType::F32 if positive => rng.random_range(0.4..1.2),
            DType::F32 => rng.random_range(-1.0..1.0),
            DType::I32 | DType::U8 => f64::from(rng.random_range(0..classes)),
        };
        let data = (0..ty.shape.elements()).map(|_| number()).collect();
        values.insert(node.name.clone(), RefTensor::new(ty, data).unwrap());
    }
    values
}

pub fn evaluate(graph: &Graph, values: &HashMap<String, RefTensor>) -> Outcome {
    run_exact(graph, values, values).unwrap_or_else(|e| panic!("{}: {e}", graph.name()))
}

/// The largest difference of outputs and updates, relative to the largest element of each.
pub fn difference(a: &Outcome, b: &Outcome) -> f64 {
    let mut worst: f64 = 0.0;
    for (one, other) in [(&a.outputs, &b.outputs), (&a.updates, &b.updates)] {
        assert_eq!(one.len(), other.len());
        for (name, tensor) in one {
            let got = &other[name];
            assert_eq!(tensor.ty, got.ty, "{name}");
            let scale = tensor.data.iter().fold(1e-6, |m: f64, x| m.max(x.abs()));
            for (x, y) in tensor.data.iter().zip(&got.data) {
                assert!(x.is_finite() && y.is_finite(), "{name}: {x} {y}");
                worst = worst.max((x - y).abs() / scale);
            }
        }
    }
    worst
}

/// Names of the passes that can be switched off.
pub fn optional() -> Vec<&'static str> {
    PASSES.iter().filter(|p| !p.mandatory).map(|p| p.name).collect()
}

/// Checks that the graph gives the same with all passes, without any, and without each one.
pub fn check(graph: &Graph, classes: i32, tolerance: f64) -> (Graph, Report) {
    let values = values(graph, 7, classes);
    let expected = evaluate(graph, &values);
    let mut all = vec![("all".to_string(), PassOptions::default()), ("none".to_string(), PassOptions::unfused())];
    for name in optional() {
        all.push((format!("without {name}"), PassOptions::without(&[name]).unwrap()));
    }
    for (name, options) in &all {
        let (optimised, _) = optimise(graph, options).unwrap_or_else(|e| panic!("{}, {name}: {e}", graph.name()));
        let d = difference(&expected, &evaluate(&optimised, &values));
        assert!(d < tolerance, "{}, {name}: differs by {d:e}", graph.name());
    }
    optimise(graph, &PassOptions::default()).unwrap()
}

/// Ids of the nodes for which `f` holds.
pub fn find(graph: &Graph, f: impl Fn(&Op) -> bool) -> Vec<NodeId> {
    graph.nodes().filter(|&id| f(&graph.get(id).unwrap().op)).collect()
}
