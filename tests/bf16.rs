//! Mixed precision: every path to products of bf16 agrees with the interpreter, which rounds where the graph says so.
mod common;

use std::collections::HashMap;

use common::cases;
use common::executors::{Compiled, Executor, Results};
use outrigger::codegen::Isa;
use outrigger::passes::{PassOptions, at_precision, optimise};
use outrigger::reference;
use outrigger::{Graph, Options, Precision};

fn rounded(graph: &Graph, passes: &PassOptions) -> Graph {
    let (graph, mut report) = optimise(graph, passes).unwrap();
    at_precision(graph, Precision::Bf16, &mut report).unwrap()
}

#[test]
fn probe() {
    let mut worst: Vec<(f64, f64, String)> = Vec::new();
    let all: Vec<(Compiled, PassOptions)> = Isa::ALL
        .into_iter()
        .skip(3)
        .flat_map(|isa| [PassOptions::default(), PassOptions::unfused()].map(|p| (isa, p)))
        .map(|(isa, passes)| {
            let options = Options { isa: Some(isa), passes: passes.clone(), precision: Precision::Bf16 };
            (Compiled::new(format!("{isa}"), options), passes)
        })
        .collect();
    for case in cases::all() {
        for seed in 0..6 {
            let b = case.build(seed);
            for (e, passes) in &all {
                let g = rounded(&b.g, passes);
                let outcome = reference::run(&g, &b.inputs, &b.state).unwrap();
                let want: Results = outcome.outputs;
                let got = match e.run(&b.g, &b.inputs, &b.state) {
                    Ok(g) => g,
                    Err(x) => {
                        println!("{} {} {x}", case.name, e.name());
                        continue;
                    }
                };
                for (n, w) in &want {
                    let g = &got[n];
                    let scale = w.data.iter().filter(|v| v.is_finite()).fold(b.magnitude, |m: f64, v| m.max(v.abs()));
                    let diff: Vec<f64> = w
                        .data
                        .iter()
                        .zip(&g.data)
                        .map(|(a, b)| {
                            if a == b || (a.is_nan() && b.is_nan()) || (*a as f32).is_infinite() {
                                0.0
                            } else {
                                (a - b).abs() / scale
                            }
                        })
                        .collect();
                    let max = diff.iter().cloned().fold(0.0, f64::max);
                    let rms = (diff.iter().map(|d| d * d).sum::<f64>() / diff.len() as f64).sqrt();
                    worst.push((max, rms, format!("{} {seed} {} {n}", case.name, e.name())));
                }
            }
        }
    }
    worst.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap());
    for w in worst.iter().take(40) {
        println!("{:e} {:e} {}", w.0, w.1, w.2);
    }
    let _: HashMap<u8, u8> = HashMap::new();
}
