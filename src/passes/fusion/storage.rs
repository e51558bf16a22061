//! Which element-wise values are kept in memory, and which are computed again by each kernel that needs them.
//!
//! ```text
//!   y (stored) ─▶ ·scale ─▶ + shift ─▶ relu ─┬─▶ next convolution      one full operand: computed by
//!                                            └─▶ weight gradient        each, memory holds y only
//!   dz, y ─▶ a·dz + b·y + c ─▶ backward                                two, one reader: computed by it
//!   y, x  ─▶ y·scale + shift + x ─┬─▶ …                                two, several readers: stored, by
//!                                 └─▶ …                                the first if it is a convolution
//! ```
//!
//! To read two tensors twice costs more than to write one and read it twice; to read one tensor and apply a
//! few steps costs the same as to read the result, and saves writing it (design.md §5: prefer recomputing).

use std::collections::HashMap;
use std::fmt;

use super::super::uses::Uses;
use super::{Fit, MAX_STEPS, as_conv, as_map, fit, is_step, shape_of};
use crate::graph::{Graph, NodeId, Value};

/// Full operands that one reader may have for a value that it computes itself.
const MAX_LEAVES: usize = 6;
/// Steps that are computed again in every one of several readers; a longer expression is stored.
const MAX_REPEATED: usize = 32;

/// What is done with an element-wise value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Every reader computes it.
    Recompute,
    /// It is in memory.
    Store(Why),
}

/// Why a value is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is no element-wise operation on floats.
    NotElementwise,
    /// An output of the graph or the new value of a state.
    Pinned,
    /// A reader that computes nothing on the way.
    Reader(NodeId),
    /// Several readers would each read this many tensors instead of one.
    SeveralReaders(usize),
    /// It reads more tensors than a kernel should.
    ManyOperands(usize),
    /// Its expression has more steps than a program should.
    Long(usize),
    /// It has an operand that only element-wise kernels can stretch.
    Stretched,
}

impl Why {
    /// The reason in words.
    pub(super) fn in_words<'a>(&'a self, graph: &'a Graph) -> impl fmt::Display + 'a {
        Words(self, graph)
    }
}

struct Words<'a>(&'a Why, &'a Graph);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Why::NotElementwise => f.write_str("it is not element-wise"),
            Why::Pinned => f.write_str("its value is an output or an update of the graph"),
            Why::Reader(id) => write!(f, "its value is also used by {}", self.1.node(*id).name),
            Why::SeveralReaders(n) => write!(f, "several kernels use it and would each read {n} tensors for it"),
            Why::ManyOperands(n) => write!(f, "it reads {n} tensors"),
            Why::Long(n) => write!(f, "its expression has {n} steps"),
            Why::Stretched => f.write_str("it has an operand that is neither full, per channel nor a scalar"),
        }
    }
}

/// The decision for every node.
pub(super) struct Storage {
    choices: Vec<Choice>,
    /// Values that are stored for their readers' sake: one that computes it and stores it serves the others.
    for_readers: Vec<bool>,
}

/// Who reads a value in the end, through values that are computed again.
#[derive(Clone, Debug, Default)]
struct Readers {
    /// Up to three of them: only none, one and several matter.
    some: Vec<NodeId>,
    /// One is a convolution or makes sums: it reads nothing that is stretched.
    plain_only: bool,
}

impl Readers {
    fn add(&mut self, id: NodeId) {
        if self.some.len() < 3 && !self.some.contains(&id) {
            self.some.push(id);
        }
    }
    fn include(&mut self, other: &Readers) {
        other.some.iter().for_each(|&id| self.add(id));
        self.plain_only |= other.plain_only;
    }
}

/// What computing a value takes.
#[derive(Clone, Debug, Default)]
struct Cost {
    /// Values of the same shape that are read from memory.
    leaves: Vec<Value>,
    steps: usize,
    stretched: bool,
}

/// What a pass lets kernels compute.
pub(super) struct Readiness<'a> {
    /// Convolutions compute what they read.
    pub(super) convolutions: bool,
    /// Maps that a convolution takes over: they read with it.
    pub(super) taken: &'a HashMap<NodeId, NodeId>,
}

