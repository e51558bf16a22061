//! Single kernels, compiled for this CPU, against the naive loop in Rust. Both on one thread.

#[path = "common.rs"]
mod common;
#[path = "naive.rs"]
mod naive;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrigger::codegen::Convolution;
use outrigger::graph::ConvOptions;
use outrigger::ops::{Conv2d, MatMul, Op};
use outrigger::{DType, Error, Graph, Options, Padding, Shape};

use common::{numbers, session, session_with};
use naive::Conv;

fn forward_graph(c: Conv) -> Result<Graph, Error> {
    let mut g = Graph::new("conv");
    let x = g.input("x", DType::F32, [c.batch, c.side, c.side, c.channels])?;
    let w = g.input("w", DType::F32, [3, 3, c.channels, c.channels])?;
    let options = ConvOptions { padding: Padding::all(1), ..ConvOptions::default() };
    let y = g.conv2d(x, w, None, options)?;
    g.set_output("y", y)?;
    Ok(g)
}

fn backward_graph(c: Conv) -> Result<Graph, Error> {
    let mut g = Graph::new("conv_backward");
    let (image, kernel) = ([c.batch, c.side, c.side, c.channels], [3, 3, c.channels, c.channels]);
    let x = g.input("x", DType::F32, image)?;
    let w = g.input("w", DType::F32, kernel)?;
    let dy = g.input("dy", DType::F32, image)?;
    let conv = Conv2d { stride: [1, 1], padding: [[1, 1]; 2], dilation: [1, 1], groups: 1 };
    let dx = g.op(Op::Conv2dGradInput(conv, Shape::from(image)), &[dy, w])?;
    let dw = g.op(Op::Conv2dGradWeight(conv, Shape::from(kernel)), &[x, dy])?;
    g.set_output("dx", dx)?;
    g.set_output("dw", dw)?;
    Ok(g)
}

/// The three stages of the network on ten images.
const STAGES: [Conv; 3] = [
    Conv { batch: 10, side: 32, channels: 16 },
    Conv { batch: 10, side: 16, channels: 32 },
    Conv { batch: 10, side: 8, channels: 64 },
];

/// What the compiler chooses, and each algorithm.
const ALGORITHMS: [(&str, Convolution); 4] = [
    ("jit", Convolution::Auto),
    ("direct", Convolution::Direct),
    ("winograd2", Convolution::Winograd2),
    ("winograd4", Convolution::Winograd4),
];

fn conv(c: &mut Criterion) -> Result<(), Error> {
    let mut group = c.benchmark_group("conv3x3");
    for stage in STAGES {
        let name = format!("{}x{}x{}", stage.side, stage.side, stage.channels);
        group.throughput(Throughput::Elements(stage.flops()));
        for (algorithm, convolution) in ALGORITHMS {
            let options = Options { convolution, ..Options::default() };
            let mut jit = session_with(&forward_graph(stage)?, &options)?;
            group.bench_function(BenchmarkId::new(algorithm, &name), |b| b.iter(|| jit.run()));
        }
        let (x, w) = (numbers(stage.activations()), numbers(stage.weights()));
        let mut y = vec![0.0; stage.activations()];
        group.bench_function(BenchmarkId::new("naive", &name), |b| {
            b.iter(|| stage.forward(black_box(&x), black_box(&w), black_box(&mut y)));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("conv3x3_backward");
    for stage in STAGES {
        let name = format!("{}x{}x{}", stage.side, stage.side, stage.channels);
        group.throughput(Throughput::Elements(2 * stage.flops()));
        for (algorithm, convolution) in ALGORITHMS {
            let options = Options { convolution, ..Options::default() };
            let mut jit = session_with(&backward_graph(stage)?, &options)?;
            group.bench_function(BenchmarkId::new(algorithm, &name), |b| b.iter(|| jit.run()));
        }
        let (x, w, dy) = (numbers(stage.activations()), numbers(stage.weights()), numbers(stage.activations()));
        let (mut dx, mut dw) = (vec![0.0; stage.activations()], vec![0.0; stage.weights()]);
        group.bench_function(BenchmarkId::new("naive", &name), |b| {
            b.iter(|| {
                stage.backward(black_box(&x), black_box(&w), black_box(&dy), black_box(&mut dx), black_box(&mut dw))
            });
        });
    }
    group.finish();
    Ok(())
}

fn matmul(c: &mut Criterion) -> Result<(), Error> {
    let mut group = c.benchmark_group("matmul");
    // a square one, and the network's classifier on a batch of 100
    for [m, k, n] in [[256, 256, 256], [100, 64, 10]] {
        let mut g = Graph::new("matmul");
        let a = g.input("a", DType::F32, [m, k])?;
        let b = g.input("b", DType::F32, [k, n])?;
        let product = g.matmul(a, b, MatMul::default())?;
        g.set_output("c", product)?;
        let name = format!("{m}x{k}x{n}");
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        let mut jit = session(&g)?;
        group.bench_function(BenchmarkId::new("jit", &name), |b| b.iter(|| jit.run()));
        let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
        group.bench_function(BenchmarkId::new("naive", &name), |bench| {
            bench.iter(|| naive::matmul(m, k, n, black_box(&a), black_box(&b), black_box(&mut c)));
        });
    }
    group.finish();
    Ok(())
}

fn map(c: &mut Criterion) -> Result<(), Error> {
    let shape = [10, 32, 32, 16];
    let (elements, channels) = (shape.iter().product::<usize>(), shape[3]);
    let mut g = Graph::new("map");
    let x = g.input("x", DType::F32, shape)?;
    let scale = g.input("scale", DType::F32, [channels])?;
    let shift = g.input("shift", DType::F32, [channels])?;
    let r = g.input("r", DType::F32, shape)?;
    let scaled = g.mul(x, scale)?;
    let shifted = g.add_values(scaled, shift)?;
    let positive = g.relu(shifted)?;
    let y = g.add_values(positive, r)?;
    g.set_output("y", y)?;

    let mut group = c.benchmark_group("map");
    group.throughput(Throughput::Elements(elements as u64));
    let mut jit = session(&g)?;
    group.bench_function("jit", |b| b.iter(|| jit.run()));
    let (x, scale, shift, r) = (numbers(elements), numbers(channels), numbers(channels), numbers(elements));
    let mut y = vec![0.0; elements];
    group.bench_function("naive", |b| {
        b.iter(|| naive::map(black_box(&x), black_box(&scale), black_box(&shift), black_box(&r), black_box(&mut y)));
    });
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    for bench in [conv, matmul, map] {
        if let Err(error) = bench(c) {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
