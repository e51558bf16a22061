//! What the executor itself costs: steps that do nothing, in ns per step and per run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_runtime::*;

unsafe extern "C" fn nothing(_: *const *mut u8, _: u64, _: *mut u8) {}

fn plan(steps: usize, chunks: u32) -> Plan {
    let step = Step {
        name: "nothing".to_string(),
        kind: "nothing".to_string(),
        kernel: nothing,
        args: vec![],
        chunks,
        flops: 0,
        bytes: 0,
        dead_after: vec![],
    };
    Plan {
        name: "overhead".to_string(),
        prepare: vec![],
        steps: vec![step; steps],
        work_bytes: 0,
        scratch_bytes: 0,
        image_bytes: 0,
        groups: Vec::new(),
        states: vec![],
        constants: vec![],
        code: Arc::new(()),
        writes_states: false,
    }
}

fn main() -> Result<()> {
    const RUNS: usize = 2000;
    println!("{:>8} {:>6} {:>7} {:>12} {:>12}", "threads", "steps", "chunks", "ns/step", "ns/run");
    for threads in [1, 2, 4] {
        let team = Arc::new(Team::new(threads)?);
        for (steps, chunks) in [(1, 2), (200, 1), (200, 2), (200, 8), (200, 64)] {
            let mut plan = plan(steps, chunks);
            if chunks == 1 {
                // One real step, so that the region is not run by the caller alone.
                plan.steps[0].chunks = 2;
            }
            let state = Arc::new(State::for_plan(&plan)?);
            let mut session = Session::new(Arc::new(plan), state, Arc::clone(&team))?;
            let mut best = Duration::MAX;
            for _ in 0..RUNS {
                let start = Instant::now();
                session.run()?;
                best = best.min(start.elapsed());
            }
            let start = Instant::now();
            for _ in 0..RUNS {
                session.run()?;
            }
            let mean = start.elapsed().as_nanos() as f64 / RUNS as f64;
            println!(
                "{threads:>8} {steps:>6} {chunks:>7} {:>12.0} {mean:>12.0}  (best run {best:?})",
                mean / steps as f64
            );
        }
    }
    Ok(())
}
