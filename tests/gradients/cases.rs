//! Every differentiable operation on random shapes, odd extents and batch 1 among them.

use outrigger::graph::{Graph, Loss, Reduction};
use outrigger::ops::{BatchNorm, Conv2d, MatMul, Op, Pool, ReduceKind, Unary};
use outrigger::{DType, Error, Padding, Tensor, Value};
use rand::Rng;

use crate::harness::{Case, check};

#[test]
fn unary() {
    use Unary::{Abs, Clamp, Erf, Exp, Gelu, LeakyRelu, Log, Neg, Relu, Rsqrt, Sigmoid, Silu, Softplus, Sqrt, Tanh};
    let all = [Neg, Abs, Exp, Relu, LeakyRelu(0.1), Sigmoid, Tanh, Erf, Gelu, Silu, Softplus, Clamp(-0.7, 0.4)];
    for f in all {
        check(f.name(), |c| {
            let shape = c.extents(3, 5);
            let x = c.parameter(shape);
            c.g.unary(f, x)
        });
    }
    for f in [Log, Sqrt, Rsqrt] {
        check(f.name(), |c| {
            let shape = c.extents(2, 7);
            let x = c.positive(shape);
            c.g.unary(f, x)
        });
    }
}

#[test]
fn sign_is_a_constant() {
    check("sign", |c| {
        let shape = c.extents(2, 5);
        let x = c.parameter(shape);
        let sign = c.g.unary(Unary::Sign, x)?;
        c.g.mul(sign, x)
    });
}

/// Two operands that broadcast in every way: equal, a missing axis, extents of 1 on either side, scalars.
fn pair(c: &mut Case, which: usize, positive: bool) -> [Value; 2] {
    let [n, h, k] = [c.extent(3), c.extent(4), c.extent(5)];
    let shapes = match which {
        0 => [vec![n, h, k], vec![n, h, k]],
        1 => [vec![n, h, k], vec![k]],
        2 => [vec![h, 1], vec![n, 1, k]],
        3 => [vec![], vec![n, k]],
        4 => [vec![1, 1, k], vec![h, k]],
        _ => [vec![n, h, k], vec![1, h, 1]],
    };
    shapes.map(|s| if positive { c.positive(s) } else { c.parameter(s) })
}

type Operation = fn(&mut Graph, Value, Value) -> Result<Value, Error>;

#[test]
fn binary() {
    let all: [(&str, Operation); 6] = [
        ("add", Graph::add_values),
        ("sub", Graph::sub),
        ("mul", Graph::mul),
        ("div", Graph::div),
        ("max", Graph::maximum),
        ("min", Graph::minimum),
    ];
    for (name, f) in all {
        for which in 0..6 {
            check(&format!("{name}, shapes {which}"), |c| {
                let [a, b] = pair(c, which, name == "div");
                f(&mut c.g, a, b)
            });
        }
    }
}

#[test]
fn one_operand_twice() {
    let all: [(&str, Operation); 4] =
        [("add", Graph::add_values), ("mul", Graph::mul), ("div", Graph::div), ("sub", Graph::sub)];
    for (name, f) in all {
        check(&format!("{name}(x, x)"), |c| {
            let shape = c.extents(2, 4);
            let x = c.positive(shape);
            f(&mut c.g, x, x)
        });
    }
}

#[test]
fn select() {
    for which in 0..6 {
        check(&format!("select, shapes {which}"), |c| {
            let [a, b] = pair(c, which, false);
            let limit = c.g.scalar(0.1)?;
            let condition = c.g.greater(b, limit)?;
            c.g.select(condition, a, b)
        });
    }
    check("select, condition broadcast", |c| {
        let shape = c.extents(2, 4);
        let (a, b, t) = (c.parameter(&shape), c.parameter([1]), c.parameter([shape[0], 1]));
        let zero = c.g.scalar(0.0)?;
        let condition = c.g.greater_equal(t, zero)?;
        let y = c.g.select(condition, a, b)?;
        c.g.mul(y, t)
    });
}

