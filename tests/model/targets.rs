//! What targets and data may be, as users of Keras and PyTorch have them.

use outrigger::data::{Array, ArrayDataset};
use outrigger::graph::Loss;
use outrigger::nn::{Dense, Dropout, Function, Input, Linear, ReLU, Sequential};
use outrigger::reference;
use outrigger::train::log::Verbose;
use outrigger::train::metrics::Accuracy;
use outrigger::train::optimizer::{Adagrad, Adam, AdamW, Lion, Optimizer, RmsProp, Sgd};
use outrigger::train::{Batches, FitOptions, Model, Objective};
use outrigger::{Error, Tensor};

use super::{CROSS_ENTROPY, batch, classifier, noise, weights};

fn quiet() -> FitOptions {
    FitOptions { batch_size: 4, verbose: Verbose::Silent, ..FitOptions::default() }
}

/// One layer of Keras's, from four numbers to `outputs`.
fn dense(outputs: usize, function: Option<Function>) -> Model {
    let x = Input::keras("x", [4]);
    let layer = Dense::new(outputs);
    let layer = function.into_iter().fold(layer, |layer, function| layer.activation(function));
    Model::new(&x, &layer.call(&x).unwrap()).unwrap()
}

#[test]
fn tensors_in_memory_are_a_data_set() {
    let (inputs, labels): (_, Vec<i32>) = (noise(40, 3), (0..10).map(|i| i % 3).collect());
    let set = ArrayDataset::classes(Array::new([10, 4], inputs.clone()).unwrap(), labels.clone(), 3).unwrap();
    let (x, y) = (Tensor::f32([10, 4], inputs).unwrap(), Tensor::i32([10], labels).unwrap());
    let fit = |data: Batches, validation: Batches| {
        let mut model = dense(3, None);
        model.compile(Adam::default(), CROSS_ENTROPY, [Accuracy::new()]).unwrap();
        let options = FitOptions { epochs: 3, seed: 5, validation_data: Some(validation), ..quiet() };
        let history = model.fit(data, options).unwrap();
        (weights(&model), history.get("val_accuracy").unwrap().to_vec(), model.steps())
    };
    let memory: Batches = (x.clone(), y.clone()).into();
    assert_eq!(fit(memory.clone(), memory), fit(set.clone().into(), set.clone().into()));

    let mut model = dense(3, None);
    assert_eq!(model.predict(x.clone(), 4).unwrap(), model.predict(set, 3).unwrap());
    model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
    let short = Tensor::i32([9], vec![0; 9]).unwrap();
    let error = model.fit((x.clone(), short), quiet()).unwrap_err().to_string();
    assert!(error.contains("a row a sample, 10") && error.contains("[9]"), "{error}");
    let error = model.fit((x, y), FitOptions { batch_size: 0, ..quiet() }).unwrap_err().to_string();
    assert!(error.contains("batch_size"), "{error}");
}

/// Keras compares `[n]` whole numbers with an output `[n, 1]`.
#[test]
fn binary_labels_are_taken_as_numbers() {
    let x = Tensor::f32([6, 4], noise(24, 8)).unwrap();
    let labels = Tensor::i32([6], vec![0, 1, 1, 0, 1, 0]).unwrap();
    let column = Tensor::f32([6, 1], vec![0.0, 1.0, 1.0, 0.0, 1.0, 0.0]).unwrap();
    let mut model = dense(1, Some(Function::Sigmoid));
    model.compile(Adam::default(), Loss::BinaryCrossEntropy, [Accuracy::new()]).unwrap();
    let logs = model.test_on_batch(&x, &labels).unwrap();
    assert_eq!(logs, model.test_on_batch(&x, &column).unwrap());
    let probabilities = &model.predict_on_batch(&x).unwrap()[0];
    let expected = reference::loss(Loss::BinaryCrossEntropy, probabilities, &column).unwrap();
    assert!((logs.get("loss").unwrap() - expected).abs() < 1e-6);
    let right = probabilities.to_f64().iter().zip(column.to_f64()).filter(|&(&p, t)| (p > 0.5) == (t == 1.0)).count();
    assert_eq!(logs.get("accuracy"), Some(right as f64 / 6.0));

    // from a loader, in parts, and with weights of classes
    let set = ArrayDataset::classes(Array::new([6, 4], noise(24, 8)).unwrap(), vec![0, 1, 1, 0, 1, 0], 2).unwrap();
    let weighted = |data: Batches| {
        let mut model = dense(1, Some(Function::Sigmoid));
        model.compile(Adam::default(), Loss::BinaryCrossEntropy, ()).unwrap();
        model.fit(data, FitOptions { class_weight: vec![(1, 3.0)], ..quiet() }).unwrap();
        weights(&model)
    };
    assert_eq!(weighted(set.clone().into()), weighted((x.clone(), labels).into()));
    assert_eq!(weighted(set.into()), weighted((x, column).into()));
}

