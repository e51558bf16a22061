//! Checks a finished plan without knowing how it was made: it walks the steps over a map of the arena.
//!
//! ```text
//!   arena  ├─ input ─┤  ├─ y ─┤      ├── z ──┤
//!                                 ▲ a result written here must not touch a range that is still live;
//!                                   an operand must be exactly a range that was written and is intact
//! ```

use std::collections::BTreeMap;

use super::inplace::same_index;
use super::{ALIGNMENT, Group, Place, Placed, Planned, PlannedStep};
use crate::error::Error;
use crate::types::TensorType;

/// What a live range of the arena holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Input,
    Constant,
    Prepared,
    Result,
}

/// Live ranges by offset: bytes and what they hold. They never overlap.
type Ranges = BTreeMap<usize, (usize, Holds)>;

/// The range that `bytes` at `offset` would touch.
fn touched(ranges: &Ranges, offset: usize, bytes: usize) -> Option<usize> {
    let (&at, &(size, _)) = ranges.range(..offset + bytes).next_back()?;
    (at + size > offset).then_some(at)
}

struct Walk<'a> {
    plan: &'a Planned,
    ranges: Ranges,
    /// States that a step has written.
    written: Vec<bool>,
    /// What the steps of this group left in the worker's memory: bytes by offset.
    image: BTreeMap<usize, usize>,
    peak: usize,
    violations: Vec<String>,
}

impl Planned {
    /// Checks that every place lies in the arena or is a state of that type, that no two live buffers
    /// overlap, that every operand is written before it is read and intact then, that results share an
    /// operand's place only where the operation allows it, that inputs, constants and prepared values
    /// survive a run, that all else is declared dead once and not inside a group, that a group makes what it reads in
    /// a worker's memory, and that `live_bytes` is the largest live set.
    ///
    /// # Errors
    /// [`Error::Plan`] with one line a violation.
    pub fn verify(&self) -> Result<(), Error> {
        let mut walk = Walk {
            plan: self,
            ranges: Ranges::new(),
            written: vec![false; self.states.len()],
            image: BTreeMap::new(),
            peak: 0,
            violations: Vec::new(),
        };
        for port in &self.inputs {
            walk.occupy(&format!("input \"{}\"", port.name), &port.placed, Holds::Input);
        }
        for (index, (offset, bytes)) in self.constants.iter().enumerate() {
            walk.occupy_bytes(&format!("constant {index}"), *offset, bytes.len(), Holds::Constant);
        }
        walk.peak = walk.live();
        for step in &self.prepare {
            walk.step(step, None, true);
        }
        for (_, holds) in walk.ranges.values_mut() {
            if *holds == Holds::Result {
                *holds = Holds::Prepared;
            }
        }
        let kept = walk.ranges.clone();
        for (at, step) in self.steps.iter().enumerate() {
            let group = self.group(at);
            if group.is_none_or(|group| group.steps.start == at) {
                walk.image.clear();
            }
            if group.is_some_and(|group| group.steps.end != at + 1) && !step.dead_after.is_empty() {
                // other images may not have come that far
                walk.fail(&format!("step \"{}\"", step.name), "ends a buffer of the arena inside a group".to_string());
            }
            walk.step(step, group, false);
        }
        walk.finish(kept);
        match walk.violations {
            violations if violations.is_empty() => Ok(()),
            violations => Err(Error::Plan { name: self.name.clone(), violations }),
        }
    }
}

