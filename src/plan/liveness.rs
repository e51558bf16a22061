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
//!
//! Images of a group run through its steps at different times, so to the arena a group is one moment: what
//! its steps touch there lives from its first step to its last.

use super::groups::Group;
use super::memory::{Interval, live_bytes};
use super::tasks::{Origin, Tasks};

/// Buffers of one memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    /// Size and steps of each buffer.
    pub buffers: Vec<Interval>,
    /// Whether the buffer keeps its value to the end of the run.
    pub kept: Vec<bool>,
}

/// The buffer of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffer {
    /// In the arena.
    Work(usize),
    /// In a worker's memory for one image.
    Image(usize),
}

/// Buffers and their lifetimes under one order of the tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives {
    /// Of the arena.
    pub work: Buffers,
    /// Of a worker's memory for one image.
    pub image: Buffers,
    /// The buffer of each item; none for what lives in a state slot.
    pub buffer_of: Vec<Option<Buffer>>,
}

impl Lives {
    /// The largest sum of bytes live at one step.
    pub fn peak(&self) -> usize {
        live_bytes(&self.work.buffers)
    }

    fn memory(&mut self, buffer: Buffer) -> (&mut Buffers, usize) {
        match buffer {
            Buffer::Work(index) => (&mut self.work, index),
            Buffer::Image(index) => (&mut self.image, index),
        }
    }

    fn add_work(&mut self, item: usize, interval: Interval, kept: bool) {
        self.buffer_of[item] = Some(Buffer::Work(self.work.add(interval, kept)));
    }
}

impl Buffers {
    fn add(&mut self, interval: Interval, kept: bool) -> usize {
        self.buffers.push(interval);
        self.kept.push(kept);
        self.buffers.len() - 1
    }
}

/// Lifetimes when tasks run in `order`, some of it in groups.
pub(super) fn analyse(all: &Tasks, order: &[usize], groups: &[Group]) -> Lives {
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
    let group_of = |step: usize| groups.iter().find(|group| group.steps.contains(&step));
    let mut lives = Lives { buffer_of: vec![None; all.items.len()], ..Lives::default() };
    for (index, item) in all.items.iter().enumerate() {
        if matches!(item.origin, Origin::Input | Origin::Constant) {
            lives.add_work(index, Interval { bytes: item.bytes, first: 0, last: end }, true);
        }
    }
    for (step, &task) in order.iter().enumerate() {
        let group = group_of(step);
        let mut taken = Vec::new();
        for (port, &(item, _)) in all.tasks[task].results.iter().enumerate() {
            if all.items[item].slot.is_some() {
                continue;
            }
            let inside = group.filter(|group| !keep[item] && last_use[item] < group.steps.end);
            let shared = all.tasks[task].operands.iter().find_map(|&(operand, _)| {
                let buffer = lives.buffer_of[operand]?;
                let (memory, index) = lives.memory(buffer);
                let dies = last_use[operand] == step && !memory.kept[index] && !taken.contains(&buffer);
                let fits = matches!(buffer, Buffer::Image(_)) == inside.is_some();
                (dies && fits && all.shares(task, operand, port)).then_some(buffer)
            });
            let last_use = last_use[item].max(step);
            if let Some(buffer) = shared {
                taken.push(buffer);
                let last = if inside.is_some() { last_use } else { last_moment(groups, last_use, keep[item], end) };
                let (memory, index) = lives.memory(buffer);
                memory.buffers[index].last = last;
                memory.kept[index] = keep[item];
                lives.buffer_of[item] = Some(buffer);
            } else if let Some(group) = inside {
                let bytes = all.items[item].bytes / group.images;
                let buffer = lives.image.add(Interval { bytes, first: step, last: last_use }, false);
                lives.buffer_of[item] = Some(Buffer::Image(buffer));
            } else {
                let first = group.map_or(step, |group| group.steps.start);
                let last = last_moment(groups, last_use, keep[item], end);
                lives.add_work(item, Interval { bytes: all.items[item].bytes, first, last }, keep[item]);
            }
        }
    }
    lives
}

/// The last step at which the arena must hold what is used last at `last_use`.
fn last_moment(groups: &[Group], last_use: usize, keep: bool, end: usize) -> usize {
    let group = groups.iter().find(|group| group.steps.contains(&last_use));
    match group {
        _ if keep => end,
        Some(group) => group.steps.end - 1,
        None => last_use,
    }
}
