//! Where the memory of a session goes in native code.
//!
//! ```text
//!   session   arena: │ input │ activations │ prepared │ constants │ packed weights │    state: │ w │ b │ …
//!                        │          │           └───────────┬─────────────┴──────────────────────┘
//!                        ▼          ▼                       ▼
//!   native    the caller's pointer  workspace:              read-only data
//!                                   │ activations │ scratch │ image │
//! ```
//!
//! An argument is known, and read-only, when no step of a run writes what it covers and no input lies there. Pieces of
//! the arena that overlap stay together, so that whatever shared memory shares it still.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use outrigger_runtime::{Argument, BufferRef, Plan};

use super::super::assemble::Unlinked;
use super::super::failed;
use crate::error::Error;
use crate::plan::{ALIGNMENT, Place, Planned, Port};

/// What a session's memory holds when its prepare steps have run.
pub struct Contents {
    /// The session's plan, compiled with any instruction set: it says what lies where.
    pub plan: Arc<Plan>,
    /// The work arena.
    pub arena: Vec<u8>,
    /// The state slots of the plan, in order.
    pub states: Vec<Vec<u8>>,
}

/// What an address is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// What the caller passes for the input of this index.
    Input(usize),
    /// The read-only data.
    Known,
    /// The caller's workspace.
    Workspace,
}

/// Where an argument lies: `offset` bytes behind its base, less `chunk_bytes` for each chunk before the one at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) base: Base,
    pub(super) offset: usize,
    pub(super) chunk_bytes: usize,
}

/// Pieces of a memory, moved together.
#[derive(Debug, Default)]
struct Packed {
    /// Disjoint ranges, ascending, and where each of them goes.
    pieces: Vec<(Range<usize>, usize)>,
    bytes: usize,
}

impl Packed {
    /// Ranges that overlap become one piece; the first piece goes to `start`.
    fn new(mut ranges: Vec<Range<usize>>, start: usize) -> Packed {
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        let mut packed = Packed { pieces: Vec::new(), bytes: start };
        for range in merged {
            let to = packed.bytes;
            packed.bytes += range.len().next_multiple_of(ALIGNMENT);
            packed.pieces.push((range, to));
        }
        packed
    }
    /// Where `range` went.
    fn find(&self, range: &Range<usize>) -> Option<usize> {
        let piece = self.pieces.iter().find(|(piece, _)| piece.start <= range.start && range.end <= piece.end);
        piece.map(|(piece, to)| to + range.start - piece.start)
    }
}

