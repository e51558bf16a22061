//! Every optimizer over several steps, against the formulas of the papers in plain f64.

use outrigger::train::optimizer::{
    Adagrad, Adam, AdamW, EpsilonMode, EpsilonPlace, Lion, Optimizer, RmsProp, Sgd, training_graph,
};

use crate::{compare, quadratic, start, step};

#[test]
fn sgd() {
    // powers of two and their sums, which f32 holds exactly
    let (heavy, light) = (0.125, 1.0 / 1024.0);
    for (momentum, dampening, nesterov, weight_decay) in [
        (0.0, 0.0, false, 0.0),
        (0.0, 0.5, false, heavy),
        (0.875, 0.0, false, 0.0),
        (0.875, 0.0, false, light),
        (0.875, 0.75, false, light),
        (0.875, 0.0, true, 0.0),
        (0.75, 0.0, true, heavy),
    ] {
        let mut buf = None;
        compare(Optimizer::Sgd(Sgd { momentum, dampening, nesterov, weight_decay }), |_, lr, p, g| {
            let d: [f64; 5] = std::array::from_fn(|i| g[i] + weight_decay * p[i]);
            // the first direction is the gradient itself, as in torch.optim.SGD
            let new =
                buf.map_or(d, |old: [f64; 5]| std::array::from_fn(|i| momentum * old[i] + (1.0 - dampening) * d[i]));
            let new = if momentum == 0.0 { d } else { new };
            buf = Some(new);
            for i in 0..5 {
                p[i] -= lr * if nesterov { d[i] + momentum * new[i] } else { new[i] };
            }
            if momentum == 0.0 { vec![] } else { vec![(".momentum_buffer", new)] }
        });
    }
}

/// Adam with the bias corrections as powers, and the two places of epsilon.
fn adam(optimizer: Optimizer, options: Adam, decoupled: f64) {
    let Adam { beta1, beta2, epsilon, epsilon_mode, weight_decay, amsgrad } = options;
    let (mut m, mut v, mut most) = ([0.0; 5], [0.0; 5], [0.0_f64; 5]);
    compare(optimizer, |t, lr, p, g| {
        let (c1, c2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
        for i in 0..5 {
            let g = g[i] + weight_decay * p[i];
            p[i] *= 1.0 - lr * decoupled;
            m[i] = beta1 * m[i] + (1.0 - beta1) * g;
            v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
            most[i] = most[i].max(v[i]);
            let w = if amsgrad { most[i] } else { v[i] };
            p[i] -= match epsilon_mode {
                EpsilonMode::Corrected => lr * (m[i] / c1) / ((w / c2).sqrt() + epsilon),
                EpsilonMode::Hat => lr * c2.sqrt() / c1 * m[i] / (w.sqrt() + epsilon),
            };
        }
        let mut buffers = vec![(".exp_avg", m), (".exp_avg_sq", v)];
        if amsgrad {
            buffers.push((".max_exp_avg_sq", most));
        }
        buffers
    });
}

#[test]
fn adam_of_pytorch() {
    let large = Adam { beta1: 0.8, beta2: 0.95, epsilon: 0.3, weight_decay: 0.1, ..Adam::default() };
    // a mean that falls, so that the largest is another
    let amsgrad = Adam { beta1: 0.5, beta2: 0.5, amsgrad: true, ..Adam::default() };
    for options in [Adam::default(), large, amsgrad] {
        adam(Optimizer::Adam(options), options, 0.0);
    }
}

#[test]
fn adam_of_keras() {
    let keras = Adam { epsilon: 1e-7, epsilon_mode: EpsilonMode::Hat, ..Adam::default() };
    assert_eq!(Optimizer::keras_adam(), Optimizer::Adam(keras));
    // an epsilon that shows: the two modes differ by far more than the tolerance
    for options in [keras, Adam { epsilon: 0.3, ..keras }] {
        adam(Optimizer::Adam(options), options, 0.0);
    }
}

#[test]
fn adamw() {
    let AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay, amsgrad } = AdamW::default();
    assert_eq!(weight_decay, 0.01);
    let options = Adam { beta1, beta2, epsilon, epsilon_mode, weight_decay: 0.0, amsgrad };
    adam(Optimizer::AdamW(AdamW::default()), options, 0.01);
    adam(Optimizer::AdamW(AdamW { weight_decay: 0.5, ..AdamW::default() }), options, 0.5);
    let falling = Adam { beta1: 0.5, beta2: 0.5, amsgrad: true, ..options };
    adam(Optimizer::AdamW(AdamW { beta1: 0.5, beta2: 0.5, amsgrad: true, ..AdamW::default() }), falling, 0.01);
    let keras = Adam { epsilon: 1e-7, epsilon_mode: EpsilonMode::Hat, ..options };
    adam(Optimizer::keras_adamw(), keras, 0.004);
    adam(Optimizer::AdamW(AdamW { weight_decay: 0.0, ..AdamW::default() }), options, 0.0);
}

