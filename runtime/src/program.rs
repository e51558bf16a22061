//! The executor: every thread of the team walks the same list of steps.
//!
//! ```text
//!            step 0: 5 chunks           step 1: 1 chunk        step 2: 4 chunks
//!   thread 0 [0][1][2]──────┐           [0]───────────┐        [0][1]────┐
//!   thread 1 [3]······[4]···┴─ barrier ─ (waits)······┴─ barrier [2][3]──┴─ …
//! ```
//!
//! A unit is a step, or a group of steps: there a chunk goes through all of them before the next one starts.
//! Chunks are shared out by counters: a thread first takes the chunks of its own part of the unit
//! (the same part in every unit, so what it wrote is still in its cache), then helps the others. A
//! second counter per unit counts finished chunks; whoever reports the last one moves `completed` on,
//! and that is the barrier. Which thread runs a chunk never changes what the chunk computes.
//!
//! Counters only ever grow: in its n-th round a part of `len` chunks goes from `n·len` to `(n+1)·len`.
//! So no counter is reset, and a thread that looks late cannot mistake an old round for a new one.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::event::{Event, Patience};
use crate::memory::Region;
use crate::plan::{Argument, BufferRef, KernelFn, Step};
use crate::team::Turn;

/// Something that watches a thread run its chunks.
pub(crate) trait Probe: Send {
    /// Called before each chunk.
    fn before_chunk(&mut self, _scratch: &Region) {}
    /// Called after each chunk.
    fn after_chunk(&mut self, _step: usize) {}
}

/// Watches nothing, and costs nothing.
pub(crate) struct Quiet;

impl Probe for Quiet {}

/// A step, reduced to what running it needs.
struct Ready {
    kernel: KernelFn,
    /// Index of its first argument in `Program::pointers`.
    args: usize,
    /// Its arguments in the worker's own memory.
    images: Box<[ImageArgument]>,
}

/// An argument whose address depends on worker and chunk.
struct ImageArgument {
    index: usize,
    offset: usize,
    /// Bytes of a chunk.
    bytes: usize,
}

/// Steps without a barrier in between.
struct Unit {
    steps: Range<usize>,
    chunks: u32,
    /// How often it ran with counters.
    round: u64,
}

/// A worker's own memory.
pub(crate) struct Own {
    /// For kernels, without meaning between calls.
    pub scratch: Region,
    /// What the steps of a group made of the chunk at hand.
    pub image: Region,
}

/// Most arguments of a step that has some in the worker's own memory.
pub(crate) const MOST_ARGUMENTS: usize = 32;

/// A counter on a cache line of its own: threads that take chunks of their own parts do not disturb
/// each other.
#[derive(Default)]
#[repr(align(64))]
struct Counter(AtomicU64);

/// A list of steps with resolved addresses, ready to run on a team of a given size.
pub(crate) struct Program {
    steps: Box<[Ready]>,
    units: Box<[Unit]>,
    pointers: Box<[*mut u8]>,
    /// For each unit: the finished chunks, then for each part the chunks handed out.
    counters: Box<[Counter]>,
    threads: usize,
    /// All units below this index are done. Reset at the start of a region.
    completed: Event,
}

// SAFETY: the pointers lead into arena and state, which have no thread affinity; they are used only
// in `run`, whose caller vouches for exclusive access.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