#[test]
fn movement() {
    check("reshape", |c| {
        let [a, b, d] = [c.extent(4), c.extent(3), c.extent(5)];
        let x = c.parameter([a, b, d]);
        c.g.reshape(x, [d * a, b])
    });
    check("flatten", |c| {
        let shape = c.extents(4, 3);
        let x = c.parameter(shape);
        c.g.flatten(x)
    });
    check("transpose", |c| {
        let shape = c.extents(4, 4);
        let x = c.parameter(shape);
        c.g.transpose(x, &[2, 0, 3, 1])
    });
    check("broadcast", |c| {
        let [n, h, k] = [c.extent(3), c.extent(4), c.extent(5)];
        let x = c.parameter([h, 1]);
        c.g.broadcast(x, [n, h, k])
    });
    check("pad", |c| {
        let (shape, low, high) = (c.extents(3, 4), c.extents(3, 3), c.extents(3, 3));
        let x = c.parameter(shape);
        let low: Vec<usize> = low.iter().map(|l| l - 1).collect();
        c.g.pad(x, &low, &high, 0.25)
    });
    check("slice", |c| {
        let [mut start, mut stop, mut shape, step] = [(); 4].map(|()| c.extents(3, 4));
        for axis in 0..3 {
            start[axis] -= 1;
            stop[axis] += start[axis];
            shape[axis] += stop[axis] - 1;
        }
        let x = c.parameter(shape);
        c.g.slice(x, &start, &stop, &step)
    });
    check("concat", |c| {
        let [n, k] = [c.extent(3), c.extent(4)];
        let widths = c.extents(2, 4);
        let (a, b) = (c.parameter([n, widths[0], k]), c.parameter([n, widths[1], k]));
        let fixed = c.constant(&[n, 2, k]);
        c.g.concat(&[a, fixed, b, a], 1)
    });
    check("cast f32 to f32", |c| {
        let x = c.parameter([3]);
        c.g.cast(x, DType::F32)
    });
}

#[test]
fn reduce() {
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min] {
        for axes in [vec![], vec![1], vec![0, 2], vec![0, 1, 2]] {
            for keep_dims in [false, true] {
                check(&format!("{} {axes:?} {keep_dims}", kind.name()), |c| {
                    let shape = c.extents(3, 5);
                    let x = c.parameter(shape);
                    c.g.reduce(kind, x, &axes, keep_dims)
                });
            }
        }
    }
}

#[test]
fn softmax() {
    for axis in 0..3 {
        check(&format!("softmax {axis}"), |c| {
            let shape = c.extents(3, 5);
            let x = c.parameter(shape);
            c.g.softmax(x, axis)
        });
        check(&format!("log_softmax {axis}"), |c| {
            let shape = c.extents(3, 5);
            let x = c.parameter(shape);
            c.g.log_softmax(x, axis)
        });
    }
}

#[test]
fn matmul() {
    let swapped = |m, n, swap| if swap { [n, m] } else { [m, n] };
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        for (batch_a, batch_b) in [(0, false), (1, false), (1, true), (2, false), (2, true)] {
            check(&format!("matmul {trans_a} {trans_b}, {batch_a} batch axes, of both: {batch_b}"), |c| {
                let [m, k, n] = [c.extent(4), c.extent(5), c.extent(3)];
                let batch = c.extents(batch_a, 3);
                let a = [batch.clone(), swapped(m, k, trans_a).to_vec()].concat();
                let b = [if batch_b { batch } else { vec![] }, swapped(k, n, trans_b).to_vec()].concat();
                let (a, b) = (c.parameter(a), c.parameter(b));
                c.g.matmul(a, b, MatMul { trans_a, trans_b })
            });
        }
    }
    check("linear", |c| {
        let [n, i, o] = [c.extent(4), c.extent(5), c.extent(3)];
        let (x, w, b) = (c.parameter([n, i]), c.parameter([i, o]), c.parameter([o]));
        c.g.linear(x, w, Some(b))
    });
}

/// Attributes and shapes of a random convolution: `(conv, x, w, y)`.
fn convolution(c: &mut Case) -> (Conv2d, [Vec<usize>; 3]) {
    let conv = Conv2d {
        stride: [c.extent(2), c.extent(3)],
        padding: [[c.extent(3) - 1, c.extent(2) - 1], [c.extent(2) - 1, c.extent(3) - 1]],
        dilation: [c.extent(2), c.extent(2)],
        groups: c.extent(2),
    };
    let (kernel, inner, outer) = (c.extents(2, 3), c.extent(2), c.extent(2));
    let x = vec![c.extent(2), c.rng.random_range(5..8), c.rng.random_range(5..7), inner * conv.groups];
    let w = vec![kernel[0], kernel[1], inner, outer * conv.groups];
    let out = |axis: usize| conv.window(axis, w[axis]).output(x[axis + 1], conv.padding[axis]).unwrap();
    let y = vec![x[0], out(0), out(1), w[3]];
    (conv, [x, w, y])
}

