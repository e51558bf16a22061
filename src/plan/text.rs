//! A plan for people: the steps with places, sizes and live bytes, and one line on memory.
//!
//! ```text
//! plan net: 2 steps, 1 prepared, 3 states; arena 61.2 MB, largest live set 58.9 MB (1.04)
//!   input   x          f32[1,8,8,3] @0
//!   prepare w.scaled   mul (state 0 f32[3], @768 f32[3]) → @832 f32[3]          live 1.0 kB
//!   step    conv1      conv2d (…) → @1024 f32[1,8,8,16]                          live 5.1 kB
//! ```

use std::collections::BTreeMap;
use std::fmt;

use super::{ALIGNMENT, Group, Place, Placed, Planned, PlannedStep};

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::State(slot) => write!(f, "state {slot}"),
            Place::Work(offset) => write!(f, "@{offset}"),
            Place::Image(offset) => write!(f, "image @{offset}"),
        }
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.ty)
    }
}

/// Bytes in decimal units: `512 B`, `1.5 kB`, `61.2 MB`.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn list(placed: &[Placed]) -> String {
    placed.iter().map(Placed::to_string).collect::<Vec<_>>().join(", ")
}

impl Planned {
    /// One line on memory: `arena 61.2 MB, largest live set 58.9 MB (1.04)`.
    pub fn memory_line(&self) -> String {
        let ratio = if self.live_bytes == 0 { 1.0 } else { self.work_bytes as f64 / self.live_bytes as f64 };
        format!("arena {}, largest live set {} ({ratio:.2})", size(self.work_bytes), size(self.live_bytes))
    }

    /// The group of the step at this position.
    pub fn group(&self, step: usize) -> Option<&Group> {
        self.groups.iter().find(|group| group.steps.contains(&step))
    }

    /// Aligned bytes of the arena that are live while each step runs, those of `prepare` first.
    pub fn live_per_step(&self) -> Vec<usize> {
        let mut live: BTreeMap<usize, usize> = self.constants.iter().map(|(at, b)| (*at, b.len())).collect();
        let add = |live: &mut BTreeMap<usize, usize>, placed: &Placed| match placed.place {
            Place::Work(offset) => _ = live.insert(offset, placed.ty.bytes()),
            Place::State(_) | Place::Image(_) => {}
        };
        self.inputs.iter().for_each(|port| add(&mut live, &port.placed));
        let mut step = |step: &PlannedStep| {
            step.results.iter().for_each(|result| add(&mut live, result));
            let sum = live.values().map(|b| b.next_multiple_of(ALIGNMENT)).sum();
            for (offset, _) in &step.dead_after {
                live.remove(offset);
            }
            sum
        };
        self.prepare.iter().chain(&self.steps).map(&mut step).collect()
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "plan {}: {} steps, {} prepared, {} states; {}",
            self.name,
            self.steps.len(),
            self.prepare.len(),
            self.states.len(),
            self.memory_line()
        )?;
        let line = |f: &mut fmt::Formatter<'_>, kind: &str, name: &str, rest: &str| {
            writeln!(f, "  {kind:<8} {name:<28} {rest}")
        };
        for (slot, state) in self.states.iter().enumerate() {
            line(f, "state", &state.name, &format!("state {slot} {}", state.ty))?;
        }
        for (offset, bytes) in &self.constants {
            line(f, "constant", "", &format!("@{offset} {}", size(bytes.len())))?;
        }
        for port in &self.inputs {
            let classes = port.classes.map(|c| format!(" below {c}")).unwrap_or_default();
            line(f, "input", &port.name, &format!("{}{classes}", port.placed))?;
        }
        for port in &self.outputs {
            line(f, "output", &port.name, &port.placed.to_string())?;
        }
        let kind = |at: usize| if self.group(at).is_some() { "image" } else { "step" };
        let steps = self.steps.iter().enumerate().map(|(at, s)| (kind(at), s));
        let kinds = self.prepare.iter().map(|s| ("prepare", s)).chain(steps);
        for ((kind, step), live) in kinds.zip(self.live_per_step()) {
            let (operands, results) = (list(&step.operands), list(&step.results));
            let text = format!("{} ({operands}) → {results}  live {}", step.op.kind(), size(live));
            line(f, kind, &step.name, &text)?;
        }
        Ok(())
    }
}