/// The memory of a program.
pub(super) struct Memory {
    inputs: Vec<Range<usize>>,
    varying: Packed,
    known: Packed,
    states: BTreeMap<usize, usize>,
    image: usize,
    /// Contents of the read-only data.
    pub(super) data: Vec<u8>,
    /// Offset of the kernels' scratch in the workspace.
    pub(super) scratch: usize,
    /// Size of the workspace.
    pub(super) workspace_bytes: usize,
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The bytes of the arena that an argument covers.
fn in_arena(argument: &Argument) -> Option<Range<usize>> {
    match argument.buffer {
        BufferRef::Work(offset) => Some(offset..offset + argument.bytes),
        BufferRef::State(_) | BufferRef::StateAt { .. } | BufferRef::Image(_) => None,
    }
}

/// An output as an argument that is read after the last step.
///
/// # Errors
/// [`Error::Codegen`] for an output that is not in the arena.
pub(super) fn read_of(port: &Port) -> Result<Argument, Error> {
    match port.placed.place {
        Place::Work(offset) => {
            Ok(Argument { buffer: BufferRef::Work(offset), bytes: port.placed.ty.bytes(), write: false, float: false })
        }
        // the plan copies outputs that are state, and nothing else leaves a group's own memory
        Place::State(_) | Place::Image(_) => {
            let reason = format!("was planned at {}, not in the arena", port.placed.place);
            Err(Error::Codegen { path: port.name.clone(), reason })
        }
    }
}

impl Memory {
    /// The memory of a plan's `steps`, with `scratch_bytes` for their kernels.
    ///
    /// # Errors
    /// [`Error::Codegen`] for contents that are not those of the plan.
    pub(super) fn new(
        planned: &Planned,
        steps: &[Unlinked],
        contents: &Contents,
        scratch_bytes: usize,
    ) -> Result<Memory, Error> {
        let input = |port: &Port| match port.placed.place {
            Place::Work(offset) => offset..offset + port.placed.ty.bytes(),
            Place::State(_) | Place::Image(_) => 0..0,
        };
        let inputs: Vec<Range<usize>> = planned.inputs.iter().map(input).collect();
        let outputs = planned.outputs.iter().map(read_of).collect::<Result<Vec<_>, _>>()?;
        let arguments = || steps.iter().flat_map(|step| &step.args).chain(&outputs);
        let written: Vec<Range<usize>> = arguments().filter(|a| a.write).filter_map(in_arena).collect();
        let pieces = || arguments().filter_map(in_arena).filter(|range| !inputs.iter().any(|i| overlap(i, range)));
        let varies = |range: &Range<usize>| written.iter().any(|w| overlap(w, range));
        let varying = Packed::new(pieces().filter(varies).collect(), 0);
        let known = Packed::new(pieces().filter(|range| !varies(range)).collect(), 0);

        let missing = || failed("the contents of a session's memory are not those of the plan");
        let mut data = vec![0; known.bytes];
        for (range, to) in &known.pieces {
            let from = contents.arena.get(range.clone()).ok_or_else(missing)?;
            data[*to..*to + range.len()].copy_from_slice(from);
        }
        let mut states = BTreeMap::new();
        for argument in arguments() {
            if let BufferRef::State(slot) | BufferRef::StateAt { slot, .. } = argument.buffer
                && !states.contains_key(&slot)
            {
                states.insert(slot, data.len());
                data.extend(contents.states.get(slot).ok_or_else(missing)?);
                data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
            }
        }
        let scratch = varying.bytes;
        let image = scratch + scratch_bytes.next_multiple_of(ALIGNMENT);
        let workspace_bytes = image + planned.image_bytes.next_multiple_of(ALIGNMENT);
        Ok(Memory { inputs, varying, known, states, image, data, scratch, workspace_bytes })
    }

    /// Where an argument lies.
    ///
    /// # Errors
    /// [`Error::Codegen`] for one that is not of this memory's plan.
    pub(super) fn address(&self, argument: &Argument) -> Result<Address, Error> {
        let at = |base, offset| Some(Address { base, offset, chunk_bytes: 0 });
        let found = match argument.buffer {
            BufferRef::State(slot) => self.states.get(&slot).and_then(|&start| at(Base::Known, start)),
            BufferRef::StateAt { slot, offset } => {
                self.states.get(&slot).and_then(|start| at(Base::Known, start + offset))
            }
            BufferRef::Image(offset) => {
                Some(Address { base: Base::Workspace, offset: self.image + offset, chunk_bytes: argument.bytes })
            }
            BufferRef::Work(offset) => {
                let range = offset..offset + argument.bytes;
                let input = self.inputs.iter().position(|i| i.start <= range.start && range.end <= i.end);
                match input {
                    Some(index) => at(Base::Input(index), range.start - self.inputs[index].start),
                    None => match self.varying.find(&range) {
                        Some(offset) => at(Base::Workspace, offset),
                        None => self.known.find(&range).and_then(|offset| at(Base::Known, offset)),
                    },
                }
            }
        };
        found.ok_or_else(|| failed(format!("{:?} has no place in native code", argument.buffer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_move_together_and_keep_their_overlaps() {
        let packed = Packed::new(vec![640..704, 0..64, 32..100, 128..192, 192..256], 0);
        assert_eq!(packed.pieces, [(0..100, 0), (128..192, 128), (192..256, 192), (640..704, 256)]);
        assert_eq!(packed.bytes, 320);
        assert_eq!(packed.find(&(32..100)), Some(32));
        assert_eq!(packed.find(&(640..650)), Some(256));
        assert_eq!(packed.find(&(100..110)), None, "what nobody asked for has no place");
    }
}
