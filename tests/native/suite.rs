//! The suite of all operations as native code, against the interpreter.

use outrigger::export::ObjectOptions;
use outrigger::reference::RefTensor;
use outrigger::{DType, Store};

use super::common::build::Build;
use super::common::cases::{self, Case};
use super::common::executors::{Executor, Reference, Results, difference};
use super::driver::{Piece, run_all};
use super::{available, has};

/// Shapes and values of a case follow from this.
const SEED: u64 = 3;

/// Whether the case is a graph for native code: without updates, with types that C has.
fn fits(b: &Build) -> bool {
    let inputs = b.g.inputs().map(|id| id.result(0));
    let mut ports = inputs.chain(b.g.outputs().iter().map(|&(_, value)| value));
    b.g.updates().is_empty() && ports.all(|value| b.g.value_type(value).unwrap().dtype != DType::Bf16)
}

#[test]
fn all_operations() {
    if !has("gcc") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    let mut pieces = Vec::new();
    let mut builds: Vec<(Case, Build)> = Vec::new();
    for case in cases::all() {
        let b = case.build(SEED);
        if !fits(&b) {
            continue;
        }
        let store = Store::new(&b.g, 1).unwrap();
        for (name, value) in &b.state {
            store.set(name, value).unwrap();
        }
        let options = ObjectOptions::new(format!("case{}", pieces.len()));
        match Piece::export(dir.path(), &b.g, &store, &options, |name| b.inputs[name].clone()) {
            Ok(piece) => {
                pieces.push(piece);
                builds.push((case, b));
            }
            Err(error) => failures.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(pieces.len() > 200, "only {} graphs", pieces.len());
    for ((case, b), variants) in builds.iter().zip(run_all(dir.path(), &pieces)) {
        let want = Reference.run(&b.g, &b.inputs, &b.state).unwrap();
        for (isa, outputs) in available().iter().zip(variants) {
            let names = b.g.outputs().iter().map(|(name, _)| name.clone());
            let got: Results = names.zip(outputs.iter().map(RefTensor::from)).collect();
            if let Some(what) = difference(&got, &want, |_, largest| case.limit(b, largest)) {
                failures.push(format!("{}, {isa}: {what}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
