//! Every operation, forward and gradient, by every executor (see `tests/common/executors.rs`).

mod common;

use std::collections::{BTreeSet, HashMap};

use common::build::Build;
use common::cases::{self, Case};
use common::executors::{Executor, Reference, difference, executors};
use common::rng::Rng;
use outrigger::Tensor;
use outrigger::autodiff::gradients;
use outrigger::graph::{Graph, Value};
use outrigger::ops::{Anchor, Binary, Fused, Op, Output, Program, ReduceKind, Step, Unary};
use outrigger::reference::{RefTensor, run_exact};

/// Each case is built with these seeds, which choose its shapes and values.
const SEEDS: std::ops::Range<u64> = 0..6;

/// Runs `check` on every case and seed, and fails with the list of what it found.
fn all_cases(check: impl Fn(&Case, u64) -> Vec<String>) {
    let mut failures = Vec::new();
    for case in cases::all() {
        for seed in SEEDS {
            let found = check(&case, seed);
            failures.extend(found.into_iter().map(|what| format!("{}, seed {seed}: {what}", case.name)));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// What executors say of the graph that differs from the reference by more than `limit` of the output's name
/// and its largest element.
fn disagreements(all: &[Box<dyn Executor>], b: &Build, limit: impl Fn(&str, f64) -> f64) -> Vec<String> {
    let want = match Reference.run(&b.g, &b.inputs, &b.state) {
        Ok(results) => results,
        Err(error) => return vec![format!("reference: {error}")],
    };
    let run = |executor: &dyn Executor| match executor.run(&b.g, &b.inputs, &b.state) {
        Ok(got) => difference(&got, &want, &limit),
        Err(error) => Some(error),
    };
    all.iter().filter_map(|e| run(e.as_ref()).map(|what| format!("{}: {what}", e.name()))).collect()
}

#[test]
fn forward() {
    let executors = executors();
    all_cases(|case, seed| {
        let b = case.build(seed);
        disagreements(&executors, &b, |_, largest| case.limit(&b, largest))
    });
}

/// Everything once more in a process of its own (the variable is read once) that poisons dead buffers with NaN and
/// guards the memory: a kernel that reads what it should not then differs, one that writes there is caught.
#[test]
fn poisoned_and_guarded() {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "forward", "compiled_gradients"])
        .env("OUTRIGGER_DEBUG", "poison,bounds")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("2 passed"), "{}: {said}", run.status);
}

/// The case with its loss and the gradients of all leaves as outputs, and the leaves' gradients.
fn differentiated(case: &Case, seed: u64) -> (Build, Graph, Value, Vec<Value>) {
    let mut b = case.build(seed);
    let loss = b.loss();
    let forward = b.g.clone();
    let grads = gradients(&mut b.g, loss, &b.leaves).unwrap_or_else(|e| panic!("{}, seed {seed}: {e}", case.name));
    for (at, &gradient) in grads.iter().enumerate() {
        b.g.set_output(&format!("gradient {at}"), gradient).unwrap();
    }
    (b, forward, loss, grads)
}

#[test]
fn compiled_gradients() {
    let executors = executors();
    all_cases(|case, seed| {
        if !case.differentiable {
            return Vec::new();
        }
        let (b, ..) = differentiated(case, seed);
        let elements = b.g.nodes().filter_map(|id| b.g.get(id)).flat_map(|n| &n.results).map(|t| t.shape.elements());
        let elements = elements.max().unwrap_or(1);
        disagreements(&executors, &b, |name, largest| {
            match name.strip_prefix("gradient ").and_then(|at| at.parse().ok()) {
                Some(at) => case.gradient_limit(&b, at, elements, largest),
                None => case.limit(&b, largest),
            }
        })
    });
}

