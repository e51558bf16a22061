//! From a graph to machine code: differentiation, and compilation of the seed's training and inference programs.

use criterion::{Criterion, criterion_group, criterion_main};
use outrigger::compile::Options;
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};
use outrigger::{Error, Graph, compile};

fn training(model: &ResNetCifar, batch: usize) -> Result<Graph, Error> {
    let forward = model.training(batch)?;
    let loss = forward.output("loss")?;
    training_graph(forward, loss, &Optimizer::Adam(Adam::default()))
}

fn stages(c: &mut Criterion) -> Result<(), Error> {
    let model = ResNetCifar::default();
    let (train, eval) = (training(&model, 100)?, model.evaluation(1)?);
    // errors show here, not as fast results
    compile(&train, &Options::default())?;
    compile(&eval, &Options::default())?;

    let mut group = c.benchmark_group("compile");
    group.sample_size(20);
    group.bench_function("training_graph_100", |b| b.iter(|| training(&model, 100)));
    group.bench_function("training_program_100", |b| b.iter(|| compile(&train, &Options::default())));
    group.bench_function("inference_program_1", |b| b.iter(|| compile(&eval, &Options::default())));
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    if let Err(error) = stages(c) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
