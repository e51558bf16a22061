//! Exported inference graphs: the same classes as the evaluation graph, any batch size, files that come back.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use outrigger::data::{Images, sample};
use outrigger::export::inference::{InferenceGraph, Samples};
use outrigger::export::onnx::{self, OnnxOptions};
use outrigger::graph::{ConvOptions, PoolOptions};
use outrigger::models::{Classifier, ResNetCifar, by_name};
use outrigger::ops::{Init, Op};
use outrigger::train::{ModelOptions, Recipe, Storage, WeightFile};
use outrigger::{DType, Error, Graph, Padding, Store, Team, Tensor, nn, reference};

/// What training leaves of a network.
struct Trained {
    store: Store,
    team: Arc<Team>,
    /// Test images that it classifies right.
    correct: usize,
}

impl Trained {
    fn store(&self) -> &Store {
        &self.store
    }
    fn team(&self) -> &Arc<Team> {
        &self.team
    }
}

/// The seed network after twenty steps on the embedded sample: running statistics are far from their first values.
fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let recipe = Recipe::default();
        let mut model = recipe.compile(ModelOptions { threads: Some(2), ..ModelOptions::default() }).unwrap();
        let data = sample().unwrap();
        for batch in recipe.training_batches(&Arc::new(data.train)).unwrap().epoch(0).take(20) {
            let batch = batch.unwrap();
            model.train_step(&batch, &batch).unwrap();
        }
        let found = model.evaluate(Arc::new(data.test), 250).unwrap();
        let correct = (750.0 * found.get("accuracy").unwrap()).round() as usize;
        Trained { store: model.store().clone(), team: model.team().clone(), correct }
    })
}

/// All test images of the sample, and their labels.
fn test_images() -> (Tensor, Vec<i32>) {
    let images: Images = sample().unwrap().test;
    let pixels = images.images().iter().map(|&x| f32::from(x) / 255.0).collect();
    let labels = images.labels().iter().map(|&x| i32::from(x)).collect();
    (Tensor::f32([images.len(), 32, 32, 3], pixels).unwrap(), labels)
}

fn evaluation(batch: usize) -> Graph {
    ResNetCifar::default().evaluation(batch).unwrap()
}

#[test]
fn the_seed_network_says_the_same_of_every_test_image() {
    let trainer = trained();
    let (images, labels) = test_images();
    assert_eq!(labels.len(), 750);
    let before = evaluation(100);
    for (storage, relative) in [(Storage::F32, 1e-5), (Storage::F16, 2e-3), (Storage::Bf16, 2e-2)] {
        let start = std::time::Instant::now();
        let mut network = InferenceGraph::export(&before, trainer.store(), &["logits"], storage).unwrap();
        println!("exported in {:?}", start.elapsed());
        let samples = Samples { inputs: &[("images", &images)], labels: Some(&labels) };
        let found = network.certify(&before, trainer.store(), samples, trainer.team()).unwrap().clone();
        println!("{storage}: {found}");
        assert_eq!(found.samples, 750);
        // weights of relative error 2⁻¹¹ and 2⁻⁸ at most, which average out over the products of an output
        assert!(found.largest_deviation <= relative * found.largest_output, "{storage}: {found}");
        let [old, new] = found.correct.unwrap();
        assert_eq!(old, trainer.correct, "the model's own evaluation");
        if storage == Storage::F32 {
            assert!(found.largest_deviation < 1e-4 && found.same_class == 750 && old == new, "{found}");
        }

        // what was saved is what is loaded, and computes the same bits
        let bytes = network.to_bytes().unwrap();
        let back = InferenceGraph::from_bytes(&bytes, "seed.outrigger").unwrap();
        assert!(back.graph() == network.graph());
        assert_eq!(back.certificate(), network.certificate());
        assert_eq!(back.to_bytes().unwrap(), bytes);
        let few = Tensor::f32([3, 32, 32, 3], images.as_f32().unwrap()[..3 * 3072].to_vec()).unwrap();
        let run = |n: &InferenceGraph| n.run(&[("images", &few)], trainer.team()).unwrap().remove(0).1.to_bytes();
        assert_eq!(run(&back), run(&network));
        let size = bytes.len();
        let expected = if storage == Storage::F32 { 750_000..850_000 } else { 380_000..450_000 };
        assert!(expected.contains(&size), "{storage}: {size} bytes");
    }
}

