//! Options and reports.

use outrigger::Error;
use outrigger::passes::{PASSES, PassOptions, optimise};

use crate::harness::{check, difference, evaluate, optional, values};
use crate::resnet::block;

#[test]
fn unknown_and_mandatory_passes_cannot_be_switched_off() {
    let text = |name: &str| match PassOptions::without(&[name]) {
        Err(error @ Error::Option { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let unknown = text("prolog");
    assert!(unknown.contains("\"prolog\" does not exist") && unknown.contains("prologue, "), "{unknown}");
    for name in optional() {
        assert!(unknown.contains(name), "{unknown}");
    }
    assert!(text("lower").contains("\"lower\" is mandatory"));
}

#[test]
fn the_report_has_a_line_for_each_rewrite_and_each_refusal() {
    let graph = block();
    let (optimised, report) = optimise(&graph, &PassOptions::default()).unwrap();
    assert_eq!((report.before, report.after), (graph.len(), optimised.len()));
    let names: Vec<&str> = report.passes.iter().map(|p| p.name).collect();
    assert_eq!(names, PASSES.iter().map(|p| p.name).collect::<Vec<_>>());
    for pair in report.passes.windows(2) {
        assert_eq!(pair[0].after, pair[1].before);
    }
    let text = report.to_string();
    for line in report.passes.iter().flat_map(|p| p.done.iter().chain(&p.refused)) {
        assert!(text.contains(line));
    }
    assert!(report.rewrites() > 20);
    let epilogue = report.pass("epilogue").unwrap();
    assert!(
        epilogue.refused.iter().any(|line| line
            == "bn1.batch_norm.scaled: not fused into conv1.conv2d: bn1.batch_norm.coefficients depends on the convolution"),
        "{text}"
    );
    let (_, report) = optimise(&graph, &PassOptions::without(&["epilogue"]).unwrap()).unwrap();
    assert!(report.pass("epilogue").is_none());
}

/// Bisecting: after every number of rewrites the graph is valid and means the same.
#[test]
fn every_prefix_of_the_rewrites_is_correct() {
    let graph = block();
    check(&graph);
    let values = values(&graph, 3, 3);
    let want = evaluate(&graph, &values);
    let (full, report) = optimise(&graph, &PassOptions::default()).unwrap();
    let mut last = usize::MAX;
    for stop_after in 0..=report.rewrites() {
        let options = PassOptions { stop_after: Some(stop_after), ..PassOptions::default() };
        let (optimised, report) = optimise(&graph, &options).unwrap();
        let found = difference(&want, &evaluate(&optimised, &values), 3e-7);
        assert!(found.is_none(), "after {stop_after}: {found:?}\n{report}");
        last = optimised.len();
    }
    assert_eq!(last, full.len());
}

#[test]
fn optimising_twice_changes_nothing_more() {
    let (once, _) = optimise(&block(), &PassOptions::default()).unwrap();
    let (twice, report) = optimise(&once, &PassOptions::default()).unwrap();
    assert_eq!(twice.len(), once.len(), "{report}");
}

/// The passes are a pure function of the graph.
#[test]
fn the_same_graph_gives_the_same_graph() {
    let (one, _) = optimise(&block(), &PassOptions::default()).unwrap();
    for _ in 0..3 {
        let (other, _) = optimise(&block(), &PassOptions::default()).unwrap();
        assert_eq!(one.to_string(), other.to_string());
    }
}
