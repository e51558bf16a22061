//! The roofline model: what a kernel could reach on this machine, and what bounds it.
//!
//! ```text
//!   GFLOP/s │      ┌──────────── gflops        a kernel that does `flops` on `bytes` takes at least
//!           │    ╱                              max(flops / gflops, bytes / bandwidth);
//!           │  ╱ bandwidth · intensity          the larger of the two bounds it
//!           └───────────────────── FLOP per byte
//! ```
//!
//! Source: Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
//! Architectures", CACM 2009.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::peak::{peak_bandwidth, peak_gflops};

/// The machine's best rates on some number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roof {
    /// f32 multiply-adds in GFLOP/s, each counted as two; as [`peak_gflops`] says.
    pub gflops: f64,
    /// Memory traffic in GB/s; as [`peak_bandwidth`] says.
    pub bandwidth: f64,
}

/// Which of the machine's rates bounds a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Multiply-adds.
    Compute,
    /// Memory traffic; also of a kernel whose operations are not counted.
    Memory,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Bound::Compute => "compute",
            Bound::Memory => "memory",
        })
    }
}

impl Roof {
    /// Measures the machine with `threads` threads, the first time that a process asks for that number (200 ms);
    /// later calls return the same figures.
    pub fn measure(threads: usize) -> Roof {
        static KNOWN: Mutex<BTreeMap<usize, Roof>> = Mutex::new(BTreeMap::new());
        // Held while measuring: two measurements at once would disturb each other.
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        *known
            .entry(threads)
            .or_insert_with(|| Roof { gflops: peak_gflops(threads), bandwidth: peak_bandwidth(threads) })
    }

    /// What bounds a kernel that does `flops` operations on `bytes` bytes.
    pub fn bound(&self, flops: u64, bytes: u64) -> Bound {
        let (compute, memory) = self.times(flops, bytes);
        if compute > memory { Bound::Compute } else { Bound::Memory }
    }

    /// The least time in ns for `flops` operations on `bytes` bytes that come from memory.
    pub fn least_ns(&self, flops: u64, bytes: u64) -> f64 {
        let (compute, memory) = self.times(flops, bytes);
        compute.max(memory)
    }

    fn times(&self, flops: u64, bytes: u64) -> (f64, f64) {
        // FLOP per ns is GFLOP/s, bytes per ns GB/s.
        let ns = |amount: u64, rate: f64| if rate > 0.0 { amount as f64 / rate } else { 0.0 };
        (ns(flops, self.gflops), ns(bytes, self.bandwidth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_part_bounds() {
        let roof = Roof { gflops: 100.0, bandwidth: 10.0 };
        assert_eq!((roof.bound(1000, 99), roof.least_ns(1000, 99)), (Bound::Compute, 10.0));
        assert_eq!((roof.bound(1000, 101), roof.least_ns(1000, 101)), (Bound::Memory, 10.1));
        assert_eq!((roof.bound(0, 7), roof.least_ns(0, 0)), (Bound::Memory, 0.0));
    }

    #[test]
    fn a_process_measures_once() {
        assert_eq!(Roof::measure(1), Roof::measure(1));
        assert!(Roof::measure(1).least_ns(1, 1) > 0.0);
    }
}
