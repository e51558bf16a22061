//! Mixed precision: every path to products of bf16 agrees with the interpreter on the graph that rounds.
//!
//! A number that f32 and f64 compute to the two sides of a midpoint rounds to two neighbours, a part in 2⁸ apart. That is rare
//! (a few in a hundred thousand), and in a result it is one term of many. So a result may be off by [`FLIP`] of its largest
//! element anywhere, but on the average (root of the mean square) by no more than [`TYPICAL`]: forgetting a rounding
//! costs several times that. A small network with batch norm can make more of one neighbour; what is further away must be a
//! result that moves as far in the interpreter itself, when its inputs move by a few units in the last place of f32.

mod common;

use std::collections::HashMap;

use common::build::Build;
use common::executors::{Compiled, Executor, Results};
use common::rng::Rng;
use common::{cases, random_graph};
use outrigger::autodiff::gradients;
use outrigger::codegen::Isa;
use outrigger::passes::{PassOptions, at_precision, optimise};
use outrigger::reference::{self, RefTensor};
use outrigger::{DType, Graph, Options, Precision, Tensor};

/// Half of a unit in the last place of bf16.
const FLIP: f64 = 1.0 / 512.0;
const TYPICAL: f64 = 1e-4;

fn rounded(graph: &Graph, passes: &PassOptions) -> Graph {
    let (graph, mut report) = optimise(graph, passes).unwrap();
    at_precision(graph, Precision::Bf16, &mut report).unwrap()
}

/// What the interpreter makes of the rounding graph, with inputs and state that were moved by up to `part` of each
/// element.
fn wanted(b: &Build, passes: &PassOptions, part: f64, seed: u64) -> Results {
    let mut rng = Rng::new(seed);
    let mut moved = |tensors: &HashMap<String, Tensor>| -> HashMap<String, RefTensor> {
        let mut names: Vec<&String> = tensors.keys().collect();
        names.sort();
        let tensor = |name: &String| {
            let mut tensor = RefTensor::from(&tensors[name]);
            if tensor.ty.dtype == DType::F32 && part > 0.0 {
                tensor.data.iter_mut().for_each(|v| *v *= 1.0 + part * rng.pick(&[-1.0, -0.5, 0.5, 1.0]));
            }
            (name.clone(), tensor)
        };
        names.into_iter().map(tensor).collect()
    };
    let (inputs, state) = (moved(&b.inputs), moved(&b.state));
    let outcome = reference::run_exact(&rounded(&b.g, passes), &inputs, &state).unwrap();
    let updates = outcome.updates.into_iter().map(|(name, tensor)| (format!("new {name}"), tensor));
    outcome.outputs.into_iter().chain(updates).collect()
}

/// How far the interpreter's result `name` moves with its inputs.
fn movement(b: &Build, passes: &PassOptions, want: &Results, name: &str, floor: f64) -> f64 {
    let apart = |seed: u64| {
        let moved = wanted(b, passes, f64::powi(2.0, -22), seed);
        distances(&moved[name].data, &want[name].data, floor).1
    };
    (0..8).map(apart).fold(0.0, f64::max)
}

/// Every instruction set that this CPU has, with fused and with single kernels.
fn executors() -> Vec<(PassOptions, Vec<Compiled>)> {
    let compiled = |passes: &PassOptions, isa: Isa| {
        let (passes, precision) = (passes.clone(), Precision::Bf16);
        let options = Options { isa: Some(isa), passes, precision, ..Options::default() };
        Compiled::new(isa.to_string(), options)
    };
    let of = |passes: PassOptions| {
        let available = Isa::ALL.into_iter().filter(|isa| isa.available());
        (passes.clone(), available.map(|isa| compiled(&passes, isa)).collect())
    };
    vec![of(PassOptions::default()), of(PassOptions::unfused())]
}

