//! Compiled calls become the runtime's steps: arguments get their addresses, packed weights their memory.
//!
//! ```text
//!   arena  ├──── the plan's ────┤── one step's packed weights ──┤── packed weights made by `prepare` ──┤
//! ```
//!
//! Weights that change with every run are packed by a call of their own in front of the kernel, into memory that all
//! steps share. Those that are known before a run are packed with the prepare steps and stay.

use std::collections::HashMap;
use std::ops::Range;

use outrigger_runtime::{Argument, BufferRef, KernelFn, Step};

use super::failed;
use super::lower::{ArgumentPlace, Call, KernelArgument, Lowered};
use crate::error::Error;
use crate::plan::{ALIGNMENT, Group, Place, Planned, PlannedStep};

/// A step whose kernel has no address yet.
pub(super) struct Unlinked {
    /// Position of the kernel in the list of functions.
    pub(super) kernel: u32,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) args: Vec<Argument>,
    pub(super) chunks: u32,
    flops: u64,
    dead_after: Vec<(usize, usize)>,
}

impl Unlinked {
    /// The step with the address of its kernel, by position.
    ///
    /// # Errors
    /// [`Error::Codegen`] when the kernel has none.
    pub(super) fn link(self, entries: &HashMap<u32, KernelFn>) -> Result<Step, Error> {
        let kernel = *entries.get(&self.kernel).ok_or_else(|| failed("a kernel has no address"))?;
        Ok(Step {
            name: self.name,
            kind: self.kind.to_string(),
            kernel,
            bytes: self.args.iter().map(|a| a.bytes as u64).sum(),
            args: self.args,
            chunks: self.chunks,
            flops: self.flops,
            dead_after: self.dead_after,
        })
    }
}

/// The steps of a program, and the memory that they need together.
pub(super) struct Assembled {
    pub(super) prepare: Vec<Unlinked>,
    pub(super) steps: Vec<Unlinked>,
    /// Runs of `steps` that are taken chunk by chunk.
    pub(super) groups: Vec<Range<usize>>,
    /// Size of the arena: the plan's, and the memory for packed weights.
    pub(super) work_bytes: usize,
}

/// Steps under construction.
pub(super) struct Assembly<'p> {
    planned: &'p Planned,
    /// Where the memory begins that each step has for itself.
    shared: usize,
    /// Where the next packed weights that stay go.
    end: usize,
    prepare: Vec<Unlinked>,
    steps: Vec<Unlinked>,
    /// Packs of known weights: they run after all that they read was prepared.
    packs: Vec<Unlinked>,
    /// The steps that each planned step of a run became.
    became: Vec<Range<usize>>,
}

impl<'p> Assembly<'p> {
    /// `lowered`: the steps of `prepare`, then those of a run.
    pub(super) fn new(planned: &'p Planned, lowered: &[Lowered]) -> Self {
        let shared = planned.work_bytes.next_multiple_of(ALIGNMENT);
        let main = planned.prepare.len();
        let varies = |(index, l): (usize, &Lowered)| (index < main || !stays(planned, l)).then_some(l.step_bytes);
        let varying = lowered.iter().enumerate().filter_map(varies).max().unwrap_or(0);
        let end = if varying == 0 { planned.work_bytes } else { shared + varying.next_multiple_of(ALIGNMENT) };
        Assembly { planned, shared, end, prepare: Vec::new(), steps: Vec::new(), packs: Vec::new(), became: Vec::new() }
    }

