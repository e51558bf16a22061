//! Whole models in files, and weights in all formats.

use std::path::Path;

use outrigger::formats::{LoadOptions, WeightFile, read_weights, write_weights};
use outrigger::graph::Loss;
use outrigger::nn::{
    BatchNorm2d, Conv2d, Dropout, Embedding, Flatten, Form, Input, Lambda, LayerNorm, Linear, Network, ReLU,
};
use outrigger::train::metrics::Accuracy;
use outrigger::train::optimizer::{Adam, AdamW, Optimizer, ParameterGroup, Sgd, Tuned};
use outrigger::train::{Model, ModelOptions, Objective};
use outrigger::{DType, Error, Tensor};

use crate::refused;

const CROSS_ENTROPY: Loss = Loss::CrossEntropy { label_smoothing: 0.1 };

fn small(form: Form) -> Result<Model, Error> {
    let x = match form {
        Form::Torch => Input::torch("images", [2, 5, 5]),
        Form::Keras => Input::keras("images", [5, 5, 2]),
    };
    let y = Conv2d::new(3, 3).name("conv").call(&x)?;
    let y = ReLU::new().call(&BatchNorm2d::new().name("bn").call(&y)?)?;
    let y = Dropout::new(0.3).call(&Flatten::new().call(&y)?)?;
    Model::new(&x, &Linear::new(4).name("fc").call(&y)?)
}

fn batch(model: &Model, seed: usize) -> ([Tensor; 1], [Tensor; 1]) {
    let shape = model.network().inputs()[0].shape().to_vec();
    let values = (0..6 * 50).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect();
    let labels = (0..6).map(|i| ((i + seed) % 4) as i32).collect();
    let images = Tensor::f32([&[6], &shape[..]].concat(), values).unwrap();
    ([images], [Tensor::i32([6], labels).unwrap()])
}

fn train(model: &mut Model, steps: std::ops::Range<usize>) {
    for step in steps {
        let (inputs, targets) = batch(model, step);
        model.train_on_batch(&inputs, &targets).unwrap();
    }
}

/// Every tensor that outlives a run, bit by bit.
fn state(model: &Model) -> Vec<(String, Vec<u8>)> {
    let mut state: Vec<_> =
        model.store().entries().iter().map(|(n, _)| (n.clone(), model.store().get(n).unwrap().to_bytes())).collect();
    state.sort();
    state
}

#[test]
fn three_steps_a_file_and_two_are_five_steps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let head = ParameterGroup { lr_scale: 0.3, ..ParameterGroup::new("fc*") };
    let optimizers: [Tuned; 3] = [
        AdamW { amsgrad: true, beta1: 0.91, ..AdamW::default() }.lr(0.013).group(head).ema(0.97),
        Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.lr(0.1),
        Optimizer::keras_rmsprop().lr(1e-3),
    ];
    for (form, tuned) in [Form::Torch, Form::Keras, Form::Torch].into_iter().zip(optimizers) {
        let mut straight = small(form).unwrap();
        straight.compile(tuned.clone(), Objective::from(CROSS_ENTROPY).weight(0.7), [Accuracy::new()]).unwrap();
        let mut broken = small(form).unwrap();
        broken.compile(tuned, Objective::from(CROSS_ENTROPY).weight(0.7), ()).unwrap();
        train(&mut straight, 0..3);
        train(&mut broken, 0..3);
        straight.set_learning_rate(0.017).unwrap();
        broken.set_learning_rate(0.017).unwrap();
        broken.save(&path).unwrap();
        drop(broken);

        let mut again = Model::load_with(&path, ModelOptions { seed: 99, ..ModelOptions::default() }).unwrap();
        assert_eq!((again.steps(), again.learning_rate().unwrap()), (3, 0.017));
        again.set_metrics([Accuracy::new()]).unwrap();
        train(&mut straight, 3..5);
        train(&mut again, 3..5);
        assert_eq!(state(&again), state(&straight));
        let (inputs, targets) = batch(&again, 9);
        let [a, b] = [&mut again, &mut straight].map(|m| m.test_on_batch(&inputs, &targets).unwrap());
        assert_eq!((a.get("loss"), a.get("accuracy")), (b.get("loss"), b.get("accuracy")));
        assert!(a.get("accuracy").is_some());
    }
}

