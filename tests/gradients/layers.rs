//! What layers are composed of, on random shapes.

use outrigger::graph::{
    Conv1dOptions, ConvOptions, ConvTranspose1dOptions, ConvTransposeOptions, Graph, Pool1dOptions, Value,
};
use outrigger::ops::MatMul;
use outrigger::types::{Padding, Padding1d};
use outrigger::{Error, Tensor};
use rand::Rng;

use crate::harness::{Case, check};

type Function = fn(&mut Graph, Value) -> Result<Value, Error>;

#[test]
fn activations() {
    // `threshold` and `hardshrink` jump, which differences may straddle: the op suite keeps away from their jumps
    let all: [(&str, Function); 15] = [
        ("elu", |g, x| g.elu(x, 0.6)),
        ("celu", |g, x| g.celu(x, 0.6)),
        ("selu", Graph::selu),
        ("hardtanh", |g, x| g.hardtanh(x, -0.7, 0.4)),
        ("relu6", Graph::relu6),
        ("hardsigmoid", Graph::hardsigmoid),
        ("hardswish", Graph::hardswish),
        ("mish", Graph::mish),
        ("softsign", Graph::softsign),
        ("gelu_tanh", Graph::gelu_tanh),
        ("log_sigmoid", Graph::log_sigmoid),
        ("softshrink", |g, x| g.softshrink(x, 0.3)),
        ("tanhshrink", Graph::tanhshrink),
        ("l1_penalty", |g, x| g.l1_penalty(&[x, x], 0.3)),
        ("l2_penalty", |g, x| g.l2_penalty(&[x], 0.3)),
    ];
    for (name, f) in all {
        check(name, |c| {
            let shape = c.extents(3, 5);
            let x = c.parameter(shape);
            f(&mut c.g, x)
        });
    }
    check("prelu", |c| {
        let shape = c.extents(3, 5);
        let (x, weight) = (c.parameter(&shape), c.parameter([shape[2]]));
        c.g.prelu(x, weight)
    });
    check("glu", |c| {
        let [n, half, k] = [c.extent(3), c.extent(4), c.extent(3)];
        let x = c.parameter([n, 2 * half, k]);
        c.g.glu(x, 1)
    });
}

#[test]
fn norms() {
    check("layer_norm", |c| {
        let [n, h] = [c.extent(3), c.extent(4) + 2];
        let (x, gamma, beta) = (c.parameter([n, h, 5]), c.positive([h, 5]), c.parameter([h, 5]));
        c.g.layer_norm(x, &[1, 2], Some(gamma), Some(beta), 1e-2)
    });
    check("layer_norm, not the last axis", |c| {
        let [n, h] = [c.extent(3), c.extent(4) + 2];
        let (x, gamma) = (c.parameter([n, h, 5]), c.positive([h]));
        c.g.layer_norm(x, &[1], Some(gamma), None, 1e-2)
    });
    check("rms_norm", |c| {
        let n = c.extent(4);
        let (x, gamma) = (c.parameter([n, 5]), c.positive([5]));
        c.g.rms_norm(x, &[1], Some(gamma), 1e-2)
    });
    for groups in [1, 2, 4] {
        check(&format!("group_norm in {groups}"), |c| {
            let [n, h, w] = [c.extent(2), c.extent(3) + 1, c.extent(3)];
            let (x, gamma, beta) = (c.parameter([n, h, w, 4]), c.positive([4]), c.parameter([4]));
            c.g.group_norm(x, groups, Some(gamma), Some(beta), 1e-2)
        });
    }
}

