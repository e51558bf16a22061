//! Epochs: what is trained on, measured and reported.

use outrigger::data::{Array, ArrayDataset, DataLoader, LoaderOptions};
use outrigger::nn::{Dense, Input};
use outrigger::train::log::Verbose;
use outrigger::train::metrics::{Accuracy, MeanAbsoluteError, TopK};
use outrigger::train::optimizer::{Adam, Sgd};
use outrigger::train::{Batches, Callback, FitOptions, Logs, Model};
use outrigger::{Error, Tensor};

use super::{CROSS_ENTROPY, batch, classifier, noise, weights};

fn images(n: usize) -> ArrayDataset {
    let labels = (0..n as i32).map(|i| i % 4).collect();
    ArrayDataset::classes(Array::new([n, 6, 6, 3], noise(n * 108, 9)).unwrap(), labels, 4).unwrap()
}

fn quiet() -> FitOptions {
    FitOptions { verbose: Verbose::Silent, ..FitOptions::default() }
}

#[test]
fn an_epoch_is_its_batches() {
    let (mut fitted, mut stepped) = (classifier().unwrap(), classifier().unwrap());
    for model in [&mut fitted, &mut stepped] {
        model.compile(Adam::default(), CROSS_ENTROPY, (Accuracy::new(), TopK::new(2))).unwrap();
    }
    // 10 samples in batches of 4, 4 and 2
    let options = LoaderOptions { batch_size: 4, seed: 3, ..LoaderOptions::default() };
    let loader = DataLoader::new(images(10), options).unwrap();
    let history = fitted.fit(&loader, FitOptions { epochs: 2, ..quiet() }).unwrap();
    let mut loss = 0.0;
    for epoch in 0..2 {
        loss = 0.0;
        for item in loader.epoch(epoch) {
            let item = item.unwrap();
            let pixels = item
                .inputs
                .chunks_exact(108)
                .flat_map(|image| (0..3).flat_map(move |c| (0..36).map(move |p| image[p * 3 + c])));
            let n = item.labels.len();
            let inputs = Tensor::f32([n, 3, 6, 6], pixels.collect()).unwrap();
            let targets = Tensor::i32([n], item.labels.clone()).unwrap();
            loss += stepped.train_on_batch(&inputs, &targets).unwrap().get("loss").unwrap() * n as f64 / 10.0;
        }
    }
    assert_eq!(weights(&fitted), weights(&stepped));
    assert!((history.last("loss").unwrap() - loss).abs() < 1e-12);
    assert_eq!(history.epochs(), [0, 1]);
    assert_eq!((fitted.steps(), fitted.epochs()), (6, 2));
}

#[test]
fn evaluation_counts_every_sample_once() {
    let mut model = classifier().unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, [Accuracy::new()]).unwrap();
    let (few, many) = (model.evaluate(images(10), 3).unwrap(), model.evaluate(images(10), 10).unwrap());
    assert_eq!(few.get("accuracy"), many.get("accuracy"));
    assert!((few.get("loss").unwrap() - many.get("loss").unwrap()).abs() < 1e-6);
    let outputs = model.predict(images(10), 4).unwrap();
    assert_eq!(outputs[0].shape().0, [10, 4]);
    let right =
        outputs[0].as_f32().unwrap().chunks(4).enumerate().filter(|(i, row)| row.iter().all(|x| *x <= row[i % 4]));
    assert_eq!(many.get("accuracy"), Some(right.count() as f64 / 10.0));
}

