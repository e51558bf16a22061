//! Random graphs of convolutions, batch norms, element-wise operations, pooling, reductions, matrix products
//! and movement, with values that several operations use.
//!
//! All functions are continuous in their inputs (no comparison of computed numbers), and weights keep the size of
//! numbers, so a difference between two ways to compute a graph is a fault and not chance.

use outrigger::autodiff::gradients;
use outrigger::graph::{ConvOptions, PoolOptions, Value};
use outrigger::ops::{BatchNorm, MatMul, ReduceKind, Unary};
use outrigger::{Error, Padding};

use super::build::{Build, Fill};

/// The epsilon is large, so that a channel that is nearly constant does not blow up its rounding errors.
const BN: BatchNorm = BatchNorm { epsilon: 0.1, momentum: 0.3, unbiased: true };

/// Tensors stay below this many elements.
const MOST_ELEMENTS: usize = 4000;

/// A graph of about `nodes` steps (a step may be several operations). Its outputs are all values that nothing uses,
/// and some that are used.
pub fn forward(seed: u64, nodes: usize) -> Build {
    let mut b = Build::new("random", seed);
    let values = grow(&mut b, nodes, true);
    for value in values {
        if b.g.users(value.node).is_empty() || b.rng.once_in(6) {
            b.out(value);
        }
    }
    b
}

/// As [`forward`] with a loss over the outputs; every parameter that it depends on takes a step against its
/// gradient. Without kinks, whose gradients jump.
pub fn training(seed: u64, nodes: usize) -> Build {
    let mut b = Build::new("random", seed);
    let values = grow(&mut b, nodes, false);
    let sinks: Vec<Value> = values.into_iter().filter(|v| b.g.users(v.node).is_empty()).collect();
    let mut loss = b.g.scalar(0.0).unwrap();
    for value in sinks {
        let square = b.g.mul(value, value).unwrap();
        let mean = b.g.mean_all(square).unwrap();
        loss = b.g.add_values(loss, mean).unwrap();
    }
    b.out(loss);
    let parameters: Vec<Value> = b.g.parameters().map(|id| id.result(0)).collect();
    // every value leads to a sink, so every parameter leads to the loss
    let grads = gradients(&mut b.g, loss, &parameters).unwrap();
    let rate = b.g.scalar(0.5).unwrap();
    for (&parameter, gradient) in parameters.iter().zip(grads) {
        let change = b.g.mul(gradient, rate).unwrap();
        let updated = b.g.sub(parameter, change).unwrap();
        b.g.set_update(parameter, updated).unwrap();
    }
    b
}

/// The values made by `nodes` successful steps from two images and a matrix.
fn grow(b: &mut Build, nodes: usize, kinks: bool) -> Vec<Value> {
    let (n, channels) = (b.rng.within(1, 4), b.rng.pick(&[1, 3, 4, 8, 16, 17]));
    let side = b.rng.within(2, 9);
    let mut values = vec![
        b.plain([n, side, side, channels], Fill::Signed),
        b.plain([n, side, side, channels], Fill::Signed),
        b.plain([n, channels], Fill::Signed),
    ];
    for _ in 0..nodes {
        // the newest values are the likeliest operands: graphs get deep
        let newest = values.len() - 1 - b.rng.below(values.len().min(4));
        let at = if b.rng.once_in(4) { b.rng.below(values.len()) } else { newest };
        let before = (b.g.clone(), b.inputs.clone(), b.state.clone());
        match step(b, &values, values[at], kinks) {
            Ok(value) if b.shape(value).elements() <= MOST_ELEMENTS => values.push(value),
            // the operation does not take this shape, or the result is too large to go on with
            Ok(_) | Err(_) => (b.g, b.inputs, b.state) = before,
        }
    }
    b.leaves.clear();
    values
}

fn step(b: &mut Build, values: &[Value], x: Value, kinks: bool) -> Result<Value, Error> {
    let shape = b.shape(x).0;
    let image = shape.len() == 4;
    match b.rng.below(18) {
        0..=2 if image => conv(b, x, &shape),
        3..=4 if shape.len() >= 2 => batch_norm(b, x, shape[shape.len() - 1]),
        5 if image => pool(b, x, kinks),
        6 if shape.len() == 2 => {
            let outputs = b.rng.pick(&[1, 5, 10, 16]);
            let bound = (3.0 / shape[1] as f64).sqrt();
            let (w, bias) = (b.w([shape[1], outputs], Fill::Within(bound)), b.w([outputs], Fill::Within(0.5)));
            b.g.linear(x, w, Some(bias))
        }
        7 if shape.len() == 2 => {
            // x·xᵀ / k
            let product = b.g.matmul(x, x, MatMul { trans_a: false, trans_b: true })?;
            let scale = b.g.scalar(1.0 / shape[1] as f32)?;
            b.g.mul(product, scale)
        }
        8 => reduce(b, x, shape.len(), kinks),
        9 => movement(b, x, &shape),
        10 if !shape.is_empty() => b.g.softmax(x, shape.len() - 1),
        11 => {
            let (seed, step) = (b.integers([], -9, 9), b.integers([], 0, 9));
            b.g.dropout(x, 0.25, seed, step)
        }
        12 => {
            let scale = b.w([*shape.last().unwrap_or(&1)], Fill::Positive);
            b.g.mul(x, scale)
        }
        13..=14 => {
            // a residual sum or another meeting with any value that broadcasts
            let other = values[b.rng.below(values.len())];
            match b.rng.below(4) {
                0 if kinks => b.g.maximum(x, other),
                1 => b.g.sub(x, other),
                2 => {
                    let gate = b.g.sigmoid(other)?;
                    b.g.mul(x, gate)
                }
                _ => b.g.add_values(x, other),
            }
        }
        _ => {
            let smooth = [Unary::Tanh, Unary::Sigmoid, Unary::Silu, Unary::Gelu, Unary::Softplus, Unary::Neg];
            let kinked = [Unary::Relu, Unary::LeakyRelu(0.1), Unary::Abs, Unary::Clamp(-1.0, 1.5)];
            let f = match b.rng.below(3) {
                0 => b.rng.pick(&smooth),
                _ if kinks => b.rng.pick(&kinked),
                1 => Unary::Tanh,
                _ => Unary::Silu,
            };
            b.g.unary(f, x)
        }
    }
}

