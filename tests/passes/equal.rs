//! No variant of the passes changes a result: on every operation, forward and backward, and on random graphs.

use outrigger::autodiff::gradients;
use outrigger::reference::RefTensor;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::common::build::Build;
use crate::common::{cases, random_graph};
use crate::harness::{Values, changes};

fn given(b: &Build) -> Values {
    b.inputs.iter().chain(&b.state).map(|(name, tensor)| (name.clone(), RefTensor::from(tensor))).collect()
}

#[test]
fn every_operation() {
    let mut failures = Vec::new();
    for case in cases::all() {
        for seed in 0..2 {
            let mut b = case.build(seed);
            if case.differentiable {
                let loss = b.loss();
                let leaves = b.leaves.clone();
                for (at, gradient) in gradients(&mut b.g, loss, &leaves).unwrap().into_iter().enumerate() {
                    b.g.set_output(&format!("gradient {at}"), gradient).unwrap();
                }
            }
            let found = changes(&b.g, &given(&b));
            failures.extend(found.into_iter().map(|what| format!("{}, seed {seed}: {what}", case.name)));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn random_forward(seed in any::<u64>(), nodes in 1usize..40) {
        let b = random_graph::forward(seed, nodes);
        let found = changes(&b.g, &given(&b));
        prop_assert!(found.is_empty(), "{}\n{}", found.join("\n"), b.g);
    }

    #[test]
    fn random_training(seed in any::<u64>(), nodes in 1usize..30) {
        let b = random_graph::training(seed, nodes);
        let found = changes(&b.g, &given(&b));
        prop_assert!(found.is_empty(), "{}\n{}", found.join("\n"), b.g);
    }
}
