//! The order of the tasks: topological, deterministic, small in memory, near in reuse.
//!
//! ```text
//!   ready: {relu₁, grad_w₃, grad_x₃}  ──best key──▶  grad_w₃   (frees an activation, its operand was
//!                                                               made last)   ──▶ new ready tasks …
//! ```
//!
//! List scheduling: of the tasks whose operands exist, take the best under a key, again and again. No key
//! is best for every graph, so a few orders are made. Those within [`SLACK`] of the smallest live set are
//! compared by how far values travel between uses, which decides whether they are still in the cache.
//!
//! A task that takes memory and frees none is never too late: it then moves down to its first user.

use std::cmp::Reverse;

use super::liveness;
use super::tasks::{Origin, Tasks};

/// What a ready task is chosen by; ties go to the lower number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// The graph's own topological order.
    Given,
    /// Bytes freed less bytes taken, then the most recent operand.
    Freeing,
    /// The most recent operand (depth first), then bytes freed less bytes taken.
    Recent,
    /// Tasks that take no memory, then the most recent operand.
    RecentUnlessFreeing,
}

const KEYS: [Key; 4] = [Key::Freeing, Key::RecentUnlessFreeing, Key::Recent, Key::Given];

/// An order may need this many percent more than the smallest live set if its reuse is nearer.
const SLACK: usize = 2;

/// Task numbers in the order to run them, those of `prepare` first. Tasks on a cycle are left out; there
/// are none, since orderings that would close one are not added.
pub(super) fn schedule(all: &Tasks) -> Vec<usize> {
    let mut orders: Vec<(usize, u128, Vec<usize>)> = Vec::new();
    for key in KEYS {
        let order = sink(all, list(all, key));
        if orders.iter().all(|(_, _, other)| *other != order) {
            orders.push((liveness::analyse(all, &order, &[]).peak(), travel(all, &order), order));
        }
    }
    let smallest = orders.iter().map(|o| o.0).min().unwrap_or(0);
    let near = orders.into_iter().filter(|o| o.0 * 100 <= smallest * (100 + SLACK));
    near.min_by_key(|o| (o.1, o.0)).map(|o| o.2).unwrap_or_default()
}

fn list(all: &Tasks, key: Key) -> Vec<usize> {
    let mut waits: Vec<usize> = all.tasks.iter().map(|t| t.after.len()).collect();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); all.tasks.len()];
    let mut uses = vec![0usize; all.items.len()];
    // operands once each, so that a task that reads an item twice frees it once
    let mut reads: Vec<Vec<usize>> = Vec::with_capacity(all.tasks.len());
    for (index, task) in all.tasks.iter().enumerate() {
        for &earlier in &task.after {
            before[earlier].push(index);
        }
        let mut items: Vec<usize> = task.operands.iter().map(|o| o.0).collect();
        items.sort_unstable();
        items.dedup();
        for &item in &items {
            uses[item] += 1;
        }
        reads.push(items);
    }
    for (uses, item) in uses.iter_mut().zip(&all.items) {
        // outputs are never freed
        *uses += usize::from(item.output);
    }
    let takes = |t: usize| -> i64 {
        let results = all.tasks[t].results.iter().filter(|r| all.items[r.0].slot.is_none());
        results.map(|r| all.items[r.0].bytes as i64).sum()
    };
    let takes: Vec<i64> = (0..all.tasks.len()).map(takes).collect();
    let mut touched = vec![0usize; all.items.len()];
    let mut ready: Vec<usize> = (0..all.tasks.len()).filter(|&t| waits[t] == 0).collect();
    let mut order = Vec::with_capacity(all.tasks.len());
    let made = |item: usize| matches!(all.items[item].origin, Origin::Task(_)) && all.items[item].slot.is_none();
    loop {
        let best = (0..ready.len()).max_by_key(|&at| {
            let t = ready[at];
            let operands = || reads[t].iter().filter(|&&i| made(i));
            let freed: i64 = operands().filter(|&&i| uses[i] == 1).map(|&i| all.items[i].bytes as i64).sum();
            let net = freed - takes[t];
            let recent = operands().map(|&i| touched[i] as i64).max().unwrap_or(-1);
            let keys = match key {
                Key::Given => (0, 0, 0),
                Key::Freeing => (0, net, recent),
                Key::Recent => (0, recent, net),
                Key::RecentUnlessFreeing => (i64::from(net >= 0), recent, net),
            };
            (all.tasks[t].prepare, keys, Reverse(t))
        });
        let Some(at) = best else { break };
        let task = ready.swap_remove(at);
        order.push(task);
        for &item in &reads[task] {
            uses[item] -= 1;
            touched[item] = order.len();
        }
        for &(item, _) in &all.tasks[task].results {
            touched[item] = order.len();
        }
        for &next in &before[task] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.push(next);
            }
        }
    }
    order
}

/// Moves tasks that free no operand (they read state and constants, or values that others read later) down
/// to their first user, so that their results live no longer than they must and are read while in the cache.
fn sink(all: &Tasks, mut order: Vec<usize>) -> Vec<usize> {
    let mut position = vec![0usize; all.tasks.len()];
    order.iter().enumerate().for_each(|(at, &task)| position[task] = at);
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); all.tasks.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); all.items.len()];
    for (index, task) in all.tasks.iter().enumerate() {
        task.after.iter().for_each(|&earlier| next[earlier].push(index));
        task.operands.iter().for_each(|&(item, _)| readers[item].push(index));
    }
    // from the end, so that users have found their places
    for at in (0..order.len()).rev() {
        let task = order[at];
        let takes = all.tasks[task].results.iter().any(|r| all.items[r.0].slot.is_none());
        if !takes || all.tasks[task].prepare {
            continue;
        }
        // an operand that is freed must have another reader below, which frees it then
        let frees = |item: usize| {
            let item = &all.items[item];
            matches!(item.origin, Origin::Task(_)) && item.slot.is_none() && !item.output
        };
        let operands = all.tasks[task].operands.iter().map(|o| o.0).filter(|&item| frees(item));
        let below = |item: usize| readers[item].iter().filter(|&&r| r != task).map(|&r| position[r]).max().unwrap_or(0);
        let user = next[task].iter().map(|&t| position[t]).min().unwrap_or(0);
        let limit = operands.map(below).fold(user, usize::min);
        if limit > at + 1 {
            order[at..limit].rotate_left(1);
            (at..limit).for_each(|p| position[order[p]] = p);
        }
    }
    order
}

/// Σ over reads of the value's bytes times the bytes touched since it was last written or read: a measure
/// of cache misses that needs no cache size.
fn travel(all: &Tasks, order: &[usize]) -> u128 {
    let mut touched_at: Vec<Option<u128>> = vec![None; all.items.len()];
    let mut touched: u128 = 0;
    let mut sum: u128 = 0;
    for &task in order {
        let task = &all.tasks[task];
        for &(item, _) in &task.operands {
            let bytes = all.items[item].bytes as u128;
            if let Some(at) = touched_at[item] {
                sum += bytes * (touched - at);
            }
        }
        for &(item, _) in task.operands.iter().chain(&task.results) {
            touched += all.items[item].bytes as u128;
        }
        for &(item, _) in task.operands.iter().chain(&task.results) {
            touched_at[item] = Some(touched);
        }
    }
    sum
}