#[test]
fn validation_and_steps_per_epoch() {
    let mut model = classifier().unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, [Accuracy::new()]).unwrap();
    let options = FitOptions {
        epochs: 3,
        batch_size: 4,
        steps_per_epoch: Some(2),
        validation_data: Some(images(6).into()),
        ..quiet()
    };
    let history = model.fit(images(10), options).unwrap();
    let names: Vec<&str> = history.metrics().map(|(name, _)| name).collect();
    assert_eq!(names, ["loss", "accuracy", "val_loss", "val_accuracy"]);
    // two steps an epoch, over the ends of the data
    assert_eq!(model.steps(), 6);
    let after = model.evaluate(images(6), 4).unwrap();
    assert_eq!(history.last("val_loss").unwrap(), after.get("loss").unwrap());
    // the first batch of two of the validation
    let part = |validation_steps| FitOptions {
        batch_size: 4,
        validation_data: Some(images(6).into()),
        validation_steps: Some(validation_steps),
        ..quiet()
    };
    let history = model.fit(images(10), part(1)).unwrap();
    assert_eq!(history.last("val_loss").unwrap(), model.evaluate(images(4), 4).unwrap().get("loss").unwrap());
    let error = model.fit(images(10), part(0)).unwrap_err().to_string();
    assert!(error.contains("no batch"), "{error}");
    let weighted = FitOptions { class_weight: vec![(1, 2.0), (3, f32::NAN)], ..quiet() };
    let error = model.fit(images(10), weighted).unwrap_err().to_string();
    assert!(error.contains("class_weight") && error.contains("class 3"), "{error}");
}

#[test]
fn classes_have_weights() {
    let x = Input::keras("x", [4]);
    let model = || {
        let mut model = Model::new(&x, &Dense::new(2).call(&x).unwrap()).unwrap();
        model.compile(Sgd::default().lr(0.5), CROSS_ENTROPY, ()).unwrap();
        model
    };
    let inputs = noise(16, 4);
    let data = |labels: [i32; 4]| {
        ArrayDataset::classes(Array::new([4, 4], inputs.clone()).unwrap(), labels.to_vec(), 2).unwrap()
    };
    let (mut weighted, mut plain) = (model(), model());
    let options = FitOptions { batch_size: 4, class_weight: vec![(1, 3.0)], ..quiet() };
    let history = weighted.fit(data([0, 1, 0, 1]), options).unwrap();
    let logits = plain.predict(data([0, 1, 0, 1]), 4).unwrap()[0].to_f64();
    let expected: f64 = (0..4)
        .map(|row| {
            let (p, q) = (logits[2 * row], logits[2 * row + 1]);
            let weight = if row % 2 == 1 { 3.0 } else { 1.0 };
            weight * ((p.exp() + q.exp()).ln() - [p, q][row % 2]) / 4.0
        })
        .sum();
    assert!((history.last("loss").unwrap() - expected).abs() < 1e-6);
    plain.fit(data([0, 1, 0, 1]), FitOptions { batch_size: 4, ..quiet() }).unwrap();
    assert_ne!(weights(&weighted), weights(&plain));
}

#[test]
fn networks_of_several_inputs_are_fed_by_a_generator() {
    let (a, b) = (Input::keras("a", [2]), Input::keras("b", [3]));
    let joined = outrigger::nn::Concatenate::new().call([&a, &b]).unwrap();
    let mut model = Model::new([&a, &b], &Dense::new(1).call(&joined).unwrap()).unwrap();
    model
        .compile(Adam::default().lr(0.1), outrigger::graph::Loss::MeanSquaredError, [MeanAbsoluteError::default()])
        .unwrap();
    let batches = || {
        Batches::generator(|epoch| {
            (0..5u32).map(move |step| -> Result<_, Error> {
                let (a, b) = (noise(8, 2 * step + epoch as u32), noise(12, 2 * step + 1));
                let target = (0..4).map(|i| a[2 * i] - b[3 * i + 2]).collect();
                let inputs = vec![Tensor::f32([4, 2], a)?, Tensor::f32([4, 3], b)?];
                Ok((inputs, vec![Tensor::f32([4, 1], target)?]))
            })
        })
    };
    let history = model.fit(batches(), FitOptions { epochs: 40, ..quiet() }).unwrap();
    assert!(history.last("loss").unwrap() < 0.02, "{history}");
    assert!(model.evaluate(batches(), 1).unwrap().get("mean_absolute_error").unwrap() < 0.2);
}