#[test]
fn convolutions() {
    check("conv1d", |c| {
        let [n, l, i, o] = [c.extent(2), c.extent(5) + 3, c.extent(3), c.extent(3)];
        let (x, w, b) = (c.parameter([n, l, 2 * i]), c.parameter([3, i, 2 * o]), c.parameter([2 * o]));
        let options = Conv1dOptions { stride: 2, padding: Padding1d::Causal, dilation: 2, groups: 2 };
        c.g.conv1d(x, w, Some(b), options)
    });
    check("depthwise_conv2d", |c| {
        let [n, i, m] = [c.extent(2), c.extent(3), c.extent(2)];
        let (x, w) = (c.parameter([n, 4, 3, i]), c.parameter([2, 3, i, m]));
        c.g.depthwise_conv2d(x, w, None, ConvOptions { padding: Padding::Same, ..ConvOptions::default() })
    });
    check("conv_transpose2d", |c| {
        let [n, h, i, o] = [c.extent(2), c.extent(3), c.extent(2), c.extent(2)];
        let (x, w, b) = (c.parameter([n, h, 2, 2 * i]), c.parameter([3, 2, o, 2 * i]), c.parameter([2 * o]));
        let options = ConvTransposeOptions {
            stride: [2, 3],
            padding: Padding::Explicit([[1, 0], [0, 1]]),
            output_padding: [1, 2],
            dilation: [1, 2],
            groups: 2,
        };
        c.g.conv_transpose2d(x, w, Some(b), options)
    });
    check("conv_transpose1d", |c| {
        let [n, l, i, o] = [c.extent(2), c.extent(4), c.extent(3), c.extent(3)];
        let (x, w) = (c.parameter([n, l, i]), c.parameter([4, o, i]));
        let options =
            ConvTranspose1dOptions { stride: 3, padding: Padding1d::Same, ..ConvTranspose1dOptions::default() };
        c.g.conv_transpose1d(x, w, None, options)
    });
}

fn image(c: &mut Case) -> Value {
    let [n, h, w, k] = [c.extent(2), c.extent(4) + 1, c.extent(4) + 1, c.extent(3)];
    c.parameter([n, h, w, k])
}

#[test]
fn pools_and_sizes() {
    let all: [(&str, Function); 10] = [
        ("global_max_pool", Graph::global_max_pool),
        ("adaptive_avg_pool", |g, x| g.adaptive_avg_pool(x, [2, 3])),
        ("adaptive_max_pool", |g, x| g.adaptive_max_pool(x, [2, 3])),
        ("upsample_nearest", |g, x| g.upsample_nearest(x, [2, 3])),
        ("upsample_bilinear", |g, x| g.upsample_bilinear(x, [3, 2], false)),
        ("upsample_bilinear, aligned", |g, x| g.upsample_bilinear(x, [3, 2], true)),
        ("zero_pad2d", |g, x| g.zero_pad2d(x, [[1, 0], [2, 1]])),
        ("reflection_pad2d", |g, x| g.reflection_pad2d(x, [[1, 1], [0, 1]])),
        ("replication_pad2d", |g, x| g.replication_pad2d(x, [[2, 0], [1, 3]])),
        ("pixel_unshuffle", |g, x| {
            let doubled = g.upsample_nearest(x, [2, 2])?;
            g.pixel_unshuffle(doubled, 2)
        }),
    ];
    for (name, f) in all {
        check(name, |c| {
            let x = image(c);
            f(&mut c.g, x)
        });
    }
    check("pools along one axis", |c| {
        let [n, l, k] = [c.extent(2), c.extent(5) + 2, c.extent(3)];
        let x = c.parameter([n, l, k]);
        let options = Pool1dOptions { stride: Some(1), ..Pool1dOptions::new(2) };
        let (max, mean) = (c.g.max_pool1d(x, options)?, c.g.avg_pool1d(x, options)?);
        c.g.mul(max, mean)
    });
}

#[test]
fn embedding() {
    check("embedding, twice", |c| {
        let [n, d, many] = [c.extent(5), c.extent(4), c.extent(7)];
        let table = c.parameter([n, d]);
        let ids = (0..2 * many).map(|_| c.rng.random_range(0..n as i32)).collect();
        let ids = c.g.constant(Tensor::i32([many, 2], ids)?)?;
        let rows = c.g.embedding(ids, table)?;
        c.g.mul(rows, rows)
    });
}

#[test]
fn products_with_one_matrix_on_the_left() {
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        check(&format!("matmul {trans_a} {trans_b}"), |c| {
            let [n, m, k, p] = [c.extent(3), c.extent(4), c.extent(4), c.extent(4)];
            let a = c.parameter(if trans_a { [k, m] } else { [m, k] });
            let b = c.parameter(if trans_b { [n, p, k] } else { [n, k, p] });
            c.g.matmul(a, b, MatMul { trans_a, trans_b })
        });
    }
}