impl Program {
    /// Prepares `steps` for teams of `threads` threads, `units` being those without a barrier in between; `resolve`
    /// gives the address of an argument that is in nobody's own memory.
    pub(crate) fn new(
        steps: &[Step],
        units: &[Range<usize>],
        threads: usize,
        resolve: impl Fn(&Argument) -> *mut u8,
    ) -> Program {
        let mut pointers = Vec::new();
        let mut ready = Vec::with_capacity(steps.len());
        for step in steps {
            let images = step.args.iter().enumerate().filter_map(|(index, arg)| match arg.buffer {
                BufferRef::Image(offset) => Some(ImageArgument { index, offset, bytes: arg.bytes }),
                BufferRef::State(_) | BufferRef::StateAt { .. } | BufferRef::Work(_) => None,
            });
            ready.push(Ready { kernel: step.kernel, args: pointers.len(), images: images.collect() });
            pointers.extend(step.args.iter().map(&resolve));
        }
        let unit = |steps_of: &Range<usize>| {
            let chunks = steps.get(steps_of.start).map_or(1, |step| step.chunks);
            Unit { steps: steps_of.clone(), chunks, round: 0 }
        };
        // A thread alone needs no counters.
        let counters = if threads > 1 { units.len() * (1 + threads) } else { 0 };
        Program {
            steps: ready.into(),
            units: units.iter().map(unit).collect(),
            pointers: pointers.into(),
            counters: (0..counters).map(|_| Counter::default()).collect(),
            threads,
            completed: Event::default(),
        }
    }

    /// The most times that a thread changes from a step to another in a run.
    pub(crate) fn spans(&self) -> usize {
        let spans = |unit: &Unit| match unit.steps.len() {
            1 => 1,
            steps => steps * unit.chunks as usize,
        };
        self.units.iter().map(spans).sum()
    }

    /// The steps of `range`, cut where there are barriers.
    pub(crate) fn units(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let units = &self.units[self.touched(range)];
        units.iter().map(|unit| common(&unit.steps, range)).collect()
    }

    /// The units that have steps in `range`.
    fn touched(&self, range: &Range<usize>) -> Range<usize> {
        let first = self.units.partition_point(|unit| unit.steps.end <= range.start);
        let end = self.units.partition_point(|unit| unit.steps.start < range.end);
        first..end.max(first)
    }

    /// Addresses of the arguments of a step.
    pub(crate) fn pointers(&self, index: usize) -> &[*mut u8] {
        let end = self.steps.get(index + 1).map_or(self.pointers.len(), |next| next.args);
        &self.pointers[self.steps[index].args..end]
    }

    /// Runs the steps of `range` in order. `own` and `probes` have one entry for each thread.
    ///
    /// # Safety
    ///
    /// The addresses are valid, nobody else uses the memory behind them (reads of memory that no step
    /// writes aside), and the kernels keep the promise of [`KernelFn`].
    pub(crate) unsafe fn run<P: Probe>(
        &mut self,
        turn: &mut Turn<'_>,
        range: Range<usize>,
        own: &[Own],
        probes: &[Mutex<P>],
    ) {
        debug_assert!(turn.threads() == self.threads && own.len() == self.threads);
        let (units, steps) = (self.touched(&range), range);
        let probe = |thread: usize| probes[thread].lock().unwrap_or_else(PoisonError::into_inner);
        if self.threads == 1 || self.units[units.clone()].iter().all(|unit| unit.chunks == 1) {
            // Nothing to share out: no counters, and the workers may sleep.
            let (probe, own) = (&mut *probe(0), &own[0]);
            for index in units {
                for chunk in 0..self.units[index].chunks {
                    // SAFETY: the caller's promise; chunks run one by one.
                    unsafe { self.call(index, &steps, chunk, own, probe) };
                }
            }
            return;
        }
        // Plans with 4 billion steps do not fit into memory.
        self.completed.set(units.start as u32);
        let (this, patience) = (&*self, turn.patience());
        turn.region(&|thread| {
            // SAFETY: the caller's promise; this is the only region of this program.
            unsafe { this.walk(units.end, &steps, thread, patience, &own[thread], &mut *probe(thread)) };
        });
        for unit in &mut self.units[units] {
            unit.round += 1;
        }
    }

