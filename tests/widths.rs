//! The width of vectors changes no bit: every instruction set gives what Cranelift's 128-bit vectors give.
//!
//! ```text
//!   graph ─┬─ clif ───▶ bits ◀─┐
//!          ├─ avx2 ───▶ bits ◀─┼─ equal
//!          └─ avx512 ─▶ bits ◀─┘
//! ```

mod common;

use common::build::{Build, Fill};
use common::executors::{Compiled, Executor, Results};
use common::random_graph;
use outrigger::autodiff::gradients;
use outrigger::codegen::Isa;
use outrigger::graph::{ConvOptions, Value};
use outrigger::ops::{BatchNorm, Binary, Unary};
use outrigger::{Options, Padding, Tensor};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn config(cases: u32) -> ProptestConfig {
    // the same graphs in every run: a failure can be looked into
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default() }
}

fn run(b: &Build, isa: Isa) -> Results {
    let options = Options { isa: Some(isa), ..Options::default() };
    Compiled::new(isa.to_string(), options).run(&b.g, &b.inputs, &b.state).unwrap()
}

/// Where another instruction set differs from `clif`. A NaN is a NaN, whatever its other bits.
fn differences(b: &Build) -> Vec<String> {
    let narrow = run(b, Isa::Clif);
    let mut found = Vec::new();
    for isa in [Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.available()) {
        let wide = run(b, isa);
        assert_eq!(narrow.len(), wide.len());
        for (name, want) in &narrow {
            let pairs = want.data.iter().zip(&wide[name].data).enumerate();
            let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            found.extend(
                pairs
                    .filter(|(_, (a, b))| !same(**a, **b))
                    .map(|(at, (a, b))| format!("{isa}: {name}[{at}] is {b:e}, not {a:e}"))
                    .take(3),
            );
        }
    }
    found
}

proptest! {
    #![proptest_config(config(30))]

    #[test]
    fn random_graphs(seed in any::<u64>(), nodes in 1usize..24) {
        for b in [random_graph::forward(seed, nodes), random_graph::training(seed, nodes)] {
            let found = differences(&b);
            prop_assert!(found.is_empty(), "{}\n{}", found.join("\n"), b.g);
        }
    }
}

proptest! {
    #![proptest_config(config(120))]

    /// Programs by themselves: every operation, numbers of any kind, any number of channels.
    #[test]
    fn maps(seed in any::<u64>(), steps in 1usize..20) {
        let mut b = Build::new("map", seed);
        let channels = b.rng.within(1, 70);
        // several chunks and one; whole runs of rows and some over
        let rows = b.rng.pick(&[1, 7, 64, 300, 1001]);
        let values = chain(&mut b, vec![rows, channels], steps);
        for value in values.into_iter().rev().take(3) {
            b.out(value);
        }
        let found = differences(&b);
        prop_assert!(found.is_empty(), "{}\n{}", found.join("\n"), b.g);
    }

    /// Programs before and behind a convolution, with sums, and in its gradients.
    #[test]
    fn convolutions(seed in any::<u64>(), steps in 1usize..5) {
        let b = convolution(seed, steps);
        let found = differences(&b);
        prop_assert!(found.is_empty(), "{}\n{}", found.join("\n"), b.g);
    }
}

/// Values of `steps` operations over `shape`, from operands of that shape, of its channels and scalars.
fn chain(b: &mut Build, shape: Vec<usize>, steps: usize) -> Vec<Value> {
    let channels = vec![shape[shape.len() - 1]];
    let mut values = vec![special(b, shape.clone())];
    for _ in 0..steps {
        let x = values[values.len() - 1];
        let other = match b.rng.below(6) {
            0 => special(b, shape.clone()),
            1..=2 => b.plain(channels.clone(), Fill::Signed),
            3 => b.plain(Vec::new(), Fill::Signed),
            _ => values[b.rng.below(values.len())],
        };
        let unary = [
            Unary::Neg,
            Unary::Abs,
            Unary::Sign,
            Unary::Sqrt,
            Unary::Rsqrt,
            Unary::Relu,
            Unary::LeakyRelu(0.1),
            Unary::Clamp(-0.5, 0.75),
        ];
        let binary = [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Max,
            Binary::Min,
            Binary::Greater,
            Binary::GreaterEqual,
            Binary::Equal,
        ];
        values.push(match b.rng.below(10) {
            0..=2 => {
                let f = b.rng.pick(&unary);
                b.g.unary(f, x).unwrap()
            }
            // no single instruction
            3 if b.rng.once_in(4) => b.g.unary(Unary::Tanh, x).unwrap(),
            3..=4 => {
                let third = values[b.rng.below(values.len())];
                let condition = if b.rng.once_in(2) { x } else { b.g.binary(Binary::Greater, x, other).unwrap() };
                b.g.select(condition, third, x).unwrap()
            }
            5..=7 => {
                let f = b.rng.pick(&binary);
                b.g.binary(f, x, other).unwrap()
            }
            _ => {
                let f = b.rng.pick(&binary);
                b.g.binary(f, other, x).unwrap()
            }
        });
    }
    values
}