fn conv(b: &mut Build, x: Value, shape: &[usize]) -> Result<Value, Error> {
    let kernel = b.rng.pick(&[1, 2, 3, 3, 3]);
    let groups = if b.rng.once_in(5) { shape[3] } else { 1 };
    let outputs = if groups > 1 { shape[3] } else { b.rng.pick(&[1, 3, 5, 8, 16, 17]) };
    let options = ConvOptions {
        stride: [b.rng.pick(&[1, 1, 2]), b.rng.pick(&[1, 1, 2])],
        padding: b.rng.pick(&[Padding::Same, Padding::Valid, Padding::all(kernel / 2)]),
        dilation: [b.rng.pick(&[1, 1, 1, 2]); 2],
        groups,
    };
    let inputs = shape[3] / groups;
    let bound = (3.0 / (kernel * kernel * inputs) as f64).sqrt();
    let w = b.w([kernel, kernel, inputs, outputs], Fill::Within(bound));
    let bias = b.rng.once_in(3).then(|| b.w([outputs], Fill::Within(0.5)));
    b.g.conv2d(x, w, bias, options)
}

fn batch_norm(b: &mut Build, x: Value, channels: usize) -> Result<Value, Error> {
    let (gamma, beta) = (b.w([channels], Fill::Positive), b.w([channels], Fill::Within(0.5)));
    let [mean, var] = [Fill::Within(0.5), Fill::Positive].map(|fill| {
        let tensor = b.values(&[channels].into(), fill);
        b.buffer(tensor)
    });
    if b.rng.once_in(4) {
        b.g.batch_norm_eval(x, gamma, beta, [mean, var], BN.epsilon)
    } else {
        b.g.batch_norm(x, gamma, beta, [mean, var], BN).map(|bn| bn.y)
    }
}

fn pool(b: &mut Build, x: Value, kinks: bool) -> Result<Value, Error> {
    let options = PoolOptions {
        size: [b.rng.within(1, 3), b.rng.within(1, 3)],
        stride: b.rng.pick(&[None, Some([1, 1]), Some([2, 2])]),
        padding: b.rng.pick(&[Padding::Valid, Padding::Same]),
        count_padding: b.rng.once_in(2),
        ceil_mode: b.rng.once_in(2),
    };
    if kinks && b.rng.once_in(2) { b.g.max_pool(x, options) } else { b.g.avg_pool(x, options) }
}

fn reduce(b: &mut Build, x: Value, rank: usize, kinks: bool) -> Result<Value, Error> {
    let axes: Vec<usize> = (0..rank).filter(|_| b.rng.once_in(2)).collect();
    let kind = if kinks && b.rng.once_in(3) { ReduceKind::Max } else { ReduceKind::Mean };
    let keep = b.rng.once_in(2);
    b.g.reduce(kind, x, &axes, keep)
}

fn movement(b: &mut Build, x: Value, shape: &[usize]) -> Result<Value, Error> {
    let rank = shape.len();
    match b.rng.below(6) {
        0 => b.g.flatten(x),
        1 => {
            let permutation = b.rng.permutation(rank);
            b.g.transpose(x, &permutation)
        }
        2 => {
            let start: Vec<usize> = shape.iter().map(|&e| b.rng.below(e.min(2))).collect();
            let step: Vec<usize> = shape.iter().map(|_| b.rng.within(1, 2)).collect();
            b.g.slice(x, &start, shape, &step)
        }
        3 => {
            let low: Vec<usize> = shape.iter().map(|_| b.rng.below(2)).collect();
            let high: Vec<usize> = shape.iter().map(|_| b.rng.below(2)).collect();
            b.g.pad(x, &low, &high, 0.5)
        }
        4 => {
            let negative = b.g.neg(x)?;
            b.g.concat(&[x, negative, x], b.rng.below(rank.max(1)))
        }
        _ => {
            let mut stretched = vec![2];
            stretched.extend(shape);
            b.g.broadcast(x, stretched)
        }
    }
}