impl Storage {
    /// Decides for all nodes of `graph`, whose topological order is `order`.
    pub(super) fn new(graph: &Graph, order: &[NodeId], uses: &Uses, ready: &Readiness<'_>) -> Self {
        let (readers, forced) = readers(graph, order, uses, ready);
        let mut storage = Storage {
            choices: vec![Choice::Store(Why::NotElementwise); graph.len()],
            for_readers: vec![false; graph.len()],
        };
        let mut costs = vec![Cost::default(); graph.len()];
        for &id in order {
            if !is_step(graph, id) {
                continue;
            }
            let cost = storage.cost(graph, id, &costs);
            let choice = match &forced[id.index()] {
                Some(why) => Choice::Store(why.clone()),
                None => choose(&cost, &readers[id.index()], passes_on(graph, uses, id)),
            };
            storage.for_readers[id.index()] = match &choice {
                Choice::Store(Why::SeveralReaders(_)) => true,
                // as for one reader, a convolution
                Choice::Store(Why::Reader(_)) => {
                    let one = Readers { plain_only: true, ..Readers::default() };
                    choose(&cost, &one, false) == Choice::Recompute
                }
                Choice::Store(_) | Choice::Recompute => false,
            };
            storage.choices[id.index()] = choice;
            costs[id.index()] = cost;
        }
        storage
    }
    /// What is done with the node's value.
    pub(super) fn of(&self, id: NodeId) -> &Choice {
        &self.choices[id.index()]
    }
    /// Whether readers compute the value themselves.
    pub(super) fn recomputes(&self, value: Value) -> bool {
        self.choices[value.node.index()] == Choice::Recompute
    }

    /// Whether a kernel that reads the value may compute it, as long as it stores it for the others.
    pub(super) fn serves_readers(&self, value: Value) -> bool {
        self.for_readers[value.node.index()]
    }

    fn cost(&self, graph: &Graph, id: NodeId, costs: &[Cost]) -> Cost {
        let mut cost = Cost { steps: 1, ..Cost::default() };
        let shape = shape_of(graph, id);
        for &operand in &graph.node(id).operands {
            match fit(graph, operand, shape) {
                Fit::Full if self.recomputes(operand) => {
                    let of = &costs[operand.node.index()];
                    cost.steps += of.steps;
                    cost.stretched |= of.stretched;
                    for leaf in &of.leaves {
                        add(&mut cost.leaves, *leaf);
                    }
                }
                Fit::Full => add(&mut cost.leaves, operand),
                Fit::Small => cost.steps += 1,
                Fit::Stretched => cost.stretched = true,
            }
        }
        cost
    }
}

fn add(leaves: &mut Vec<Value>, leaf: Value) {
    if !leaves.contains(&leaf) {
        leaves.push(leaf);
    }
}

fn choose(cost: &Cost, readers: &Readers, passes_on: bool) -> Choice {
    let several = readers.some.len() > 1;
    let leaves = cost.leaves.len();
    if cost.stretched && readers.plain_only {
        Choice::Store(Why::Stretched)
    } else if cost.steps > if several { MAX_REPEATED } else { MAX_STEPS / 2 } {
        Choice::Store(Why::Long(cost.steps))
    } else if leaves > MAX_LEAVES {
        Choice::Store(Why::ManyOperands(leaves))
    } else if leaves > 1 && several && !passes_on {
        Choice::Store(Why::SeveralReaders(leaves))
    } else {
        Choice::Recompute
    }
}

/// Whether the value is only a step on the way to another one: that one is stored, if any is.
fn passes_on(graph: &Graph, uses: &Uses, id: NodeId) -> bool {
    let mut users = uses.of(id.result(0)).map(|u| u.node);
    match users.next() {
        Some(first) => {
            users.all(|u| u == first) && is_step(graph, first) && shape_of(graph, first) == shape_of(graph, id)
        }
        None => false,
    }
}

/// For each element-wise node who reads it, and why it must be stored whatever it costs.
fn readers(graph: &Graph, order: &[NodeId], uses: &Uses, ready: &Readiness<'_>) -> (Vec<Readers>, Vec<Option<Why>>) {
    let mut all = vec![Readers::default(); graph.len()];
    let mut forced: Vec<Option<Why>> = vec![None; graph.len()];
    for &id in order.iter().rev() {
        if !is_step(graph, id) {
            continue;
        }
        let (value, shape) = (id.result(0), shape_of(graph, id));
        let mut readers = Readers::default();
        let mut why = uses.pinned(value).then_some(Why::Pinned);
        for user in uses.of(value) {
            let node = user.node;
            if is_step(graph, node) && shape_of(graph, node) == shape {
                match forced[node.index()] {
                    Some(_) => readers.add(node),
                    None => readers.include(&all[node.index()]),
                }
            } else if let Some((map, over)) = as_map(graph, node)
                && over == shape
            {
                readers.add(ready.taken.get(&node).copied().unwrap_or(node));
                readers.plain_only |= map.result.has_sums();
            } else if let Some(conv) = as_conv(graph, node)
                && ready.convolutions
                && shape.rank() == 4
                && !(user.operand == 0 && conv.has_weight())
            {
                readers.add(node);
                readers.plain_only = true;
            } else {
                why = why.or(Some(Why::Reader(node)));
            }
        }
        all[id.index()] = readers;
        forced[id.index()] = why;
    }
    (all, forced)
}
