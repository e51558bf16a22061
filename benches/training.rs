//! Steps of the seed's network, all threads: training on a small batch, and inference of one image and of the batch.
//!
//! The batch of 100 is measured by `cargo run --release --example speed`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outrigger::Error;
use outrigger::train::{Recipe, Trainer, TrainerOptions};

/// Small enough that criterion's samples take seconds.
const BATCH: usize = 10;

fn steps(c: &mut Criterion) -> Result<(), Error> {
    let recipe = Recipe { batch: BATCH, ..Recipe::default() };
    let mut trainer = Trainer::new(recipe.model, recipe.optimizer(), BATCH, TrainerOptions::default())?;
    let pixels = BATCH * 32 * 32 * 3;
    let images: Vec<f32> = (0..pixels).map(|i| (i as f32 * 12.9898).sin() * 0.5 + 0.5).collect();
    let labels: Vec<i32> = (0..BATCH as i32).collect();
    trainer.train_step(&images, &labels, recipe.lr)?;
    trainer.predict(&images, BATCH)?;
    trainer.predict(&images[..pixels / BATCH], 1)?;

    let mut group = c.benchmark_group("resnet_2_2_2");
    group.sample_size(20);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("train_step_10", |b| b.iter(|| trainer.train_step(&images, &labels, recipe.lr)));
    group.bench_function("infer_10", |b| b.iter(|| trainer.predict(&images, BATCH)));
    group.throughput(Throughput::Elements(1));
    group.bench_function("infer_1", |b| b.iter(|| trainer.predict(&images[..pixels / BATCH], 1)));
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
