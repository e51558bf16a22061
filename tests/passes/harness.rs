//! Runs a graph before and after the passes through the reference interpreter and compares.

use std::collections::HashMap;

use outrigger::graph::{Node, NodeId};
use outrigger::ops::{Fused, Init, Op};
use outrigger::passes::{PASSES, PassOptions, Report, optimise};
use outrigger::reference::{Outcome, RefTensor, run_exact};
use outrigger::{DType, Graph, Value};

use crate::common::rng::Rng;

/// Values of inputs and states by name.
pub type Values = HashMap<String, RefTensor>;

/// Random values for every input and state. Labels are below `classes`; gammas, variances and moments are
/// positive.
pub fn values(graph: &Graph, seed: u64, classes: usize) -> Values {
    let mut rng = Rng::new(seed);
    let mut values = HashMap::new();
    for id in graph.states().chain(graph.inputs()) {
        let node = graph.get(id).unwrap();
        let ty = node.results[0].clone();
        let gamma = matches!(node.op, Op::Parameter(_, Init::Constant(c)) if c > 0.0);
        let positive = gamma || matches!(node.op, Op::Buffer(..));
        let mut number = || match ty.dtype {
            DType::F32 if positive => rng.uniform(0.4, 1.2),
            DType::F32 | DType::Bf16 => rng.uniform(-1.0, 1.0),
            DType::I32 | DType::U8 => rng.below(classes) as f64,
        };
        let data = (0..ty.shape.elements()).map(|_| number()).collect();
        values.insert(node.name.clone(), RefTensor::new(ty, data).unwrap());
    }
    values
}

pub fn evaluate(graph: &Graph, values: &Values) -> Outcome {
    run_exact(graph, values, values).unwrap_or_else(|e| panic!("{}: {e}\n{graph}", graph.name()))
}

/// Where outputs and updates differ by more than `tolerance`, relative to the largest element of each
/// tensor, or to one where that is larger.
pub fn difference(want: &Outcome, got: &Outcome, tolerance: f64) -> Option<String> {
    for (want, got) in [(&want.outputs, &got.outputs), (&want.updates, &got.updates)] {
        assert_eq!(want.len(), got.len());
        for (name, want) in want {
            let got = &got[name];
            assert_eq!(want.ty, got.ty, "{name}");
            let finite = want.data.iter().filter(|x| x.is_finite());
            let limit = tolerance * finite.fold(1.0, |m: f64, x| m.max(x.abs()));
            for (at, (x, y)) in want.data.iter().zip(&got.data).enumerate() {
                let same = x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= limit;
                if !same {
                    return Some(format!("{name}[{at}] is {y}, not {x} (within {limit:.1e})"));
                }
            }
        }
    }
    None
}

/// Names of the passes that can be switched off.
pub fn optional() -> Vec<&'static str> {
    PASSES.iter().filter(|p| !p.mandatory).map(|p| p.name).collect()
}

/// All passes, none but the mandatory ones, and all but each.
pub fn variants() -> Vec<(String, PassOptions)> {
    let mut all = vec![("all".to_string(), PassOptions::default()), ("none".to_string(), PassOptions::unfused())];
    for name in optional() {
        all.push((format!("without {name}"), PassOptions::without(&[name]).unwrap()));
    }
    all
}

/// Both sides are computed in f64, so sums in another order differ by 1e-15 a term. Only a folded constant
/// is rounded to f32.
pub fn tolerance(options: &PassOptions) -> f64 {
    if options.runs("constants") { 3e-7 } else { 1e-10 }
}

/// What each variant of the passes changes in the graph's results.
pub fn changes(graph: &Graph, values: &Values) -> Vec<String> {
    let want = evaluate(graph, values);
    let mut found = Vec::new();
    for (name, options) in variants() {
        match optimise(graph, &options) {
            Err(error) => found.push(format!("{name}: {error}")),
            Ok((optimised, _)) => {
                let got = evaluate(&optimised, values);
                found.extend(difference(&want, &got, tolerance(&options)).map(|what| format!("{name}: {what}")));
            }
        }
    }
    found
}

/// Checks that no variant of the passes changes a result, and gives the graph of all passes.
pub fn check(graph: &Graph) -> (Graph, Report) {
    let found = changes(graph, &values(graph, 7, 3));
    assert!(found.is_empty(), "{}: {}\n{graph}", graph.name(), found.join("\n"));
    optimise(graph, &PassOptions::default()).unwrap()
}

pub fn nodes(graph: &Graph) -> impl Iterator<Item = &Node> {
    graph.nodes().map(|id| graph.get(id).unwrap())
}

/// How many nodes have an operation of this kind.
pub fn count(graph: &Graph, kind: &str) -> usize {
    nodes(graph).filter(|n| n.op.kind() == kind).count()
}

/// The only node of this kind.
pub fn only<'a>(graph: &'a Graph, kind: &str) -> &'a Node {
    let mut found = nodes(graph).filter(|n| n.op.kind() == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind} in\n{graph}"));
    assert!(found.next().is_none(), "several {kind} in\n{graph}");
    first
}

/// The fused kernel of the only node of this kind.
pub fn kernel<'a>(graph: &'a Graph, kind: &str) -> &'a Fused {
    match &only(graph, kind).op {
        Op::Fused(fused) => fused,
        other => panic!("{} is no fused kernel", other.kind()),
    }
}

/// The node that makes the output `name`.
pub fn output<'a>(graph: &'a Graph, name: &str) -> &'a Node {
    graph.get(graph.output(name).unwrap().node).unwrap()
}

/// The node `id` of the graph.
pub fn at(graph: &Graph, id: NodeId) -> &Node {
    graph.get(id).unwrap()
}

/// A graph of an f32 input over `shape` and what `build` returns as the output `y`.
pub fn unary_graph(shape: &[usize], build: impl FnOnce(&mut Graph, Value) -> Result<Value, outrigger::Error>) -> Graph {
    let mut g = Graph::new("case");
    let x = g.input("x", DType::F32, shape).unwrap();
    let y = build(&mut g, x).unwrap();
    g.set_output("y", y).unwrap();
    g
}

/// The optimised graph by these passes only, besides the mandatory ones.
pub fn only_passes(graph: &Graph, names: &[&str]) -> (Graph, Report) {
    let others: Vec<&str> = optional().into_iter().filter(|p| !names.contains(p)).collect();
    optimise(graph, &PassOptions::without(&others).unwrap()).unwrap()
}
