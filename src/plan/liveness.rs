//! Liveness: which items share a buffer, and from which step to which each buffer is needed.
//!
//! ```text
//!   step        0     1     2     3     4
//!   conv   x ──▶ y
//!   relu         y ──▶ z                    z takes y's place: one buffer, steps 0..=3
//!   conv               z ──▶ w
//!   add                z, w ──▶ out         out takes w's, kept to the end
//! ```
//!
//! Inputs stay for the whole run and beyond: they are written before it, and a second run may use them
//! again. So do constants, and what `prepare` made for the steps. Outputs stay from their making to the end.

use super::memory::{Interval, live_bytes};
use super::tasks::{Origin, Tasks};

/// Buffers and their lifetimes under one order of the tasks.
#[derive(Clone, Debug)]
pub(super) struct Lives {
    /// Size and steps of each buffer.
    pub buffers: Vec<Interval>,
    /// Whether the buffer keeps its value to the end of the run.
    pub kept: Vec<bool>,
    /// The buffer of each item; none for what lives in a state slot.
    pub buffer_of: Vec<Option<usize>>,
}

impl Lives {
    /// The largest sum of bytes live at one step.
    pub fn peak(&self) -> usize {
        live_bytes(&self.buffers)
    }
}

/// Lifetimes when tasks run in `order`.
pub(super) fn analyse(all: &Tasks, order: &[usize]) -> Lives {
    let end = order.len().saturating_sub(1);
    let mut last_use = vec![0; all.items.len()];
    let mut keep: Vec<bool> = all.items.iter().map(|i| i.output).collect();
    for (step, &task) in order.iter().enumerate() {
        for &(item, _) in &all.tasks[task].operands {
            last_use[item] = step;
            if let Origin::Task(maker) = all.items[item].origin {
                keep[item] |= all.tasks[maker].prepare && !all.tasks[task].prepare;
            }
        }
    }
    let mut lives = Lives { buffers: Vec::new(), kept: Vec::new(), buffer_of: vec![None; all.items.len()] };
    for (index, item) in all.items.iter().enumerate() {
        if matches!(item.origin, Origin::Input | Origin::Constant) {
            lives.add(index, Interval { bytes: item.bytes, first: 0, last: end }, true);
        }
    }
    for (step, &task) in order.iter().enumerate() {
        let results = &all.tasks[task].results;
        let mut taken = Vec::new();
        for (port, &(item, _)) in results.iter().enumerate() {
            if all.items[item].slot.is_some() {
                continue;
            }
            let shared = all.tasks[task].operands.iter().find_map(|&(operand, _)| {
                let buffer = lives.buffer_of[operand]?;
                let dies = last_use[operand] == step && !lives.kept[buffer] && !taken.contains(&buffer);
                (dies && all.shares(task, operand, port)).then_some(buffer)
            });
            let last = if keep[item] { end } else { last_use[item].max(step) };
            match shared {
                Some(buffer) => {
                    taken.push(buffer);
                    lives.buffers[buffer].last = last;
                    lives.kept[buffer] = keep[item];
                    lives.buffer_of[item] = Some(buffer);
                }
                None => lives.add(item, Interval { bytes: all.items[item].bytes, first: step, last }, keep[item]),
            }
        }
    }
    lives
}

impl Lives {
    fn add(&mut self, item: usize, interval: Interval, kept: bool) {
        self.buffer_of[item] = Some(self.buffers.len());
        self.buffers.push(interval);
        self.kept.push(kept);
    }
}
