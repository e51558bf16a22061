//! Parts of a step against the whole, and against each other.

use outrigger::graph::Loss;
use outrigger::nn::{Dense, Input};
use outrigger::train::optimizer::{Adam, ParameterGroup, Sgd};
use outrigger::train::{Model, Objective};
use outrigger::{Error, Tensor};

use super::{CROSS_ENTROPY, batch, classifier, weights};

#[test]
fn a_loop_of_parts_is_the_fused_step() {
    let (mut whole, mut parts) = (classifier().unwrap(), classifier().unwrap());
    whole.compile(Adam::default().lr(0.01), CROSS_ENTROPY, ()).unwrap();
    parts.compile(Adam::default().lr(0.01), CROSS_ENTROPY, ()).unwrap();
    for step in 0..4 {
        let (images, labels) = batch(5, step).unwrap();
        let logs = whole.train_on_batch(&images, &labels).unwrap();
        let outputs = parts.forward(&images).unwrap();
        assert_eq!(outputs[0].shape().0, [5, 4]);
        let loss = parts.loss(&labels).unwrap();
        parts.zero_grad().unwrap();
        parts.backward().unwrap();
        parts.step().unwrap();
        assert_eq!(logs.get("loss"), Some(f64::from(loss)));
    }
    assert_eq!(weights(&whole), weights(&parts));
    assert_eq!((whole.steps(), parts.steps()), (4, 4));
}

#[test]
fn gradients_are_those_of_differences_and_add_up() {
    let x = Input::keras("x", [3]);
    let mut model = Model::new(&x, &Dense::new(2).call(&x).unwrap()).unwrap();
    model.compile(Sgd::default().lr(0.1), Loss::MeanSquaredError, ()).unwrap();
    let inputs = Tensor::f32([4, 3], super::noise(12, 1)).unwrap();
    let target = Tensor::f32([4, 2], super::noise(8, 2)).unwrap();
    let run = |model: &mut Model| {
        model.forward(&inputs).unwrap();
        f64::from(model.loss(&target).unwrap())
    };
    run(&mut model);
    model.backward().unwrap();
    let once = model.gradient("dense/kernel").unwrap().as_f32().unwrap().to_vec();
    let kernel = model.store().get("dense/kernel").unwrap();
    for (at, gradient) in once.iter().enumerate() {
        let mut moved = |by: f32| {
            let mut values = kernel.as_f32().unwrap().to_vec();
            values[at] += by;
            model.store().set("dense/kernel", &Tensor::f32([3, 2], values).unwrap()).unwrap();
            run(&mut model)
        };
        // exact for a parabola, but for rounding
        let difference = (moved(0.25) - moved(-0.25)) / 0.5;
        assert!((difference - f64::from(*gradient)).abs() < 1e-5, "{at}: {difference} {gradient}");
    }
    model.store().set("dense/kernel", &kernel).unwrap();
    run(&mut model);
    model.backward().unwrap();
    let twice = model.gradient("dense/kernel").unwrap();
    assert!(twice.as_f32().unwrap().iter().zip(&once).all(|(two, one)| (two - 2.0 * one).abs() < 1e-6));
    assert_eq!(model.gradient_names(), ["dense/kernel", "dense/bias"]);

    // the norm is that of all gradients together
    let all = |model: &Model| -> Vec<f32> {
        let names = model.gradient_names();
        names.iter().flat_map(|name| model.gradient(name).unwrap().as_f32().unwrap().to_vec()).collect()
    };
    let norm = |values: &[f32]| values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let before = all(&model);
    let known = model.clip_grad_norm(norm(&before) / 2.0).unwrap();
    assert!((known - norm(&before)).abs() < 1e-6 && (norm(&all(&model)) - known / 2.0).abs() < 1e-5);
    model.clip_grad_value(0.01).unwrap();
    assert!(all(&model).iter().all(|x| x.abs() <= 0.01));
    for bad in [-1.0, f64::NAN] {
        assert!(model.clip_grad_norm(bad).is_err() && model.clip_grad_value(bad as f32).is_err());
    }
    model.zero_grad().unwrap();
    assert!(all(&model).iter().all(|&x| x == 0.0));
    // a gradient that is no number is not made one
    model.forward(&Tensor::full([4, 3], f32::NAN)).unwrap();
    model.loss(&target).unwrap();
    model.backward().unwrap();
    model.clip_grad_value(0.01).unwrap();
    assert!(all(&model).iter().all(|x| x.is_nan()));
}