impl Walk<'_> {
    fn live(&self) -> usize {
        self.ranges.values().map(|&(bytes, _)| bytes.next_multiple_of(ALIGNMENT)).sum()
    }

    fn fail(&mut self, what: &str, reason: String) {
        self.violations.push(format!("{what}: {reason}"));
    }

    fn occupy(&mut self, what: &str, placed: &Placed, holds: Holds) {
        match placed.place {
            Place::Work(offset) => self.occupy_bytes(what, offset, placed.ty.bytes(), holds),
            place @ (Place::State(_) | Place::Image(_)) => {
                self.fail(what, format!("must be in the arena, not in {place}"));
            }
        }
    }

    fn occupy_bytes(&mut self, what: &str, offset: usize, bytes: usize, holds: Holds) {
        if !offset.is_multiple_of(ALIGNMENT) {
            self.fail(what, format!("offset {offset} is no multiple of {ALIGNMENT}"));
        }
        if offset + bytes > self.plan.work_bytes {
            self.fail(what, format!("{offset}+{bytes} leaves the arena of {} bytes", self.plan.work_bytes));
        }
        if let Some(at) = touched(&self.ranges, offset, bytes) {
            self.fail(what, format!("{offset}+{bytes} overlaps the live buffer at {at}"));
            return;
        }
        self.ranges.insert(offset, (bytes, holds));
    }

    fn state_fits(&mut self, what: &str, slot: usize, ty: &TensorType) {
        match self.plan.states.get(slot).map(|s| s.ty.clone()) {
            None => self.fail(what, format!("names state {slot} of {}", self.plan.states.len())),
            Some(state) if state.bytes() != ty.bytes() || state.dtype != ty.dtype => {
                self.fail(what, format!("uses state {slot} of type {state} as {ty}"));
            }
            Some(_) => {}
        }
    }

    /// The bytes of one image of `placed`, which lies in the worker's memory.
    fn image_bytes(&mut self, what: &str, placed: &Placed, group: Option<&Group>, offset: usize) -> usize {
        let images = group.map_or(0, |group| group.images);
        if images == 0 || placed.ty.shape.0.first() != Some(&images) {
            self.fail(what, format!("{placed} in a group of {images} images"));
        }
        let bytes = placed.ty.bytes() / images.max(1);
        if !offset.is_multiple_of(ALIGNMENT) || offset + bytes > self.plan.image_bytes {
            self.fail(what, format!("{placed} leaves the {} bytes of an image", self.plan.image_bytes));
        }
        bytes
    }

    /// Whether what the group left at `at` reaches beyond `offset`.
    fn overlapped(&self, at: usize, offset: usize) -> bool {
        self.image.get(&at).is_some_and(|bytes| at + bytes > offset)
    }

    fn step(&mut self, step: &PlannedStep, group: Option<&Group>, prepare: bool) {
        let what = format!("step \"{}\" ({})", step.name, step.op.kind());
        for (index, operand) in step.operands.iter().enumerate() {
            match operand.place {
                Place::State(slot) => self.state_fits(&what, slot, &operand.ty),
                Place::Image(offset) => {
                    let bytes = self.image_bytes(&what, operand, group, offset);
                    if self.image.get(&offset) != Some(&bytes) {
                        self.fail(&what, format!("reads operand {index}, {operand}, which the group did not make"));
                    }
                }
                Place::Work(offset) => match self.ranges.get(&offset) {
                    Some(&(bytes, _)) if bytes != operand.ty.bytes() => {
                        self.fail(&what, format!("reads operand {index}, {}, from {bytes} bytes", operand.ty));
                    }
                    Some((_, Holds::Input)) if prepare => {
                        self.fail(&what, format!("prepares from the input at {offset} (operand {index})"));
                    }
                    Some(_) => {}
                    None => self.fail(&what, format!("reads operand {index} at {offset}, where nothing is live")),
                },
            }
        }
        for index in 0..step.results.len() {
            self.result(&what, step, group, index, prepare);
        }
        self.peak = self.peak.max(self.live());
        for &(offset, bytes) in &step.dead_after {
            match self.ranges.remove(&offset) {
                Some((size, Holds::Result)) if size == bytes => {}
                Some((size, holds)) => {
                    self.fail(&what, format!("ends {bytes} bytes at {offset}, which are {size} of {holds:?}"));
                    self.ranges.insert(offset, (size, holds));
                }
                None => self.fail(&what, format!("ends {bytes} bytes at {offset}, where nothing is live")),
            }
        }
    }

    fn result(&mut self, what: &str, step: &PlannedStep, group: Option<&Group>, index: usize, prepare: bool) {
        let result = &step.results[index];
        if step.results[..index].iter().any(|other| other.place == result.place) {
            self.fail(what, format!("result {index} shares {:?} with another result", result.place));
            return;
        }
        let operands: Vec<&TensorType> = step.operands.iter().map(|o| &o.ty).collect();
        let results: Vec<&TensorType> = step.results.iter().map(|r| &r.ty).collect();
        let shared: Vec<usize> = (0..operands.len()).filter(|&i| step.operands[i].place == result.place).collect();
        for &operand in &shared {
            if !same_index(&step.op, &operands, operand, &results, index) {
                self.fail(what, format!("result {index} may not be computed in the place of operand {operand}"));
            }
        }
        match result.place {
            Place::State(slot) => {
                self.state_fits(what, slot, &result.ty);
                if prepare || !self.plan.writes_states {
                    self.fail(what, format!("writes state {slot} in a plan that changes none"));
                }
                if self.written.get(slot) == Some(&true) {
                    self.fail(what, format!("writes state {slot} a second time"));
                }
                if let Some(written) = self.written.get_mut(slot) {
                    *written = true;
                }
            }
            Place::Image(offset) => {
                let bytes = self.image_bytes(what, result, group, offset);
                let overlaps = |operand: &Placed| match operand.place {
                    Place::Image(at) => at != offset && at < offset + bytes && self.overlapped(at, offset),
                    Place::State(_) | Place::Work(_) => false,
                };
                if step.operands.iter().any(overlaps) {
                    self.fail(what, format!("result {index} overlaps an operand in part"));
                }
                // what lay there is gone: whoever still needs it will not find it
                while let Some(at) = self.image.range(..offset + bytes).next_back().map(|(&at, _)| at) {
                    match self.image.get(&at) {
                        Some(size) if at + size > offset => self.image.remove(&at),
                        Some(_) | None => break,
                    };
                }
                self.image.insert(offset, bytes);
            }
            Place::Work(offset) if shared.is_empty() => {
                self.occupy_bytes(what, offset, result.ty.bytes(), Holds::Result);
            }
            Place::Work(offset) => match self.ranges.get(&offset) {
                Some((_, Holds::Result)) => {}
                other => {
                    let reason = format!("result {index} overwrites {other:?} at {offset}");
                    self.fail(what, reason);
                }
            },
        }
    }

    /// After the last step: what has to survive did, what else is left are the outputs.
    fn finish(&mut self, kept: Ranges) {
        for (offset, range) in &kept {
            if self.ranges.get(offset) != Some(range) {
                self.fail("end", format!("{range:?} at {offset} did not survive the run"));
            }
        }
        let plan = self.plan;
        let mut left: Ranges = self.ranges.clone();
        left.retain(|offset, _| !kept.contains_key(offset));
        for port in &plan.outputs {
            let what = format!("output \"{}\"", port.name);
            let Place::Work(offset) = port.placed.place else {
                self.fail(&what, "must be in the arena".to_string());
                continue;
            };
            match self.ranges.get(&offset) {
                Some(&(bytes, Holds::Result | Holds::Prepared)) if bytes == port.placed.ty.bytes() => {}
                other => self.fail(&what, format!("{} at {offset} finds {other:?}", port.placed.ty)),
            }
            left.remove(&offset);
            if plan.outputs.iter().any(|p| p.name != port.name && p.placed.place == port.placed.place) {
                self.fail(&what, "shares its place with another output".to_string());
            }
        }
        for (offset, (bytes, _)) in left {
            self.fail("end", format!("{bytes} bytes at {offset} were never declared dead"));
        }
        if self.peak != plan.live_bytes {
            self.fail("end", format!("live_bytes is {}, the steps have {}", plan.live_bytes, self.peak));
        }
        if plan.writes_states != self.written.contains(&true) {
            self.fail("end", "writes_states does not say what the steps do".to_string());
        }
    }
}