    /// Adds a planned step, of `prepare` or of a run; `kernel` gives the positions of its calls'
    /// kernels, packs first.
    ///
    /// # Errors
    /// What `kernel` returns.
    pub(super) fn add(
        &mut self,
        step: &PlannedStep,
        lowered: &Lowered,
        prepares: bool,
        mut kernel: impl FnMut() -> Result<u32, Error>,
    ) -> Result<(), Error> {
        let stays = !prepares && lowered.step_bytes > 0 && stays(self.planned, lowered);
        let own = if stays { self.end.next_multiple_of(ALIGNMENT) } else { self.shared };
        if stays {
            self.end = own + lowered.step_bytes.next_multiple_of(ALIGNMENT);
        }
        let mut made = Vec::new();
        for call in &lowered.packs {
            let pack = self.step(step, call, kernel()?, own);
            if stays { self.packs.push(pack) } else { made.push(pack) }
        }
        for call in &lowered.calls {
            made.push(self.step(step, call, kernel()?, own));
        }
        if let Some(last) = made.last_mut() {
            last.dead_after = step.dead_after.clone();
            if lowered.step_bytes > 0 && !stays {
                last.dead_after.push((own, lowered.step_bytes));
            }
        }
        let list = if prepares { &mut self.prepare } else { &mut self.steps };
        let first = list.len();
        list.extend(made);
        if !prepares {
            self.became.push(first..self.steps.len());
        }
        Ok(())
    }

    fn step(&self, step: &PlannedStep, call: &Call, kernel: u32, own: usize) -> Unlinked {
        Unlinked {
            kernel,
            name: step.name.clone(),
            kind: call.kind,
            args: call.arguments.iter().map(|argument| placed(argument, call.chunks, own)).collect(),
            chunks: call.chunks as u32,
            flops: call.flops,
            dead_after: Vec::new(),
        }
    }

    /// All steps.
    ///
    /// # Errors
    /// [`Error::Codegen`] for a step of a group that became several.
    pub(super) fn finish(mut self) -> Result<Assembled, Error> {
        let groups = self.planned.groups.iter().map(|Group { steps, .. }| {
            let became = &self.became[steps.clone()];
            match (became.first(), became.last()) {
                (Some(first), Some(last)) if became.iter().all(|b| b.len() == 1) => Ok(first.start..last.end),
                _ => Err(failed(format!("steps {steps:?} of a group became {became:?}"))),
            }
        });
        let groups = groups.collect::<Result<_, _>>()?;
        self.prepare.append(&mut self.packs);
        Ok(Assembled { prepare: self.prepare, steps: self.steps, groups, work_bytes: self.end })
    }
}

fn placed(argument: &KernelArgument, chunks: usize, own: usize) -> Argument {
    let (buffer, bytes) = match argument.place {
        ArgumentPlace::Planned(Place::State(slot)) => (BufferRef::State(slot), argument.bytes),
        ArgumentPlace::Planned(Place::Work(offset)) => (BufferRef::Work(offset), argument.bytes),
        // the plan gave it room for one image, and a group's chunk is one image
        ArgumentPlace::Planned(Place::Image(offset)) => (BufferRef::Image(offset), argument.bytes / chunks),
        ArgumentPlace::Step(offset) => (BufferRef::Work(own + offset), argument.bytes),
    };
    Argument { buffer, bytes, write: argument.write, float: argument.float }
}

/// Whether all that is packed for the step is known before a run.
fn stays(planned: &Planned, lowered: &Lowered) -> bool {
    let known = |place: ArgumentPlace| match place {
        ArgumentPlace::Planned(Place::State(_)) => !planned.writes_states,
        ArgumentPlace::Planned(Place::Work(at)) => {
            // a place may have had another value before, which is dead
            let makes = |step: &PlannedStep| step.results.iter().any(|result| result.place == Place::Work(at));
            let made = planned.prepare.iter().rposition(makes);
            let lives = |made: usize| !planned.prepare[made..].iter().flat_map(|s| &s.dead_after).any(|d| d.0 == at);
            planned.constants.iter().any(|(offset, _)| *offset == at) || made.is_some_and(lives)
        }
        ArgumentPlace::Planned(Place::Image(_)) => false,
        ArgumentPlace::Step(_) => true,
    };
    lowered.packs.iter().flat_map(|call| &call.arguments).all(|argument| known(argument.place))
}