#[test]
fn a_model_without_an_optimizer_or_without_a_step_is_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let mut model = small(Form::Torch).unwrap();
    model.save(&path).unwrap();
    let again = Model::load(&path).unwrap();
    assert!(again.learning_rate().is_err());
    assert_eq!(state(&again), state(&model));

    model.compile(Adam::default().lr(0.1), CROSS_ENTROPY, ()).unwrap();
    model.save(&path).unwrap();
    let mut again = Model::load(&path).unwrap();
    train(&mut again, 0..2);
    train(&mut model, 0..2);
    assert_eq!(state(&again), state(&model));
    // the file is a file of weights as well
    model.save(&path).unwrap();
    let mut other = small(Form::Torch).unwrap();
    other.load_weights(&path).unwrap();
    let (inputs, _) = batch(&other, 0);
    assert_eq!(other.predict_on_batch(&inputs).unwrap(), model.predict_on_batch(&inputs).unwrap());
}

#[test]
fn code_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let mut model = small(Form::Torch).unwrap();
    let own = Objective::custom(|g, prediction, _| g.mean_all(prediction));
    model.compile(Adam::default(), own, ()).unwrap();
    let error = refused(model.save(&path));
    assert!(error.contains("loss") && error.contains("save_checkpoint"), "{error}");
    let x = Input::torch("x", [3]);
    let square = Lambda::new(|g, x| g.mul(x[0], x[0])).name("square").call(&x).unwrap();
    assert!(refused(Model::new(&x, &square).unwrap().save(&path)).contains("\"square\""));
    assert!(!path.exists());
}

/// The same file with its metadata changed, and the checksum made anew.
fn changed(file: &WeightFile, path: &Path, key: &str, change: impl Fn(&str) -> String) -> String {
    let mut metadata = file.metadata().clone();
    let value = change(metadata.get(key).unwrap());
    metadata.insert(key.to_string(), value);
    let tensors: Vec<_> = file.names().map(|name| (name.to_string(), file.tensor(name).unwrap())).collect();
    WeightFile::new(tensors, metadata).write(path).unwrap();
    refused(Model::load(path))
}

#[test]
fn damaged_files_are_named_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bad) = (dir.path().join("model.safetensors"), dir.path().join("bad.safetensors"));
    let mut model = small(Form::Torch).unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
    train(&mut model, 0..1);
    model.save(&path).unwrap();

    let bytes = std::fs::read(&path).unwrap();
    for part in 0..40 {
        std::fs::write(&bad, &bytes[..bytes.len() * part / 40]).unwrap();
        assert!(refused(Model::load(&bad)).contains("bad.safetensors"));
        let mut flipped = bytes.clone();
        flipped[(bytes.len() - 1) * part / 40] ^= 1;
        std::fs::write(&bad, &flipped).unwrap();
        if let Err(error) = Model::load(&bad) {
            assert!(error.to_string().contains("bad.safetensors"), "{error}");
        }
    }

    let file = WeightFile::read(&path).unwrap();
    let replaced = |from: &'static str, to: &'static str| {
        move |text: &str| {
            assert!(text.contains(from), "{from} in {text}");
            text.replacen(from, to, 1)
        }
    };
    for (key, from, to, parts) in [
        ("version", "1", "7", ["version 7", "reads 1"]),
        ("format", "outrigger", "other", ["no whole model", "load_weights"]),
        ("architecture", "\"version\":1", "\"version\":3", ["architecture: version", "reads 1"]),
        ("architecture", "\"filters\":3", "\"filters\":1000", ["\"conv.weight\"", "1000"]),
        ("architecture", "conv2d", "conv9d", ["architecture: layers[0]", "conv9d"]),
        ("architecture", "\"name\":\"fc\"", "\"name\":\"head\"", ["architecture: calls[", "fc"]),
        ("training", "Adam", "Adamax", ["training: ", "Adamax"]),
        ("training", "\"beta1\":0.9", "\"beta1\":1.9", ["training: ", "beta1"]),
        ("training", "\"step\":1", "\"step\":-1", ["training: ", "-1"]),
    ] {
        let error = changed(&file, &bad, key, replaced(from, to));
        assert!(error.contains("bad.safetensors") && parts.iter().all(|part| error.contains(part)), "{to}: {error}");
    }
    // a tensor less, and one more
    let tensors = |keep: &dyn Fn(&str) -> bool| -> Vec<(String, Tensor)> {
        file.names().filter(|name| keep(name)).map(|name| (name.to_string(), file.tensor(name).unwrap())).collect()
    };
    for gone in ["fc.bias", "fc.bias.exp_avg"] {
        WeightFile::new(tensors(&|name| name != gone), file.metadata().clone()).write(&bad).unwrap();
        assert!(refused(Model::load(&bad)).contains(&format!("\"{gone}\"")));
    }
    let more = tensors(&|_| true).into_iter().chain([("stranger".to_string(), Tensor::scalar(1.0))]);
    WeightFile::new(more, file.metadata().clone()).write(&bad).unwrap();
    assert!(refused(Model::load(&bad)).contains("\"stranger\""));
}