    /// One thread's way through the units up to `end`, and there through the steps of `steps`.
    ///
    /// # Safety
    /// As for [`run`](Self::run).
    unsafe fn walk<P: Probe>(
        &self,
        end: usize,
        steps: &Range<usize>,
        thread: usize,
        patience: Patience,
        own: &Own,
        probe: &mut P,
    ) {
        // A thread that comes late starts where the others are.
        let first = self.completed.get() as usize;
        for index in first..end {
            let unit = &self.units[index];
            let counters = &self.counters[index * (1 + self.threads)..][..1 + self.threads];
            let mut mine = 0;
            for turn in 0..self.threads {
                // Own part first, then the others', beginning with the neighbour's.
                let owner = (thread + turn) % self.threads;
                let part = part(unit.chunks, owner, self.threads);
                let handed_out = &counters[1 + owner].0;
                let start = unit.round * part.len() as u64;
                while let Some(claimed) = claim(handed_out, start + part.len() as u64) {
                    let chunk = part.start + (claimed - start) as u32;
                    // SAFETY: all units before this one are done (`completed` said so), this chunk is
                    // ours alone, and the rest is the caller's promise.
                    unsafe { self.call(index, steps, chunk, own, probe) };
                    mine += 1;
                }
            }
            // Release our writes to whoever finishes last, and through `completed` to all.
            let (done, all) = (&counters[0].0, (unit.round + 1) * u64::from(unit.chunks));
            if mine > 0 && done.fetch_add(mine, Ordering::AcqRel) + mine == all {
                self.completed.set(index as u32 + 1);
            }
            self.completed.wait_until(patience, |completed| completed > index as u32);
        }
    }

    /// Takes a chunk through the steps of a unit, as far as they are in `steps`.
    ///
    /// # Safety
    /// As for [`run`](Self::run), and everything the chunk depends on is done.
    #[inline]
    unsafe fn call<P: Probe>(&self, unit: usize, steps: &Range<usize>, chunk: u32, own: &Own, probe: &mut P) {
        for index in common(&self.units[unit].steps, steps) {
            let step = &self.steps[index];
            let args = self.pointers(index);
            probe.before_chunk(&own.scratch);
            if step.images.is_empty() {
                // SAFETY: the caller's promise.
                unsafe { (step.kernel)(args.as_ptr(), u64::from(chunk), own.scratch.base()) };
            } else {
                let mut addresses = [std::ptr::null_mut(); MOST_ARGUMENTS];
                addresses[..args.len()].copy_from_slice(args);
                for image in &step.images {
                    // The kernel adds `chunk` times the bytes of a chunk again.
                    let place = own.image.base().wrapping_add(image.offset);
                    addresses[image.index] = place.wrapping_sub(chunk as usize * image.bytes);
                }
                // SAFETY: the caller's promise; `validate` has checked that the parts lie in the worker's memory.
                unsafe { (step.kernel)(addresses.as_ptr(), u64::from(chunk), own.scratch.base()) };
            }
            probe.after_chunk(index);
        }
    }
}

/// The steps that are in both ranges.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// The chunks of a step that thread `owner` starts with. The parts of all threads cover the step;
/// with few chunks the first threads have one each.
fn part(chunks: u32, owner: usize, threads: usize) -> Range<u32> {
    let bound = |i: usize| (u64::from(chunks) * i as u64).div_ceil(threads as u64) as u32;
    bound(owner)..bound(owner + 1)
}

/// Takes the next number from `counter`, unless it has reached `limit`. It never passes the limit, so
/// the next round starts exactly there.
fn claim(counter: &AtomicU64, limit: u64) -> Option<u64> {
    // Relaxed: the counter only makes chunks unique. What a chunk reads was made visible by the
    // barrier before it.
    let mut next = counter.load(Ordering::Relaxed);
    while next < limit {
        match counter.compare_exchange_weak(next, next + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(next),
            Err(now) => next = now,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_chunk_once() {
        for threads in 1..9 {
            for chunks in [0, 1, 2, 3, 7, 8, 64, u32::MAX] {
                let mut next = 0;
                for owner in 0..threads {
                    let part = part(chunks, owner, threads);
                    assert_eq!(part.start, next);
                    next = part.end;
                }
                assert_eq!(next, chunks);
            }
        }
        assert_eq!(part(1, 0, 4), 0..1);
    }
}