/// Against the interpreter, and through a file on disk; a certificate of other weights is noticed.
#[test]
fn the_file_holds_what_the_interpreter_computes() {
    let trainer = trained();
    let (images, _) = test_images();
    let before = evaluation(2);
    let network = InferenceGraph::export(&before, trainer.store(), &["logits"], Storage::F32).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.outrigger");
    network.save(&path).unwrap();
    let network = InferenceGraph::load(&path).unwrap();
    network.verify().unwrap();

    let few = Tensor::f32([2, 32, 32, 3], images.as_f32().unwrap()[..2 * 3072].to_vec()).unwrap();
    let state = before.states().map(|id| before.get(id).unwrap().name.clone());
    let state = state.map(|name| (name.clone(), trainer.store().get(&name).unwrap())).collect();
    let inputs = [("images".to_string(), few.clone())].into();
    let exact = reference::run(&before.cone(&["logits"]).unwrap(), &inputs, &state).unwrap();
    let got = network.run(&[("images", &few)], trainer.team()).unwrap();
    assert_eq!(got[0].0, "logits");
    for (x, y) in got[0].1.to_f64().iter().zip(&exact.output("logits").unwrap().data) {
        assert!((x - y).abs() < 1e-4, "{x} {y}");
    }

    // any safetensors reader finds the weights by their names
    let file = WeightFile::read(&path).unwrap();
    assert!(file.contains("layer1.0.conv1.weight") && file.contains("layer1.0.conv1.bias"));
    network.store().set("fc.bias", &Tensor::full([10], 0.5)).unwrap();
    let error = network.verify().unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

/// No batch norm is left, no weight is computed at run time, and each kernel is a convolution with all behind it.
#[test]
fn the_graph_is_folded_and_fused() {
    let network = InferenceGraph::export(&evaluation(1), trained().store(), &["logits"], Storage::F32).unwrap();
    let graph = network.graph();
    let count = |g: &Graph, what: fn(&Op) -> bool| g.nodes().filter(|&id| what(&g.get(id).unwrap().op)).count();
    assert_eq!(count(graph, |op| matches!(op, Op::Conv2d(_))), 15);
    assert_eq!(count(graph, |op| matches!(op, Op::BatchNormEval(_) | Op::OneHot(_))), 0);
    assert_eq!(graph.inputs().count(), 1, "labels are not needed");
    assert_eq!(graph.states().count(), 2 * 15 + 2);
    let fused = network.fused().unwrap();
    assert_eq!(count(&fused, |op| matches!(op, Op::Fused(_))), 15);
    let program = network.program(&Default::default()).unwrap();
    assert!(program.planned().prepare.is_empty(), "{}", program.planned());

    let text = network.to_string();
    for part in [
        "inference graph, batch 1: 32 tensors",
        "layer1.0.conv2.conv2d        conv2d 3×3 ▸ add ▸ add ▸ relu",
        "weights sha256",
        "not compared",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// Every network exports; one sample at a time is the same as several at once, for another batch than was exported.
#[test]
fn any_batch_size_runs() {
    let team = Arc::new(Team::new(2).unwrap());
    for name in ["resnet14", "lenet5", "mlp"] {
        let model = by_name(name).unwrap();
        let graph = model.evaluation(2).unwrap();
        let store = Store::new(&graph, 3).unwrap();
        let one = InferenceGraph::export(&graph, &store, &["logits"], Storage::F32).unwrap().with_batch(1).unwrap();
        let nine = one.with_batch(9).unwrap();
        assert_eq!((one.batch(), nine.batch()), (1, 9));
        let mut shape = graph.value_type(graph.source("images").unwrap()).unwrap().shape.clone();
        let width = shape.elements() / 2;
        shape.0[0] = 9;
        let pixels: Vec<f32> = (0..9 * width).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let all = Tensor::f32(shape.clone(), pixels.clone()).unwrap();
        let all = one.run(&[("images", &all)], &team).unwrap().remove(0).1;
        shape.0[0] = 1;
        for sample in [0, 8] {
            let image = Tensor::f32(shape.clone(), pixels[sample * width..][..width].to_vec()).unwrap();
            let alone = nine.run(&[("images", &image)], &team).unwrap().remove(0).1;
            let row = &all.as_f32().unwrap()[sample * 10..][..10];
            for (a, b) in alone.as_f32().unwrap().iter().zip(row) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: {a} {b}");
            }
        }
    }
}

/// Deep and wide networks fold wholly, too, and have other batch sizes.
/// An axis of one sample is an axis: what was exported for one image runs on five, also where samples meet numbers that
/// are computed of them (attention to channels, group norm), and an ONNX file leaves the batch open.
#[test]
fn what_was_exported_for_one_image_runs_on_five() {
    let network = || -> Result<nn::Network, Error> {
        let image = nn::Input::torch("image", [3, 9, 7]);
        let x = nn::Conv2d::new(6, 3).call(&image)?;
        let x = nn::BatchNorm2d::new().call(&x)?;
        let x = nn::GroupNorm::new(3).call(&x)?;
        let weight = nn::Sigmoid::new().call(&nn::Conv2d::new(6, 1).call(&nn::AdaptiveAvgPool2d::new(1).call(&x)?)?)?;
        let x = nn::Multiply::new().call([&x, &weight])?;
        let x = nn::GlobalMaxPool2d::new().call(&x)?.flatten()?;
        let y = nn::Multiply::new().call([&x, &nn::Tanh::new().call(&nn::Linear::new(6).call(&x)?)?])?;
        nn::Network::new("gates", &image, &y)
    };
    let network = network().unwrap();
    let [one, five] = [1, 5].map(|batch| network.graph(batch, nn::Mode::Evaluate).unwrap());
    let outputs = network.output_names();
    let store = Store::new(&one, 3).unwrap();
    let inference = InferenceGraph::export(&one, &store, &outputs, Storage::F32).unwrap();
    let images = Tensor::f32([5, 9, 7, 3], (0..945).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect()).unwrap();
    let team = Arc::new(Team::new(1).unwrap());
    let got = inference.run(&[("image", &images)], &team).unwrap().remove(0).1;
    let state = store.entries().iter().map(|(name, _)| (name.clone(), store.get(name).unwrap())).collect();
    let wanted = reference::run(&five, &HashMap::from([("image".to_string(), images)]), &state).unwrap();
    let wanted = wanted.output(outputs[0]).unwrap();
    assert_eq!(got.shape().0, [5, 6]);
    for (got, wanted) in got.to_f64().iter().zip(&wanted.data) {
        assert!((got - wanted).abs() < 1e-5, "{got} is not {wanted}");
    }
    for fused in [true, false] {
        let options = OnnxOptions { fused, dynamic_batch: true, ..OnnxOptions::default() };
        onnx::model(&one, &store, &outputs, &options).unwrap();
    }
}

#[test]
fn other_networks_are_folded() {
    for (name, convolutions) in [("resnet110", 111), ("resnet18", 20), ("mobilenet_v2", 52)] {
        let graph = by_name(name).unwrap().evaluation(1).unwrap();
        let store = Store::new(&graph, 1).unwrap();
        let start = std::time::Instant::now();
        let network = InferenceGraph::export(&graph, &store, &["logits"], Storage::F32).unwrap();
        println!("{name}: exported in {:?}", start.elapsed());
        let network = network.with_batch(3).unwrap();
        network.verify().unwrap();
        let graph = network.graph();
        let count = |what: fn(&Op) -> bool| graph.nodes().filter(|&id| what(&graph.get(id).unwrap().op)).count();
        assert_eq!(count(|op| matches!(op, Op::Conv2d(_))), convolutions, "{name}");
        assert_eq!(count(|op| matches!(op, Op::BatchNormEval(_))), 0, "{name}");
        assert_eq!(count(Op::is_state), 2 * convolutions + 2, "{name}: a weight and a bias each");
        let logits = graph.value_type(graph.output("logits").unwrap()).unwrap();
        assert_eq!(logits.shape.0[0], 3);
    }
}

fn of<'a>(inputs: &'a [(&'a str, &'a Tensor)]) -> Samples<'a> {
    Samples { inputs, labels: None }
}

