//! Anonymous, zeroed memory from the system; in the debug mode `bounds` between two guard pages.
//!
//! ```text
//!   plain     │ base … base+bytes │ slack up to a page │
//!   guarded   │ no access │ slack │ base … base+bytes │ <64 │ no access │
//!                         └──────────── accessible ─────────┘
//! ```
//!
//! Guarded memory lies flush against the page behind it, as close as 64-byte alignment allows, so a
//! read or write past the end faults at once. What slack remains is for canaries (`canary.rs`).

use std::ptr::NonNull;

use crate::ALIGNMENT;
use crate::error::{Error, Result};

/// A block of memory, 64-byte aligned, zeroed at the start. It hands out raw pointers only; whoever
/// uses them makes sure that no two threads race.
#[derive(Debug)]
pub(crate) struct Region {
    mapping: NonNull<u8>,
    mapped: usize,
    /// From `mapping` to the first accessible byte.
    accessible: usize,
    accessible_len: usize,
    /// From the first accessible byte to `base`.
    lead: usize,
    bytes: usize,
}

// SAFETY: a Region is an owned block of memory without thread affinity. Its methods only compute
// addresses; access to the contents is `unsafe` at the user.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `bytes` bytes. `what` names them in an error.
    pub(crate) fn new(bytes: usize, guarded: bool, what: &str) -> Result<Region> {
        let fail = |reason: String| Error::Memory { what: what.to_string(), bytes, reason };
        let page = system::page_size();
        let guard = if guarded && system::CAN_PROTECT { page } else { 0 };
        // At least a line, so that there is always something to point to.
        let sizes = bytes
            .max(1)
            .checked_next_multiple_of(ALIGNMENT)
            .and_then(|lines| Some((lines, lines.checked_next_multiple_of(page)?)))
            .and_then(|(lines, len)| Some((lines, len, len.checked_add(2 * guard)?)));
        let Some((lines, accessible_len, mapped)) = sizes else {
            return Err(fail("the size overflows".to_string()));
        };
        let mapping = system::map(mapped).map_err(fail)?;
        let lead = if guarded { accessible_len - lines } else { 0 };
        let region = Region { mapping, mapped, accessible: guard, accessible_len, lead, bytes };
        if guard > 0 {
            for offset in [0, guard + accessible_len] {
                // SAFETY: offset is inside the mapping made above, which nobody else knows yet.
                unsafe { system::protect(mapping.add(offset), guard) }.map_err(fail)?;
            }
        } else {
            system::advise_huge(mapping, mapped);
        }
        Ok(region)
    }

    /// Start of the block, 64-byte aligned.
    pub(crate) fn base(&self) -> *mut u8 {
        // SAFETY: accessible + lead + bytes <= mapped.
        unsafe { self.mapping.as_ptr().add(self.accessible + self.lead) }
    }

    /// Size that was asked for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// First byte that can be accessed; the block starts [`lead`](Self::lead) bytes after it.
    pub(crate) fn accessible(&self) -> *mut u8 {
        // SAFETY: the accessible part lies inside the mapping.
        unsafe { self.mapping.as_ptr().add(self.accessible) }
    }

    /// Number of bytes that can be accessed.
    pub(crate) fn accessible_len(&self) -> usize {
        self.accessible_len
    }

    /// Slack before the block.
    pub(crate) fn lead(&self) -> usize {
        self.lead
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `mapping` came from `system::map(mapped)` and is given back once.
        unsafe { system::unmap(self.mapping, self.mapped) };
    }
}

#[cfg(unix)]
mod system {
    use std::io;
    use std::ptr::{NonNull, null_mut};

    pub(super) const CAN_PROTECT: bool = true;

    /// From here on the kernel is asked for huge pages: fewer TLB misses in large arenas.
    const HUGE_FROM: usize = 8 << 20;

    pub(super) fn page_size() -> usize {
        // SAFETY: sysconf has no preconditions.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).ok().filter(|s| s.is_power_of_two()).unwrap_or(4096)
    }

    pub(super) fn map(bytes: usize) -> Result<NonNull<u8>, String> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let address = unsafe { libc::mmap(null_mut(), bytes, access, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().to_string());
        }
        NonNull::new(address.cast()).ok_or_else(|| "the system mapped address 0".to_string())
    }

    /// # Safety
    /// The pages are part of a mapping of ours, and nobody uses them.
    pub(super) unsafe fn protect(start: NonNull<u8>, bytes: usize) -> Result<(), String> {
        // SAFETY: the caller's promise.
        match unsafe { libc::mprotect(start.as_ptr().cast(), bytes, libc::PROT_NONE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error().to_string()),
        }
    }

    /// # Safety
    /// `start` came from `map(bytes)`, and nobody uses it any more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise. It cannot fail for a whole mapping of ours.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    }

    pub(super) fn advise_huge(start: NonNull<u8>, bytes: usize) {
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_FROM {
            // SAFETY: a hint about a mapping of ours. A refusal changes nothing but speed.
            unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, bytes, HUGE_FROM);
    }
}

#[cfg(not(unix))]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    /// Without page protection only the canaries are left.
    pub(super) const CAN_PROTECT: bool = false;

    pub(super) fn page_size() -> usize {
        4096
    }

    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes, page_size()).ok()
    }

    pub(super) fn map(bytes: usize) -> Result<NonNull<u8>, String> {
        let layout = layout(bytes).ok_or("the size overflows")?;
        // SAFETY: the size is not zero, `Region::new` rounds it up to a page.
        NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(|| "out of memory".to_string())
    }

    /// # Safety
    /// None is needed: it does nothing.
    pub(super) unsafe fn protect(_: NonNull<u8>, _: usize) -> Result<(), String> {
        Ok(())
    }

    /// # Safety
    /// `start` came from `map(bytes)`, and nobody uses it any more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        if let Some(layout) = layout(bytes) {
            // SAFETY: the caller's promise; `map` used the same layout.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }

    pub(super) fn advise_huge(_: NonNull<u8>, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_aligned_and_flush_with_the_guard() {
        for bytes in [0, 1, 63, 64, 65, 4096, 5000] {
            for guarded in [false, true] {
                let region = Region::new(bytes, guarded, "a test").expect("memory");
                assert_eq!(region.base() as usize % ALIGNMENT, 0);
                // SAFETY: the region is ours alone, and the bytes are inside it.
                let contents = unsafe { std::slice::from_raw_parts(region.base(), bytes) };
                assert!(contents.iter().all(|&b| b == 0));
                let end = region.accessible() as usize + region.accessible_len();
                if guarded {
                    assert!(end - (region.base() as usize + bytes.max(1)) < ALIGNMENT);
                }
            }
        }
    }

    #[test]
    fn an_absurd_size_is_an_error() {
        for bytes in [usize::MAX, usize::MAX / 2] {
            let error = Region::new(bytes, false, "the work arena").expect_err("too large");
            assert!(error.to_string().contains("the work arena"));
        }
    }
}