#[test]
fn convolutions_and_their_gradients() {
    check("conv2d", |c| {
        let (conv, [x, w, _]) = convolution(c);
        let (x, w) = (c.parameter(x), c.parameter(w));
        c.g.op(Op::Conv2d(conv), &[x, w])
    });
    check("conv2d_grad_input", |c| {
        let (conv, [x, w, y]) = convolution(c);
        let (dy, w) = (c.parameter(y), c.parameter(w));
        c.g.op(Op::Conv2dGradInput(conv, x.into()), &[dy, w])
    });
    check("conv2d_grad_weight", |c| {
        let (conv, [x, w, y]) = convolution(c);
        let (x, dy) = (c.parameter(x), c.parameter(y));
        c.g.op(Op::Conv2dGradWeight(conv, w.into()), &[x, dy])
    });
}

#[test]
fn pooling() {
    let pool = |c: &mut Case| {
        let size = [c.extent(3), c.extent(3)];
        let padding = size.map(|s| [c.rng.random_range(0..s), c.rng.random_range(0..s)]);
        let pool = Pool { size, stride: [c.extent(2), c.extent(3)], padding, count_padding: c.rng.random_bool(0.5) };
        let x = vec![c.extent(2), c.rng.random_range(3..6), c.rng.random_range(3..5), c.extent(3)];
        (pool, x)
    };
    check("max_pool", |c| {
        let (pool, x) = pool(c);
        let x = c.parameter(x);
        c.g.op(Op::MaxPool(pool), &[x])
    });
    check("avg_pool", |c| {
        let (pool, x) = pool(c);
        let x = c.parameter(x);
        c.g.op(Op::AvgPool(pool), &[x])
    });
    check("avg_pool_grad", |c| {
        let (pool, x) = pool(c);
        let out = |axis: usize| pool.window(axis).output(x[axis + 1], pool.padding[axis]).unwrap();
        let dy = c.parameter([x[0], out(0), out(1), x[3]]);
        c.g.op(Op::AvgPoolGrad(pool, x.into()), &[dy])
    });
    check("global_avg_pool", |c| {
        let shape = c.extents(4, 3);
        let x = c.parameter(shape);
        c.g.global_avg_pool(x)
    });
}

/// A training batch norm of `x` with trained gamma and beta.
pub fn batch_norm(c: &mut Case, x: Value, name: &str) -> Result<Value, Error> {
    let channels = *c.shape(x).last().unwrap();
    let (gamma, beta) = (c.positive([channels]), c.parameter([channels]));
    let mut running = || c.g.buffer(name, DType::F32, [channels], outrigger::ops::Init::ONES);
    let mean = running()?;
    let var = c.g.buffer(&format!("{name}.var"), DType::F32, [channels], outrigger::ops::Init::ONES)?;
    let attributes = BatchNorm { epsilon: 1e-3, momentum: 0.1, unbiased: true };
    Ok(c.g.batch_norm(x, gamma, beta, [mean, var], attributes)?.y)
}

#[test]
fn batch_norms() {
    check("batch_norm", |c| {
        let [n, h, k] = [c.extent(3), c.rng.random_range(2..4), c.extent(3)];
        let x = c.parameter([n, h, 2, k]);
        batch_norm(c, x, "mean")
    });
    check("batch_norm_eval", |c| {
        let shape = c.extents(4, 3);
        let vector = [shape[3]];
        let x = c.parameter(&shape);
        let [gamma, beta, mean] = [(); 3].map(|()| c.parameter(vector));
        let var = c.positive(vector);
        c.g.batch_norm_eval(x, gamma, beta, [mean, var], 1e-3)
    });
}

#[test]
fn losses() {
    check("cross_entropy", |c| {
        let [n, k] = [c.extent(4), c.extent(6)];
        let (x, labels) = (c.parameter([n, k]), c.labels(&[n], k));
        c.g.cross_entropy(x, labels)
    });
    check("soft_cross_entropy", |c| {
        let shape = c.extents(2, 5);
        let (x, t) = (c.parameter(&shape), c.parameter(&shape));
        let t = c.g.softmax(t, 1)?;
        c.g.soft_cross_entropy(x, t)
    });
    check("binary_cross_entropy_with_logits", |c| {
        let shape = c.extents(2, 5);
        let (x, t) = (c.parameter(&shape), c.parameter(&shape));
        c.g.binary_cross_entropy_with_logits(x, t)
    });
    check("mean_squared_error", |c| {
        let shape = c.extents(2, 5);
        let (x, t) = (c.parameter(&shape), c.parameter(&shape));
        c.g.mean_squared_error(x, t)
    });
}

