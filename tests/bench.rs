//! `outrigger::bench` registers every kernel of a program, and leaves the weights as they were.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use outrigger::graph::ConvOptions;
use outrigger::ops::{Init, MatMul};
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};
use outrigger::{DType, Error, Graph, Options, Padding, Session, Store, Team, bench, compile};
use serde_json::Value;

fn network() -> Result<Graph, Error> {
    let mut g = Graph::new("net");
    let images = g.input("images", DType::F32, [4, 6, 6, 3])?;
    let labels = g.input("labels", DType::I32, [4])?;
    let options = ConvOptions { padding: Padding::Same, ..ConvOptions::default() };
    let mut x = images;
    // the second and third convolution are of one shape, so kernels of theirs are shared
    for (name, channels) in [("a.weight", 3), ("b.weight", 8), ("c.weight", 8)] {
        let filters = g.parameter(name, [3, 3, channels, 8], Init::kaiming_uniform(9 * channels))?;
        x = g.conv2d(x, filters, None, options)?;
        x = g.relu(x)?;
    }
    let x = g.global_avg_pool(x)?;
    let weight = g.parameter("fc.weight", [8, 5], Init::kaiming_uniform(8))?;
    let logits = g.linear(x, weight, None)?;
    let loss = g.cross_entropy(logits, labels)?;
    training_graph(g, loss, &Optimizer::Adam(Adam::default()))
}

/// Runs the registered benchmarks for next to no time; what Criterion noted on each, by its full name.
fn registered(name: &str, session: &mut Session) -> Result<BTreeMap<String, Value>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let mut criterion = Criterion::default()
        .output_directory(dir.path())
        .without_plots()
        .sample_size(10)
        .nresamples(10)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_nanos(1));
    bench::program(&mut criterion, name, session)?;
    let mut found = BTreeMap::new();
    collect(dir.path(), &mut found);
    Ok(found)
}

fn collect(dir: &Path, found: &mut BTreeMap<String, Value>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.ends_with("new/benchmark.json") {
            let noted: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let id = noted["full_id"].as_str().unwrap().to_string();
            assert!(found.insert(id.clone(), noted["throughput"].clone()).is_none(), "two benchmarks are named {id}");
        }
    }
}

#[test]
fn every_kernel_of_a_training_program_appears() {
    let graph = network().unwrap();
    let (store, team) = (Store::new(&graph, 0).unwrap(), Arc::new(Team::new(2).unwrap()));
    let mut session = compile(&graph, &Options::default()).unwrap().session(&store, &team).unwrap();
    bench::fill(&mut session, 3).unwrap();
    let before: Vec<_> = ["a.weight", "a.weight.exp_avg"].map(|name| store.get(name).unwrap()).to_vec();
    let found = registered("net", &mut session).unwrap();
    let after: Vec<_> = ["a.weight", "a.weight.exp_avg"].map(|name| store.get(name).unwrap()).to_vec();
    assert_eq!(before, after);

    // steps of one function are measured once, under the first one's name
    let mut calls: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, step) in session.steps().iter().enumerate() {
        calls.entry(step.kernel as usize).or_default().push(index);
    }
    assert!(calls.values().any(|steps| steps.len() > 1), "nothing is shared");
    let kernels: Vec<&String> = found.keys().filter(|id| id.matches('/').count() > 1).collect();
    assert_eq!(kernels.len(), calls.len(), "{kernels:#?}");
    for steps in calls.values() {
        let first = &session.steps()[steps[0]];
        let path = format!("/{}/{}", first.kind, first.name);
        let times = if steps.len() > 1 { format!(" x{}", steps.len()) } else { String::new() };
        // further kernels of one name are numbered
        let is_it =
            |id: &&&String| id.split(" #").next().is_some_and(|id| id.trim_end_matches(&times).ends_with(&path));
        assert!(kernels.iter().any(|id| is_it(&id) && id.ends_with(&times)), "no {path}{times} in {kernels:#?}");
    }
    for role in ["forward", "backward", "update"] {
        assert!(kernels.iter().any(|id| id.starts_with(&format!("net/{role}/"))), "{kernels:#?}");
    }

    // the parts make the whole
    let amount = |id: &str, unit: &str| found[id]["ElementsAndBytes"][unit].as_u64().unwrap();
    for unit in ["elements", "bytes"] {
        assert_eq!(amount("net/forward", unit) + amount("net/backward", unit), amount("net/step", unit));
    }
    // 4 images, 36 pixels, 9 taps; the first convolution's input has no gradient
    let convs: u64 = [(3, 2), (8, 3), (8, 3)].iter().map(|(c, times)| 2 * 4 * 36 * 9 * 8 * c * times).sum();
    assert_eq!(amount("net/step", "elements"), convs + 3 * 2 * 4 * 8 * 5);
}

#[test]
fn a_program_without_gradients_is_one_step() {
    let mut g = Graph::new("product");
    let a = g.input("a", DType::F32, [8, 8]).unwrap();
    let c = g.matmul(a, a, MatMul::default()).unwrap();
    g.set_output("c", c).unwrap();
    let (store, team) = (Store::new(&g, 0).unwrap(), Arc::new(Team::new(1).unwrap()));
    let mut session = compile(&g, &Options::default()).unwrap().session(&store, &team).unwrap();
    let missing = registered("product", &mut session).unwrap_err().to_string();
    assert!(missing.contains("input \"a\""), "{missing}");
    bench::fill(&mut session, 0).unwrap();
    let found = registered("product", &mut session).unwrap();
    assert!(found.contains_key("product/step"), "{found:#?}");
    let others: Vec<_> = found.keys().filter(|id| *id != "product/step").collect();
    assert!(others.iter().all(|id| id.starts_with("product/forward/")), "{others:?}");
    assert_eq!(others.len(), session.steps().len());
}
