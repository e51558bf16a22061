use crate::harness::*;
use outrigger::model::{Model, Form, ResNetCifar};
use outrigger::passes::{PassOptions, optimise};
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};

#[test]
fn show() {
    let form = if std::env::var("KERAS").is_ok() { Form::Keras } else { Form::Torch };
    let net = ResNetCifar { form, ..ResNetCifar::default() };
    let forward = net.training(100).unwrap();
    let loss = forward.output("loss").unwrap();
    let graph = training_graph(forward, loss, &Optimizer::Adam(Adam::default())).unwrap();
    let (_, report) = optimise(&graph, &PassOptions::default()).unwrap();
    println!("{report}");
    let (optimised, report) = optimise(&graph, &PassOptions::default()).unwrap();
    println!("{optimised}");
    println!("{:?}", report.time);
    let _ = check;
}