/// One way for all formats: what one form of the network wrote, it reads from each of them.
#[test]
fn weights_go_through_every_format() {
    let dir = tempfile::tempdir().unwrap();
    for form in [Form::Torch, Form::Keras] {
        let mut model = small(form).unwrap();
        model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
        train(&mut model, 0..2);
        let (inputs, _) = batch(&model, 0);
        let expected = model.predict_on_batch(&inputs).unwrap();
        for end in [".safetensors", ".pt", ".npz", ".weights.h5"] {
            let path = dir.path().join(format!("w{end}"));
            model.save_weights(&path).unwrap();
            let mut other = small(form).unwrap();
            other.load_weights(&path).unwrap();
            assert_eq!(other.predict_on_batch(&inputs).unwrap(), expected, "{form:?} {end}");
        }
    }
    let model = small(Form::Torch).unwrap();
    assert!(refused(model.save_weights(dir.path().join("weights.bin"))).contains(".safetensors"));
}

#[test]
fn a_report_says_what_was_loaded_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.pt");
    let mut model = small(Form::Torch).unwrap();
    let tensors = [("conv.bias", vec![1.0, 2.0, 3.0]), ("fc.bias", vec![0.0; 9]), ("cf.weight", vec![0.0; 2])];
    let tensors = tensors.map(|(name, v)| (name.to_string(), Tensor::f32([v.len()], v).unwrap()));
    write_weights(&path, &WeightFile::new(tensors, Default::default())).unwrap();
    let before = state(&model);
    assert!(refused(model.load_weights(&path)).contains("w.pt"));
    assert!(refused(model.load_weights_by_name(&path, &LoadOptions::default())).contains("fc.bias"));
    assert_eq!(state(&model), before);
    let options = LoadOptions { skip_mismatch: true, ..LoadOptions::default() };
    let report = model.load_weights_by_name(&path, &options).unwrap();
    assert_eq!((report.loaded, report.unexpected), (vec!["conv.bias".to_string()], vec!["cf.weight".to_string()]));
    assert_eq!(model.store().get("conv.bias").unwrap().as_f32().unwrap(), [1.0, 2.0, 3.0]);
}

