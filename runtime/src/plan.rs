//! The compiled program as data: steps in order, and the memory that each of them touches.
//!
//! ```text
//!   work arena   0 ┌──────────┬─────────┬───────────────┬───────┐ work_bytes    one per session
//!                  │ constant │ input   │ activations … │ out   │               BufferRef::Work
//!                  └──────────┴─────────┴───────────────┴───────┘
//!   state        ┌──────────┬──────────┬─────────┐                              shared by sessions
//!                │ conv1.w  │ conv1.m  │ …       │                              BufferRef::State
//!                └──────────┴──────────┴─────────┘
//!   scratch      one block of scratch_bytes for each worker
//!   image        one block of image_bytes for each worker                         BufferRef::Image
//! ```

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A compiled kernel.
///
/// - `args`: one pointer for each argument of the step, in order;
/// - `chunk`: which part of the work to do, in `0..step.chunks`;
/// - `scratch`: private memory of this worker, 64-byte aligned, `plan.scratch_bytes` long, contents
///   unspecified.
///
/// Different chunks of a step run at the same time and in any order, so they must not write the same
/// bytes, nor read what another one writes. Denormals are flushed to zero during the call.
///
/// # Safety
///
/// Whoever puts a pointer into a [`Step`] vouches that, called as above for every chunk, it touches
/// only the bytes of its arguments and of the scratch, whatever those hold, writes only to arguments
/// marked `write`, does not unwind, and leaves the floating-point control register as it was.
pub type KernelFn = unsafe extern "C" fn(args: *const *mut u8, chunk: u64, scratch: *mut u8);

/// Where an argument lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferRef {
    /// The start of a state slot: index into [`Plan::states`].
    State(usize),
    /// A place inside a state slot.
    StateAt {
        /// Index into [`Plan::states`].
        slot: usize,
        /// Bytes from the start of the slot, a multiple of 64.
        offset: usize,
    },
    /// Byte offset in the work arena, a multiple of 64.
    Work(usize),
    /// Byte offset in the worker's own memory, a multiple of 64. It holds the part of one chunk only, [`Argument::bytes`]
    /// long: the kernel is handed the address that the whole tensor would have if that part lay in its place. Steps of
    /// a group only.
    Image(usize),
}

/// One argument of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Where it lies.
    pub buffer: BufferRef,
    /// How many bytes the kernel may touch from there.
    pub bytes: usize,
    /// Whether the kernel writes to it (it may read it as well).
    pub write: bool,
    /// Whether it holds `f32`: checks for NaN and infinity apply.
    pub float: bool,
}

/// One kernel call of the plan, cut into chunks.
#[derive(Clone, Debug)]
pub struct Step {
    /// Path of the node or nodes that it computes.
    pub name: String,
    /// Kind of kernel, for example `conv3x3`.
    pub kind: String,
    /// The machine code.
    pub kernel: KernelFn,
    /// What it reads and writes.
    pub args: Vec<Argument>,
    /// Independent parts of the work, at least 1.
    pub chunks: u32,
    /// Floating-point operations of all chunks together.
    pub flops: u64,
    /// Bytes that all chunks together read and write.
    pub bytes: u64,
    /// Buffers of the work arena, as (offset, bytes), whose last use this step is.
    pub dead_after: Vec<(usize, usize)>,
}

/// Bytes that lie in the work arena from the session's creation on and never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Byte offset in the work arena, a multiple of 64.
    pub offset: usize,
    /// The contents.
    pub bytes: Vec<u8>,
}

/// A slot of the state that the plan uses, found in the [`State`](crate::State) by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSlot {
    /// Name in the state.
    pub name: String,
    /// Size in bytes; must equal the slot's.
    pub bytes: usize,
}

/// A compiled program: kernels, their order, and the memory they need.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name, for messages and profiles.
    pub name: String,
    /// Steps that depend only on states and constants. They run before `steps`, in a session's first
    /// run and whenever a state was changed by anyone but this session's own steps.
    pub prepare: Vec<Step>,
    /// The steps of every run, in order.
    pub steps: Vec<Step>,
    /// Runs of `steps` whose chunks depend on the same chunk of earlier steps only: a worker takes one chunk through
    /// all steps of the run before it takes the next. All steps of a group have equal chunks.
    pub groups: Vec<Range<usize>>,
    /// Size of the work arena in bytes.
    pub work_bytes: usize,
    /// Scratch memory that each worker needs, in bytes.
    pub scratch_bytes: usize,
    /// Memory that each worker needs for what groups make of one chunk, in bytes.
    pub image_bytes: usize,
    /// The state slots that arguments refer to by index.
    pub states: Vec<StateSlot>,
    /// Contents of the work arena that never change.
    pub constants: Vec<Constant>,
    /// Keeps the machine code of the kernels alive.
    pub code: Arc<dyn Any + Send + Sync>,
    /// Whether `steps` write to a state: a run then has the state for itself.
    pub writes_states: bool,
}

/// The two lists of steps in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// [`Plan::prepare`].
    Prepare,
    /// [`Plan::steps`].
    Main,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Prepare => "prepare",
            Phase::Main => "main",
        })
    }
}

impl Plan {
    /// The steps of a phase.
    pub(crate) fn phase(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Prepare => &self.prepare,
            Phase::Main => &self.steps,
        }
    }

    /// What runs without a barrier inside: groups, and the steps between them, in order.
    pub(crate) fn units(&self, phase: Phase) -> Vec<Range<usize>> {
        let groups = match phase {
            Phase::Prepare => &[][..],
            Phase::Main => &self.groups,
        };
        let mut units = Vec::new();
        let mut at = 0;
        while at < self.phase(phase).len() {
            let group = groups.iter().find(|group| group.start == at && !group.is_empty());
            let unit = group.cloned().unwrap_or(at..at + 1);
            at = unit.end;
            units.push(unit);
        }
        units
    }

    /// The steps of both phases in the order of their running, with phase and index.
    pub(crate) fn all_steps(&self) -> impl Iterator<Item = (Phase, usize, &Step)> {
        [Phase::Prepare, Phase::Main]
            .into_iter()
            .flat_map(|phase| self.phase(phase).iter().enumerate().map(move |(index, step)| (phase, index, step)))
    }
}