/// The largest difference and the root of the mean square, relative to the largest element or to `floor`.
fn distances(got: &[f64], want: &[f64], floor: f64) -> (f64, f64) {
    let finite = want.iter().filter(|v| (**v as f32).is_finite());
    let scale = finite.fold(floor, |m, v| m.max(v.abs()));
    let apart = |(&got, &want): (&f64, &f64)| {
        let same = got == want || (got.is_nan() && want.is_nan()) || got as f32 == want as f32;
        if same { 0.0 } else { (got - want).abs() / scale }
    };
    let all: Vec<f64> = got.iter().zip(want).map(apart).collect();
    // a NaN on one side is as far as can be
    let largest = all.iter().fold(0.0, |m: f64, &d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
    (largest, (all.iter().map(|d| d * d).sum::<f64>() / all.len() as f64).sqrt())
}

/// What differs from the interpreter.
fn disagreements(b: &Build, floor: f64, executors: &[(PassOptions, Vec<Compiled>)]) -> Vec<String> {
    let mut found = Vec::new();
    for (passes, compiled) in executors {
        let want = wanted(b, passes, 0.0, 0);
        for executor in compiled {
            let got = match executor.run(&b.g, &b.inputs, &b.state) {
                Ok(got) => got,
                Err(error) => {
                    found.push(format!("{}: {error}", executor.name()));
                    continue;
                }
            };
            for (name, tensor) in &want {
                let got = &got[name];
                let exact = tensor.ty.dtype != DType::F32;
                let (largest, typical) = distances(&got.data, &tensor.data, if exact { 1.0 } else { floor });
                let wrong = got.ty != tensor.ty || (exact && largest > 0.0);
                let far = largest > FLIP || typical > TYPICAL;
                if wrong || (far && typical > 2.0 * movement(b, passes, &want, name, floor)) {
                    found
                        .push(format!("{}: {name} is off by {largest:.1e}, on average {typical:.1e}", executor.name()));
                }
            }
        }
    }
    found
}

fn check(found: &[String]) {
    assert!(found.is_empty(), "{} failures:\n{}", found.len(), found.join("\n"));
}

/// The families of the suite that a convolution takes part in, and one that none does.
fn suite() -> impl Iterator<Item = cases::Case> {
    let families = ["conv", "fused", "composite", "norm"];
    cases::all().into_iter().filter(move |case| families.iter().any(|f| case.name.starts_with(f)))
}

#[test]
fn forward() {
    let executors = executors();
    let mut found = Vec::new();
    for case in suite() {
        for seed in 0..4 {
            let b = case.build(seed);
            let all = disagreements(&b, b.magnitude, &executors);
            found.extend(all.into_iter().map(|what| format!("{}, seed {seed}: {what}", case.name)));
        }
    }
    check(&found);
}

#[test]
fn compiled_gradients() {
    let executors = executors();
    let mut found = Vec::new();
    for case in suite().filter(|case| case.differentiable) {
        for seed in 0..2 {
            let mut b = case.build(seed);
            let loss = b.loss();
            let grads = gradients(&mut b.g, loss, &b.leaves).unwrap();
            for (at, gradient) in grads.into_iter().enumerate() {
                b.g.set_output(&format!("gradient {at}"), gradient).unwrap();
            }
            let all = disagreements(&b, b.magnitude.max(b.gradient_magnitude), &executors);
            found.extend(all.into_iter().map(|what| format!("{}, seed {seed}: {what}", case.name)));
        }
    }
    check(&found);
}

#[test]
fn random_graphs() {
    let executors = executors();
    let mut found = Vec::new();
    for seed in 0..24 {
        for (what, b) in [("forward", random_graph::forward(seed, 16)), ("training", random_graph::training(seed, 12))]
        {
            found.extend(disagreements(&b, 1.0, &executors).into_iter().map(|f| format!("{what} {seed}: {f}")));
        }
    }
    check(&found);
}

/// The same with dead memory poisoned and all buffers guarded (in a process of its own: the variable is read once).
#[test]
fn poisoned_and_guarded() {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "forward", "compiled_gradients", "random_graphs"])
        .env("OUTRIGGER_DEBUG", "poison,bounds")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("3 passed"), "{}: {said}", run.status);
}

/// The tests above can fail: the interpreter without the roundings is further away than they allow.
#[test]
fn roundings_show() {
    let (mut typical, mut narrow) = (0.0f64, 0);
    for seed in 0..32 {
        let b = random_graph::training(seed, 12);
        let want = wanted(&b, &PassOptions::default(), 0.0, 0);
        let exact = reference::run(&b.g, &b.inputs, &b.state).unwrap();
        for (name, tensor) in &exact.updates {
            typical = typical.max(distances(&tensor.data, &want[&format!("new {name}")].data, 1.0).1);
        }
        let graph = rounded(&b.g, &PassOptions::default());
        let types = graph.nodes().filter_map(|id| graph.get(id)).flat_map(|node| &node.results);
        narrow += types.filter(|ty| ty.dtype == DType::Bf16).count();
    }
    assert!(typical > 5.0 * TYPICAL && narrow > 20, "{typical:.1e}, {narrow} narrow values");
}

/// What leaves a program stays f32, and so do vectors and weights.
#[test]
fn only_what_kernels_exchange_is_narrow() {
    for seed in 0..24 {
        let b = random_graph::training(seed, 16);
        let graph = rounded(&b.g, &PassOptions::default());
        let wide = |value| graph.value_type(value).is_some_and(|ty| ty.dtype != DType::Bf16);
        assert!(graph.outputs().iter().all(|&(_, value)| wide(value)));
        assert!(graph.updates().iter().all(|&(_, value)| wide(value)));
        for node in graph.nodes().filter_map(|id| graph.get(id)) {
            for ty in node.results.iter().filter(|ty| ty.dtype == DType::Bf16) {
                assert_eq!(ty.shape.rank(), 4, "{}", node.name);
            }
        }
        // the text form knows the type and the outputs
        assert!(Graph::parse(&graph.to_string()).unwrap() == graph);
    }
}
