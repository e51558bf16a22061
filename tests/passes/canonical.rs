//! Canonical form, rule by rule: what is left of the graph.

use outrigger::graph::PoolOptions;
use outrigger::ops::{Op, ReduceKind};
use outrigger::{DType, Error, Graph, Tensor, Value};

use crate::harness::{changes, count, nodes, only, only_passes, output, unary_graph, values};

type Body = fn(&mut Graph, Value) -> Result<Value, Error>;

/// Kinds of the nodes that are left, without the input and constants.
fn left(shape: &[usize], body: Body) -> Vec<&'static str> {
    let graph = unary_graph(shape, body);
    let found = changes(&graph, &values(&graph, 1, 3));
    assert!(found.is_empty(), "{}\n{graph}", found.join("\n"));
    let (canonical, report) = only_passes(&graph, &["canonicalise"]);
    assert!(report.pass("canonicalise").is_some());
    let skip = |op: &Op| matches!(op, Op::Input(_) | Op::Constant(_));
    nodes(&canonical).filter(|n| !skip(&n.op)).map(|n| n.op.kind()).collect()
}

#[test]
fn operations_without_effect_go() {
    let bodies: &[Body] = &[
        |g, x| {
            let zero = g.scalar(0.0)?;
            g.add_values(x, zero)
        },
        |g, x| {
            let zero = g.constant(Tensor::full([4], 0.0))?;
            g.add_values(zero, x)
        },
        |g, x| {
            let zero = g.scalar(0.0)?;
            g.sub(x, zero)
        },
        |g, x| {
            let one = g.scalar(1.0)?;
            let y = g.mul(x, one)?;
            let y = g.mul(one, y)?;
            g.div(y, one)
        },
        |g, x| {
            let y = g.neg(x)?;
            g.neg(y)
        },
        |g, x| g.reshape(x, [2, 3, 4]),
        |g, x| {
            let y = g.reshape(x, [6, 4])?;
            let y = g.reshape(y, [24])?;
            g.reshape(y, [2, 3, 4])
        },
        |g, x| g.transpose(x, &[0, 1, 2]),
        |g, x| {
            let y = g.transpose(x, &[2, 0, 1])?;
            g.transpose(y, &[1, 2, 0])
        },
        |g, x| g.broadcast(x, [2, 3, 4]),
        |g, x| g.cast(x, DType::F32),
        |g, x| g.pad(x, &[0; 3], &[0; 3], 7.0),
        |g, x| g.slice(x, &[0; 3], &[2, 3, 4], &[1; 3]),
        |g, x| g.concat(&[x], 1),
        |g, x| g.mean(x, &[]),
        |g, x| g.maximum(x, x),
        |g, x| {
            let condition = g.scalar(2.0)?;
            let other = g.exp(x)?;
            g.select(condition, x, other)
        },
        |g, x| {
            let condition = g.scalar(0.0)?;
            let other = g.exp(x)?;
            g.select(condition, other, x)
        },
        |g, x| {
            let condition = g.exp(x)?;
            g.select(condition, x, x)
        },
    ];
    for (at, body) in bodies.iter().enumerate() {
        assert_eq!(left(&[2, 3, 4], *body), Vec::<&str>::new(), "body {at}");
    }
}

