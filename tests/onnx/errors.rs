//! What cannot be exported, and how that is said.

use outrigger::export::onnx::{OnnxOptions, export, model};
use outrigger::graph::{ConvOptions, Graph};
use outrigger::models::{Classifier, LeNet5, ResNetCifar};
use outrigger::ops::{Init, Op};
use outrigger::passes::{PassOptions, optimise};
use outrigger::{DType, Error, Store, Tensor};

use crate::common::cases;

/// The error's text.
fn refused(graph: &Graph, outputs: &[&str], options: &OnnxOptions) -> String {
    let store = Store::new(graph, 0).unwrap();
    model(graph, &store, outputs, options).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn graphs_of_training_name_the_node() {
    let graph = ResNetCifar::default().training(2).unwrap();
    let error = refused(&graph, &["logits"], &OnnxOptions::default());
    assert!(error.starts_with("bn.batch_norm: batch norm with the batch's own statistics"), "{error}");
    assert!(error.contains("Model::evaluation"), "{error}");

    let mut g = Graph::new("dropout");
    let x = g.input("x", DType::F32, [2, 3]).unwrap();
    let seed = g.constant(Tensor::i32([], vec![0]).unwrap()).unwrap();
    let step = g.random_step().unwrap();
    let y = g.scope("drop", |g| g.dropout(x, 0.5, seed, step)).unwrap();
    g.set_output("y", y).unwrap();
    let error = refused(&g, &["y"], &OnnxOptions::default());
    assert!(error.starts_with("drop.random: random numbers"), "{error}");
}

#[test]
fn graphs_of_the_compiler_name_the_node() {
    let graph = LeNet5::default().evaluation(1).unwrap();
    let (machine, _) = optimise(&graph, &PassOptions::default()).unwrap();
    let error = refused(&machine, &["logits"], &OnnxOptions { fused: false, ..OnnxOptions::default() });
    assert!(error.contains("made for this machine by the compiler"), "{error}");
}

#[test]
fn outputs_must_exist_and_have_names_of_their_own() {
    let graph = LeNet5::default().evaluation(1).unwrap();
    let options = OnnxOptions::default();
    assert!(refused(&graph, &["logit"], &options).contains("did you mean \"logits\"?"));
    assert!(refused(&graph, &[], &options).contains("name at least one output"));
    assert!(refused(&graph, &["logits", "logits"], &options).contains("\"logits\" exists already"));

    let mut g = Graph::new("echo");
    let x = g.input("x", DType::F32, [2]).unwrap();
    g.set_output("x", x).unwrap();
    assert!(refused(&g, &["x"], &options).contains("input, state or output \"x\" exists already"));
}

#[test]
fn a_store_must_have_the_states() {
    let graph = LeNet5::default().evaluation(1).unwrap();
    let other = Store::new(&LeNet5 { classes: 7 }.evaluation(1).unwrap(), 0).unwrap();
    let error = model(&graph, &other, &["logits"], &OnnxOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Type { .. }), "{error}");
    let none = Store::new(&Graph::new("empty"), 0).unwrap();
    let error = model(&graph, &none, &["logits"], &OnnxOptions::default()).unwrap_err();
    assert!(matches!(error, Error::UnknownName { .. }), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let graph = LeNet5::default().evaluation(1).unwrap();
    let store = Store::new(&graph, 0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nowhere").join("lenet.onnx");
    for largest_file in [0, usize::MAX] {
        let options = OnnxOptions { largest_file, ..OnnxOptions::default() };
        let error = export(&graph, &store, &["logits"], &options, &path).unwrap_err();
        assert!(matches!(&error, Error::Io { file, .. } if file.contains("nowhere/lenet.onnx")), "{error}");
    }
}

/// Exported with an open batch, what `make` makes of `x [2, 3, 4]` is refused with `reason`.
fn closed(reason: &str, make: impl Fn(&mut Graph, outrigger::Value) -> Result<outrigger::Value, Error>) {
    let mut g = Graph::new("closed");
    let x = g.input("x", DType::F32, [2, 3, 4]).unwrap();
    let y = make(&mut g, x).unwrap();
    g.set_output("y", y).unwrap();
    for fused in [false, true] {
        let open = OnnxOptions { dynamic_batch: true, fused, ..OnnxOptions::default() };
        let error = refused(&g, &["y"], &open);
        assert!(error.contains(reason) && error.contains("fixed batch"), "{error}");
        let store = Store::new(&g, 0).unwrap();
        model(&g, &store, &["y"], &OnnxOptions { dynamic_batch: false, ..open }).unwrap();
    }
}

#[test]
fn a_batch_that_must_be_known_names_the_node() {
    closed("add: has an operand 2 of the batch's extent", |g, x| {
        let w = g.parameter("w", [2, 3, 4], Init::ONES)?;
        g.add_values(x, w)
    });
    closed("reshape: moves the batch behind", |g, x| {
        let x = g.transpose(x, &[1, 0, 2])?;
        g.reshape(x, [12, 2])
    });
    closed("pad: puts a border around the batch", |g, x| g.pad(x, &[0, 0, 0], &[1, 0, 0], 0.0));
    closed("slice: takes a part of the batch", |g, x| g.slice(x, &[0, 0, 0], &[1, 3, 4], &[1, 1, 1]));
    closed("concat: joins values along", |g, x| g.concat(&[x, x], 0));
    closed("matmul: sums over the batch", |g, x| {
        let x = g.reshape(x, [2, 12])?;
        g.matmul(x, x, outrigger::ops::MatMul { trans_a: true, trans_b: false })
    });
    closed("conv2d: slides a window", |g, x| {
        let x = g.reshape(x, [1, 2, 3, 4])?;
        let w = g.parameter("w", [1, 1, 4, 4], Init::ONES)?;
        g.conv2d(x, w, None, ConvOptions::default())
    });

    let mut g = Graph::new("two");
    let (a, b) = (g.input("a", DType::F32, [2, 3]).unwrap(), g.input("b", DType::F32, [1, 3]).unwrap());
    let y = g.add_values(a, b).unwrap();
    g.set_output("y", y).unwrap();
    let error = refused(&g, &["y"], &OnnxOptions { dynamic_batch: true, ..OnnxOptions::default() });
    assert!(error.starts_with("b: its leading axis is 1, that of another input 2"), "{error}");
}

/// Whether ONNX has words for an operation. There is no `_`: who adds one says so here.
pub fn portable(op: &Op) -> bool {
    match op {
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::OneHot(_)
        | Op::Gather
        | Op::Reduce(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::MatMul(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradInput(..)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::BatchNormEval(_) => true,
        Op::Random(_)
        | Op::ScatterAdd(_)
        | Op::Conv2dGradWeight(..)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPoolGrad(..)
        | Op::BatchNorm(_)
        | Op::BatchNormGrad
        | Op::Coefficients(_)
        | Op::GradCoefficients(_)
        | Op::Fused(_) => false,
    }
}

/// Every case of the suite is exported, or refused for an operation that is not portable.
#[test]
fn exactly_what_is_not_portable_is_refused() {
    for case in cases::all() {
        for seed in 0..3 {
            let b = case.build(seed);
            let store = Store::new(&b.g, 0).unwrap();
            let names: Vec<&str> = b.g.outputs().iter().map(|(name, _)| name.as_str()).collect();
            let all = b.g.nodes().all(|id| portable(&b.g.get(id).unwrap().op));
            let options = OnnxOptions { fused: false, ..OnnxOptions::default() };
            match crate::parsed::exported(&b.g, &store, &names, &options) {
                Ok(_) => assert!(all, "{}, seed {seed}", case.name),
                Err(Error::Export { .. }) => assert!(!all, "{}, seed {seed}", case.name),
                Err(error) => panic!("{}, seed {seed}: {error}", case.name),
            }
        }
    }
}
