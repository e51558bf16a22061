//! Layers and networks as users call them.
//!
//! ```text
//!   axes         layers along an axis of one's choice              interpreter
//!   pools        windows that end outside                         interpreter
//!   values       what a layer computes, from its formula          interpreter
//!   forms        shapes and names in PyTorch's and Keras's form
//!   styles       the seed's networks as list, functions, struct   equal texts
//!   compose      networks in networks, several inputs             interpreter
//!   frozen       what training leaves alone                       compiled programs
//! ```

mod axes;
mod compose;
mod forms;
mod frozen;
mod pools;
mod styles;
mod values;

use std::collections::HashMap;

use outrigger::prelude::*;
use outrigger::reference::{self, Outcome};

/// Runs a graph by the interpreter: inputs in the graph's order, state from seed 1 but for what is given.
fn interpret(graph: &Graph, inputs: &[&[f32]], state: &[(&str, &[f32])]) -> Outcome {
    let store = Store::new(graph, 1).unwrap();
    let mut values: HashMap<String, Tensor> =
        store.entries().iter().map(|(name, _)| (name.clone(), store.get(name).unwrap())).collect();
    for (name, numbers) in state {
        let value = values.get_mut(*name).unwrap_or_else(|| panic!("no {name} in\n{graph}"));
        *value = Tensor::f32(value.shape().clone(), numbers.to_vec()).unwrap();
    }
    let tensor = |ty: &outrigger::types::TensorType, numbers: &[f32]| match ty.dtype {
        DType::I32 => Tensor::i32(ty.shape.clone(), numbers.iter().map(|&n| n as i32).collect()).unwrap(),
        _ => Tensor::f32(ty.shape.clone(), numbers.to_vec()).unwrap(),
    };
    let given = graph.inputs().zip(inputs).map(|(id, numbers)| {
        let node = graph.get(id).unwrap();
        (node.name.clone(), tensor(graph.value_type(id.result(0)).unwrap(), numbers))
    });
    reference::run(graph, &given.collect(), &values).unwrap()
}

/// The only output of a network for a batch.
fn output(network: &Network, batch: usize, inputs: &[&[f32]], state: &[(&str, &[f32])]) -> Vec<f64> {
    let graph = network.graph(batch, Mode::Evaluate).unwrap();
    let name = network.output_names()[0].to_string();
    interpret(&graph, inputs, state).output(&name).unwrap().data.clone()
}

fn close(actual: &[f64], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: {actual:?} for {expected:?}");
    for (a, e) in actual.iter().zip(expected) {
        // constants of formulas are f32
        assert!((a - e).abs() <= 1e-6 * e.abs().max(1.0), "{what}: {actual:?} for {expected:?}");
    }
}
