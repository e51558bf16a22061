use crate::harness::*;
use outrigger::Graph;
use outrigger::model::{Form, Model, ResNetCifar};
use outrigger::passes::{PassOptions, optimise};
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};

fn training(form: Form, layers: [usize; 3], batch: usize) -> Graph {
    let forward = ResNetCifar { form, layers, ..ResNetCifar::default() }.training(batch).unwrap();
    let loss = forward.output("loss").unwrap();
    training_graph(forward, loss, &Optimizer::Adam(Adam::default())).unwrap()
}

#[test]
fn torch() {
    let graph = training(Form::Torch, [1, 1, 1], 2);
    check(&graph, 10, 1e-7);
}

#[test]
#[ignore]
fn show() {
    let form = if std::env::var("KERAS").is_ok() { Form::Keras } else { Form::Torch };
    let graph = training(form, [2, 2, 2], 100);
    for _ in 0..10 {
        optimise(&graph, &PassOptions::default()).unwrap();
    }
    let (optimised, report) = optimise(&graph, &PassOptions::default()).unwrap();
    println!("{report}\n{optimised}");
    let _ = check;
}
