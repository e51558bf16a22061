//! The rules a plan must obey. Every violation is found and named, not only the first.
//!
//! 1. Every argument, constant and dead range lies inside its arena or slot, at a multiple of 64.
//! 2. Every step has at least one chunk; names of state slots are unique.
//! 3. Two arguments of a step, one of them written, overlap only if they are the same range (in place).
//! 4. Constants never overlap each other, and nothing writes to them or declares them dead.
//! 5. `prepare` writes no state, and reads only constants, states and what `prepare` itself wrote.
//! 6. Memory that `prepare` filled and did not declare dead is never written by `steps`, nor declared
//!    dead there: it must survive into the next run.
//! 7. A step that writes to a state implies `writes_states`.
//! 8. Groups are disjoint ranges of `steps` in order; the steps of one have equal chunks. What two of them touch in the
//!    arena, one writing, is the same range (chunk by chunk) or disjoint; they declare nothing dead but in the last step.
//! 9. Only steps of groups have arguments in the worker's own memory, and not too many of all kinds then.

use std::collections::HashSet;
use std::ops::Range;

use crate::ALIGNMENT;
use crate::error::{Error, Result};
use crate::plan::{Argument, BufferRef, Phase, Plan, Step};
use crate::program::MOST_ARGUMENTS;
use crate::ranges::Ranges;

/// The memory an argument lies in, and its bytes there. `None`: the state itself does not exist.
#[derive(PartialEq, Eq)]
enum Memory {
    Work,
    State(usize),
    Image,
}

impl Argument {
    /// The bytes touched in the arena or slot; the end saturates.
    pub(crate) fn range(&self) -> Range<usize> {
        let start = match self.buffer {
            BufferRef::State(_) => 0,
            BufferRef::StateAt { offset, .. } | BufferRef::Work(offset) | BufferRef::Image(offset) => offset,
        };
        start..start.saturating_add(self.bytes)
    }

    fn memory(&self) -> Memory {
        match self.buffer {
            BufferRef::Work(_) => Memory::Work,
            BufferRef::State(slot) | BufferRef::StateAt { slot, .. } => Memory::State(slot),
            BufferRef::Image(_) => Memory::Image,
        }
    }
}

impl Plan {
    /// Checks the rules at the head of this module's source: bounds, alignment, overlaps, and what
    /// may write where.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPlan`] with every problem, each naming the step and the argument.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        let constants = self.check_constants(&mut problems);
        let mut names = HashSet::new();
        for slot in &self.states {
            if !names.insert(slot.name.as_str()) {
                problems.push(format!("two state slots are named `{}`", slot.name));
            }
        }

