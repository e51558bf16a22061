//! Constants, common subexpressions, and batch norm in the weight of a convolution.

use outrigger::graph::ConvOptions;
use outrigger::ops::Init;
use outrigger::passes::Report;
use outrigger::{DType, Error, Graph, Padding, Tensor, Value};

use crate::harness::{changes, check, count, only, only_passes, unary_graph, values};

#[test]
fn what_depends_on_constants_only_is_computed_now() {
    let graph = unary_graph(&[2, 3], |g, x| {
        let a = g.constant(Tensor::f32([3], vec![0.25, 1.5, -2.0])?)?;
        let b = g.scalar(4.0)?;
        let c = g.mul(a, b)?;
        let c = g.abs(c)?;
        let c = g.broadcast(c, [2, 3])?;
        g.mul(x, c)
    });
    let (optimised, report) = only_passes(&graph, &["constants"]);
    assert_eq!(report.pass("constants").unwrap().done.len(), 3);
    assert_eq!(optimised.len(), 3, "{optimised}");
    check(&graph);
}

#[test]
fn folding_makes_no_large_constants() {
    let graph = unary_graph(&[100, 100], |g, x| {
        let c = g.scalar(3.0)?;
        let c = g.broadcast(c, [100, 100])?;
        g.mul(x, c)
    });
    let (optimised, report) = only_passes(&graph, &["constants"]);
    assert_eq!(count(&optimised, "broadcast"), 1);
    let refused = &report.pass("constants").unwrap().refused;
    assert_eq!(refused, &["broadcast: not folded: 10000 elements would be made from 1"]);
    // canonical form needs no large constant either: the product stretches its operand itself
    let (optimised, _) = only_passes(&graph, &["canonicalise"]);
    assert_eq!(count(&optimised, "broadcast"), 0);
}

#[test]
fn random_numbers_are_no_constants() {
    let mut g = Graph::new("random");
    let seed = g.constant(Tensor::i32([], vec![5]).unwrap()).unwrap();
    let step = g.constant(Tensor::i32([], vec![1]).unwrap()).unwrap();
    let u = g.random(seed, step, [4]).unwrap();
    let again = g.random(seed, step, [4]).unwrap();
    for (name, value) in [("u", u), ("again", again)] {
        g.set_output(name, value).unwrap();
    }
    let (optimised, _) = check(&g);
    // another stream is another tensor
    assert_eq!(count(&optimised, "random"), 2);
}

#[test]
fn a_label_out_of_range_stays_for_the_run_to_report() {
    let mut g = Graph::new("labels");
    let labels = g.constant(Tensor::i32([2], vec![1, 7]).unwrap()).unwrap();
    let y = g.one_hot(labels, 3).unwrap();
    g.set_output("y", y).unwrap();
    let (optimised, report) = only_passes(&g, &["constants"]);
    assert_eq!(count(&optimised, "one_hot"), 1);
    assert!(report.pass("constants").unwrap().refused[0].contains('7'), "{report}");
}

#[test]
fn equal_expressions_are_computed_once() {
    let graph = unary_graph(&[2, 3], |g, x| {
        let e = g.exp(x)?;
        let a = g.mul(x, e)?;
        let e = g.exp(x)?;
        let b = g.mul(e, x)?;
        let c = g.sub(a, b)?;
        let d = g.sub(b, e)?;
        g.div(c, d)
    });
    let (optimised, report) = only_passes(&graph, &["common"]);
    assert_eq!(report.pass("common").unwrap().done.len(), 2, "{report}");
    // a - b and b - e are two differences: the order of operands counts
    assert_eq!([count(&optimised, "exp"), count(&optimised, "mul"), count(&optimised, "sub")], [1, 1, 2]);
    check(&graph);
}

#[test]
fn zero_and_minus_zero_are_not_equal() {
    let graph = unary_graph(&[2], |g, x| {
        let (plus, minus) = (g.scalar(0.0)?, g.scalar(-0.0)?);
        let (a, b) = (g.div(x, plus)?, g.div(x, minus)?);
        g.maximum(a, b)
    });
    let (optimised, _) = check(&graph);
    let (merged, _) = only_passes(&graph, &["common"]);
    assert_eq!(count(&merged, "constant"), 2, "{optimised}");
}

