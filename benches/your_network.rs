//! A user's own network under Criterion: its step, forward and backward pass, and every kernel. A few lines are enough;
//! `cargo bench --features criterion --bench your_network` runs them.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use outrigger::graph::ConvOptions;
use outrigger::ops::Init;
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};
use outrigger::{DType, Error, Graph, Options, Padding, Store, Team, bench, compile};

/// A convolution and a classifier for 16 images of 28 × 28 pixels, with Adam.
fn network() -> Result<Graph, Error> {
    let mut g = Graph::new("small");
    let images = g.input("images", DType::F32, [16, 28, 28, 1])?;
    let labels = g.input("labels", DType::I32, [16])?;
    let filters = g.parameter("conv.weight", [3, 3, 1, 32], Init::kaiming_uniform(9))?;
    let options = ConvOptions { padding: Padding::Same, ..ConvOptions::default() };
    let x = g.conv2d(images, filters, None, options)?;
    let x = g.relu(x)?;
    let x = g.global_avg_pool(x)?;
    let weight = g.parameter("fc.weight", [32, 10], Init::kaiming_uniform(32))?;
    let logits = g.linear(x, weight, None)?;
    let loss = g.cross_entropy(logits, labels)?;
    training_graph(g, loss, &Optimizer::Adam(Adam::default()))
}

fn register(criterion: &mut Criterion) -> Result<(), Error> {
    let graph = network()?;
    let (store, team) = (Store::new(&graph, 0)?, Arc::new(Team::new(1)?));
    let mut session = compile(&graph, &Options::default())?.session(&store, &team)?;
    bench::fill(&mut session, 0)?;
    bench::program(criterion, "small", &mut session)
}

fn all(criterion: &mut Criterion) {
    if let Err(error) = register(criterion) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
