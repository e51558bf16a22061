//! The golden example on shapes that no golden file has, and training on teams of several sizes.
//!
//! ```text
//!   reference interpreter, f64 ─▶ golden-form file ─▶ examples/golden/replay.rs ─▶ differences
//! ```

#[path = "../examples/golden/replay.rs"]
mod replay;

use std::collections::{BTreeMap, HashMap};

use outrigger::data::{Batch, Images, Split, sample};
use outrigger::graph::Loss;
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::nn::Form;
use outrigger::reference::{self, RefTensor};
use outrigger::train::optimizer::{TrainingOptions, training_graph_with};
use outrigger::train::{Layout, Method, Model, ModelOptions, WeightFile};
use outrigger::types::TensorType;
use outrigger::{DType, Error, Shape, Store, Tensor};

/// The shape and the length of a golden run.
#[derive(Clone, Copy)]
struct Run {
    model: ResNetCifar,
    method: Method,
    batch: usize,
    steps: usize,
    /// Test images evaluated after the last step.
    tests: usize,
}

/// Images `first..first + count` of `set`, with their labels, as the graph's inputs.
fn inputs(set: &Images, first: usize, count: usize) -> HashMap<String, RefTensor> {
    let pixels = &set.images()[first * 3072..(first + count) * 3072];
    let images = pixels.iter().map(|&p| f64::from(f32::from(p) / 255.0)).collect();
    let labels = set.labels()[first..first + count].iter().map(|&l| f64::from(l)).collect();
    let labels = RefTensor::new(TensorType::new(DType::I32, Shape(vec![count])), labels).unwrap();
    HashMap::from([
        ("images".to_string(), RefTensor::f32([count, 32, 32, 3], images).unwrap()),
        ("labels".to_string(), labels),
    ])
}

impl Run {
    /// A golden file of this run, by the interpreter: weights, statistics and moments stay in f64 from step to step.
    fn golden(&self, data: &Split) -> WeightFile {
        let form = self.model.form;
        let layout = match form {
            Form::Torch => Layout::Torch,
            Form::Keras => Layout::Native,
        };
        let forward = self.model.training(self.batch).unwrap();
        let evaluation = self.model.evaluation(self.tests).unwrap();
        let loss = forward.output("loss").unwrap();
        let options = TrainingOptions {
            optimizer: self.method.optimizer(form),
            gradient_outputs: form == Form::Torch,
            ..TrainingOptions::default()
        };
        let graph = training_graph_with(forward, loss, &options).unwrap();
        let own = |name: &str| evaluation.source(name).is_ok();

        let store = Store::new(&graph, 11).unwrap();
        let mut tensors = Vec::new();
        let mut state = HashMap::new();
        for (name, ty) in store.entries() {
            let value = store.get(name).unwrap();
            state.insert(name.clone(), RefTensor::new(ty.clone(), value.to_f64()).unwrap());
            if own(name) {
                tensors.push((format!("init/{name}"), layout.to_file(store.axes(name), &value).unwrap()));
            }
        }
        let mut losses = Vec::new();
        for step in 0..self.steps {
            let mut given = inputs(&data.train, step * self.batch, self.batch);
            let lr = f64::from(self.method.default_lr());
            given.insert("lr".to_string(), RefTensor::f32(Shape(vec![]), vec![lr]).unwrap());
            let run = reference::run_exact(&graph, &given, &state).unwrap();
            losses.push(run.output("loss").unwrap().data[0]);
            if step == 0 {
                let named = |kind: &str, name: &str, value: &RefTensor| {
                    (format!("{kind}{name}"), layout.to_file(store.axes(name), &value.to_tensor().unwrap()).unwrap())
                };
                let gradients = run.outputs.iter().filter(|(name, _)| name.starts_with("grad/"));
                tensors.extend(gradients.map(|(name, value)| named("step1/", name, value)));
                let after = run.updates.iter().filter(|(name, _)| own(name));
                tensors.extend(after.map(|(name, value)| named("after1/", name, value)));
            }
            state.extend(run.updates);
        }
        let run = reference::run_exact(&evaluation, &inputs(&data.test, 0, self.tests), &state).unwrap();
        let logits = &run.output("logits").unwrap().data;
        let (name, outputs) = match form {
            Form::Torch => ("eval/logits", logits.clone()),
            Form::Keras => ("eval/softmax", logits.chunks_exact(self.model.classes).flat_map(softmax).collect()),
        };
        let outputs = outputs.iter().map(|&x| x as f32).collect();
        tensors.push((name.to_string(), Tensor::f32([self.tests, self.model.classes], outputs).unwrap()));
        WeightFile::new(tensors, self.metadata(&losses, layout))
    }