/// `√v + epsilon` or `√(v + epsilon)`.
fn denominator(v: f64, epsilon: f64, place: EpsilonPlace) -> f64 {
    match place {
        EpsilonPlace::Outside => v.sqrt() + epsilon,
        EpsilonPlace::Inside => (v + epsilon).sqrt(),
    }
}

#[test]
fn rmsprop() {
    let of_pytorch = RmsProp::default();
    assert_eq!((of_pytorch.alpha, of_pytorch.epsilon, of_pytorch.momentum), (0.99, 1e-8, 0.0));
    let Optimizer::RmsProp(of_keras) = Optimizer::keras_rmsprop() else { panic!("another kind") };
    assert_eq!((of_keras.alpha, of_keras.epsilon, of_keras.epsilon_place), (0.9, 1e-7, EpsilonPlace::Inside));
    let heavy = RmsProp { alpha: 0.75, epsilon: 0.3, momentum: 0.875, weight_decay: 0.125, ..of_pytorch };
    let inside = RmsProp { epsilon_place: EpsilonPlace::Inside, ..heavy };
    let centered = RmsProp { centered: true, ..heavy };
    for options in [of_pytorch, of_keras, heavy, inside, centered, RmsProp { centered: true, ..inside }] {
        let RmsProp { alpha, epsilon, epsilon_place, weight_decay, momentum, centered } = options;
        // the graph's numbers are f32, and near its target a parameter is the difference of large steps
        let [alpha, new, epsilon] = [alpha, 1.0 - alpha, epsilon].map(|x| f64::from(x as f32));
        let (mut v, mut mean, mut buf) = ([0.0; 5], [0.0; 5], [0.0; 5]);
        compare(Optimizer::RmsProp(options), |_, lr, p, g| {
            for i in 0..5 {
                let g = g[i] + weight_decay * p[i];
                v[i] = alpha * v[i] + new * g * g;
                mean[i] = alpha * mean[i] + new * g;
                let spread = if centered { v[i] - mean[i] * mean[i] } else { v[i] };
                buf[i] = momentum * buf[i] + g / denominator(spread, epsilon, epsilon_place);
                p[i] -= lr * buf[i];
            }
            let mut buffers = vec![(".square_avg", v)];
            buffers.extend((momentum > 0.0).then_some((".momentum_buffer", buf)));
            buffers.extend(centered.then_some((".grad_avg", mean)));
            buffers
        });
    }
}

#[test]
fn adagrad() {
    let of_pytorch = Adagrad::default();
    assert_eq!((of_pytorch.epsilon, of_pytorch.lr_decay, of_pytorch.initial_accumulator_value), (1e-10, 0.0, 0.0));
    let Optimizer::Adagrad(of_keras) = Optimizer::keras_adagrad() else { panic!("another kind") };
    let (start, place) = (of_keras.initial_accumulator_value, of_keras.epsilon_place);
    assert_eq!((start, of_keras.epsilon, place), (0.1, 1e-7, EpsilonPlace::Inside));
    let slower = Adagrad { lr_decay: 0.5, weight_decay: 0.125, initial_accumulator_value: 0.25, ..of_pytorch };
    for options in [of_pytorch, of_keras, slower, Adagrad { epsilon: 0.3, ..of_pytorch }] {
        let Adagrad { lr_decay, weight_decay, initial_accumulator_value, epsilon, epsilon_place } = options;
        let mut sum = [initial_accumulator_value; 5];
        compare(Optimizer::Adagrad(options), |t, lr, p, g| {
            let lr = lr / (1.0 + f64::from(t - 1) * lr_decay);
            for i in 0..5 {
                let g = g[i] + weight_decay * p[i];
                sum[i] += g * g;
                p[i] -= lr * g / denominator(sum[i], epsilon, epsilon_place);
            }
            vec![(".square_sum", sum)]
        });
    }
}

#[test]
fn lion() {
    assert_eq!(Lion::default(), Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 });
    for options in [Lion::default(), Lion { beta1: 0.5, beta2: 0.75, weight_decay: 0.125 }] {
        let Lion { beta1, beta2, weight_decay } = options;
        let mut m = [0.0; 5];
        compare(Optimizer::Lion(options), |_, lr, p, g| {
            for i in 0..5 {
                let c = beta1 * m[i] + (1.0 - beta1) * g[i];
                m[i] = beta2 * m[i] + (1.0 - beta2) * g[i];
                p[i] -= lr * (c.signum() + weight_decay * p[i]);
            }
            vec![(".exp_avg", m)]
        });
    }
}

#[test]
fn bias_corrections_are_one_minus_powers() {
    let (graph, loss) = quadratic();
    let graph = training_graph(graph, loss, &Optimizer::Adam(Adam::default())).unwrap();
    let mut state = start(&graph);
    for t in 1..=50 {
        step(&graph, 1e-3, &mut state);
        for (i, beta) in [(1, 0.9_f64), (2, 0.999)] {
            let got = state[&format!("adam.bias_correction{i}")].data[0];
            let want = 1.0 - beta.powi(t);
            assert!((got - want).abs() <= 1e-6 * want, "step {t}: {got}, {want}");
        }
    }
}
