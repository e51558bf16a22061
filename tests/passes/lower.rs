//! Lowering: what is left is what kernels compute, and it means the same on every shape.

use outrigger::ops::{BatchNorm, Conv2d, Init, Op, ReduceKind};
use outrigger::passes::{PassOptions, optimise};
use outrigger::{DType, Graph};

use crate::harness::{check, count, kernel, nodes, unary_graph};

fn lowered(graph: &Graph) -> Graph {
    check(graph);
    optimise(graph, &PassOptions::unfused()).unwrap().0
}

#[test]
fn softmax_on_every_axis() {
    for axis in 0..3 {
        let graph = unary_graph(&[3, 4, 5], |g, x| {
            let log = g.log_softmax(x, axis)?;
            g.set_output("log", log)?;
            g.softmax(x, axis)
        });
        let graph = lowered(&graph);
        assert_eq!([count(&graph, "softmax"), count(&graph, "log_softmax")], [0, 0]);
    }
}

#[test]
fn long_sums_have_two_stages() {
    // channels, everything, axes inside, and few rows
    let cases: &[(&[usize], &[usize], bool)] = &[
        (&[5, 9, 7, 3], &[0, 1, 2], true),
        (&[5, 9, 7, 3], &[0, 1, 2, 3], true),
        (&[300, 2], &[0], true),
        (&[300, 1], &[0], true),
        (&[5, 9, 7, 3], &[1, 2], false),
        (&[5, 9, 7, 3], &[0, 1, 3], false),
        (&[300, 2], &[1], false),
        (&[255, 2], &[0], false),
        (&[2000], &[0], false),
        // few rows of many elements become many rows
        (&[20_000], &[0], true),
        (&[2, 10_007], &[0, 1], true),
        (&[5_000], &[0], false),
        (&[2, 20_000], &[1], false),
        (&[300, 2], &[], false),
    ];
    for &(shape, axes, two_stages) in cases {
        for keep_dims in [false, true] {
            for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
                let graph = unary_graph(shape, |g, x| g.reduce(kind, x, axes, keep_dims));
                let graph = lowered(&graph);
                let expected = two_stages && kind != ReduceKind::Max;
                assert_eq!(count(&graph, "map") == 1, expected, "{shape:?} {axes:?} {kind:?}\n{graph}");
            }
        }
    }
}

#[test]
fn a_second_lowering_finds_nothing() {
    let cases: [(&[usize], &[usize]); 6] = [
        (&[5, 9, 7, 3], &[0, 1, 2, 3]),
        (&[20_011], &[0]),
        (&[3, 5_003], &[1]),
        (&[300, 5_000], &[0, 1]),
        (&[5_000, 2, 2], &[0, 2]),
        (&[2, 80, 90, 3], &[1, 2]),
    ];
    for (shape, axes) in cases {
        let graph = unary_graph(shape, |g, x| g.mean(x, axes));
        let (once, _) = optimise(&graph, &PassOptions::unfused()).unwrap();
        let (twice, report) = optimise(&once, &PassOptions::unfused()).unwrap();
        assert!(report.pass("lower").unwrap().done.is_empty(), "{shape:?} over {axes:?}\n{once}");
        assert_eq!(once.to_string(), twice.to_string());
    }
}

#[test]
fn batch_norm_is_sums_coefficients_and_a_multiply_add() {
    for (shape, unbiased) in [(vec![3, 5, 4, 6], true), (vec![7, 6], false), (vec![2, 3, 6], true)] {
        let mut g = Graph::new("norm");
        let x = g.input("x", DType::F32, shape).unwrap();
        let [gamma, beta] = ["gamma", "beta"].map(|n| g.parameter(n, [6], Init::ONES).unwrap());
        let [mean, var] = ["mean", "var"].map(|n| g.buffer(n, DType::F32, [6], Init::ONES).unwrap());
        let norm = BatchNorm { epsilon: 1e-3, momentum: 0.2, unbiased };
        let n = g.batch_norm(x, gamma, beta, [mean, var], norm).unwrap();
        let dy = g.exp(n.y).unwrap();
        let grads = g.add(Op::BatchNormGrad, &[dy, x, gamma, n.mean, n.rstd], "backward").unwrap();
        for port in 0..3 {
            g.set_output(&format!("grad{port}"), grads.result(port)).unwrap();
        }
        g.set_output("y", n.y).unwrap();
        g.set_output("batch mean", n.mean).unwrap();
        g.set_output("rstd", n.rstd).unwrap();
        let graph = lowered(&g);
        let kinds = ["map", "bn_coefficients", "bn_grad_coefficients", "batch_norm", "batch_norm_grad"];
        assert_eq!(kinds.map(|k| count(&graph, k)), [2, 1, 1, 0, 0]);
        assert!(nodes(&graph).any(|n| n.name.ends_with(".coefficients")));
    }
}

/// Convolutions become kernels that can absorb their neighbours.
#[test]
fn convolutions() {
    for groups in [1, 2] {
        let mut g = Graph::new("conv");
        let conv = Conv2d { stride: [2, 1], padding: [[1, 0], [2, 1]], dilation: [1, 2], groups };
        let x = g.input("x", DType::F32, [3, 7, 6, 4]).unwrap();
        let w = g.parameter("w", [3, 2, 4 / groups, 2], Init::Normal(1.0)).unwrap();
        let y = g.op(Op::Conv2d(conv), &[x, w]).unwrap();
        let dy = g.exp(y).unwrap();
        let [xs, ws] = [x, w].map(|v| g.value_type(v).unwrap().shape.clone());
        let dx = g.op(Op::Conv2dGradInput(conv, xs), &[dy, w]).unwrap();
        let dw = g.op(Op::Conv2dGradWeight(conv, ws), &[x, dy]).unwrap();
        for (name, value) in [("y", y), ("dx", dx), ("dw", dw)] {
            g.set_output(name, value).unwrap();
        }
        let graph = lowered(&g);
        let portable = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"].map(|k| count(&graph, k));
        let fused = ["fused_conv2d", "fused_conv2d_grad_input", "fused_conv2d_grad_weight"].map(|k| count(&graph, k));
        assert_eq!((portable, fused), ([0; 3], [1; 3]));
        let kernel = kernel(&graph, "fused_conv2d");
        assert_eq!(kernel.chunks, outrigger::ops::fused::chunks_for(3));
    }
}