/// Gradients against fourth-order differences of the reference: along a random direction through all
/// elements of a leaf at once, and for a few elements alone.
#[test]
fn gradients_are_slopes() {
    all_cases(|case, seed| {
        if !case.differentiable {
            return Vec::new();
        }
        let (b, forward, loss, grads) = differentiated(case, seed);
        let inputs: HashMap<String, RefTensor> = b.inputs.iter().map(|(n, t)| (n.clone(), t.into())).collect();
        let state: HashMap<String, RefTensor> = b.state.iter().map(|(n, t)| (n.clone(), t.into())).collect();
        let outcome = run_exact(&b.g, &inputs, &state).unwrap();
        let mut rng = Rng::new(seed);
        let mut found = Vec::new();
        for (&leaf, gradient) in b.leaves.iter().zip(grads) {
            let name = &b.g.get(leaf.node).unwrap().name;
            let gradient = &outcome.values[&gradient].data;
            let n = gradient.len();
            let mut directions = vec![(0..n).map(|_| rng.pick(&[-1.0, 1.0])).collect::<Vec<f64>>()];
            for _ in 0..4 {
                let at = rng.below(n);
                directions.push((0..n).map(|i| f64::from(u8::from(i == at))).collect());
            }
            for direction in directions {
                let at = |t: f64| {
                    let (mut inputs, mut state) = (inputs.clone(), state.clone());
                    let moved = inputs.get_mut(name).or(state.get_mut(name)).unwrap();
                    moved.data.iter_mut().zip(&direction).for_each(|(x, d)| *x += t * d);
                    run_exact(&forward, &inputs, &state).unwrap().values[&loss].data[0]
                };
                let h = 2e-4;
                let slope = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
                let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
                // constants in the rules are f32; the floor is for slopes that are zero but for rounding
                let scale = 1e-3 + gradient.iter().zip(&direction).map(|(g, d)| (g * d).abs()).sum::<f64>();
                if (slope - expected).abs().partial_cmp(&(1e-6 * scale)) != Some(std::cmp::Ordering::Less) {
                    found.push(format!("the gradient of {name} gives a slope of {expected}, differences {slope}"));
                }
            }
        }
        found
    });
}

#[test]
fn graphs_are_valid_and_return_from_their_text() {
    all_cases(|case, seed| {
        let graph = case.build(seed).g;
        if let Err(error) = graph.verify() {
            return vec![error.to_string()];
        }
        match Graph::parse(&graph.to_string()) {
            Ok(back) if back == graph => Vec::new(),
            Ok(back) => vec![format!("came back as\n{back}\ninstead of\n{graph}")],
            Err(error) => vec![format!("{error} in\n{graph}")],
        }
    });
}

/// Compares a set of names with the number of a type's variants. `number` matches them all, without `_`: who adds a
/// variant must number it and raise the count, and then lacks a case here.
fn complete(what: &str, seen: BTreeSet<usize>, count: usize) {
    let missing: Vec<_> = (0..count).filter(|n| !seen.contains(n)).collect();
    assert!(missing.is_empty() && seen.len() == count, "no case has {what} number {missing:?} (see this file)");
}

#[test]
fn every_operation_has_a_case() {
    let mut ops = Vec::new();
    for case in cases::all() {
        for seed in SEEDS {
            let graph = case.build(seed).g;
            ops.extend(graph.nodes().filter_map(|id| graph.get(id)).map(|node| node.op.clone()));
        }
    }
    complete("op", ops.iter().map(op_number).collect(), 36);
    let unary = |op: &Op| if let Op::Unary(u) = op { Some(unary_number(u)) } else { None };
    complete("unary function", ops.iter().filter_map(unary).collect(), 16);
    let binary = |op: &Op| if let Op::Binary(b) = op { Some(binary_number(b)) } else { None };
    complete("binary function", ops.iter().filter_map(binary).collect(), 9);
    let reduce = |op: &Op| if let Op::Reduce(r) = op { Some(reduce_number(r.kind)) } else { None };
    complete("reduction", ops.iter().filter_map(reduce).collect(), 4);

    let fused: Vec<_> = ops.iter().filter_map(|op| if let Op::Fused(f) = op { Some(f) } else { None }).collect();
    complete("anchor", fused.iter().map(|f| anchor_number(&f.anchor)).collect(), 6);
    let programs = || fused.iter().flat_map(|f| [&f.source, &f.gradient, &f.result]);
    complete("step", programs().flat_map(|p| &p.steps).map(step_number).collect(), 6);
    complete("output", programs().flat_map(|p| &p.outputs).map(output_number).collect(), 3);
}

