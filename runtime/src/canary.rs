//! Known bytes in all memory that no buffer owns, to notice writes that leave a buffer.
//!
//! ```text
//!   accessible memory  ▒▒▒▒│buffer│▒▒│buffer      │▒│buffer│▒▒▒     ▒ canary
//! ```

use std::ops::Range;

use crate::memory::Region;
use crate::ranges::Ranges;

/// Unlike zero, small integers, text, and the poison.
const CANARY: u8 = 0xC5;

/// The canaries of one region.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// Offsets from the first accessible byte.
    ranges: Ranges,
}

impl Canaries {
    /// Puts canaries everywhere in `region` except in `owned` (offsets from its base).
    ///
    /// # Safety
    /// Nobody else uses the region during the call, and the bytes outside `owned` are free for us
    /// as long as the canaries live.
    pub(crate) unsafe fn new(region: &Region, owned: &Ranges) -> Canaries {
        let mut ranges = Ranges::default();
        ranges.insert(0..region.accessible_len());
        for range in owned.iter() {
            ranges.remove(range.start + region.lead()..range.end + region.lead());
        }
        let canaries = Canaries { ranges };
        // SAFETY: the caller's promise.
        unsafe { canaries.fill(region) };
        canaries
    }

    /// Gives `range` (offsets from the base) up: it has found an owner.
    pub(crate) fn release(&mut self, region: &Region, range: Range<usize>) {
        self.ranges.remove(range.start + region.lead()..range.end + region.lead());
    }

    /// Offset from the base of the first canary that was overwritten. Puts them all back, so that
    /// the next step is not blamed for it.
    ///
    /// # Safety
    /// `region` is the one given to [`new`](Self::new), and nobody else uses it during the call.
    pub(crate) unsafe fn check(&self, region: &Region) -> Option<i64> {
        let hurt = self.ranges.iter().find_map(|range| {
            // SAFETY: the range lies in the accessible part, see `new`; the caller's promise.
            let bytes = unsafe { std::slice::from_raw_parts(region.accessible().add(range.start), range.len()) };
            bytes.iter().position(|&b| b != CANARY).map(|at| range.start + at)
        })?;
        // SAFETY: the caller's promise.
        unsafe { self.fill(region) };
        Some(hurt as i64 - region.lead() as i64)
    }

    /// # Safety
    /// As for `check`.
    unsafe fn fill(&self, region: &Region) {
        for range in self.ranges.iter() {
            // SAFETY: the range lies in the accessible part, see `new`; the caller's promise.
            unsafe { region.accessible().add(range.start).write_bytes(CANARY, range.len()) };
        }
    }
}