#[test]
fn states_of_one_kind_are_different_states() {
    let mut g = Graph::new("states");
    let a = g.parameter("a", [2], Init::ZEROS).unwrap();
    let b = g.parameter("b", [2], Init::ZEROS).unwrap();
    let y = g.mul(a, b).unwrap();
    g.set_output("y", y).unwrap();
    let (optimised, _) = check(&g);
    assert_eq!(count(&optimised, "parameter"), 2);
}

/// A convolution and the parameters of a batch norm behind it.
struct Parts {
    g: Graph,
    y: Value,
    norm: [Value; 4],
}

fn conv(bias: bool, groups: usize) -> Result<Parts, Error> {
    let mut g = Graph::new("conv and norm");
    let x = g.input("x", DType::F32, [2, 5, 5, 4])?;
    let w = g.parameter("w", [3, 3, 4 / groups, 6], Init::Normal(1.0))?;
    let bias = if bias { Some(g.parameter("b", [6], Init::ZEROS)?) } else { None };
    let options = ConvOptions { padding: Padding::all(1), groups, ..ConvOptions::default() };
    let y = g.conv2d(x, w, bias, options)?;
    let norm = ["gamma", "beta", "mean", "var"].map(|name| g.buffer(name, DType::F32, [6], Init::ONES));
    let [gamma, beta, mean, var] = norm;
    Ok(Parts { g, y, norm: [gamma?, beta?, mean?, var?] })
}

fn finish(mut parts: Parts) -> Result<(Graph, Report), Error> {
    let [gamma, beta, mean, var] = parts.norm;
    let y = parts.g.batch_norm_eval(parts.y, gamma, beta, [mean, var], 1e-3)?;
    let y = parts.g.relu(y)?;
    parts.g.set_output("y", y)?;
    let found = changes(&parts.g, &values(&parts.g, 2, 3));
    assert!(found.is_empty(), "{found:?}");
    Ok(only_passes(&parts.g, &["fold-batch-norm", "epilogue"]))
}

#[test]
fn batch_norm_goes_into_the_weight() {
    for bias in [false, true] {
        let (optimised, report) = finish(conv(bias, 1).unwrap()).unwrap();
        assert_eq!(report.pass("fold-batch-norm").unwrap().done, ["batch_norm_eval: folded into conv2d"]);
        // one kernel with shift and ReLU in its epilogue; the rest works on state only
        let conv = only(&optimised, "fused_conv2d");
        assert_eq!(conv.results.len(), 1);
        assert_eq!(optimised.output("y").unwrap().node, find(&optimised, "fused_conv2d"));
        let full = |n: &&outrigger::graph::Node| n.results[0].shape.rank() == 4 && n.results[0].shape.0[0] == 2;
        assert_eq!(crate::harness::nodes(&optimised).filter(full).count(), 2, "input and convolution\n{optimised}");
    }
}

#[test]
fn batch_norm_goes_into_the_weight_of_groups() {
    let (optimised, report) = finish(conv(false, 2).unwrap()).unwrap();
    assert_eq!(report.pass("fold-batch-norm").unwrap().done.len(), 1);
    assert_eq!(count(&optimised, "fused_conv2d"), 1);
}

#[test]
fn batch_norm_stays_when_others_see_the_convolution() {
    let mut parts = conv(false, 1).unwrap();
    let other = parts.g.exp(parts.y).unwrap();
    parts.g.set_output("other", other).unwrap();
    let (_, report) = finish(parts).unwrap();
    let expected = "batch_norm_eval: not folded: the value of conv2d is also used by exp";
    assert_eq!(report.pass("fold-batch-norm").unwrap().refused, [expected]);

    let mut parts = conv(true, 1).unwrap();
    parts.g.set_output("raw", parts.y).unwrap();
    let (_, report) = finish(parts).unwrap();
    let expected = "batch_norm_eval: not folded: the value of add is also used by the graph's outputs or updates";
    assert_eq!(report.pass("fold-batch-norm").unwrap().refused, [expected]);

    let mut parts = conv(false, 1).unwrap();
    parts.y = parts.g.tanh(parts.y).unwrap();
    let (_, report) = finish(parts).unwrap();
    let expected = "batch_norm_eval: not folded: tanh (tanh) before it is no convolution";
    assert_eq!(report.pass("fold-batch-norm").unwrap().refused, [expected]);
}

fn find(graph: &Graph, kind: &str) -> outrigger::graph::NodeId {
    graph.nodes().find(|&id| crate::harness::at(graph, id).op.kind() == kind).unwrap()
}