#[test]
fn evaluation_uses_running_statistics_and_changes_nothing() {
    let mut model = classifier().unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
    let (images, labels) = batch(6, 3).unwrap();
    model.train_on_batch(&images, &labels).unwrap();
    let before = weights(&model);
    let training = {
        model.train();
        let outputs = model.forward(&images).unwrap();
        outputs[0].as_f32().unwrap().to_vec()
    };
    // a training forward pass has moved the running statistics
    assert_ne!(weights(&model), before);
    let before = weights(&model);
    model.eval();
    let outputs = model.forward(&images).unwrap();
    let loss = model.loss(&labels).unwrap();
    assert_ne!(outputs[0].as_f32().unwrap(), training);
    assert_eq!(outputs[0], model.predict_on_batch(&images).unwrap()[0]);
    assert_eq!(model.test_on_batch(&images, &labels).unwrap().get("loss"), Some(f64::from(loss)));
    assert_eq!(weights(&model), before);
    assert!(model.backward().unwrap_err().to_string().contains("training mode"));
}

#[test]
fn parts_out_of_order_and_wrong_shapes_are_refused() {
    let mut model = classifier().unwrap();
    let (images, labels) = batch(2, 0).unwrap();
    let error = model.train_on_batch(&images, &labels).unwrap_err().to_string();
    assert!(error.contains("compile"), "{error}");
    model.compile(Sgd::default(), CROSS_ENTROPY, ()).unwrap();
    assert!(model.loss(&labels).unwrap_err().to_string().contains("forward"));
    assert!(model.backward().is_err());
    let channels_last = Tensor::f32([2, 6, 6, 3], vec![0.0; 216]).unwrap();
    let error = model.predict_on_batch(&channels_last).unwrap_err().to_string();
    assert!(error.contains("[2, 3, 6, 6]") && error.contains("[2,6,6,3]"), "{error}");
    let bad = Tensor::i32([2], vec![0, 4]).unwrap();
    let error = model.train_on_batch(&images, &bad).unwrap_err();
    assert!(matches!(error, Error::Label { label: 4, classes: 4, .. }), "{error}");
    let error = model.train_on_batch(&images, &[labels.clone(), labels]).unwrap_err().to_string();
    assert!(error.contains("1 losses take a target each, got 2"), "{error}");
}

