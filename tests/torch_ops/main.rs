//! Operations that layers are made of, against numbers that PyTorch computed.

use std::collections::HashMap;

use outrigger::autodiff::gradients;
use outrigger::graph::{Graph, Value};
use outrigger::ops::Init;
use outrigger::reference::{RefTensor, run_exact};
use outrigger::{Error, Tensor};

mod activations;
mod layers;

/// The interpreter's value of `build` on `operands` (shape and values), and the gradients with respect to each of its sum
/// weighted with `weights` of its shape.
pub fn run(
    operands: &[(&[usize], Vec<f32>)],
    build: impl Fn(&mut Graph, &[Value]) -> Result<Value, Error>,
    weights: impl Fn(&[usize]) -> Vec<f32>,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut g = Graph::new("published");
    let (mut leaves, mut state) = (Vec::new(), HashMap::new());
    for (at, (shape, values)) in operands.iter().enumerate() {
        let name = format!("p{at}");
        leaves.push(g.parameter(&name, *shape, Init::ZEROS).unwrap());
        state.insert(name, RefTensor::from(&Tensor::f32(*shape, values.clone()).unwrap()));
    }
    let y = build(&mut g, &leaves).unwrap();
    let shape = g.value_type(y).unwrap().shape.clone();
    let weights = g.constant(Tensor::f32(shape.clone(), weights(&shape.0)).unwrap()).unwrap();
    let product = g.mul(y, weights).unwrap();
    let loss = g.sum(product, &(0..shape.rank()).collect::<Vec<_>>()).unwrap();
    let wanted = gradients(&mut g, loss, &leaves).unwrap();
    let outcome = run_exact(&g, &HashMap::new(), &state).unwrap();
    let values = |v: Value| outcome.values[&v].data.clone();
    (values(y), wanted.into_iter().map(values).collect())
}

/// The numbers have seven decimals, and constants of a graph are f32.
pub fn close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 5e-7 * (1.0 + want.abs()), "{what}: [{at}] is {got}, PyTorch has {want}");
    }
}