/// Small numbers, many of them equal, and now and then what comparisons and maxima must not mix up.
fn special(b: &mut Build, shape: Vec<usize>) -> Value {
    let elements = shape.iter().product::<usize>();
    let values = (0..elements)
        .map(|_| match b.rng.below(24) {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => -0.0,
            3 => f32::NEG_INFINITY,
            4..=12 => b.rng.uniform(-2.0, 2.0) as f32,
            _ => b.rng.below(5) as f32 - 2.0,
        })
        .collect();
    b.given(Tensor::f32(shape, values).unwrap())
}

/// Two convolutions with batch norm, a residual sum and a program between them, and a step against the gradients.
fn convolution(seed: u64, steps: usize) -> Build {
    let mut b = Build::new("convolution", seed);
    let (n, side) = (b.rng.within(1, 3), b.rng.within(7, 12));
    let mut channels = b.rng.within(1, 36);
    let mut x = b.plain([n, side, side, channels], Fill::Signed);
    for _ in 0..2 {
        let outputs = b.rng.within(1, 70);
        let kernel = b.rng.pick(&[1, 3]);
        let bound = (3.0 / (kernel * kernel * channels) as f64).sqrt();
        let w = b.w([kernel, kernel, channels, outputs], Fill::Within(bound));
        let stride = b.rng.pick(&[1, 1, 2]);
        let padding = b.rng.pick(&[Padding::Same, Padding::Valid]);
        let options = ConvOptions { stride: [stride; 2], padding, ..ConvOptions::default() };
        let y = b.g.conv2d(x, w, None, options).unwrap();
        let (gamma, beta) = (b.w([outputs], Fill::Positive), b.w([outputs], Fill::Within(0.5)));
        let running = [Fill::Within(0.5), Fill::Positive].map(|fill| {
            let tensor = b.values(&[outputs].into(), fill);
            b.buffer(tensor)
        });
        let norm = BatchNorm { epsilon: 0.1, momentum: 0.3, unbiased: true };
        let mut z = b.g.batch_norm(y, gamma, beta, running, norm).unwrap().y;
        let shape = b.shape(z);
        for _ in 0..steps {
            z = match b.rng.below(6) {
                0 => b.g.relu(z).unwrap(),
                1 => b.g.leaky_relu(z, 0.1).unwrap(),
                2 => b.g.clamp(z, -1.0, 1.5).unwrap(),
                3 => {
                    let scale = b.w([outputs], Fill::Positive);
                    b.g.mul(z, scale).unwrap()
                }
                4 => {
                    let other = b.plain(shape.clone(), Fill::Signed);
                    b.g.add_values(z, other).unwrap()
                }
                _ => b.g.silu(z).unwrap(),
            };
        }
        (x, channels) = (z, outputs);
    }
    let square = b.g.mul(x, x).unwrap();
    let loss = b.g.mean_all(square).unwrap();
    b.out(loss);
    let parameters: Vec<Value> = b.g.parameters().map(|id| id.result(0)).collect();
    let slopes = gradients(&mut b.g, loss, &parameters).unwrap();
    for (&parameter, slope) in parameters.iter().zip(slopes) {
        let updated = b.g.sub(parameter, slope).unwrap();
        b.g.set_update(parameter, updated).unwrap();
    }
    b
}

/// Results of 16 MiB, which wide vectors store past the caches and Cranelift's do not.
#[test]
fn results_larger_than_caches() {
    let mut b = Build::new("large", 5);
    let x = b.x([4, 256, 256, 16], Fill::Signed);
    let [first, second] = [(); 2].map(|()| b.w([1, 1, 16, 16], Fill::Signed));
    let (gamma, beta) = (b.w([16], Fill::Positive), b.w([16], Fill::Signed));
    let running = [Fill::Signed, Fill::Positive].map(|fill| {
        let tensor = b.values(&[16].into(), fill);
        b.buffer(tensor)
    });
    let attributes = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    let y = b.g.conv2d(x, first, None, ConvOptions::default()).unwrap();
    let y = b.g.batch_norm(y, gamma, beta, running, attributes).unwrap().y;
    let y = b.g.relu(y).unwrap();
    let y = b.g.conv2d(y, second, None, ConvOptions::default()).unwrap();
    b.out(y);
    let loss = b.loss();
    let leaves = b.leaves.clone();
    for gradient in gradients(&mut b.g, loss, &leaves).unwrap() {
        b.out(gradient);
    }
    let found = differences(&b);
    assert!(found.is_empty(), "{}", found.join("\n"));
}