/// Every loss under every reduction, with respect to the prediction and a target that has a gradient.
#[test]
fn losses_by_name() {
    let classes = [
        ("cross_entropy", Loss::CrossEntropy { label_smoothing: 0.0 }),
        ("smoothed cross_entropy", Loss::CrossEntropy { label_smoothing: 0.25 }),
        ("categorical_cross_entropy", Loss::CategoricalCrossEntropy { label_smoothing: 0.0 }),
        ("smoothed categorical_cross_entropy", Loss::CategoricalCrossEntropy { label_smoothing: 0.25 }),
        ("nll", Loss::Nll),
        ("kl_divergence", Loss::KlDivergence),
    ];
    let elements = [
        ("binary_cross_entropy_with_logits", Loss::BinaryCrossEntropyWithLogits),
        ("mean_squared_error", Loss::MeanSquaredError),
        ("l1", Loss::L1),
        ("huber", Loss::Huber { delta: 0.5 }),
    ];
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        for (name, loss) in classes {
            let soft = |c: &mut Case| {
                let shape = c.extents(3, 4);
                let (x, t) = (c.positive(&shape), c.positive(&shape));
                c.g.loss(loss, x, t, reduction)
            };
            check(&format!("{name} of rows, {reduction:?}"), soft);
            if loss == Loss::KlDivergence {
                continue;
            }
            check(&format!("{name} of labels, {reduction:?}"), |c| {
                let [n, m, k] = [c.extent(3), c.extent(3), c.extent(5)];
                let (x, labels) = (c.positive([n, m, k]), c.labels(&[n, m], k));
                c.g.loss(loss, x, labels, reduction)
            });
        }
        for (name, loss) in elements {
            check(&format!("{name}, {reduction:?}"), |c| {
                // differences of 0.25 or 0.75 and at most 0.15 more or less: no kink is near
                let n = c.extent(6);
                let centre: Vec<f32> = (0..n).map(|i| [-0.75, -0.25, 0.25, 0.75][i % 4]).collect();
                let (centre, small) = (c.g.constant(Tensor::f32([n], centre)?)?, c.g.scalar(0.05)?);
                let (x, t) = (c.parameter([n]), c.parameter([n]));
                let (x, t) = (c.g.mul(x, small)?, c.g.mul(t, small)?);
                let x = c.g.add_values(x, centre)?;
                c.g.loss(loss, x, t, reduction)
            });
        }
        check(&format!("binary_cross_entropy, {reduction:?}"), |c| {
            let shape = c.extents(2, 4);
            let (x, t) = (c.parameter(&shape), c.parameter(&shape));
            let p = c.g.sigmoid(x)?;
            c.g.loss(Loss::BinaryCrossEntropy, p, t, reduction)
        });
    }
}

#[test]
fn dropout() {
    check("dropout", |c| {
        let shape = c.extents(3, 5);
        let x = c.parameter(shape);
        let seed = c.g.input("seed", DType::I32, [])?;
        let step = c.g.random_step()?;
        let y = c.g.dropout(x, 0.3, seed, step)?;
        c.g.mul(y, x)
    });
}

#[test]
fn a_residual_network() {
    check("network", |c| {
        let n = c.rng.random_range(1..3);
        let x = c.constant(&[n, 5, 4, 2]);
        let (w1, w2, w3) = (c.parameter([3, 3, 2, 3]), c.parameter([3, 3, 3, 3]), c.parameter([1, 1, 2, 3]));
        let options = outrigger::graph::ConvOptions { padding: Padding::Same, ..Default::default() };
        let y = c.g.conv2d(x, w1, None, options)?;
        let y = batch_norm(c, y, "bn1")?;
        let y = c.g.silu(y)?;
        let y = c.g.conv2d(y, w2, None, options)?;
        let y = batch_norm(c, y, "bn2")?;
        let short = c.g.conv2d(x, w3, None, options)?;
        let y = c.g.add_values(y, short)?;
        let y = c.g.relu(y)?;
        let y = c.g.global_avg_pool(y)?;
        let (w, b, labels) = (c.parameter([3, 4]), c.parameter([4]), c.labels(&[n], 4));
        let y = c.g.linear(y, w, Some(b))?;
        c.g.cross_entropy(y, labels)
    });
}
