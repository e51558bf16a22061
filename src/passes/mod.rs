//! Passes: graph → graph rewrites, each verified after it ran, switchable, and reported.
//!
//! ```text
//!  portable graph                                     machine level
//!  dead-code ▶ constants ▶ canonicalise ▶ common ▶ fold-batch-norm ▶ lower ▶ common-lowered
//!     ▶ pair-backward ▶ epilogue ▶ prologue ▶ chains ▶ updates ──▶ Fused kernels, coefficients, what has no anchor
//! ```
//!
//! [`at_precision`] rounds what the kernels of a machine-level graph multiply and hand to each other.
//!
//! A pass adds nodes and redirects uses in one checked [`crate::graph::Patch`]; what nothing uses any
//! more is dropped before the next pass runs, so that every pass may count users.

use std::time::Instant;

use crate::error::{Error, nearest};
use crate::graph::Graph;

mod batch_norm_fold;
mod canonicalise;
mod common;
mod constants;
mod emit;
mod fusion;
mod lower;
mod options;
mod precision;
mod report;
mod uses;

pub use options::PassOptions;
pub use precision::at_precision;
pub use report::{PassReport, Report};

use report::Context;

/// A rewrite of the whole graph.
pub struct Pass {
    /// The name in options and reports.
    pub name: &'static str,
    /// What it does, in one line.
    pub what: &'static str,
    /// Whether the later stages cannot do without it; such a pass has no switch.
    pub mandatory: bool,
    run: fn(&mut Graph, &mut Context<'_>) -> Result<(), Error>,
}

/// All passes, in the order in which they run.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "dead-code",
        what: "drops nodes that no output and no update needs (also after every other pass)",
        mandatory: true,
        run: |_, _| Ok(()),
    },
    Pass { name: "constants", what: "computes what depends on constants only", mandatory: false, run: constants::run },
    Pass {
        name: "canonicalise",
        what: "removes operations without effect and brings others to one form",
        mandatory: false,
        run: canonicalise::run,
    },
    Pass { name: "common", what: "computes equal expressions once", mandatory: false, run: common::run },
    Pass {
        name: "fold-batch-norm",
        what: "folds inference batch norm into the convolution's weight and a bias",
        mandatory: false,
        run: batch_norm_fold::run,
    },
    Pass {
        name: "lower",
        what: "expresses softmax, means, batch norm and convolutions by what kernels compute",
        mandatory: true,
        run: lower::run,
    },
    Pass {
        name: "common-lowered",
        what: "computes equal expressions once, after lowering",
        mandatory: false,
        run: common::run,
    },
    Pass {
        name: "pair-backward",
        what: "one kernel for both gradients of a convolution",
        mandatory: false,
        run: fusion::pair::run,
    },
    Pass {
        name: "epilogue",
        what: "convolutions apply the element-wise operations and channel sums that follow them",
        mandatory: false,
        run: fusion::epilogue::run,
    },
    Pass {
        name: "prologue",
        what: "convolutions compute the element-wise expressions that they read",
        mandatory: false,
        run: fusion::prologue::run,
    },
    Pass {
        name: "chains",
        what: "the remaining element-wise operations over one shape become one kernel",
        mandatory: false,
        run: fusion::chains::run,
    },
    Pass {
        name: "updates",
        what: "one kernel for the updates of all parameters",
        mandatory: false,
        run: fusion::updates::run,
    },
];

/// Runs the passes on a copy of `graph`. State and inputs keep their names, outputs their order.
///
/// # Errors
/// [`Error::Option`] for a disabled pass that is none or is mandatory; [`Error::Invalid`] when `graph` breaks an invariant, or with the name of the pass that broke one;
/// [`Error::Patch`] for a rewrite that the graph refused.
pub fn optimise(graph: &Graph, options: &PassOptions) -> Result<(Graph, Report), Error> {
    run(graph, options, PASSES)
}

/// As [`optimise`], but only up to and with the pass `last`: to look at the graph on its way.
///
/// # Errors
/// As [`optimise`]; [`Error::UnknownName`] when there is no pass `last`.
pub fn optimise_until(graph: &Graph, options: &PassOptions, last: &str) -> Result<(Graph, Report), Error> {
    let at = PASSES.iter().position(|pass| pass.name == last).ok_or_else(|| Error::UnknownName {
        what: "pass",
        name: last.to_string(),
        near: nearest(last, PASSES.iter().map(|pass| pass.name)),
    })?;
    run(graph, options, &PASSES[..=at])
}

fn run(graph: &Graph, options: &PassOptions, all: &[Pass]) -> Result<(Graph, Report), Error> {
    let start = Instant::now();
    options.check()?;
    graph.verify()?;
    let mut optimised = graph.clone();
    let mut left = options.stop_after;
    let mut passes = Vec::with_capacity(all.len());
    for pass in all {
        if !pass.mandatory && !options.runs(pass.name) {
            continue;
        }
        passes.push(apply(&mut optimised, pass.name, options.verify, |graph, report| {
            (pass.run)(graph, &mut Context::new(pass, options, report, &mut left))
        })?);
    }
    let report = Report { passes, before: graph.len(), after: optimised.len(), time: start.elapsed() };
    Ok((optimised, report))
}

/// A copy of `graph` with inference batch norms folded into convolutions and everything else as it was: a portable graph.
/// The other passes before `lower` stay portable, too, but not for another batch: with one sample they take its axis away.
///
/// # Errors
/// As [`optimise`].
pub fn fold_batch_norms(graph: &Graph) -> Result<Graph, Error> {
    graph.verify()?;
    let mut folded = graph.clone();
    let options = PassOptions::default();
    for pass in PASSES.iter().filter(|pass| pass.name == "fold-batch-norm") {
        apply(&mut folded, pass.name, options.verify, |graph, report| {
            (pass.run)(graph, &mut Context::new(pass, &options, report, &mut None))
        })?;
    }
    Ok(folded)
}

/// Applies the rewrites of one pass, with checks if `check`, and drops what they left over.
fn apply(
    graph: &mut Graph,
    name: &'static str,
    check: bool,
    rewrite: impl FnOnce(&mut Graph, &mut PassReport) -> Result<(), Error>,
) -> Result<PassReport, Error> {
    let started = Instant::now();
    let mut report = PassReport::new(name, graph.len());
    rewrite(graph, &mut report)?;
    // checked before what it left over is dropped: a cycle would otherwise vanish unseen
    if check && !report.done.is_empty() {
        verify(graph, name)?;
    }
    let all = graph.len();
    *graph = graph.compact();
    report.finish(all, graph.len(), started.elapsed());
    Ok(report)
}

fn verify(graph: &Graph, pass: &str) -> Result<(), Error> {
    graph.verify().map_err(|error| match error {
        Error::Invalid { violations, .. } => Error::Invalid { after: Some(pass.to_string()), violations },
        other => other,
    })
}
