//! The worker threads, and parallel regions: one closure run by every thread of the team.
//!
//! ```text
//!   caller   ── open gate, start += 1 ──▶ job(0) ───────▶ close gate, wait until it is empty ──▶
//!   worker 1   spin 80 µs / sleep ─▶ enter ─▶ job(1) ─▶ leave ─▶ spin / sleep
//!   worker 2   (wakes late: the gate is closed, it goes back to sleep)
//! ```
//!
//! A worker takes part only if it comes before the gate closes, so a run never waits for a thread
//! that the system has not woken yet. That is what makes more threads than cores harmless.

use std::cell::UnsafeCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::event::{Event, Patience};
use crate::flush::FlushDenormals;

/// What every thread runs; it is told its number, 0 being the caller.
type Job = dyn Fn(usize) + Sync;

/// Value of `Shared::start` that sends the workers home.
const STOP: u32 = u32::MAX;
/// Bit of `Shared::gate`: workers may enter. The other bits count those inside.
const OPEN: u32 = 1 << 31;

struct Shared {
    /// Changes when a region starts.
    start: Event,
    /// Who is inside the region.
    gate: Event,
    /// The region's job. Written only while the gate is closed and empty, read only inside it.
    job: UnsafeCell<Option<*const Job>>,
    patience: Patience,
}

// SAFETY: `job` is guarded by the gate as said above; the pointer it holds leads to a `Sync` closure
// that outlives the region.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// A team of threads that run plans together. Sessions may share one; their runs take turns.
///
/// Dropping the team ends its threads and waits for that.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("threads", &self.threads()).finish()
    }
}

impl Team {
    /// Starts a team of `threads` threads. The thread that calls `Session::run` is one of them, so
    /// `threads - 1` are started; 1 means that runs stay on the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::NoThreads`] for 0; [`Error::Thread`] if the system refuses a thread.
    pub fn new(threads: usize) -> Result<Team> {
        if threads == 0 {
            return Err(Error::NoThreads);
        }
        let shared = Arc::new(Shared {
            start: Event::default(),
            gate: Event::default(),
            job: UnsafeCell::new(None),
            patience: Patience::new(threads, Team::default_threads()),
        });
        let mut team = Team { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for worker in 1..threads {
            let shared = Arc::clone(&team.shared);
            let thread = std::thread::Builder::new().name(format!("outrigger-{worker}"));
            // On failure `team` is dropped, which ends the threads that did start.
            let handle = thread.spawn(move || work(&shared, worker)).map_err(|error| Error::Thread {
                worker,
                threads,
                reason: error.to_string(),
            })?;
            team.workers.push(handle);
        }
        Ok(team)
    }

    /// Cores that this process may use: its affinity mask and its cgroup's quota, 1 if unknown.
    pub fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }

    /// Number of threads, the calling one included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Waits for the other runs on this team to end, and keeps new ones out.
    pub(crate) fn turn(&self) -> Turn<'_> {
        // A poisoned lock only says that some caller panicked; its region was closed all the same.
        Turn { team: self, _guard: self.turn.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.start.set(STOP);
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing more to tell.
            let _ = worker.join();
        }
    }
}

/// The right to run regions on a team.
pub(crate) struct Turn<'a> {
    team: &'a Team,
    _guard: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    pub(crate) fn threads(&self) -> usize {
        self.team.threads()
    }

    pub(crate) fn patience(&self) -> Patience {
        self.team.shared.patience
    }

    /// Runs `job` on the calling thread, and on every worker that arrives before that ends; returns
    /// when all of them are done. A worker may run it twice: the job itself shares out the work.
    pub(crate) fn region(&mut self, job: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.team.shared;
        // SAFETY: only the lifetime changes. `Close` keeps this frame alive until no worker is inside
        // the gate, and outside of it the pointer is not used.
        let erased: *const Job = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &Job>(job) };
        // SAFETY: we have the team's turn, and its gate is closed and empty, so nobody reads it.
        unsafe { *shared.job.get() = Some(erased) };
        shared.gate.set(OPEN);
        let next = match shared.start.get().wrapping_add(1) {
            STOP => 0,
            next => next,
        };
        let _close = Close(shared);
        shared.start.set(next);
        job(0);
    }
}

/// Ends a region when dropped, also if the caller's part of the job panics.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        // `update` fails only if its closure says so.
        let _ = self.0.gate.update(|gate| Some(gate & !OPEN));
        self.0.gate.wait_until(self.0.patience, |gate| gate == 0);
    }
}

/// Counts a worker out of the gate when dropped, also if its part of the job panics.
struct Leave<'a>(&'a Event);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.0.update(|gate| Some(gate - 1)) == Ok(1) {
            self.0.wake();
        }
    }
}

/// A worker's life.
fn work(shared: &Shared, worker: usize) {
    let _flush = FlushDenormals::new();
    let mut seen = 0;
    loop {
        shared.start.wait_until(shared.patience, |start| start != seen);
        seen = shared.start.get();
        if seen == STOP {
            return;
        }
        if shared.gate.update(|gate| (gate & OPEN != 0).then(|| gate + 1)).is_ok() {
            let _leave = Leave(&shared.gate);
            // SAFETY: we are inside the gate: the job was written before it opened, and neither the
            // cell nor the closure changes before we leave.
            if let Some(job) = unsafe { *shared.job.get() } {
                // SAFETY: as above.
                (unsafe { &*job })(worker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_region_is_complete_when_it_returns() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads).expect("threads");
            assert_eq!(team.threads(), threads);
            let mut turn = team.turn();
            for _ in 0..2000 {
                let (entered, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
                turn.region(&|worker| {
                    assert!(worker < threads);
                    entered.fetch_add(1, Ordering::Relaxed);
                    std::hint::spin_loop();
                    left.fetch_add(1, Ordering::Relaxed);
                });
                let entered = entered.into_inner();
                assert!(entered >= 1 && entered == left.into_inner());
            }
        }
    }

    #[test]
    fn sleeping_workers_wake() {
        let team = Team::new(2).expect("threads");
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let came = AtomicUsize::new(0);
            // The caller holds the gate open until the worker has come.
            team.turn().region(&|worker| {
                came.fetch_or(1 << worker, Ordering::SeqCst);
                while came.load(Ordering::SeqCst) != 3 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_panic_in_the_callers_part_leaves_the_team_usable() {
        let team = Team::new(3).expect("threads");
        let panics = std::panic::AssertUnwindSafe(|| {
            team.turn().region(&|worker| assert_ne!(worker, 0, "on purpose"));
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        let ran = AtomicUsize::new(0);
        team.turn().region(&|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert!(ran.into_inner() >= 1);
    }

    #[test]
    fn drop_joins_the_threads() {
        let team = Team::new(4).expect("threads");
        let shared = Arc::downgrade(&team.shared);
        drop(team);
        // Each worker held one reference.
        assert!(shared.upgrade().is_none());
        assert!(matches!(Team::new(0), Err(Error::NoThreads)));
    }
}
