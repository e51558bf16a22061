//! Training from outside: models against golden runs of other frameworks, checkpoints, and what goes wrong.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use outrigger::data::{Cifar, load_dir};
use outrigger::model::{Form, Model, ResNetCifar};
use outrigger::reference;
use outrigger::train::optimizer::{TrainingOptions, is_training_state, training_graph_with};
use outrigger::train::{Method, WeightFile};
use outrigger::{Graph, Tensor};

/// Files that other frameworks made. They lie beside the repository, or where `OUTRIGGER_SHARED` says; not everyone
/// has them, and a test that misses them says so.
fn shared(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = std::env::var_os("OUTRIGGER_SHARED").map_or_else(beside, PathBuf::from).join(path);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

fn golden(name: &str) -> Option<(WeightFile, Cifar)> {
    let (file, data) = (shared(&format!("golden/{name}"))?, shared("cifar10/sample")?);
    Some((WeightFile::read(&file).unwrap(), load_dir(&data).unwrap()))
}

fn states(graph: &Graph) -> Vec<String> {
    graph.states().map(|id| graph.get(id).unwrap().name.clone()).collect()
}

/// A model's graph has the golden file's tensors, by name and by shape.
#[test]
fn models_have_the_frameworks_names_and_shapes() {
    for (name, form) in [("torch_resnet_adam.safetensors", Form::Torch), ("keras_resnet_adam.safetensors", Form::Keras)]
    {
        let Some((file, _)) = golden(name) else { return };
        let init = file.section("init/");
        let layout = file.layout().unwrap();
        let graph = ResNetCifar { form, ..ResNetCifar::default() }.training(2).unwrap();
        let mut ours: Vec<(String, _)> = states(&graph)
            .into_iter()
            .map(|name| {
                let shape = graph.value_type(graph.source(&name).unwrap()).unwrap().shape.clone();
                (name, layout.file_shape(&shape))
            })
            .collect();
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        let theirs: Vec<_> = init
            .names()
            .filter(|name| !name.ends_with("num_batches_tracked"))
            .map(|name| (name.to_string(), init.tensor(name).unwrap().shape().clone()))
            .collect();
        assert_eq!(ours, theirs);
    }
}

/// What the training graph adds to the state is told from the model's own.
#[test]
fn training_state_is_recognised() {
    for method in [Method::Adam, Method::AdamW, Method::Sgd] {
        for form in [Form::Torch, Form::Keras] {
            let model = ResNetCifar { layers: [1, 1, 1], form, classes: 10 }.training(2).unwrap();
            let own = states(&model);
            let loss = model.output("loss").unwrap();
            let options = TrainingOptions { optimizer: method.optimizer(form), gradient_outputs: false };
            let all = states(&training_graph_with(model, loss, &options).unwrap());
            assert!(all.len() > own.len());
            for name in all {
                assert_eq!(is_training_state(&name), !own.contains(&name), "{name}");
            }
        }
    }
}

/// Relative distance of two vectors.
fn distance(actual: &[f64], expected: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(a, e)| a - e));
    let size = norm(&mut expected.iter().copied());
    if size > 0.0 { difference / size } else { difference }
}

/// The first golden step in f64: the graphs of model, gradients and optimizer are right to the rounding of the
/// file's f32, whatever the kernels do.
#[test]
fn the_first_golden_step_in_f64() {
    for (name, form) in [("torch_resnet_adam.safetensors", Form::Torch), ("keras_resnet_adam.safetensors", Form::Keras)]
    {
        let Some((file, data)) = golden(name) else { return };
        let layout = file.layout().unwrap();
        let forward = ResNetCifar { form, ..ResNetCifar::default() }.training(100).unwrap();
        let loss = forward.output("loss").unwrap();
        let model = states(&forward);
        let options = TrainingOptions { optimizer: Method::Adam.optimizer(form), gradient_outputs: true };
        let graph = training_graph_with(forward, loss, &options).unwrap();

        let mut state = HashMap::new();
        for name in states(&graph) {
            let ty = graph.value_type(graph.source(&name).unwrap()).unwrap();
            let value = match model.contains(&name) {
                true => layout.from_file(&file.tensor(&format!("init/{name}")).unwrap()).unwrap(),
                false => Tensor::full(ty.shape.clone(), 0.0),
            };
            state.insert(name, value);
        }
        let images = data.train.images()[..100 * 3072].iter().map(|&p| f32::from(p) / 255.0).collect();
        let labels = data.train.labels()[..100].iter().map(|&l| i32::from(l)).collect();
        let inputs = HashMap::from([
            ("images".to_string(), Tensor::f32([100, 32, 32, 3], images).unwrap()),
            ("labels".to_string(), Tensor::i32([100], labels).unwrap()),
            ("lr".to_string(), Tensor::scalar(1e-3)),
        ]);
        let run = reference::run(&graph, &inputs, &state).unwrap();

        let losses: Vec<f64> = serde_json::from_str(file.meta("losses").unwrap()).unwrap();
        let loss = run.output("loss").unwrap().data[0];
        assert!((loss - losses[0]).abs() < 1e-6 * losses[0], "{loss} {}", losses[0]);
        let expected = |name: &str| layout.from_file(&file.tensor(name).unwrap()).unwrap().to_f64();
        for name in file.section("step1/grad/").names() {
            let error =
                distance(&run.output(&format!("grad/{name}")).unwrap().data, &expected(&format!("step1/grad/{name}")));
            assert!(error < 1e-5, "gradient of {name}: {error}");
        }
        // The first step of Adam is lr·g/(|g| + e), with e = 1e-8 (PyTorch) or 1e-7/√0.001 = 3e-6 (Keras): where g is
        // not much larger than e, the file's rounding of the weights to f32 shows.
        let tolerance = match form {
            Form::Torch => 1e-5,
            Form::Keras => 1e-3,
        };
        for name in &model {
            if name.starts_with("conv2d") && name.ends_with("/bias") {
                continue; // a gradient of rounding noise, which Adam makes a step of
            }
            let error = distance(&run.updates[name].data, &expected(&format!("after1/{name}")));
            assert!(error < tolerance, "{name} after a step: {error}");
        }
    }
}
