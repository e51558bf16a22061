//! What each pass did, and why it left alone what it left alone.

use std::fmt;
use std::time::Duration;

use super::{Pass, PassOptions};

/// What the passes did, in the order in which they ran.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One entry for each pass that ran.
    pub passes: Vec<PassReport>,
    /// Nodes of the graph given.
    pub before: usize,
    /// Nodes of the optimised graph.
    pub after: usize,
    /// Time of all passes with verification.
    pub time: Duration,
}

/// What one pass did.
#[derive(Clone, Debug, Default)]
pub struct PassReport {
    /// The pass.
    pub name: &'static str,
    /// One line for each rewrite, naming node paths.
    pub done: Vec<String>,
    /// One line for each rewrite that was considered and refused: the path, and the reason.
    pub refused: Vec<String>,
    /// Nodes before.
    pub before: usize,
    /// Nodes after, without those that nothing needs any more.
    pub after: usize,
    /// Nodes that nothing needed after the pass.
    pub dropped: usize,
    /// Time, with verification.
    pub time: Duration,
}

impl PassReport {
    pub(super) fn new(name: &'static str, before: usize) -> Self {
        PassReport { name, before, ..PassReport::default() }
    }
    pub(super) fn finish(&mut self, all: usize, after: usize, time: Duration) {
        self.dropped = all - after;
        self.after = after;
        self.time = time;
    }
}

impl Report {
    /// What the pass `name` did, if it ran.
    pub fn pass(&self, name: &str) -> Option<&PassReport> {
        self.passes.iter().find(|p| p.name == name)
    }
    /// Optional and mandatory rewrites of all passes together.
    pub fn rewrites(&self) -> usize {
        self.passes.iter().map(|p| p.done.len()).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.time.as_secs_f64() * 1e3;
        writeln!(f, "{} nodes became {} in {milliseconds:.1} ms", self.before, self.after)?;
        for pass in &self.passes {
            write!(f, "{pass}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PassReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} rewrites, {} refused, {} → {} nodes, {:.2} ms",
            self.name,
            self.done.len(),
            self.refused.len(),
            self.before,
            self.after,
            self.time.as_secs_f64() * 1e3
        )?;
        for line in &self.done {
            writeln!(f, "  + {line}")?;
        }
        for line in &self.refused {
            writeln!(f, "  - {line}")?;
        }
        Ok(())
    }
}

/// What a pass is given besides the graph: its options, its report, and how many rewrites are left.
pub(super) struct Context<'a> {
    pub(super) pass: &'static str,
    mandatory: bool,
    pub(super) options: &'a PassOptions,
    report: &'a mut PassReport,
    left: &'a mut Option<usize>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        pass: &Pass,
        options: &'a PassOptions,
        report: &'a mut PassReport,
        left: &'a mut Option<usize>,
    ) -> Self {
        Context { pass: pass.name, mandatory: pass.mandatory, options, report, left }
    }
    /// Whether one more rewrite may be made; counts it.
    pub(super) fn allow(&mut self) -> bool {
        match self.left {
            Some(0) if !self.mandatory => false,
            Some(left) if !self.mandatory => {
                *left -= 1;
                true
            }
            _ => true,
        }
    }
    /// Reports a rewrite.
    pub(super) fn done(&mut self, line: String) {
        self.report.done.push(line);
    }
    /// Reports why `path` was left alone.
    pub(super) fn refused(&mut self, path: &str, reason: impl fmt::Display) {
        self.report.refused.push(format!("{path}: {reason}"));
    }
}