/// A batch norm without a convolution before it, a constant table, dropout's place, and operations on the batch.
#[test]
fn what_cannot_be_is_named() {
    let mut g = Graph::new("g");
    let x = g.input("x", DType::F32, [4, 6, 6, 2]).unwrap();
    let vector = |g: &mut Graph, name: &str, init| g.parameter(name, [2], init).unwrap();
    let (gamma, beta) = (vector(&mut g, "gamma", Init::Uniform(2.0)), vector(&mut g, "beta", Init::Uniform(1.0)));
    let mean = g.buffer("mean", DType::F32, [2], Init::Uniform(1.0)).unwrap();
    let var = g.buffer("var", DType::F32, [2], Init::Constant(0.7)).unwrap();
    let y = g.batch_norm_eval(x, gamma, beta, [mean, var], 1e-3).unwrap();
    let w = g.parameter("conv.weight", [3, 3, 2, 5], Init::Normal(0.3)).unwrap();
    let y = g.conv2d(y, w, None, ConvOptions { padding: Padding::Same, ..ConvOptions::default() }).unwrap();
    let y = g.max_pool(y, PoolOptions::square(2)).unwrap();
    let table = g.constant(Tensor::f32([3, 5], (0..15).map(|i| i as f32 * 0.1).collect()).unwrap()).unwrap();
    let y = g.op(Op::Binary(outrigger::ops::Binary::Mul), &[y, table]).unwrap();
    let y = g.global_avg_pool(y).unwrap();
    g.set_output("y", y).unwrap();
    let total = g.mean(y, &[0]).unwrap();
    g.set_output("total", total).unwrap();
    let seed = g.constant(Tensor::i32([], vec![0]).unwrap()).unwrap();
    let step = g.random_step().unwrap();
    let noisy = g.dropout(y, 0.5, seed, step).unwrap();
    g.set_output("noisy", noisy).unwrap();
    let store = Store::new(&g, 1).unwrap();
    let export = |outputs: &[&str]| InferenceGraph::export(&g, &store, outputs, Storage::F32);

    let mut network = export(&["y"]).unwrap();
    let team = Arc::new(Team::new(1).unwrap());
    let samples = Tensor::f32([7, 6, 6, 2], (0..504).map(|i| (i % 17) as f32 - 8.0).collect()).unwrap();
    let found = network.certify(&g, &store, of(&[("x", &samples)]), &team).unwrap().clone();
    assert!(found.samples == 7 && found.largest_deviation < 1e-5 && found.same_class == 7, "{found}");
    assert!(network.graph().states().all(|id| !network.graph().get(id).unwrap().name.contains("mean")));

    let said = |error: Error, part: &str| assert!(error.to_string().contains(part), "{error}");
    said(export(&["z"]).err().unwrap(), "no output named \"z\"");
    said(export(&["noisy"]).err().unwrap(), "random numbers (of dropout, say)");
    said(export(&["total"]).unwrap().with_batch(5).err().unwrap(), "reduces the batch");
    said(network.with_batch(0).err().unwrap(), "at least one sample");
    said(network.certify(&g, &store, of(&[]), &team).unwrap_err(), "no input among them");
    let labels = Samples { inputs: &[("x", &samples)], labels: Some(&[1, 2]) };
    said(network.certify(&g, &store, labels, &team).unwrap_err(), "\"labels\" has 2");
    let training = ResNetCifar::default().training(2).unwrap();
    let state = Store::new(&training, 0).unwrap();
    said(InferenceGraph::export(&training, &state, &["logits"], Storage::F32).err().unwrap(), "batch's own statistics");
    said(InferenceGraph::export(&training, &store, &["loss"], Storage::F32).err().unwrap(), "batch_norm");

    // ten outputs of 2 GB each: refused before any of it is allocated
    let mut g = Graph::new("large");
    let x = g.input("x", DType::F32, [1, 500_000_000]).unwrap();
    for n in 0..10 {
        let factor = g.scalar(n as f32 + 2.0).unwrap();
        let y = g.mul(x, factor).unwrap();
        g.set_output(&format!("y{n}"), y).unwrap();
    }
    let outputs: Vec<String> = (0..10).map(|n| format!("y{n}")).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let large = InferenceGraph::export(&g, &Store::new(&g, 0).unwrap(), &outputs, Storage::F32).unwrap();
    said(large.session(&team).err().unwrap(), "are allowed");
}