/// PyTorch's loop does not know the targets before the loss: the first forward pass is repeated for them, and leaves
/// statistics as one would.
#[test]
fn a_loop_may_begin_with_any_targets() {
    let (images, labels) = batch(4, 2).unwrap();
    let soft = Tensor::f32([4, 4], [0.7, 0.1, 0.1, 0.1].repeat(4)).unwrap();
    for targets in [soft, labels] {
        let (mut whole, mut parts) = (classifier().unwrap(), classifier().unwrap());
        for model in [&mut whole, &mut parts] {
            model.compile(Sgd::default().lr(0.1), CROSS_ENTROPY, ()).unwrap();
        }
        for _ in 0..3 {
            let logs = whole.train_on_batch(&images, &targets).unwrap();
            parts.forward(&images).unwrap();
            assert_eq!(Some(f64::from(parts.loss(&targets).unwrap())), logs.get("loss"));
            parts.zero_grad().unwrap();
            parts.backward().unwrap();
            parts.step().unwrap();
        }
        assert_eq!(weights(&whole), weights(&parts));
    }
    // what comes after another `compile` is not judged by what came before
    let mut model = dense(2, None);
    let x = Tensor::f32([3, 4], noise(12, 1)).unwrap();
    model.compile(Sgd::default(), CROSS_ENTROPY, ()).unwrap();
    model.forward(&x).unwrap();
    model.loss(&Tensor::i32([3], vec![0, 1, 0]).unwrap()).unwrap();
    model.compile(Sgd::default(), Loss::MeanSquaredError, ()).unwrap();
    assert!(model.loss(&x).is_err(), "the forward pass was before `compile`");
    model.forward(&x).unwrap();
    model.loss(&Tensor::full([3, 2], 0.0)).unwrap();
}

#[test]
fn every_optimizer_and_every_loss_trains() {
    let x = Tensor::f32([8, 4], noise(32, 6)).unwrap();
    let train = |mut model: Model, optimizer: Optimizer, loss: Objective, target: &Tensor| {
        model.compile(optimizer.lr(0.02), loss, ()).unwrap();
        let history = model.fit((x.clone(), target.clone()), FitOptions { epochs: 20, ..quiet() }).unwrap();
        let losses = history.get("loss").unwrap();
        (losses[0], losses[19])
    };
    let numbers = Tensor::f32([8, 3], noise(24, 7)).unwrap();
    for optimizer in [
        Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() }.into(),
        Adam::default().into(),
        AdamW::default().into(),
        RmsProp::default().into(),
        Adagrad::default().into(),
        Lion::default().into(),
    ] {
        let (first, last) = train(dense(3, None), optimizer, Loss::MeanSquaredError.into(), &numbers);
        assert!(last < 0.95 * first, "{optimizer:?}: {first} {last}");
    }
    let labels = Tensor::i32([8], (0..8).map(|i| i % 3).collect()).unwrap();
    let shares = Tensor::f32([8, 3], [0.5, 0.3, 0.2].repeat(8)).unwrap();
    let bits = Tensor::f32([8, 3], [0.0, 1.0, 1.0].repeat(8)).unwrap();
    let own = Objective::custom(|g, prediction, target| {
        let d = g.sub(prediction, target)?;
        let d = g.mul(d, d)?;
        g.mean_all(d)
    });
    for (function, loss, target) in [
        (None, CROSS_ENTROPY.into(), &labels),
        (None, Loss::CrossEntropy { label_smoothing: 0.1 }.into(), &shares),
        (Some(Function::Softmax), Loss::categorical_cross_entropy().into(), &shares),
        (Some(Function::Softmax), Loss::categorical_cross_entropy().into(), &labels),
        (Some(Function::LogSoftmax), Loss::Nll.into(), &labels),
        (Some(Function::LogSoftmax), Loss::KlDivergence.into(), &shares),
        (Some(Function::Sigmoid), Loss::BinaryCrossEntropy.into(), &bits),
        (None, Loss::BinaryCrossEntropyWithLogits.into(), &bits),
        (None, Loss::MeanSquaredError.into(), &numbers),
        (None, Loss::L1.into(), &numbers),
        (None, Loss::Huber { delta: 0.5 }.into(), &numbers),
        (None, own.clone(), &numbers),
    ] {
        let (first, last) = train(dense(3, function), Adam::default().into(), loss, target);
        assert!(last < first, "{first} {last}");
    }
    let of = |loss: Objective| train(dense(3, None), Sgd::default().into(), loss, &numbers);
    let (mine, known) = (of(own), of(Loss::MeanSquaredError.into()));
    assert!((mine.1 - known.1).abs() < 1e-6, "{mine:?} {known:?}");
}