/// Notes what it is told.
#[derive(Clone, Default)]
struct Notes(std::rc::Rc<std::cell::RefCell<Vec<String>>>);

impl Callback for Notes {
    fn on_train_begin(&mut self, _: &mut Model) -> Result<(), Error> {
        self.0.borrow_mut().push("begin".to_string());
        Ok(())
    }
    fn on_batch_end(&mut self, _: &mut Model, batch: usize, _: &Logs) -> Result<(), Error> {
        self.0.borrow_mut().push(format!("batch {batch}"));
        Ok(())
    }
    fn on_epoch_end(&mut self, model: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        self.0.borrow_mut().push(format!("epoch {epoch}"));
        logs.set("mine", 7.0);
        if epoch == 1 {
            model.stop_training();
        }
        Ok(())
    }
    fn on_train_end(&mut self, _: &mut Model) -> Result<(), Error> {
        self.0.borrow_mut().push("end".to_string());
        Ok(())
    }
}

#[test]
fn callbacks_see_training_and_can_stop_it() {
    let mut model = classifier().unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
    let notes = Notes::default();
    let options = FitOptions { epochs: 9, batch_size: 8, callbacks: vec![Box::new(notes.clone())], ..quiet() };
    let history = model.fit(images(10), options).unwrap();
    assert_eq!(*notes.0.borrow(), ["begin", "batch 1", "batch 2", "epoch 0", "batch 1", "batch 2", "epoch 1", "end"]);
    assert_eq!(history.get("mine").unwrap(), [7.0, 7.0]);
}

#[test]
fn weights_are_kept_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let mut model = classifier().unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
    let (images, labels) = batch(4, 1).unwrap();
    model.train_on_batch(&images, &labels).unwrap();
    model.save_weights(&path).unwrap();
    let mut other = classifier().unwrap();
    assert_ne!(weights(&other), weights(&model));
    other.load_weights(&path).unwrap();
    assert_eq!(weights(&other), weights(&model));
}

/// A look at other data in the middle of an epoch is no part of it.
#[test]
fn evaluation_within_an_epoch_leaves_it_alone() {
    struct Look;
    impl Callback for Look {
        fn on_batch_end(&mut self, model: &mut Model, batch: usize, _: &Logs) -> Result<(), Error> {
            let logs = model.evaluate(images(5), 5)?;
            assert!(logs.get("loss").is_some_and(f64::is_finite), "{batch}");
            let (inputs, labels) = super::batch(3, 1)?;
            model.test_on_batch(&inputs, &labels).map(drop)
        }
    }
    let fit = |callbacks: Vec<Box<dyn Callback>>| {
        let mut model = classifier().unwrap();
        model.compile(Adam::default(), CROSS_ENTROPY, (Accuracy::new(), TopK::new(2))).unwrap();
        let validation_data = Some(images(6).into());
        let history =
            model.fit(images(10), FitOptions { epochs: 2, batch_size: 4, validation_data, callbacks, ..quiet() });
        let history = history.unwrap();
        history.metrics().map(|(name, values)| (name.to_string(), values.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(fit(vec![Box::new(Look)]), fit(vec![]));
}

/// Ten samples in batches of four are three steps, an epoch here is two.
#[test]
fn a_run_of_parts_of_the_data_goes_on_where_it_ended() {
    let options = |epochs, initial_epoch| FitOptions {
        epochs,
        initial_epoch,
        batch_size: 4,
        steps_per_epoch: Some(2),
        ..quiet()
    };
    let compiled = || {
        let mut model = classifier().unwrap();
        model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
        model
    };
    for first in 1..5 {
        let (mut whole, mut parts) = (compiled(), compiled());
        whole.fit(images(10), options(5, 0)).unwrap();
        parts.fit(images(10), options(first, 0)).unwrap();
        parts.fit(images(10), options(5, first)).unwrap();
        assert_eq!(weights(&parts), weights(&whole), "{first}");
    }
}