fn op_number(op: &Op) -> usize {
    match op {
        Op::Input(_) => 0,
        Op::Parameter(..) => 1,
        Op::Buffer(..) => 2,
        Op::Constant(_) => 3,
        Op::Random(_) => 4,
        Op::Unary(_) => 5,
        Op::Binary(_) => 6,
        Op::Select => 7,
        Op::Cast(_) => 8,
        Op::Reshape(_) => 9,
        Op::Transpose(_) => 10,
        Op::Broadcast(_) => 11,
        Op::Pad(_) => 12,
        Op::Slice(_) => 13,
        Op::Concat(_) => 14,
        Op::OneHot(_) => 15,
        Op::Gather => 34,
        Op::ScatterAdd(_) => 35,
        Op::Reduce(_) => 16,
        Op::Softmax(_) => 17,
        Op::LogSoftmax(_) => 18,
        Op::MatMul(_) => 19,
        Op::Conv2d(_) => 20,
        Op::Conv2dGradInput(..) => 21,
        Op::Conv2dGradWeight(..) => 22,
        Op::MaxPool(_) => 23,
        Op::MaxPoolIndex(_) => 24,
        Op::MaxPoolGrad(..) => 25,
        Op::AvgPool(_) => 26,
        Op::AvgPoolGrad(..) => 27,
        Op::BatchNorm(_) => 28,
        Op::BatchNormEval(_) => 29,
        Op::BatchNormGrad => 30,
        Op::Coefficients(_) => 31,
        Op::GradCoefficients(_) => 32,
        Op::Fused(_) => 33,
    }
}

fn unary_number(op: &Unary) -> usize {
    match op {
        Unary::Neg => 0,
        Unary::Abs => 1,
        Unary::Sign => 2,
        Unary::Exp => 3,
        Unary::Log => 4,
        Unary::Sqrt => 5,
        Unary::Rsqrt => 6,
        Unary::Relu => 7,
        Unary::LeakyRelu(_) => 8,
        Unary::Sigmoid => 9,
        Unary::Tanh => 10,
        Unary::Erf => 11,
        Unary::Gelu => 12,
        Unary::Silu => 13,
        Unary::Softplus => 14,
        Unary::Clamp(..) => 15,
    }
}

fn binary_number(op: &Binary) -> usize {
    match op {
        Binary::Add => 0,
        Binary::Sub => 1,
        Binary::Mul => 2,
        Binary::Div => 3,
        Binary::Max => 4,
        Binary::Min => 5,
        Binary::Greater => 6,
        Binary::GreaterEqual => 7,
        Binary::Equal => 8,
    }
}

fn reduce_number(kind: ReduceKind) -> usize {
    match kind {
        ReduceKind::Sum => 0,
        ReduceKind::Mean => 1,
        ReduceKind::Max => 2,
        ReduceKind::Min => 3,
    }
}

fn anchor_number(anchor: &Anchor) -> usize {
    match anchor {
        Anchor::Map(_) => 0,
        Anchor::Conv2d { .. } => 1,
        Anchor::ConvBackward { data: true, filter: true, .. } => 2,
        Anchor::ConvBackward { data: true, filter: false, .. } => 3,
        Anchor::ConvBackward { data: false, .. } => 4,
        Anchor::Maps { .. } => 5,
    }
}

fn step_number(step: &Step) -> usize {
    match step {
        Step::Anchor => 0,
        Step::Operand(_) => 1,
        Step::Constant(_) => 2,
        Step::Unary(..) => 3,
        Step::Binary(..) => 4,
        Step::Select(..) => 5,
    }
}

fn output_number(output: &Output) -> usize {
    match output {
        Output::Full(_) => 0,
        Output::Sums(_) => 1,
        Output::Bf16(_) => 2,
    }
}

/// Sums over a prime number of rows, in one chunk or in two of different size, round as little as sums over a
/// round number: the bound is the longest chain of additions that runs of 64 make, a unit in the last place each.
#[test]
fn long_sums_round_by_runs() {
    let rows = 65_537;
    let executors = executors();
    for chunks in [1, 2] {
        let mut b = Build::new("sums", 0);
        let x = b.given(Tensor::full([rows, 5], 0.1));
        let result = Program { steps: vec![Step::Operand(0)], value: 0, outputs: vec![Output::Sums(0)] };
        let (source, gradient) = Default::default();
        let fused = Fused {
            anchor: Anchor::Map([rows, 5].into()),
            chunks,
            precision: Default::default(),
            source,
            gradient,
            result,
        };
        let sums = b.g.op(Op::Fused(Box::new(fused)), &[x]).unwrap();
        b.also(sums);
        let chain = (rows / chunks).div_ceil(64) + 64;
        let found = disagreements(&executors, &b, |_, largest| chain as f64 * f64::powi(2.0, -24) * largest);
        assert!(found.is_empty(), "{chunks} chunks: {}", found.join("\n"));
    }
}
