//! Memory that outlives a run and is shared by sessions: weights, moments, running statistics.
//!
//! ```text
//!   training session ──writes──▶ ┌ conv1.weight │ conv1.weight/m │ bn1.mean │ … ┐ ──reads──▶ evaluation
//!                                └──────── version += 1 on every change ────────┘
//! ```
//!
//! A lock is held for the whole of a run: shared by runs that only read, exclusive for one that
//! writes and for `State::write`. So no data race is possible from safe code.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::ALIGNMENT;
use crate::canary::Canaries;
use crate::debug::DebugOptions;
use crate::error::{Error, Result};
use crate::memory::Region;
use crate::plan::Plan;
use crate::ranges::Ranges;

#[derive(Debug)]
struct Slot {
    name: String,
    offset: usize,
    bytes: usize,
}

/// Named, 64-byte aligned slots of memory, zeroed at the start.
#[derive(Debug)]
pub struct State {
    slots: Vec<Slot>,
    index: HashMap<String, usize>,
    memory: Region,
    canaries: Option<Canaries>,
    /// Changes with the contents; written only under the exclusive lock.
    version: AtomicU64,
    lock: RwLock<()>,
}

impl State {
    /// Makes slots of the given (name, size in bytes). Debug options come from the environment.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateState`], [`Error::Memory`], [`Error::UnknownDebugWord`].
    pub fn new<N: AsRef<str>>(slots: &[(N, usize)]) -> Result<State> {
        State::with_debug(slots, DebugOptions::from_env()?)
    }

    /// Makes the slots that `plan` uses.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn for_plan(plan: &Plan) -> Result<State> {
        let slots: Vec<_> = plan.states.iter().map(|slot| (&slot.name, slot.bytes)).collect();
        State::new(&slots)
    }

    /// As [`new`](Self::new), with debug options of the caller's choice: `bounds` puts guard pages
    /// around the slots and checked bytes between them.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateState`], [`Error::Memory`].
    pub fn with_debug<N: AsRef<str>>(slots: &[(N, usize)], debug: DebugOptions) -> Result<State> {
        let gap = if debug.bounds { ALIGNMENT } else { 0 };
        let (mut placed, mut index, mut end) = (Vec::new(), HashMap::new(), 0usize);
        let mut owned = Ranges::default();
        for (name, bytes) in slots {
            let (name, bytes) = (name.as_ref().to_string(), *bytes);
            if index.insert(name.clone(), placed.len()).is_some() {
                return Err(Error::DuplicateState { name });
            }
            // An absurd size saturates here and is refused by the system below.
            let offset = end.checked_next_multiple_of(ALIGNMENT).unwrap_or(end);
            owned.insert(offset..offset.saturating_add(bytes));
            end = offset.saturating_add(bytes);
            placed.push(Slot { name, offset, bytes });
            if placed.len() < slots.len() {
                end = end.saturating_add(gap);
            }
        }
        let memory = Region::new(end, debug.bounds, "the state")?;
        // SAFETY: the memory is new, and only slots are ever handed out.
        let canaries = debug.bounds.then(|| unsafe { Canaries::new(&memory, &owned) });
        let (version, lock) = (AtomicU64::new(0), RwLock::new(()));
        Ok(State { slots: placed, index, memory, canaries, version, lock })
    }

    /// Name and size in bytes of every slot, in the order given to [`new`](Self::new).
    pub fn slots(&self) -> impl Iterator<Item = (&str, usize)> {
        self.slots.iter().map(|slot| (slot.name.as_str(), slot.bytes))
    }

    /// Size of a slot in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownState`].
    pub fn bytes(&self, name: &str) -> Result<usize> {
        Ok(self.slot(name)?.bytes)
    }

    /// A copy of a slot. Waits for a run that writes to the state.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownState`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.slot(name)?.bytes];
        self.read_into(name, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies a slot into `into`, which has its size. Waits for a run that writes to the state.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownState`], [`Error::StateSize`].
    pub fn read_into(&self, name: &str, into: &mut [u8]) -> Result<()> {
        let slot = self.sized_slot(name, into.len())?;
        let _access = self.access(false);
        // SAFETY: the slot lies in the memory, has the length of `into`, and nobody writes to it
        // while we hold the lock.
        unsafe {
            let from = self.memory.base().add(slot.offset);
            std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), slot.bytes);
        }
        Ok(())
    }

    /// Replaces the contents of a slot, of the same size. Waits for runs that use the state.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownState`], [`Error::StateSize`].
    pub fn write(&self, name: &str, from: &[u8]) -> Result<()> {
        let slot = self.sized_slot(name, from.len())?;
        let access = self.access(true);
        // SAFETY: the slot lies in the memory, has the length of `from`, and the lock is exclusive.
        unsafe {
            let into = self.memory.base().add(slot.offset);
            std::ptr::copy_nonoverlapping(from.as_ptr(), into, slot.bytes);
        }
        access.bump();
        Ok(())
    }

    /// A number that grows with every write and every run of a plan that writes states.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Takes the lock: exclusive to write, shared to read.
    pub(crate) fn access(&self, write: bool) -> Access<'_> {
        // A poisoned lock means that some thread panicked; the memory is still plain bytes.
        let guard = if write {
            Guard::Exclusive { _guard: self.lock.write().unwrap_or_else(PoisonError::into_inner) }
        } else {
            Guard::Shared { _guard: self.lock.read().unwrap_or_else(PoisonError::into_inner) }
        };
        Access { state: self, _guard: guard }
    }

    /// Address of a slot that must have `bytes` bytes. Its contents are used under `access` only.
    pub(crate) fn address(&self, name: &str, bytes: usize) -> Result<*mut u8> {
        let slot = self.sized_slot(name, bytes)?;
        // SAFETY: the slot lies in the memory.
        Ok(unsafe { self.memory.base().add(slot.offset) })
    }

    fn slot(&self, name: &str) -> Result<&Slot> {
        match self.index.get(name) {
            Some(&index) => Ok(&self.slots[index]),
            None => Err(Error::UnknownState {
                name: name.to_string(),
                known: self.slots.iter().map(|slot| slot.name.clone()).collect(),
            }),
        }
    }

    fn sized_slot(&self, name: &str, given: usize) -> Result<&Slot> {
        let slot = self.slot(name)?;
        if slot.bytes == given {
            return Ok(slot);
        }
        Err(Error::StateSize { name: name.to_string(), expected: slot.bytes, given })
    }
}