        // Filled by `prepare` and alive during `steps`.
        let mut prepared = Ranges::default();
        for (phase, index, step) in self.all_steps() {
            let at = format!("{phase} step {index} `{}`", step.name);
            if step.chunks == 0 {
                problems.push(format!("{at} has no chunks"));
            }
            self.check_bounds(step, &at, &mut problems);
            check_aliases(step, &at, &mut problems);
            self.check_writes(phase, step, &at, &constants, &prepared, &mut problems);
            if phase == Phase::Prepare {
                for arg in step.args.iter().filter(|a| a.write && a.memory() == Memory::Work) {
                    prepared.insert(arg.range());
                }
                for &(offset, bytes) in &step.dead_after {
                    prepared.remove(offset..offset.saturating_add(bytes));
                }
            }
        }
        self.check_groups(&mut problems);
        self.check_own_memory(&mut problems);
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::InvalidPlan { plan: self.name.clone(), problems })
    }

    fn check_constants(&self, problems: &mut Vec<String>) -> Ranges {
        let mut constants = Ranges::default();
        for (index, constant) in self.constants.iter().enumerate() {
            let range = constant.offset..constant.offset.saturating_add(constant.bytes.len());
            let at = format!("constant {index}");
            check_range(&range, self.work_bytes, "work arena", &at, problems);
            if constants.overlaps(&range) {
                problems.push(format!("{at} overlaps another constant"));
            }
            constants.insert(range);
        }
        constants
    }

    fn check_groups(&self, problems: &mut Vec<String>) {
        let mut end = 0;
        for group in &self.groups {
            let at = format!("group {}..{}", group.start, group.end);
            let Some(steps) = self.steps.get(group.clone()).filter(|steps| !steps.is_empty() && group.start >= end)
            else {
                problems
                    .push(format!("{at} is empty, overlaps an earlier one or leaves the {} steps", self.steps.len()));
                continue;
            };
            end = group.end;
            for (step, next) in steps.iter().zip(&steps[1..]) {
                if step.chunks != next.chunks {
                    problems.push(format!(
                        "{at}: `{}` has {} chunks, `{}` {}",
                        step.name, step.chunks, next.name, next.chunks
                    ));
                }
                if !step.dead_after.is_empty() {
                    problems.push(format!("{at}: `{}` declares memory dead that other chunks may use", step.name));
                }
            }
            for (first, step) in steps.iter().enumerate() {
                let later = steps[first + 1..].iter().flat_map(|step| step.args.iter().map(move |arg| (step, arg)));
                for (later, b) in later.filter(|(_, b)| b.memory() == Memory::Work) {
                    if step.args.iter().any(|a| clash(a, b)) {
                        let (step, later) = (&step.name, &later.name);
                        problems.push(format!("{at}: `{step}` and `{later}` overlap in part, one writing"));
                    }
                }
            }
        }
    }

    fn check_own_memory(&self, problems: &mut Vec<String>) {
        for (phase, index, step) in self.all_steps() {
            let grouped = phase == Phase::Main && self.groups.iter().any(|group| group.contains(&index));
            let own = step.args.iter().any(|arg| arg.memory() == Memory::Image);
            if own && (!grouped || step.args.len() > MOST_ARGUMENTS) {
                problems.push(format!(
                    "{phase} step {index} `{}` has {} arguments, some in the worker's own memory: at most {MOST_ARGUMENTS} can be, in a group",
                    step.name,
                    step.args.len()
                ));
            }
        }
    }

    fn check_bounds(&self, step: &Step, at: &str, problems: &mut Vec<String>) {
        for (index, arg) in step.args.iter().enumerate() {
            let at = format!("{at}, argument {index}");
            match arg.memory() {
                Memory::Work => {
                    check_range(&arg.range(), self.work_bytes, "work arena", &at, problems);
                }
                Memory::Image => check_range(&arg.range(), self.image_bytes, "worker's memory", &at, problems),
                Memory::State(slot) => match self.states.get(slot) {
                    Some(s) => {
                        let what = format!("state slot `{}`", s.name);
                        check_range(&arg.range(), s.bytes, &what, &at, problems);
                    }
                    None => {
                        problems.push(format!("{at}: state {slot} does not exist, the plan has {}", self.states.len()))
                    }
                },
            }
        }
        for &(offset, bytes) in &step.dead_after {
            let range = offset..offset.saturating_add(bytes);
            check_range(&range, self.work_bytes, "work arena", &format!("{at}, dead range"), problems);
        }
    }

    fn check_writes(
        &self,
        phase: Phase,
        step: &Step,
        at: &str,
        constants: &Ranges,
        prepared: &Ranges,
        problems: &mut Vec<String>,
    ) {
        for (index, arg) in step.args.iter().enumerate() {
            let (range, work) = (arg.range(), arg.memory() == Memory::Work);
            if arg.memory() == Memory::Image {
                continue;
            }
            let at = format!("{at}, argument {index}");
            match (phase, work, arg.write) {
                (_, true, true) if constants.overlaps(&range) => {
                    problems.push(format!("{at} writes to a constant"));
                }
                (Phase::Main, true, true) if prepared.overlaps(&range) => {
                    problems.push(format!("{at} writes to memory that `prepare` filled and the next run needs"))
                }
                (Phase::Main, false, true) if !self.writes_states => {
                    problems.push(format!("{at} writes to a state, but `writes_states` is false"));
                }
                (Phase::Prepare, false, true) => {
                    problems.push(format!("{at} writes to a state, which `prepare` must not"));
                }
                (Phase::Prepare, true, false)
                    if arg.bytes > 0 && !constants.overlaps(&range) && !prepared.overlaps(&range) =>
                {
                    problems.push(format!("{at} reads work memory that is neither constant nor written by `prepare`"));
                }
                _ => {}
            }
        }
        for &(offset, bytes) in &step.dead_after {
            let range = offset..offset.saturating_add(bytes);
            if constants.overlaps(&range) {
                problems.push(format!("{at} declares a constant dead"));
            }
            if phase == Phase::Main && prepared.overlaps(&range) {
                problems.push(format!("{at} declares memory dead that `prepare` filled"));
            }
        }
    }
}

fn check_range(range: &Range<usize>, size: usize, what: &str, at: &str, problems: &mut Vec<String>) {
    if range.end > size {
        problems.push(format!("{at}: bytes {}..{} leave the {what} of {size} bytes", range.start, range.end));
    }
    if !range.start.is_multiple_of(ALIGNMENT) {
        problems.push(format!("{at}: offset {} is not a multiple of {ALIGNMENT}", range.start));
    }
}

/// Whether two arguments overlap in part, and one is written.
fn clash(a: &Argument, b: &Argument) -> bool {
    let (x, y) = (a.range(), b.range());
    a.memory() == b.memory() && x.start < y.end && y.start < x.end && (a.write || b.write) && x != y
}

fn check_aliases(step: &Step, at: &str, problems: &mut Vec<String>) {
    for (i, a) in step.args.iter().enumerate() {
        for (j, b) in step.args.iter().enumerate().skip(i + 1).filter(|(_, b)| clash(a, b)) {
            let (x, y) = (a.range(), b.range());
            problems.push(format!(
                "{at}: arguments {i} (bytes {}..{}) and {j} (bytes {}..{}) overlap in part, and one is written",
                x.start, x.end, y.start, y.end
            ));
        }
    }
}
