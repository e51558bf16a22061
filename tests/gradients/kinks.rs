//! Where a function has no derivative, the value that PyTorch and Keras give.

use outrigger::autodiff::gradients;
use outrigger::graph::{Graph, PoolOptions};
use outrigger::ops::{Init, Unary};
use outrigger::reference::RefTensor;
use outrigger::{Error, Value};

use crate::harness::evaluate;

/// Gradients of the sum of `build`'s result with respect to parameters of these values.
fn slopes(values: &[&[f64]], build: impl Fn(&mut Graph, &[Value]) -> Result<Value, Error>) -> Vec<Vec<f64>> {
    let mut g = Graph::new("kinks");
    let name = |i: usize| format!("p{i}");
    let parameters: Vec<Value> =
        values.iter().enumerate().map(|(i, v)| g.parameter(&name(i), [v.len()], Init::ZEROS).unwrap()).collect();
    let y = build(&mut g, &parameters).unwrap();
    let axes: Vec<usize> = (0..g.value_type(y).unwrap().shape.rank()).collect();
    let loss = g.sum(y, &axes).unwrap();
    let grads = gradients(&mut g, loss, &parameters).unwrap();
    let state = values.iter().enumerate().map(|(i, v)| (name(i), RefTensor::f32([v.len()], v.to_vec()).unwrap()));
    let outcome = evaluate(&g, &state.collect());
    grads.iter().map(|v| outcome.values[v].data.clone()).collect()
}

#[test]
fn unary_kinks() {
    let at = |f: Unary, x: &[f64]| slopes(&[x], |g, p| g.unary(f, p[0])).remove(0);
    assert_eq!(at(Unary::Relu, &[-1.0, 0.0, 1.0]), [0.0, 0.0, 1.0]);
    assert_eq!(at(Unary::LeakyRelu(0.25), &[-1.0, 0.0, 1.0]), [0.25, 0.25, 1.0]);
    assert_eq!(at(Unary::Abs, &[-2.0, 0.0, 2.0]), [-1.0, 0.0, 1.0]);
    assert_eq!(at(Unary::Clamp(-1.0, 2.0), &[-1.5, -1.0, 0.0, 2.0, 2.5]), [0.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn ties_are_shared() {
    let (a, b): (&[f64], &[f64]) = (&[1.0, 2.0, 3.0], &[2.0, 2.0, 2.0]);
    assert_eq!(slopes(&[a, b], |g, p| g.maximum(p[0], p[1])), [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]);
    assert_eq!(slopes(&[a, b], |g, p| g.minimum(p[0], p[1])), [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]);
    assert_eq!(slopes(&[a], |g, p| g.maximum(p[0], p[0])), [[1.0, 1.0, 1.0]]);
    assert_eq!(slopes(&[&[5.0, 1.0, 5.0, 5.0, 5.0]], |g, p| g.max(p[0], &[0])), [[0.25, 0.0, 0.25, 0.25, 0.25]]);
}

#[test]
fn the_first_maximum_of_a_window_takes_all() {
    let x: &[f64] = &[1.0, 4.0, 4.0, 4.0];
    let got = slopes(&[x], |g, p| {
        let image = g.reshape(p[0], [1, 2, 2, 1])?;
        g.max_pool(image, PoolOptions::square(2))
    });
    assert_eq!(got, [[0.0, 1.0, 0.0, 0.0]]);
}

/// A select keeps what was not taken out of the gradient, even where it is infinite.
#[test]
fn the_other_side_of_a_select_gives_no_nan() {
    let got = slopes(&[&[0.0, 4.0]], |g, p| {
        let zero = g.scalar(0.0)?;
        let (root, positive) = (g.sqrt(p[0])?, g.greater(p[0], zero)?);
        let inner = g.select(positive, root, zero)?;
        g.relu(inner)
    });
    assert_eq!(got[0][1], 0.25);
}
