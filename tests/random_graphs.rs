//! Random graphs: every way to run them agrees with the reference, and rewriting their form changes nothing.

mod common;

use common::build::Build;
use common::executors::{Executor, Reference, difference, executors};
use common::random_graph;
use outrigger::graph::Graph;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Rounding errors grow from step to step; a wrong element is off by its own size.
const TOLERANCE: f64 = 2e-5;

fn config(cases: u32) -> ProptestConfig {
    // the same graphs in every run: a failure can be looked into
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

/// What executors say of the graph that differs from the reference.
fn disagreements(b: &Build) -> Vec<String> {
    let want = Reference.run(&b.g, &b.inputs, &b.state).unwrap();
    let run = |executor: &dyn Executor| match executor.run(&b.g, &b.inputs, &b.state) {
        // one for results that cancel to nearly zero, as means of normalised channels do
        Ok(got) => difference(&got, &want, |_, largest| TOLERANCE * largest.max(1.0)),
        Err(error) => Some(error),
    };
    executors().iter().filter_map(|e| run(e.as_ref()).map(|what| format!("{}: {what}", e.name()))).collect()
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn forward(seed in any::<u64>(), nodes in 1usize..24) {
        let b = random_graph::forward(seed, nodes);
        let found = disagreements(&b);
        prop_assert!(found.is_empty(), "{}\n{}", found.join("\n"), b.g);
    }

    #[test]
    fn training(seed in any::<u64>(), nodes in 1usize..16) {
        let b = random_graph::training(seed, nodes);
        let found = disagreements(&b);
        prop_assert!(found.is_empty(), "{}\n{}", found.join("\n"), b.g);
    }
}

proptest! {
    #![proptest_config(config(200))]

    /// Text and back, and without what nothing needs: the same results, to the last bit.
    #[test]
    fn other_forms_of_a_graph_mean_the_same(seed in any::<u64>(), nodes in 1usize..24) {
        let b = random_graph::forward(seed, nodes);
        prop_assert!(b.g.verify().is_ok());
        let back = Graph::parse(&b.g.to_string()).unwrap();
        prop_assert!(back == b.g);
        let compact = b.g.compact();
        prop_assert!(compact.verify().is_ok() && compact.len() <= b.g.len());
        let run = |graph: &Graph| Reference.run(graph, &b.inputs, &b.state).unwrap();
        prop_assert!(run(&compact) == run(&b.g));
    }
}

/// The generator makes what it promises: graphs that use values several times and contain every family.
#[test]
fn the_graphs_are_varied() {
    let (mut kinds, mut shared, mut nodes) = (std::collections::BTreeSet::new(), 0, 0);
    for seed in 0..100 {
        let graph = random_graph::forward(seed, 20).g;
        nodes += graph.len();
        for id in graph.nodes() {
            kinds.extend(graph.get(id).map(|node| node.op.kind()));
            shared += usize::from(graph.users(id).len() > 1);
        }
    }
    let families = ["conv2d", "batch_norm", "batch_norm_eval", "relu", "add", "max_pool", "avg_pool", "matmul"];
    let movement = ["reduce_mean", "reduce_max", "reshape", "transpose", "slice", "pad", "concat", "softmax", "random"];
    let missing: Vec<_> = families.iter().chain(&movement).filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "no graph has {missing:?}");
    assert!(nodes > 2000 && shared > nodes / 10, "{nodes} nodes, {shared} with several users");
}