    fn metadata(&self, losses: &[f64], layout: Layout) -> BTreeMap<String, String> {
        let entries = [
            ("framework", self.model.form.name().to_string()),
            ("layers", self.model.layers.map(|n| n.to_string()).join(",")),
            ("optimizer", self.method.to_string()),
            ("batch", self.batch.to_string()),
            ("steps", self.steps.to_string()),
            ("losses", serde_json::to_string(losses).unwrap()),
            ("layout", layout.describe().to_string()),
        ];
        entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| x.exp() / sum).collect()
}

const SMALL: Run = Run {
    model: ResNetCifar { layers: [1, 1, 1], form: Form::Torch, classes: 10, size: 32, softmax: false },
    method: Method::Sgd,
    batch: 7,
    steps: 2,
    tests: 3,
};

/// Another depth, another optimizer and an odd batch, in both forms, within the limits of the golden files.
#[test]
fn golden_runs_of_other_shapes_are_followed() {
    let data = sample().unwrap();
    for form in [Form::Torch, Form::Keras] {
        let run = Run { model: ResNetCifar { form, ..SMALL.model }, ..SMALL };
        let report = replay::replay(&run.golden(&data), data.clone(), ModelOptions::default()).unwrap();
        assert!(report.loss1_rel < 1e-5, "{form:?}: {report:?}");
        assert!(report.loss_rel_max < 5e-3, "{form:?}: {report:?}");
        assert!(report.grad_rel_max.is_none_or(|e| e < 1e-2), "{form:?}: {report:?}");
        assert_eq!(report.grad_rel_max.is_some(), form == Form::Torch);
        assert!(report.after1_rel_max < 1e-2, "{form:?}: {report:?}");
        assert!(report.eval_abs_max < 5e-2, "{form:?}: {report:?}");
    }
}

/// A tensor of another shape than the network's is the file's fault: the error names both.
#[test]
fn a_golden_tensor_of_another_shape_is_named() {
    let data = sample().unwrap();
    let file = Run { batch: 2, steps: 1, tests: 1, ..SMALL }.golden(&data);
    for name in ["step1/grad/fc.weight", "after1/bn.bias", "eval/logits"] {
        let tensors = file.names().map(|n| match n == name {
            true => (n.to_string(), Tensor::full([1, 3], 0.0)),
            false => (n.to_string(), file.tensor(n).unwrap()),
        });
        let damaged = WeightFile::new(tensors, file.metadata().clone());
        let error =
            replay::replay(&damaged, data.clone(), ModelOptions { threads: Some(1), ..ModelOptions::default() })
                .unwrap_err();
        assert!(matches!(&error, Error::Checkpoint { reason, .. } if reason.contains(name)), "{error}");
        assert!(error.to_string().contains("[1,3]"), "{error}");
    }
}

/// The number of threads changes no bit of a loss, a weight, a statistic or a moment.
#[test]
fn the_network_trains_alike_on_any_number_of_threads() {
    let data = sample().unwrap().train;
    let train = |threads: usize| {
        let options = ModelOptions { seed: 3, threads: Some(threads), ..ModelOptions::default() };
        let mut model = Model::of(SMALL.model.network().unwrap(), options).unwrap();
        model.compile(Method::Adam.optimizer(Form::Torch).lr(1e-3), Loss::cross_entropy(), ()).unwrap();
        let step = |i: usize| {
            let pixels = &data.images()[i * 10 * 3072..(i + 1) * 10 * 3072];
            let inputs = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
            let labels = data.labels()[i * 10..(i + 1) * 10].iter().map(|&l| i32::from(l)).collect();
            let batch = Batch { shape: vec![10, 32, 32, 3], inputs, labels, targets: Vec::new() };
            model.train_step(&batch, &batch).unwrap().to_bits()
        };
        let losses: Vec<u32> = (0..3).map(step).collect();
        let store = model.store();
        let bytes = |name: &String| store.get(name).unwrap().to_bytes();
        (losses, store.entries().iter().map(|(name, _)| (name.clone(), bytes(name))).collect::<Vec<_>>())
    };
    let (losses, state) = train(1);
    assert!(losses[0] != losses[1] && losses[1] != losses[2], "it trains");
    for threads in [2, 4] {
        let (others, other) = train(threads);
        assert_eq!(losses, others, "{threads} threads");
        for ((name, one), (_, many)) in state.iter().zip(&other) {
            assert!(one == many, "{name} on {threads} threads");
        }
    }
}
