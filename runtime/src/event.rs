//! A 32-bit word that threads wait on: spinning first, then giving way, then asleep.
//!
//! ```text
//!   waiter                                       changer
//!   spin ≤ 80 µs ─▶ yield × n ─▶ sleepers += 1    word = new
//!                               word ready? ─┐    sleepers > 0 ? wake all
//!                               futex wait ◀─┘
//! ```
//!
//! Waiter and changer each write one of (sleepers, word) before they read the other, in one total
//! order (`SeqCst`), so at least one of them sees the other: no wake-up is lost.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::futex;

/// How long a waiter stays awake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Time to spin, which keeps the core.
    spin: Duration,
    /// How often to offer the core to others after that.
    yields: u32,
}

impl Patience {
    /// With a core for every thread, spinning is free, and much faster than sleeping. With fewer
    /// cores the spinner may sit on the very core that the thread it waits for needs.
    ///
    /// What a thread waits for at the end of a step is another's chunk, which takes some 100 µs in a training step; to be
    /// woken takes as long. So it stays awake for about a millisecond, but after a short time only if nobody
    /// else wants the core.
    pub(crate) fn new(threads: usize, cores: usize) -> Patience {
        if threads <= cores {
            Patience { spin: Duration::from_micros(80), yields: 2048 }
        } else {
            Patience { spin: Duration::ZERO, yields: 16 }
        }
    }
}

/// A word and the number of threads asleep on it, alone on a pair of cache lines (the prefetcher
/// fetches lines in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Event {
    word: AtomicU32,
    sleepers: AtomicU32,
}

impl Event {
    /// The word as it is; what happened before it was set is visible.
    pub(crate) fn get(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    /// Sets the word and wakes everyone who waits for it.
    pub(crate) fn set(&self, value: u32) {
        self.word.store(value, Ordering::SeqCst);
        self.wake();
    }

    /// Replaces the word by `change` of it, unless that is `None`; wakes nobody. Returns the word
    /// found, as `Ok` if it was replaced.
    pub(crate) fn update(&self, change: impl FnMut(u32) -> Option<u32>) -> Result<u32, u32> {
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
    }

    /// Wakes everyone who is asleep.
    pub(crate) fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            futex::wake_all(&self.word);
        }
    }

    /// Waits until `ready(word)`.
    #[inline]
    pub(crate) fn wait_until(&self, patience: Patience, ready: impl Fn(u32) -> bool) {
        if !ready(self.get()) {
            self.wait_long(patience, ready);
        }
    }

    fn wait_long(&self, patience: Patience, ready: impl Fn(u32) -> bool) {
        const BURST: u32 = 32;
        let spin_burst = || {
            (0..BURST).any(|_| {
                std::hint::spin_loop();
                ready(self.get())
            })
        };
        // The clock is looked at between bursts only: most waits end before the first look.
        if spin_burst() {
            return;
        }
        let start = Instant::now();
        while start.elapsed() < patience.spin {
            if spin_burst() {
                return;
            }
        }
        for _ in 0..patience.yields {
            std::thread::yield_now();
            if ready(self.get()) {
                return;
            }
        }
        while !ready(self.get()) {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            let value = self.word.load(Ordering::SeqCst);
            if !ready(value) {
                futex::wait(&self.word, value);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
