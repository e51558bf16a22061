//! What fusion is worth: the seed's network with all passes, and with the mandatory ones only, on one thread.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::passes::PassOptions;
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};
use outrigger::{Error, Graph, Options, Session, Store, Team, compile};

/// Images of a step: enough that activations do not stay in the second-level cache.
const BATCH: usize = 20;

fn session(graph: &Graph, passes: PassOptions) -> Result<Session, Error> {
    let program = compile(graph, &Options { passes, ..Options::default() })?;
    let mut session = program.session(&Store::new(graph, 0)?, &Arc::new(Team::new(1)?))?;
    let pixels: Vec<f32> = (0..BATCH * 32 * 32 * 3).map(|i| (i as f32 * 12.9898).sin() * 0.5 + 0.5).collect();
    let labels: Vec<i32> = (0..BATCH as i32).map(|i| i % 10).collect();
    session.set_f32("images", &pixels)?;
    session.set_i32("labels", &labels)?;
    if session.missing_inputs().next().is_some() {
        session.set_f32("lr", &[1e-3])?;
    }
    session.run()?;
    Ok(session)
}

fn fusion(criterion: &mut Criterion) -> Result<(), Error> {
    let model = ResNetCifar::default();
    let forward = model.training(BATCH)?;
    let loss = forward.output("loss")?;
    let training = training_graph(forward, loss, &Optimizer::Adam(Adam::default()))?;
    let inference = model.evaluation(BATCH)?;

    let mut group = criterion.benchmark_group("fusion");
    group.sample_size(20);
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, graph) in [("train_step", &training), ("inference", &inference)] {
        for (kind, passes) in [("fused", PassOptions::default()), ("unfused", PassOptions::unfused())] {
            let mut session = session(graph, passes)?;
            group.bench_function(BenchmarkId::new(kind, name), |b| b.iter(|| session.run()));
        }
    }
    group.finish();
    Ok(())
}

fn all(criterion: &mut Criterion) {
    if let Err(error) = fusion(criterion) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
