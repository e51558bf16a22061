//! What the backward pass holds: nothing for values that need no gradient, sums of several uses, names,
//! and second derivatives.

use outrigger::autodiff::gradients;
use outrigger::graph::{ConvOptions, Graph};
use outrigger::ops::{Binary, Init, Op};
use outrigger::{DType, Value};

use crate::harness::{Case, check_loss, evaluate};

fn count(g: &Graph, what: impl Fn(&Op) -> bool) -> usize {
    g.nodes().filter(|&id| what(&g.get(id).unwrap().op)).count()
}

/// Two convolutions on a data input, with the loss; the data and the weights.
fn two_convolutions() -> (Graph, Value, [Value; 3]) {
    let mut g = Graph::new("two");
    let x = g.input("x", DType::F32, [1, 6, 6, 2]).unwrap();
    let w1 = g.parameter("w1", [3, 3, 2, 4], Init::ZEROS).unwrap();
    let w2 = g.parameter("w2", [3, 3, 4, 1], Init::ZEROS).unwrap();
    g.enter("layer1");
    let y = g.conv2d(x, w1, None, ConvOptions::default()).unwrap();
    let y = g.relu(y).unwrap();
    g.leave();
    let y = g.conv2d(y, w2, None, ConvOptions::default()).unwrap();
    let loss = g.mean_all(y).unwrap();
    (g, loss, [x, w1, w2])
}

#[test]
fn no_gradient_of_what_needs_none() {
    let data = |op: &Op| matches!(op, Op::Conv2dGradInput(..));
    let filter = |op: &Op| matches!(op, Op::Conv2dGradWeight(..));

    let (mut g, loss, [_, w1, w2]) = two_convolutions();
    gradients(&mut g, loss, &[w1, w2]).unwrap();
    assert_eq!((count(&g, data), count(&g, filter)), (1, 2), "no data gradient of the first convolution");

    let (mut g, loss, [_, _, w2]) = two_convolutions();
    gradients(&mut g, loss, &[w2]).unwrap();
    assert_eq!((count(&g, data), count(&g, filter)), (0, 1), "nothing before the second convolution");
    assert_eq!(count(&g, |op| matches!(op, Op::Binary(Binary::Greater))), 0);

    let (mut g, loss, [x, ..]) = two_convolutions();
    gradients(&mut g, loss, &[x]).unwrap();
    assert_eq!((count(&g, data), count(&g, filter)), (2, 0), "of the data only");
}

#[test]
fn names_are_the_forward_paths() {
    let (mut g, loss, [_, w1, _]) = two_convolutions();
    let before = g.len();
    let [dw]: [Value; 1] = gradients(&mut g, loss, &[w1]).unwrap().try_into().unwrap();
    assert_eq!(g.get(dw.node).unwrap().name, "layer1.conv2d.grad");
    for id in g.nodes().skip(before) {
        let node = g.get(id).unwrap();
        assert!(node.name.ends_with(".grad") || matches!(node.op, Op::Constant(_)), "{}", node.name);
    }
}

#[test]
fn the_same_graph_gives_the_same_nodes() {
    let build = || {
        let (mut g, loss, [x, w1, w2]) = two_convolutions();
        let grads = gradients(&mut g, loss, &[w2, x, w1]).unwrap();
        let nodes: Vec<_> = g.nodes().map(|id| g.get(id).unwrap().clone()).collect();
        (nodes, grads)
    };
    assert_eq!(build(), build());
}

/// A value with uses before, beside and after one another, also as intermediate result of `wrt`.
#[test]
fn many_uses() {
    for seed in 0..4 {
        let mut c = Case::new(seed);
        let shape = c.extents(2, 4);
        let (x, z) = (c.parameter(&shape), c.parameter(&shape[1..]));
        let a = c.g.tanh(x).unwrap();
        let b = c.g.mul(a, x).unwrap();
        let d = c.g.add_values(b, z).unwrap();
        let e = c.g.concat(&[a, d, x, b], 0).unwrap();
        let f = c.g.exp(e).unwrap();
        let h = c.g.add_values(f, z).unwrap();
        let loss = c.weighted_sum(h);
        check_loss("many uses", &mut c, loss);
    }
}

#[test]
fn intermediate_values_and_the_loss_itself() {
    let mut g = Graph::new("g");
    let x = g.parameter("x", [], Init::ZEROS).unwrap();
    let y = g.exp(x).unwrap();
    let loss = g.mul(y, y).unwrap();
    let grads = gradients(&mut g, loss, &[loss, y, x, y]).unwrap();
    let state = [("x".to_string(), outrigger::reference::RefTensor::f32([], vec![0.5]).unwrap())].into();
    let outcome = evaluate(&g, &state);
    let got: Vec<f64> = grads.iter().map(|v| outcome.values[v].data[0]).collect();
    let e = 0.5_f64.exp();
    for (got, want) in got.iter().zip([1.0, 2.0 * e, 2.0 * e * e, 2.0 * e]) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
}

/// The gradient of a gradient: a penalty on the gradient of a small convolutional network.
#[test]
fn second_derivatives() {
    for seed in 0..3 {
        let mut c = Case::new(seed);
        let (x, w) = (c.parameter([2, 5, 4, 2]), c.parameter([3, 2, 2, 3]));
        let y = c.g.conv2d(x, w, None, ConvOptions { stride: [2, 1], ..Default::default() }).unwrap();
        let y = c.g.tanh(y).unwrap();
        let inner = c.weighted_sum(y);
        let grads = gradients(&mut c.g, inner, &[x, w]).unwrap();
        let (a, b) = (c.weighted_sum(grads[0]), c.weighted_sum(grads[1]));
        let loss = c.g.mul(a, b).unwrap();
        check_loss("gradient penalty", &mut c, loss);
    }
}
