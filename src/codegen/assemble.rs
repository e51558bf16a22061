//! Compiled calls become the runtime's steps: arguments get their addresses, packed weights their memory.
//!
//! ```text
//!   arena  ├──── the plan's ────┤── one step's packed weights ──┤── packed weights made by `prepare` ──┤
//! ```
//!
//! Weights that change with every run are packed by a call of their own in front of the kernel, into memory that all
//! steps share. Those that are known before a run are packed with the prepare steps and stay.

use std::ops::Range;
use std::sync::Arc;

use outrigger_runtime::{Argument, BufferRef, KernelFn, Step};

use super::code::Code;
use super::lower::{ArgumentPlace, Call, KernelArgument, Lowered};
use super::{Kernels, failed};
use crate::error::Error;
use crate::plan::{ALIGNMENT, Group, Place, Planned, PlannedStep};

/// Steps under construction.
pub(super) struct Assembly<'p> {
    planned: &'p Planned,
    /// Where the memory begins that each step has for itself.
    shared: usize,
    /// Where the next packed weights that stay go.
    end: usize,
    prepare: Vec<Step>,
    steps: Vec<Step>,
    /// Packs of known weights: they run after all that they read was prepared.
    packs: Vec<Step>,
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

    /// Adds a planned step, of `prepare` or of a run; `entry` gives the machine code of its calls, packs first.
    ///
    /// # Errors
    /// What `entry` returns.
    pub(super) fn add(
        &mut self,
        step: &PlannedStep,
        lowered: &Lowered,
        prepares: bool,
        mut entry: impl FnMut() -> Result<KernelFn, Error>,
    ) -> Result<(), Error> {
        let stays = !prepares && lowered.step_bytes > 0 && stays(self.planned, lowered);
        let own = if stays { self.end.next_multiple_of(ALIGNMENT) } else { self.shared };
        if stays {
            self.end = own + lowered.step_bytes.next_multiple_of(ALIGNMENT);
        }
        let mut made = Vec::new();
        for call in &lowered.packs {
            let pack = self.step(step, call, entry()?, own);
            if stays { self.packs.push(pack) } else { made.push(pack) }
        }
        for call in &lowered.calls {
            made.push(self.step(step, call, entry()?, own));
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

    fn step(&self, step: &PlannedStep, call: &Call, kernel: KernelFn, own: usize) -> Step {
        let args: Vec<Argument> = call.arguments.iter().map(|argument| placed(argument, call.chunks, own)).collect();
        Step {
            name: step.name.clone(),
            kind: call.kind.to_string(),
            kernel,
            bytes: call.arguments.iter().map(|a| a.bytes as u64).sum(),
            args,
            chunks: call.chunks as u32,
            flops: call.flops,
            dead_after: Vec::new(),
        }
    }

    /// All steps with their code.
    ///
    /// # Errors
    /// [`Error::Codegen`] for a step of a group that became several.
    pub(super) fn finish(mut self, code: Arc<Code>, scratch_bytes: usize, functions: usize) -> Result<Kernels, Error> {
        let groups = self.planned.groups.iter().map(|Group { steps, .. }| {
            let became = &self.became[steps.clone()];
            match (became.first(), became.last()) {
                (Some(first), Some(last)) if became.iter().all(|b| b.len() == 1) => Ok(first.start..last.end),
                _ => Err(failed(format!("steps {steps:?} of a group became {became:?}"))),
            }
        });
        let groups = groups.collect::<Result<_, _>>()?;
        self.prepare.append(&mut self.packs);
        let (prepare, steps) = (self.prepare, self.steps);
        Ok(Kernels {
            prepare,
            steps,
            groups,
            code,
            work_bytes: self.end,
            scratch_bytes,
            functions,
            convolutions: Vec::new(),
        })
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
