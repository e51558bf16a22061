//! What can go wrong when a plan is loaded or run; each variant names the culprit.

use crate::plan::Phase;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the runtime.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The plan contradicts itself; every problem found is listed.
    #[error("plan `{plan}` is invalid: {}", problems.join("; "))]
    InvalidPlan {
        /// Name of the plan.
        plan: String,
        /// One sentence for each problem, naming step and argument.
        problems: Vec<String>,
    },

    /// A slot name that the state does not have.
    #[error("the state has no slot `{name}`; it has: {}", known.join(", "))]
    UnknownState {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },

    /// Two slots of one state with the same name.
    #[error("two state slots are named `{name}`")]
    DuplicateState {
        /// The name that occurs twice.
        name: String,
    },

    /// The size given for a state slot is not the slot's size.
    #[error("state slot `{name}` holds {expected} bytes, not {given}")]
    StateSize {
        /// The slot.
        name: String,
        /// Bytes the slot holds.
        expected: usize,
        /// Bytes given, or wanted by the plan.
        given: usize,
    },

    /// A read or write of the work arena that leaves it.
    #[error("bytes {offset}..{} lie outside the work arena of {work_bytes} bytes", offset.saturating_add(*.bytes))]
    WorkRange {
        /// First byte.
        offset: usize,
        /// Number of bytes.
        bytes: usize,
        /// Size of the arena in bytes.
        work_bytes: usize,
    },

    /// Steps that the plan does not have.
    #[error("no steps {start}..{end}: the plan has the steps 0..{steps}")]
    StepRange {
        /// The first step asked for.
        start: usize,
        /// The step behind the last one asked for.
        end: usize,
        /// Steps of the plan.
        steps: usize,
    },

    /// A team of no threads was asked for.
    #[error("a team needs at least one thread, the calling one")]
    NoThreads,

    /// The system did not start a worker thread.
    #[error("worker thread {worker} of {threads} did not start: {reason}")]
    Thread {
        /// Which worker, from 1 (0 is the calling thread).
        worker: usize,
        /// Size of the team.
        threads: usize,
        /// The system's reason.
        reason: String,
    },

    /// The system gave no memory.
    #[error("no memory for {what} ({bytes} bytes): {reason}")]
    Memory {
        /// What it was for.
        what: String,
        /// Bytes asked for.
        bytes: usize,
        /// The system's reason.
        reason: String,
    },

    /// A word in `OUTRIGGER_DEBUG` that means nothing.
    #[error("OUTRIGGER_DEBUG: unknown word `{word}`; known: {known}")]
    UnknownDebugWord {
        /// The word.
        word: String,
        /// The words there are.
        known: &'static str,
    },

    /// A step made a NaN or an infinity (found by `Session::run_checked`).
    #[error(
        "{phase} step {step} `{name}` ({kind}) made {value} at element {element} of argument {argument}{}",
        from.map_or(String::new(), |input| format!("; its input argument {input} was already not finite"))
    )]
    NonFinite {
        /// Which list of the plan the step is in.
        phase: Phase,
        /// Index of the step in that list.
        step: usize,
        /// Name of the step.
        name: String,
        /// Kernel kind of the step.
        kind: String,
        /// Index of the argument that was written.
        argument: usize,
        /// Index of the first f32 in it that is not finite.
        element: usize,
        /// The value there.
        value: f32,
        /// An argument that the step only reads and that holds a NaN or infinity too: the value
        /// came from outside the plan (an input or a state), the step only handed it on.
        from: Option<usize>,
    },

    /// A step wrote where no buffer lies (found by the debug mode `bounds`).
    #[error("{phase} step {step} `{name}` ({kind}) wrote outside its buffers: {memory}, byte {offset}")]
    OutOfBounds {
        /// Which list of the plan the step is in.
        phase: Phase,
        /// Index of the step in that list.
        step: usize,
        /// Name of the step.
        name: String,
        /// Kernel kind of the step.
        kind: String,
        /// Which memory was damaged.
        memory: String,
        /// First damaged byte, from the start of that memory; negative is before it.
        offset: i64,
    },
}