#[test]
fn dropout_is_for_training_only() {
    let layers = Sequential::new().add(Dropout::new(0.5));
    let mut model = Model::from_module(&layers, Input::torch("x", [1000])).unwrap();
    let x = Tensor::full([2, 1000], 1.0);
    assert_eq!(model.predict_on_batch(&x).unwrap()[0], x);

    let layers = Sequential::new().add(Linear::new(1000)).add(ReLU::new()).add(Dropout::new(0.5));
    let mut model = Model::from_module(&layers, Input::torch("x", [2])).unwrap();
    model.compile(Sgd::default().lr(0.0), Loss::MeanSquaredError, ()).unwrap();
    let (x, target) = (Tensor::full([1, 2], 1.0), Tensor::full([1, 1000], 0.0));
    let zeros = |t: &Tensor| t.as_f32().unwrap().iter().filter(|&&x| x == 0.0).count();
    let whole = model.predict_on_batch(&x).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let outputs = model.forward(&x).unwrap();
        model.loss(&target).unwrap();
        model.backward().unwrap();
        let left = (1000 - zeros(&outputs[0])) as f64 / (1000 - zeros(&whole[0])) as f64;
        assert!((0.4..0.6).contains(&left), "{left}");
        seen.push(outputs[0].clone());
    }
    assert_ne!(seen[0], seen[1], "another step drops other elements");
    model.eval();
    assert_eq!(model.forward(&x).unwrap(), whole);
}

#[test]
fn what_makes_no_sense_is_refused_when_it_is_said() {
    let mut model = classifier().unwrap();
    for (option, tuned) in [
        ("lr", Sgd::default().lr(f64::NAN)),
        ("lr", Adam::default().lr(-0.1)),
        ("beta1", Adam { beta1: 1.0, ..Adam::default() }.lr(0.1)),
        ("ema", Adam::default().lr(0.1).ema(1.5)),
        ("nesterov", Sgd { nesterov: true, ..Sgd::default() }.lr(0.1)),
    ] {
        match model.compile(tuned, CROSS_ENTROPY, ()) {
            Err(Error::Option { option: found, .. }) => assert_eq!(found, option),
            other => panic!("{option}: {other:?}"),
        }
    }
    assert!(model.learning_rate().is_err());
    assert!(format!("{model:?}").contains("compiled: false"));
}

/// Keras adds penalties to the loss of an evaluation too, but not those of frozen layers.
#[test]
fn regularised_weights_are_part_of_every_loss() {
    let x = Input::keras("x", [2]);
    let mut model = Model::new(&x, &Dense::new(1).name("d").l2(0.5).l1(0.25).call(&x).unwrap()).unwrap();
    model.compile(Sgd::default(), Loss::MeanSquaredError, ()).unwrap();
    let (inputs, target) = (Tensor::full([4, 2], 1.0), Tensor::full([4, 1], 0.0));
    let kernel = model.store().get("d/kernel").unwrap().to_f64();
    let squared = kernel.iter().sum::<f64>().powi(2);
    let penalty: f64 = kernel.iter().map(|w| 0.5 * w * w + 0.25 * w.abs()).sum();
    let loss = |logs: outrigger::train::Logs| logs.get("loss").unwrap();
    let tested = loss(model.test_on_batch(&inputs, &target).unwrap());
    assert!((tested - (squared + penalty)).abs() < 1e-6, "{tested} {squared} {penalty}");
    assert_eq!(loss(model.evaluate((inputs.clone(), target.clone()), 4).unwrap()), tested);
    assert_eq!(loss(model.train_on_batch(&inputs, &target).unwrap()), tested);
    model.freeze("d").unwrap();
    let kernel = model.store().get("d/kernel").unwrap().to_f64();
    let bias = model.store().get("d/bias").unwrap().to_f64()[0];
    let tested = loss(model.test_on_batch(&inputs, &target).unwrap());
    assert!((tested - (kernel.iter().sum::<f64>() + bias).powi(2)).abs() < 1e-6, "{tested}");
}
