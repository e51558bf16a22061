//! Where the time of a run went.
//!
//! ```text
//!   thread 0  ├─ conv1 ─────┤├─ bn1 ─┤      one Span for each step and thread that took part
//!   thread 1  ├─ conv1 ──┤    ├ bn1 ┤
//!   step      |◀─ total ───▶||◀total▶|      from the first start to the last end
//!
//!   thread 0  ├ a ┤├ b ┤├ a ┤├ b ┤          a group of steps: a chunk goes through all of them, each with a Span;
//!   group     |◀───── total ─────▶|         its time is divided among the steps as the threads' time is
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::plan::{Phase, Plan};
use crate::program::Probe;
use crate::roof::{Bound, Roof};
use crate::{table, trace};

/// What one thread did without a pause for one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Number of the thread, 0 being the one that called `run_profiled`.
    pub thread: usize,
    /// Start of its first chunk, in ns since the start of the run.
    pub start_ns: u64,
    /// End of its last chunk, in ns since the start of the run.
    pub end_ns: u64,
    /// Time inside the kernel, in ns.
    pub busy_ns: u64,
    /// Chunks it ran.
    pub chunks: u32,
}

/// What one step took.
#[derive(Clone, Debug)]
pub struct StepProfile {
    /// Name of the step.
    pub name: String,
    /// Kernel kind.
    pub kind: String,
    /// From the start of its first chunk to the end of its last one, in ns; of a step in a group its part of the group's
    /// time.
    pub total_ns: u64,
    /// Time that each thread of the team spent in its kernel, in ns.
    pub busy_ns: Vec<u64>,
    /// Number of chunks.
    pub chunks: u32,
    /// Floating-point operations, as the plan says.
    pub flops: u64,
    /// Bytes read and written, as the plan says.
    pub bytes: u64,
    /// One entry for each thread that took part, in a group one for each chunk.
    pub spans: Vec<Span>,
}

/// Measurements of one run of a plan.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Name of the plan.
    pub plan: String,
    /// Size of the team.
    pub threads: usize,
    /// The whole run, in ns.
    pub total_ns: u64,
    /// The steps in the order of the plan.
    pub steps: Vec<StepProfile>,
}

impl Profile {
    pub(crate) fn new(plan: &Plan, start: Duration, end: Duration, recorders: Vec<Mutex<Recorder>>) -> Profile {
        let threads = recorders.len();
        let mut steps: Vec<_> = plan
            .steps
            .iter()
            .map(|step| StepProfile {
                name: step.name.clone(),
                kind: step.kind.clone(),
                total_ns: 0,
                busy_ns: vec![0; threads],
                chunks: step.chunks,
                flops: step.flops,
                bytes: step.bytes,
                spans: Vec::new(),
            })
            .collect();
        let start = nanoseconds(start);
        for (thread, recorder) in recorders.into_iter().enumerate() {
            let recorder = recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
            for (step, span) in recorder.spans {
                let (start_ns, end_ns) = (span.start_ns - start, span.end_ns - start);
                steps[step].busy_ns[thread] += span.busy_ns;
                steps[step].spans.push(Span { thread, start_ns, end_ns, ..span });
            }
        }
        for unit in plan.units(Phase::Main) {
            share_time(&mut steps[unit]);
        }
        let total_ns = nanoseconds(end) - start;
        Profile { plan: plan.name.clone(), threads, total_ns, steps }
    }

