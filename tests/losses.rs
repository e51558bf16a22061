//! Losses at the edge: logits of -∞, by which classes are masked.

mod common;

use common::executors::{Reference, Results, executors};
use outrigger::autodiff::gradients;
use outrigger::{DType, Graph, Tensor};
use std::collections::HashMap;

/// Results of the reference and of every way to compile.
fn results(g: &Graph, inputs: &HashMap<String, Tensor>) -> Vec<(String, Results)> {
    let mut all = executors();
    all.push(Box::new(Reference));
    all.iter().map(|e| (e.name(), e.run(g, inputs, &HashMap::new()).unwrap())).collect()
}

fn close(who: &str, got: &[f64], want: &[f64]) {
    let near = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 1e-6;
    assert!(got.len() == want.len() && got.iter().zip(want).all(near), "{who}: {got:?}, not {want:?}");
}

const NONE: f32 = f32::NEG_INFINITY;

/// Rows: one class left, two equal ones left, and the odds 1:3 without a mask.
fn logits() -> Tensor {
    Tensor::f32([3, 3], vec![0.0, NONE, NONE, NONE, 1.0, 1.0, 0.0, 3f32.ln(), NONE]).unwrap()
}

#[test]
fn masked_logits_with_integer_labels() {
    let mut g = Graph::new("masked");
    let x = g.input("logits", DType::F32, [3, 3]).unwrap();
    let labels = g.input("labels", DType::I32, [3]).unwrap();
    let loss = g.cross_entropy(x, labels).unwrap();
    let dx = gradients(&mut g, loss, &[x]).unwrap()[0];
    g.set_output("loss", loss).unwrap();
    g.set_output("dx", dx).unwrap();
    let labels = Tensor::i32([3], vec![0, 2, 0]).unwrap();
    let inputs = HashMap::from([("logits".to_string(), logits()), ("labels".to_string(), labels)]);
    let want = (2f64.ln() + 4f64.ln()) / 3.0;
    // (p - label) / 3
    let gradient = [0.0, 0.0, 0.0, 0.0, 0.5, -0.5, -0.75, 0.75, 0.0].map(|v| v / 3.0);
    for (who, got) in results(&g, &inputs) {
        close(&who, &got["loss"].data, &[want]);
        close(&who, &got["dx"].data, &gradient);
    }
}

#[test]
fn masked_logits_with_soft_labels() {
    let mut g = Graph::new("masked");
    let x = g.input("logits", DType::F32, [3, 3]).unwrap();
    let target = g.input("target", DType::F32, [3, 3]).unwrap();
    let loss = g.soft_cross_entropy(x, target).unwrap();
    let grads = gradients(&mut g, loss, &[x, target]).unwrap();
    for (name, value) in [("loss", loss), ("dx", grads[0]), ("dt", grads[1])] {
        g.set_output(name, value).unwrap();
    }
    let soft = Tensor::f32([3, 3], vec![1.0, 0.0, 0.0, 0.0, 0.25, 0.75, 1.0, 0.0, 0.0]).unwrap();
    let inputs = HashMap::from([("logits".to_string(), logits()), ("target".to_string(), soft)]);
    let want = (2f64.ln() + 4f64.ln()) / 3.0;
    let gradient = [0.0, 0.0, 0.0, 0.0, 0.25, -0.25, -0.75, 0.75, 0.0].map(|v| v / 3.0);
    for (who, got) in results(&g, &inputs) {
        close(&who, &got["loss"].data, &[want]);
        close(&who, &got["dx"].data, &gradient);
        // -log p / 3, also for a label of 0
        let dt = &got["dt"].data;
        close(
            &who,
            &[dt[0], dt[4], dt[5], dt[6], dt[7]],
            &[0.0, 2f64.ln() / 3.0, 2f64.ln() / 3.0, 4f64.ln() / 3.0, (4f64 / 3.0).ln() / 3.0],
        );
        assert!(dt.iter().all(|v| v.is_finite()), "{who}: {dt:?}");
    }
}

/// As in PyTorch: a label that cannot be costs infinitely much.
#[test]
fn a_masked_label_costs_infinity() {
    let mut g = Graph::new("masked");
    let x = g.input("logits", DType::F32, [3, 3]).unwrap();
    let labels = g.input("labels", DType::I32, [3]).unwrap();
    let loss = g.cross_entropy(x, labels).unwrap();
    g.set_output("loss", loss).unwrap();
    let labels = Tensor::i32([3], vec![1, 1, 1]).unwrap();
    let inputs = HashMap::from([("logits".to_string(), logits()), ("labels".to_string(), labels)]);
    for (who, got) in results(&g, &inputs) {
        assert_eq!(got["loss"].data, [f64::INFINITY], "{who}");
    }
}