#[test]
fn several_outputs_have_losses_with_weights() {
    let x = Input::keras("x", [4]);
    let hidden = Dense::new(3).call(&x).unwrap();
    let a = Dense::new(2).name("a").call(&hidden).unwrap();
    let b = Dense::new(1).name("b").call(&hidden).unwrap();
    let mut model = Model::new(&x, [&a, &b]).unwrap();
    let mean_fourth_power = Objective::custom(|g, prediction, target| {
        let d = g.sub(prediction, target)?;
        let square = g.mul(d, d)?;
        let fourth = g.mul(square, square)?;
        g.mean_all(fourth)
    });
    let losses = [Objective::of("b", mean_fourth_power).weight(0.5), Objective::of("a", CROSS_ENTROPY)];
    model.compile(Sgd::default(), losses, ()).unwrap();
    let inputs = Tensor::f32([3, 4], super::noise(12, 5)).unwrap();
    let targets = [Tensor::f32([3, 1], vec![0.1, 0.2, 0.3]).unwrap(), Tensor::i32([3], vec![0, 1, 1]).unwrap()];
    let logs = model.test_on_batch(&inputs, &targets).unwrap();
    let outputs = model.predict_on_batch(&inputs).unwrap();
    let logits = outputs[0].to_f64();
    let cross_entropy = |row: usize, label: usize| {
        let (p, q) = (logits[2 * row], logits[2 * row + 1]);
        (p.exp() + q.exp()).ln() - [p, q][label]
    };
    let entropy = (cross_entropy(0, 0) + cross_entropy(1, 1) + cross_entropy(2, 1)) / 3.0;
    let fourth: f64 = outputs[1].to_f64().iter().zip([0.1, 0.2, 0.3]).map(|(p, t)| (p - t).powi(4)).sum::<f64>() / 3.0;
    for (name, expected) in [("a_loss", entropy), ("b_loss", fourth), ("loss", entropy + 0.5 * fourth)] {
        assert!((logs.get(name).unwrap() - expected).abs() < 1e-5, "{name}: {logs:?} {expected}");
    }
    let error = model.compile(Sgd::default(), Objective::of("c", CROSS_ENTROPY), ()).unwrap_err().to_string();
    assert!(error.contains("\"c\"") && error.contains("\"a\""), "{error}");
}

/// What a parameter was told before it was frozen is no part of the norm.
#[test]
fn what_is_frozen_has_no_gradient() {
    let x = Input::keras("x", [3]);
    let hidden = Dense::new(4).name("hidden").call(&x).unwrap();
    let mut model = Model::new(&x, &Dense::new(2).name("head").call(&hidden).unwrap()).unwrap();
    model.compile(Sgd::default().lr(0.1), Loss::MeanSquaredError, ()).unwrap();
    let inputs = Tensor::f32([4, 3], super::noise(12, 1)).unwrap();
    let target = Tensor::f32([4, 2], super::noise(8, 2)).unwrap();
    let backward = |model: &mut Model| {
        model.forward(&inputs).unwrap();
        model.loss(&target).unwrap();
        model.backward().unwrap();
    };
    backward(&mut model);
    let head = model.gradient("head/kernel").unwrap();
    model.freeze("hidden").unwrap();
    assert_eq!(model.gradient_names(), ["head/kernel", "head/bias"]);
    assert_eq!(model.gradient("head/kernel").unwrap(), head, "what still learns keeps its sum");
    let of_head = ["head/kernel", "head/bias"].map(|name| model.gradient(name).unwrap().to_f64()).concat();
    let norm = of_head.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((model.clip_grad_norm(1e9).unwrap() - norm).abs() < 1e-9);
    model.unfreeze("hidden").unwrap();
    backward(&mut model);
    assert_eq!(model.gradient_names().len(), 4);
}

#[test]
fn groups_are_checked_when_they_are_said() {
    let mut model = classifier().unwrap();
    let backbone =
        |pattern: &str| Sgd::default().lr(0.1).group(ParameterGroup { lr_scale: 0.1, ..ParameterGroup::new(pattern) });
    for (pattern, near) in [("fcc.weight", "fc.weight"), ("batch_norm.*", "batch_normalization.bias")] {
        let error = model.compile(backbone(pattern), CROSS_ENTROPY, ()).unwrap_err().to_string();
        assert!(error.contains(pattern) && error.contains(&format!("did you mean \"{near}\"")), "{error}");
    }
    assert!(model.learning_rate().is_err(), "the model is as before");
    // a group may wait for its layers to be trained
    let (images, labels) = batch(2, 0).unwrap();
    model.freeze("fc").unwrap();
    model.compile(backbone("fc.*"), CROSS_ENTROPY, ()).unwrap();
    model.train_on_batch(&images, &labels).unwrap();
    model.unfreeze("fc").unwrap();
    let before = model.store().get("fc.weight").unwrap();
    model.train_on_batch(&images, &labels).unwrap();
    assert_ne!(model.store().get("fc.weight").unwrap(), before);
}
