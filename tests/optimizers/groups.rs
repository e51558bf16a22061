//! Groups of parameters with rates and weight decay of their own, and averaged weights.

use std::sync::Arc;

use outrigger::train::optimizer::{
    Adagrad, Adam, AdamW, Lion, Optimizer, ParameterGroup, RmsProp, Sgd, TrainingOptions, is_training_state,
    training_graph_with,
};
use outrigger::train::swap_ema;
use outrigger::{Error, Options, Store, Team, Tensor, compile};

use crate::{RATES, close, joined, quadratic, start, step, trained};

/// One of each kind, with weight decay where `decay` says so.
fn kinds(weight_decay: f64) -> [Optimizer; 6] {
    [
        Optimizer::Sgd(Sgd { momentum: 0.875, nesterov: true, weight_decay, ..Sgd::default() }),
        Optimizer::Adam(Adam { weight_decay, ..Adam::default() }),
        Optimizer::AdamW(AdamW { weight_decay, ..AdamW::default() }),
        Optimizer::RmsProp(RmsProp { weight_decay, ..RmsProp::default() }),
        Optimizer::Adagrad(Adagrad { weight_decay, lr_decay: 0.5, ..Adagrad::default() }),
        Optimizer::Lion(Lion { weight_decay, ..Lion::default() }),
    ]
}

/// The weight in a group goes as in a run of its own with that rate and decay, the bias as without groups: the
/// elements of the loss do not know each other.
#[test]
fn a_group_is_a_run_of_its_own() {
    for (optimizer, alone) in kinds(0.125).into_iter().zip(kinds(0.5)) {
        let group = ParameterGroup { lr_scale: 0.25, weight_decay: Some(0.5), ..ParameterGroup::new("*.weight") };
        let later = ParameterGroup { lr_scale: 9.0, ..ParameterGroup::new("fc.weight") };
        let options = TrainingOptions { optimizer, groups: vec![group, later], ..TrainingOptions::default() };
        let got = trained(&options);
        let plain = trained(&TrainingOptions { groups: Vec::new(), ..options });
        assert_eq!(got["fc.bias"], plain["fc.bias"]);

        let (graph, loss) = quadratic();
        let options = TrainingOptions { optimizer: alone, ..TrainingOptions::default() };
        let graph = training_graph_with(graph, loss, &options).unwrap();
        let mut state = start(&graph);
        for lr in RATES {
            step(&graph, lr * 0.25, &mut state);
        }
        close(&got["fc.weight"].data, &state["fc.weight"].data, &format!("{optimizer:?}"));
        assert!(got["fc.weight"] != plain["fc.weight"]);
    }
}

#[test]
fn a_rate_of_zero_keeps_the_parameters() {
    for optimizer in kinds(0.125) {
        let groups = vec![ParameterGroup { lr_scale: 0.0, ..ParameterGroup::new("fc.bias") }];
        let got = trained(&TrainingOptions { optimizer, groups, ..TrainingOptions::default() });
        assert_eq!(got["fc.bias"].data, [2.0, -1.25]);
    }
}

#[test]
fn groups_and_averages_that_make_no_sense() {
    let group = ParameterGroup::new("*.weight");
    let with = |group: ParameterGroup| TrainingOptions { groups: vec![group], ..TrainingOptions::default() };
    let bad = [
        ("lr_scale", "-1", with(ParameterGroup { lr_scale: -1.0, ..group.clone() })),
        ("weight_decay", "NaN", with(ParameterGroup { weight_decay: Some(f64::NAN), ..group })),
        ("ema", "got 1", TrainingOptions { ema: Some(1.0), ..TrainingOptions::default() }),
    ];
    for (name, says, options) in bad {
        let (graph, loss) = quadratic();
        match training_graph_with(graph, loss, &options) {
            Err(Error::Option { option, reason }) => assert!(option == name && reason.contains(says), "{reason}"),
            other => panic!("{options:?}: {other:?}"),
        }
    }
    let (graph, loss) = quadratic();
    let error = training_graph_with(graph, loss, &with(ParameterGroup::new("fc.bia*s2"))).unwrap_err().to_string();
    assert_eq!(error, "no parameter named \"fc.bia*s2\"; did you mean \"fc.bias\"? (others: \"fc.weight\")");
}