#[test]
fn what_can_be_written_in_two_ways_is_written_in_one() {
    let cases: &[(Body, &[&str])] = &[
        (
            |g, x| {
                let y = g.exp(x)?;
                let y = g.neg(y)?;
                g.add_values(x, y)
            },
            &["exp", "sub"],
        ),
        (
            |g, x| {
                let y = g.exp(x)?;
                let y = g.neg(y)?;
                g.sub(x, y)
            },
            &["exp", "add"],
        ),
        (
            |g, x| {
                let y = g.relu(x)?;
                g.relu(y)
            },
            &["relu"],
        ),
        (
            |g, x| {
                let y = g.clamp(x, 0.0, 6.0)?;
                g.relu(y)
            },
            &["clamp"],
        ),
        (
            |g, x| {
                let y = g.clamp(x, -0.5, 6.0)?;
                g.relu(y)
            },
            &["clamp", "relu"],
        ),
        (
            |g, x| {
                let c = g.scalar(8.0)?;
                g.div(x, c)
            },
            &["mul"],
        ),
        (
            // the reciprocal of 3 is rounded
            |g, x| {
                let c = g.scalar(3.0)?;
                g.div(x, c)
            },
            &["div"],
        ),
        (
            // x may be infinite
            |g, x| {
                let c = g.scalar(0.0)?;
                g.mul(x, c)
            },
            &["mul"],
        ),
        (|g, x| g.transpose(x, &[1, 0, 2]), &["transpose"]),
        (
            |g, x| {
                let y = g.reshape(x, [2, 1, 3, 4])?;
                let y = g.transpose(y, &[0, 2, 1, 3])?;
                g.reshape(y, [2, 12])
            },
            &["reshape"],
        ),
        (
            |g, x| {
                let y = g.reshape(x, [2, 1, 12])?;
                g.reduce(ReduceKind::Max, y, &[1], true)
            },
            &["reshape"],
        ),
        (
            |g, x| {
                let y = g.mean(x, &[0, 1])?;
                let y = g.broadcast(y, [3, 4])?;
                let y = g.broadcast(y, [2, 3, 4])?;
                g.mul(x, y)
            },
            &["reduce_mean", "mul"],
        ),
        (
            // the quotient is of four numbers
            |g, x| {
                let y = g.max(x, &[0, 1])?;
                let y = g.broadcast(y, [2, 3, 4])?;
                let c = g.scalar(3.0)?;
                let y = g.div(y, c)?;
                let y = g.exp(y)?;
                g.mul(x, y)
            },
            &["reduce_max", "div", "exp", "mul"],
        ),
        (
            |g, x| {
                let y = g.max(x, &[0, 1])?;
                let y = g.broadcast(y, [2, 3, 4])?;
                g.exp(y)
            },
            &["reduce_max", "exp", "broadcast"],
        ),
        (
            |g, x| {
                let y = g.reduce(ReduceKind::Max, x, &[0, 1], true)?;
                g.mul(x, y)
            },
            // the operand becomes [4]
            &["reduce_max", "reshape", "mul"],
        ),
    ];
    for (at, (body, kinds)) in cases.iter().enumerate() {
        assert_eq!(left(&[2, 3, 4], *body), *kinds, "case {at}");
    }
}

#[test]
fn log_of_softmax_is_the_stable_form() {
    let graph = unary_graph(&[2, 5], |g, x| {
        let p = g.softmax(x, 1)?;
        g.log(p)
    });
    let (optimised, report) = only_passes(&graph, &["canonicalise"]);
    assert!(report.to_string().contains("log of softmax is log-softmax"));
    // no logarithm of a quotient that may be zero
    assert_eq!((count(&optimised, "div"), count(&optimised, "log")), (0, 1));
    assert_eq!(output(&optimised, "y").op.kind(), "sub");
}

#[test]
fn the_average_of_all_pixels_is_a_mean() {
    let graph = unary_graph(&[2, 4, 4, 3], |g, x| g.avg_pool(x, PoolOptions::square(4)));
    let (optimised, _) = only_passes(&graph, &["canonicalise"]);
    assert_eq!(only(&optimised, "reduce_mean").results[0].shape.0, [2, 1, 1, 3]);
    let graph = unary_graph(&[2, 4, 4, 3], |g, x| g.avg_pool(x, PoolOptions::square(2)));
    let (optimised, _) = only_passes(&graph, &["canonicalise"]);
    assert_eq!(count(&optimised, "avg_pool"), 1);
}

/// The mask of a ReLU is asked of its result, so that nobody needs its operand.
#[test]
fn the_mask_of_a_relu_reads_its_result() {
    let graph = unary_graph(&[2, 4], |g, x| {
        let r = g.relu(x)?;
        let zero = g.scalar(0.0)?;
        let mask = g.greater(x, zero)?;
        g.mul(mask, r)
    });
    let (optimised, report) = only_passes(&graph, &["canonicalise"]);
    assert!(report.to_string().contains("x > 0 is relu(x) > 0"), "{report}");
    let mask = only(&optimised, "greater");
    assert_eq!(optimised.get(mask.operands[0].node).unwrap().op.kind(), "relu");
}

#[test]
fn integers_are_left_alone() {
    let mut g = Graph::new("counter");
    let x = g.input("x", DType::I32, [3]).unwrap();
    let one = g.constant(Tensor::i32([1], vec![1]).unwrap()).unwrap();
    let y = g.mul(x, one).unwrap();
    g.set_output("y", y).unwrap();
    let found = changes(&g, &values(&g, 1, 9));
    assert!(found.is_empty(), "{found:?}");
    let (optimised, _) = only_passes(&g, &["canonicalise", "chains"]);
    assert_eq!(count(&optimised, "mul"), 1);
}
