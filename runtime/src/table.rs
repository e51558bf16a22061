//! A profile as a table: each kernel against what the machine could do, then sums.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::profile::{Profile, StepProfile};
use crate::roof::Roof;

/// What one line says: a step, several of them, or time that belongs to none.
#[derive(Clone, Copy, Default)]
struct Line {
    ns: u64,
    busy_ns: u64,
    calls: u64,
    flops: u64,
    bytes: u64,
    /// The least that the machine would take, step by step.
    least_ns: f64,
}

impl Line {
    fn of(step: &StepProfile, roof: &Roof) -> Line {
        Line {
            ns: step.total_ns,
            busy_ns: step.busy_ns.iter().sum(),
            calls: u64::from(step.chunks),
            flops: step.flops,
            bytes: step.bytes,
            least_ns: roof.least_ns(step.flops, step.bytes),
        }
    }

    fn add(&mut self, other: Line) {
        self.ns += other.ns;
        self.busy_ns += other.busy_ns;
        self.calls += other.calls;
        self.flops += other.flops;
        self.bytes += other.bytes;
        self.least_ns += other.least_ns;
    }

    fn write(&self, text: &mut String, profile: &Profile, roof: &Roof) {
        let ns = self.ns as f64;
        let per = |amount: f64, of: f64| if of > 0.0 { amount / of } else { 0.0 };
        // What is not counted has no rate.
        let counted = |counted: bool, value: f64, digits: usize| {
            if counted { format!("{value:.digits$}") } else { "-".to_string() }
        };
        let (flops, bytes) = (self.flops > 0, self.bytes > 0);
        let gflops = per(self.flops as f64, ns);
        let bound = if flops || bytes { roof.bound(self.flops, self.bytes).to_string() } else { "-".to_string() };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{:>9.3} {:>7.1} {:>6} {:>9} {:>7} {:>8} {:>7} {:<8} {:>6.0}",
            ns / 1e6,
            100.0 * per(ns, profile.total_ns as f64),
            counted(self.calls > 0, self.calls as f64, 0),
            counted(flops, gflops, 2),
            counted(flops, 100.0 * per(gflops, roof.gflops), 1),
            counted(bytes, per(self.bytes as f64, ns), 2),
            counted(flops || bytes, 100.0 * per(self.least_ns, ns), 0),
            bound,
            100.0 * per(self.busy_ns as f64, ns * profile.threads as f64),
        );
    }
}

pub(crate) fn write(profile: &Profile, roof: &Roof) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} on {} thread(s) of a machine that reaches {:.0} GFLOP/s and {:.1} GB/s",
        profile.plan, profile.threads, roof.gflops, roof.bandwidth
    );
    let _ = writeln!(
        text,
        "{:>9} {:>7} {:>6} {:>9} {:>7} {:>8} {:>7} {:<8} {:>6}  {:<24} step",
        "time ms", "share %", "calls", "GFLOP/s", "peak %", "GB/s", "roof %", "bound", "busy %", "kernel"
    );
    let mut steps: Vec<_> = profile.steps.iter().collect();
    steps.sort_by_key(|step| std::cmp::Reverse(step.total_ns));
    let mut kinds: BTreeMap<&str, (Line, usize)> = BTreeMap::new();
    let mut total = Line::default();
    for step in steps {
        let line = Line::of(step, roof);
        line.write(&mut text, profile, roof);
        // One step, one line.
        let _ = writeln!(text, "  {:<24} {}", step.kind, step.name.replace(char::is_control, " "));
        let (sum, count) = kinds.entry(&step.kind).or_default();
        sum.add(line);
        *count += 1;
        total.add(line);
    }

    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (line, _))| std::cmp::Reverse(line.ns));
    for (kind, (line, steps)) in kinds {
        line.write(&mut text, profile, roof);
        let _ = writeln!(text, "  {kind:<24} all {steps}");
    }
    let between = Line { ns: profile.total_ns.saturating_sub(total.ns), ..Line::default() };
    between.write(&mut text, profile, roof);
    let _ = writeln!(text, "  {:<24} between steps", "");
    Line { ns: profile.total_ns, ..total }.write(&mut text, profile, roof);
    let _ = writeln!(text, "  {:<24} total", "");
    let _ = writeln!(text, "{:.1} % of the run in convolution kernels", 100.0 * profile.convolution_share());
    text
}