enum Guard<'a> {
    Shared { _guard: RwLockReadGuard<'a, ()> },
    Exclusive { _guard: RwLockWriteGuard<'a, ()> },
}

/// The right to read the state, or to write to it too.
pub(crate) struct Access<'a> {
    state: &'a State,
    _guard: Guard<'a>,
}

impl Access<'_> {
    pub(crate) fn version(&self) -> u64 {
        self.state.version()
    }

    /// Notes that the contents changed; returns the new version.
    pub(crate) fn bump(&self) -> u64 {
        self.state.version.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Offset of the first byte between the slots that was overwritten, if any is.
    pub(crate) fn damaged(&self) -> Option<i64> {
        // SAFETY: the memory is the one the canaries were made for. With the lock exclusive nobody
        // else is there; with it shared, other holders are runs that write no state, and a canary is
        // put back only after a kernel has broken its promise.
        self.state.canaries.as_ref().and_then(|c| unsafe { c.check(&self.state.memory) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_checked_and_counted() {
        for bounds in [false, true] {
            let debug = DebugOptions { bounds, ..DebugOptions::default() };
            let state = State::with_debug(&[("a", 5), ("b", 0), ("c", 64)], debug).expect("state");
            state.write("a", &[1, 2, 3, 4, 5]).expect("fits");
            state.write("c", &[9; 64]).expect("fits");
            assert_eq!(state.read("a").expect("there"), [1, 2, 3, 4, 5]);
            assert_eq!(state.read("c").expect("there"), [9; 64]);
            assert_eq!((state.version(), state.bytes("b").ok()), (2, Some(0)));
            assert!(state.access(true).damaged().is_none());
            let wrong = state.write("a", &[0; 4]).expect_err("too short").to_string();
            assert!(wrong.contains("`a` holds 5 bytes, not 4"), "{wrong}");
            let wrong = state.read("d").expect_err("no such slot").to_string();
            assert!(wrong.contains("`d`") && wrong.contains("a, b, c"), "{wrong}");
            assert_eq!(state.version(), 2);
        }
        let twice = State::new(&[("a", 4), ("a", 4)]);
        assert!(matches!(twice, Err(Error::DuplicateState { name }) if name == "a"));
        assert!(matches!(State::new(&[("a", usize::MAX)]), Err(Error::Memory { .. })));
    }
}