    /// A table of the steps, longest first, then of each kind of kernel, the time between steps (barriers, wake-ups),
    /// the whole run, and the share of convolutions:
    ///
    /// | column | meaning |
    /// |---|---|
    /// | `time ms`, `share %` | from the first start to the last end; its share of the run |
    /// | `calls` | chunks, each a call of the kernel |
    /// | `GFLOP/s`, `peak %` | operations per second (of convolutions and matrix products; others are not counted, `-`), and their share of the machine's peak |
    /// | `GB/s` | bytes of the kernel's operands and results per second |
    /// | `roof %` | the least time that the roofline model allows over the time taken. Above 100 where data lie in a cache |
    /// | `bound` | what that least time is made of: `compute` or `memory` |
    /// | `busy %` | how busy the team was (100: every thread all the time) |
    ///
    /// `roof` is what the kernels are compared with, [`Roof::measure`] of the same number of threads.
    pub fn table(&self, roof: &Roof) -> String {
        table::write(self, roof)
    }

    /// The run as a Chrome trace (JSON): one complete event for each step and thread. Open it with
    /// `chrome://tracing` or Perfetto.
    pub fn chrome_trace(&self) -> String {
        trace::write(self)
    }

    /// Share of the run, 0 to 1, that was spent in convolutions (kinds with `conv` in their name), those of the backward
    /// pass and what is fused into them included.
    pub fn convolution_share(&self) -> f64 {
        self.share(|step| step.kind.contains("conv"))
    }

    /// Share of the run, 0 to 1, that was spent in kernels that `bound` bounds.
    pub fn share_bound_by(&self, bound: Bound, roof: &Roof) -> f64 {
        self.share(|step| roof.bound(step.flops, step.bytes) == bound)
    }

    /// The least time in ns that the roofline model allows for the steps, one after the other.
    pub fn least_ns(&self, roof: &Roof) -> f64 {
        self.steps.iter().map(|step| roof.least_ns(step.flops, step.bytes)).sum()
    }

    fn share(&self, of: impl Fn(&StepProfile) -> bool) -> f64 {
        let ns: u64 = self.steps.iter().filter(|step| of(step)).map(|step| step.total_ns).sum();
        ns as f64 / self.total_ns.max(1) as f64
    }
}

/// Gives each step of a unit its part of the unit's time.
fn share_time(unit: &mut [StepProfile]) {
    let spans = || unit.iter().flat_map(|step| &step.spans);
    let first = spans().map(|span| span.start_ns).min();
    let last = spans().map(|span| span.end_ns).max();
    let total_ns = last.zip(first).map_or(0, |(last, first)| last - first);
    let [step] = unit else {
        let busy = |step: &StepProfile| step.busy_ns.iter().sum::<u64>();
        let all = u128::from(unit.iter().map(busy).sum::<u64>().max(1));
        for step in unit {
            // At most `total_ns`, since `busy` is a part of `all`.
            step.total_ns = (u128::from(total_ns) * u128::from(busy(step)) / all) as u64;
        }
        return;
    };
    step.total_ns = total_ns;
}

/// Notes when one thread ran what. On cache lines of its own: each thread writes to its recorder.
#[repr(align(128))]
pub(crate) struct Recorder {
    origin: Instant,
    chunk_start: u64,
    /// (step, span); the span's thread is filled in later.
    spans: Vec<(usize, Span)>,
}

impl Recorder {
    /// Times count from `origin`; there is room for `spans` spans.
    pub(crate) fn new(origin: Instant, spans: usize) -> Recorder {
        Recorder { origin, chunk_start: 0, spans: Vec::with_capacity(spans) }
    }
}

impl Probe for Recorder {
    fn before_chunk(&mut self, _: &crate::memory::Region) {
        self.chunk_start = nanoseconds(self.origin.elapsed());
    }

    fn after_chunk(&mut self, step: usize) {
        let (start_ns, end_ns) = (self.chunk_start, nanoseconds(self.origin.elapsed()));
        let busy_ns = end_ns - start_ns;
        match self.spans.last_mut() {
            Some((last, span)) if *last == step => {
                span.end_ns = end_ns;
                span.busy_ns += busy_ns;
                span.chunks += 1;
            }
            _ => {
                self.spans.push((step, Span { thread: 0, start_ns, end_ns, busy_ns, chunks: 1 }));
            }
        }
    }
}

/// Saturates after 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
