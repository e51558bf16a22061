//! Steps of the seed's network, all threads: training on a small batch, and inference of one image and of the batch.
//!
//! The batch of 100 is measured by `outrigger bench`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outrigger::Error;
use outrigger::data::Batch;
use outrigger::train::{ModelOptions, Recipe};

/// Small enough that criterion's samples take seconds.
const BATCH: usize = 10;

fn steps(c: &mut Criterion) -> Result<(), Error> {
    let recipe = Recipe { batch: BATCH, ..Recipe::default() };
    let mut model = recipe.compile(ModelOptions::default())?;
    let pixel = |i: usize| (i as f32 * 12.9898).sin() * 0.5 + 0.5;
    let batch = |n: usize| Batch {
        shape: vec![n, 32, 32, 3],
        inputs: (0..n * 32 * 32 * 3).map(pixel).collect(),
        labels: (0..n as i32).collect(),
        targets: Vec::new(),
    };
    let (several, one) = (batch(BATCH), batch(1));
    model.train_step(&several, &several)?;

    let mut group = c.benchmark_group("resnet_2_2_2");
    group.sample_size(20);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("train_step_10", |b| b.iter(|| model.train_step(&several, &several)));
    model.eval();
    group.bench_function("infer_10", |b| b.iter(|| model.forward(&several)));
    group.throughput(Throughput::Elements(1));
    group.bench_function("infer_1", |b| b.iter(|| model.forward(&one)));
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    if let Err(error) = steps(c) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