#[test]
fn averages_start_with_the_first_step_and_follow() {
    let (graph, loss) = quadratic();
    let options = TrainingOptions { ema: Some(0.75), ..TrainingOptions::default() };
    let graph = training_graph_with(graph, loss, &options).unwrap();
    let mut state = start(&graph);
    let mut average: Option<Vec<f64>> = None;
    for lr in RATES {
        step(&graph, lr, &mut state);
        let p = joined(&state, "");
        let new = match average {
            Some(old) => old.iter().zip(&p).map(|(old, p)| 0.75 * old + 0.25 * p).collect(),
            None => p,
        };
        close(&joined(&state, ".ema"), &new, "average");
        average = Some(new);
    }
    for name in ["fc.weight.ema", "ema.decay", "sgd.gain", "adagrad.step", "a.b.square_sum", "x.max_exp_avg_sq"] {
        assert!(is_training_state(name), "{name}");
    }
    assert!(!is_training_state("fc.weight") && !is_training_state("ema"));
}

#[test]
fn averages_and_parameters_change_places() {
    let (graph, loss) = quadratic();
    let graph = training_graph_with(graph, loss, &TrainingOptions { ema: Some(0.75), ..TrainingOptions::default() });
    let graph = graph.unwrap();
    let (store, team) = (Store::new(&graph, 0).unwrap(), Arc::new(Team::new(1).unwrap()));
    let mut session = compile(&graph, &Options::default()).unwrap().session(&store, &team).unwrap();
    for lr in [0.1, 0.2, 0.3] {
        session.set_f32("lr", &[lr]).unwrap();
        session.run().unwrap();
    }
    let names = ["fc.weight", "fc.weight.ema", "fc.bias", "fc.bias.ema"];
    let before = names.map(|name| store.get(name).unwrap());
    assert!(before[0] != before[1]);
    swap_ema(&store).unwrap();
    assert_eq!(["fc.weight.ema", "fc.weight", "fc.bias.ema", "fc.bias"].map(|name| store.get(name).unwrap()), before);
    swap_ema(&store).unwrap();
    assert_eq!(names.map(|name| store.get(name).unwrap()), before);

    let (plain, loss) = quadratic();
    let plain = training_graph_with(plain, loss, &TrainingOptions::default()).unwrap();
    assert!(matches!(swap_ema(&Store::new(&plain, 0).unwrap()), Err(Error::Option { option, .. }) if option == "ema"));
}

/// What the interpreter computes, compiled: buffers that do not start with 0 and whole-number counters among it.
#[test]
fn compiled_updates() {
    let centered = RmsProp { centered: true, momentum: 0.875, alpha: 0.75, ..RmsProp::default() };
    let more = [
        Optimizer::Sgd(Sgd { momentum: 0.875, dampening: 0.25, ..Sgd::default() }),
        Optimizer::Adam(Adam { beta1: 0.5, beta2: 0.5, amsgrad: true, ..Adam::default() }),
        Optimizer::RmsProp(centered),
        Optimizer::keras_adagrad(),
        Optimizer::keras_rmsprop(),
    ];
    for optimizer in kinds(0.125).into_iter().chain(more) {
        let group = ParameterGroup { lr_scale: 0.5, weight_decay: Some(0.25), ..ParameterGroup::new("fc.bias") };
        let options = TrainingOptions { optimizer, groups: vec![group], ema: Some(0.75), gradient_outputs: false };
        let (graph, loss) = quadratic();
        let graph = training_graph_with(graph, loss, &options).unwrap();
        let (mut state, team) = (start(&graph), Arc::new(Team::new(1).unwrap()));
        let store = Store::new(&graph, 0).unwrap();
        for name in ["fc.weight", "fc.bias"] {
            let values: Vec<f32> = state[name].data.iter().map(|&x| x as f32).collect();
            store.set(name, &Tensor::f32([values.len()], values).unwrap()).unwrap();
        }
        let mut session = compile(&graph, &Options::default()).unwrap().session(&store, &team).unwrap();
        for lr in RATES {
            step(&graph, lr, &mut state);
            session.set_f32("lr", &[lr as f32]).unwrap();
            session.run().unwrap();
        }
        for (name, _) in store.entries() {
            let (got, want) = (store.get(name).unwrap().to_f64(), &state[name].data);
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{optimizer:?}, {name}: {got}, not {want}");
            }
        }
    }
}
