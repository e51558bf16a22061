//! Other networks, and graphs with ports of all kinds, as native code and by the JIT.

use std::sync::Arc;

use outrigger::codegen::Isa;
use outrigger::export::ObjectOptions;
use outrigger::models::{Classifier, LeNet5, MobileNetV2, ResNetCifar};
use outrigger::ops::{Binary, Init};
use outrigger::tensor::Data;
use outrigger::{DType, Graph, Options, Precision, Store, Team, Tensor, compile};

use super::driver::{Piece, run_all};
use super::{available, has};

/// Every variant of the graph's native code gives what the JIT gives: bit for bit where both have a fused multiply-add.
#[track_caller]
fn check(graph: &Graph, inputs: &[(&str, Tensor)], options: Options, tolerance: f64) {
    if !has("gcc") {
        return;
    }
    let options = Options { isa: Some(Isa::detect().vectors()), ..options };
    let store = Store::new(graph, 5).unwrap();
    let mut session = compile(graph, &options).unwrap().session(&store, &Arc::new(Team::new(2).unwrap())).unwrap();
    for (name, value) in inputs {
        session.set(name, value).unwrap();
    }
    session.run().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = ObjectOptions { compile: options, ..ObjectOptions::new("net") };
    let input = |name: &str| inputs.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    let piece = Piece::export(dir.path(), graph, &store, &options, input).unwrap();
    for (isa, outputs) in available().iter().zip(&run_all(dir.path(), &[piece])[0]) {
        for ((name, _), actual) in graph.outputs().iter().zip(outputs) {
            let expected = session.get(name).unwrap();
            if *isa != Isa::Clif || !matches!(expected.data(), Data::F32(_)) {
                assert_eq!(actual.to_bytes(), expected.to_bytes(), "{isa}, output {name}");
            }
            for (a, e) in actual.to_f64().iter().zip(expected.to_f64()) {
                let error = (a - e).abs();
                assert!(error <= tolerance * e.abs().max(1.0), "{isa}, output {name}: {a} for {e}");
            }
        }
    }
}

/// Numbers in [-1, 1) without a pattern.
fn noise(elements: usize) -> Vec<f32> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..elements).map(|_| next()).collect()
}

/// A model's evaluation graph: two inputs, two outputs.
#[track_caller]
fn check_model(model: &dyn Classifier, batch: usize, options: Options, tolerance: f64) {
    let graph = model.evaluation(batch).unwrap();
    let shape = graph.value_type(graph.source("images").unwrap()).unwrap().shape.clone();
    let images = Tensor::f32(shape.clone(), noise(shape.elements())).unwrap();
    let labels = Tensor::i32([batch], (0..batch).map(|i| (i % 3) as i32).collect()).unwrap();
    check(&graph, &[("images", images), ("labels", labels)], options, tolerance);
}

#[test]
fn lenet() {
    check_model(&LeNet5 { classes: 7 }, 3, Options::default(), 1e-5);
}
/// Nine images: what groups make of one lies in memory that is addressed by image.
#[test]
fn residual_network_image_by_image() {
    let model = ResNetCifar { layers: [1, 1, 1], size: 11, ..ResNetCifar::default() };
    check_model(&model, 9, Options::default(), 1e-5);
}
#[test]
fn depthwise_network() {
    check_model(&MobileNetV2 { classes: 5, size: 40, width: 0.25 }, 1, Options::default(), 1e-4);
}
/// bf16 inside, f32 outside. A rounding apart is a bf16's.
#[test]
fn network_in_bf16() {
    let model = ResNetCifar { layers: [1, 1, 1], ..ResNetCifar::default() };
    check_model(&model, 2, Options { precision: Precision::Bf16, ..Options::default() }, 0.05);
}

/// Bytes, integers, scalars; an output that is an input, one that is known before the run, one of odd size; names that are
/// words of C, that begin and end its comments, and that the header's template knows.
#[test]
fn ports_of_all_kinds() {
    let mut g = Graph::new("ports /* @SHAPES@ */ \"int\"");
    let pixels = g.input("pixels", DType::U8, [3, 7]).unwrap();
    let ids = g.input("some.ids", DType::I32, [5]).unwrap();
    let scale = g.input("/*/ @NAME@ é \\", DType::F32, Vec::new()).unwrap();
    let w = g.parameter("w", [7, 5], Init::Normal(1.0)).unwrap();
    let b = g.parameter("b", [5], Init::Normal(1.0)).unwrap();
    let x = g.cast(pixels, DType::F32).unwrap();
    let x = g.mul(x, scale).unwrap();
    let x = g.linear(x, w, Some(b)).unwrap();
    let x = g.gelu(x).unwrap();
    let y = g.softmax(x, 1).unwrap();
    let doubled = g.binary(Binary::Add, ids, ids).unwrap();
    let known = g.exp(b).unwrap();
    for (name, value) in [("y", y), ("doubled", doubled), ("float", pixels), ("known", known), ("weight", w)] {
        g.set_output(name, value).unwrap();
    }
    let pixels = Tensor::new([3, 7], Data::U8((0..21).map(|i| i * 11).collect())).unwrap();
    let inputs = [
        ("pixels", pixels),
        ("some.ids", Tensor::i32([5], vec![1, -2, 3, 1 << 20, 0]).unwrap()),
        ("/*/ @NAME@ é \\", Tensor::scalar(0.01)),
    ];
    check(&g, &inputs, Options::default(), 1e-5);
}
