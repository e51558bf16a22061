//! The pipeline: graph in, runnable program out. The only module that sees every stage.
//!
//! ```text
//!  Graph ──optimise──▶ Graph ──plan──▶ Planned ──generate──▶ Kernels ──▶ runtime::Plan = Program
//!                                                                          │ + Store + Team
//!                                                                          ▼
//!                                                                        Session
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_runtime::{Constant, Plan, Profile, StateSlot, StepProfile, Team};

#[cfg(feature = "cli")]
use crate::codegen::Listing;
use crate::codegen::{self, Choice, Convolution, Isa, Settings};
use crate::error::Error;
use crate::graph::Graph;
use crate::passes::{self, PassOptions, Report};
use crate::plan::{self, Planned};
use crate::session::Session;
use crate::store::Store;
use crate::types::Precision;

/// How a graph is compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which passes run.
    pub passes: PassOptions,
    /// How exactly convolutions compute, and how kernels hand tensors to each other.
    pub precision: Precision,
    /// Instruction set of the inner products; `None` takes `OUTRIGGER_ISA` or the widest of this CPU.
    pub isa: Option<Isa>,
    /// How convolutions are computed. [`Convolution::Auto`] is for all but tests and measurements.
    pub convolution: Convolution,
}

/// Sizes of a program.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Bytes of the work arena.
    pub arena_bytes: usize,
    /// Largest live set of the schedule, in bytes: no arena for this schedule can be smaller.
    pub live_bytes: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Distinct compiled functions.
    pub kernels: usize,
    /// Kernel calls of a run.
    pub steps: usize,
    /// Floating-point operations of the convolutions and matrix products of a run (a multiply-add
    /// counts two).
    pub flops: u64,
    /// Time to compile.
    pub compile_time: Duration,
}

/// A compiled graph: plan and machine code, without memory of its own. Any number of sessions may run it.
///
/// Not to be confused with [`ops::Program`](crate::ops::Program), the element-wise steps of one fused kernel.
pub struct Program {
    pub(crate) planned: Planned,
    pub(crate) plan: Arc<Plan>,
    report: Report,
    summary: Summary,
    convolutions: Vec<Choice>,
    /// What the code was made for.
    #[cfg(feature = "cli")]
    settings: Settings,
}

/// Compiles `graph`.
///
/// # Errors
/// [`Error::Invalid`] for a graph that breaks an invariant, [`Error::Codegen`], [`Error::Option`],
/// [`Error::Runtime`] for a plan that the runtime refuses.
pub fn compile(graph: &Graph, options: &Options) -> Result<Program, Error> {
    let start = Instant::now();
    let isa = options.isa.map_or_else(Isa::from_env, Isa::require)?;
    let (graph, mut report) = passes::optimise(graph, &options.passes)?;
    let graph = passes::at_precision(graph, options.precision, &mut report)?;
    let planned = plan::plan(&graph)?;
    let settings = Settings { isa, convolution: options.convolution, aligned: true };
    let kernels = codegen::generate(&planned, settings)?;
    let code_bytes = kernels.code.bytes;
    let plan = Plan {
        name: planned.name.clone(),
        prepare: kernels.prepare,
        steps: kernels.steps,
        groups: kernels.groups,
        work_bytes: kernels.work_bytes,
        scratch_bytes: kernels.scratch_bytes,
        image_bytes: planned.image_bytes,
        states: planned.states.iter().map(|s| StateSlot { name: s.name.clone(), bytes: s.ty.bytes() }).collect(),
        constants: planned
            .constants
            .iter()
            .map(|(offset, bytes)| Constant { offset: *offset, bytes: bytes.clone() })
            .collect(),
        code: kernels.code,
        writes_states: planned.writes_states,
    };
    plan.validate()?;
    let summary = Summary {
        arena_bytes: plan.work_bytes,
        live_bytes: planned.live_bytes,
        code_bytes,
        kernels: kernels.functions,
        steps: plan.steps.len(),
        flops: plan.steps.iter().map(|s| s.flops).sum(),
        compile_time: start.elapsed(),
    };
    tracing::debug!(
        graph = planned.name,
        isa = %isa,
        kernels = summary.kernels,
        steps = summary.steps,
        arena_bytes = summary.arena_bytes,
        code_bytes = summary.code_bytes,
        time = ?summary.compile_time,
        "compiled"
    );
    Ok(Program {
        planned,
        plan: Arc::new(plan),
        report,
        summary,
        convolutions: kernels.convolutions,
        #[cfg(feature = "cli")]
        settings,
    })
}

impl Program {
    /// What the passes did and did not do, for printing.
    pub fn report(&self) -> &Report {
        &self.report
    }
    /// The schedule with every buffer's place, for printing.
    pub fn planned(&self) -> &Planned {
        &self.planned
    }
    /// The algorithm of each convolution with its predicted time, in the order of the steps, for printing.
    pub fn convolutions(&self) -> &[Choice] {
        &self.convolutions
    }
    /// The same beside what a profiled run measured, a line a convolution: the time of all threads together in their kernel.
    pub fn convolutions_measured(&self, profile: &Profile) -> String {
        let mut text = String::new();
        for choice in &self.convolutions {
            let of_choice = |step: &&StepProfile| step.name == choice.step && step.kind == choice.kernel;
            let busy = profile.steps.iter().find(of_choice).map(|step| step.busy_ns.iter().sum::<u64>());
            text += &match busy {
                Some(ns) => format!("{choice}, measured {:.3} ms\n", ns as f64 / 1e6),
                None => format!("{choice}\n"),
            };
        }
        text
    }
    /// The text of every distinct kernel: loop nest, CLIF, disassembly. They are compiled once more for it.
    ///
    /// # Errors
    /// As [`compile`].
    #[cfg(feature = "cli")]
    pub fn listings(&self) -> Result<Vec<Listing>, Error> {
        codegen::listings(&self.planned, self.settings)
    }
    /// Sizes.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
    /// Binds the program to state and to a worker team.
    ///
    /// # Errors
    /// [`Error::UnknownName`] or [`Error::Type`] when the store lacks a state of this program;
    /// [`Error::Runtime`] when memory cannot be had.
    pub fn session(&self, store: &Store, team: &Arc<Team>) -> Result<Session, Error> {
        Session::new(self, store, team)
    }
}