/// The file is Keras's: variables that are left out, a model within, shared layers, and axes by number.
#[test]
fn a_file_of_keras_is_a_whole_model() {
    let fixture = |name: &str| Path::new("tests/fixtures/formats").join(name);
    let mut model = Model::load(fixture("keras_whole.keras")).unwrap();
    let expected = read_weights(fixture("keras_whole.safetensors")).unwrap();
    let inputs = ["images", "tokens"].map(|name| expected.tensor(name).unwrap());
    let check = |model: &mut Model, what: &str| {
        let outputs = model.predict_on_batch(&inputs).unwrap();
        for (output, name) in outputs.iter().zip(["head", "gate"]) {
            let expected = expected.tensor(name).unwrap();
            assert_eq!(output.shape(), expected.shape(), "{what}, {name}");
            for (a, e) in output.to_f64().iter().zip(expected.to_f64()) {
                assert!((a - e).abs() <= 1e-4 * e.abs().max(1.0), "{what}, {name}: {a} for {e}");
            }
        }
    };
    check(&mut model, "Keras's file");
    // architecture and weights apart; Keras's form numbers variables, PyTorch's has other names and axes
    let dir = tempfile::tempdir().unwrap();
    for end in ["safetensors", "weights.h5", "pt", "npz"] {
        let path = dir.path().join(format!("whole.{end}"));
        model.save_weights(&path).unwrap();
        let network = Network::from_json(&model.network().to_json().unwrap()).unwrap();
        let mut again = Model::of(network, ModelOptions { seed: 9, ..ModelOptions::default() }).unwrap();
        again.load_weights(&path).unwrap();
        check(&mut again, end);
    }
    model.compile(Optimizer::keras_adam(), Loss::MeanSquaredError, ()).unwrap();
    model.save(dir.path().join("whole.safetensors")).unwrap();
    check(&mut Model::load(dir.path().join("whole.safetensors")).unwrap(), "our own file");

    let error = refused(Model::load(fixture("keras_net.keras")));
    assert!(error.contains("keras_net.keras") && error.contains("SeparableConv2D"), "{error}");
    let bytes = std::fs::read(fixture("keras_whole.keras")).unwrap();
    for end in [0, 100, bytes.len() / 2, bytes.len() - 1] {
        let path = dir.path().join("cut.keras");
        std::fs::write(&path, &bytes[..end]).unwrap();
        assert!(refused(Model::load(&path)).contains("cut.keras"));
    }
}

/// What a tensor is decides its axes in PyTorch's files, not what its layer is called.
#[test]
fn tables_and_norms_keep_their_axes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd.pt");
    let make = |form: Form| {
        let words = Input::typed(form, "words", DType::I32, [5]);
        let y = Embedding::new(7, 4).name("tok").call(&words)?;
        let y = LayerNorm::new(2).name("norm").call(&y)?;
        Model::new(&words, &Linear::new(3).name("embedded").call(&y)?)
    };
    let model = make(Form::Torch).unwrap();
    model.save_weights(&path).unwrap();
    let file = read_weights(&path).unwrap();
    for (name, shape) in
        [("tok.weight", [7, 4]), ("norm.weight", [5, 4]), ("norm.bias", [5, 4]), ("embedded.weight", [3, 4])]
    {
        assert_eq!(file.shape(name).unwrap().0, shape, "{name}");
    }
    // the same in a training program, whose moments are as their parameters
    let mut trained = make(Form::Torch).unwrap();
    trained.load_weights(&path).unwrap();
    trained.compile(Adam::default().lr(0.1), Loss::MeanSquaredError, ()).unwrap();
    let (words, targets) = (Tensor::i32([1, 5], vec![0, 1, 2, 6, 6]).unwrap(), Tensor::full([1, 5, 3], 0.5));
    trained.train_on_batch(&words, &targets).unwrap();
    trained.save_checkpoint(dir.path().join("state.safetensors")).unwrap();
    let file = read_weights(dir.path().join("state.safetensors")).unwrap();
    assert_eq!(file.shape("tok.weight.exp_avg").unwrap().0, [7, 4]);
    assert_eq!(file.shape("embedded.weight.exp_avg").unwrap().0, [3, 4]);
    // across the frameworks too, since the model knows what its layers are
    let mut keras = make(Form::Keras).unwrap();
    keras.load_weights(&path).unwrap();
    assert_eq!(keras.store().get("tok/embeddings").unwrap(), model.store().get("tok.weight").unwrap());
    assert_eq!(keras.store().get("embedded/kernel").unwrap(), model.store().get("embedded.weight").unwrap());
    let (back, again) = (dir.path().join("back.pt"), dir.path().join("odd.weights.h5"));
    keras.save_weights(&back).unwrap();
    model.save_weights(&again).unwrap();
    for path in [&back, &again] {
        trained.load_weights(path).unwrap();
        assert_eq!(trained.store().get("tok.weight").unwrap(), model.store().get("tok.weight").unwrap());
        assert_eq!(trained.store().get("norm.bias").unwrap(), model.store().get("norm.bias").unwrap());
    }
}
