//! Convolutions absorb the element-wise operations and channel sums that follow them.
//!
//! ```text
//!  conv ─▶ + bias ─▶ Σ, Σ²                conv [ + bias ▸ store ▸ Σ ▸ Σ² ]
//!                └─▶ (normalise)     ──▶        └─▶ (normalise)
//! ```
//!
//! From the result of each convolution a region grows over users of the same shape whose other operands do
//! not depend on the convolution. What is used outside of it is stored, unless it is cheap to compute
//! again from another stored value: of `b = y + bias; r = relu(b)` with both used elsewhere only `b` is
//! stored.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::report::Context;
use super::super::uses::Uses;
use super::kernel::{Kernel, first_ports};
use super::reach::Reach;
use super::{Fit, MAX_OPERANDS, MAX_STEPS, as_conv, as_map, fit, is_step, shape_of, sums_are_free};
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Op, Output};
use crate::types::Shape;

pub(in crate::passes) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let order = graph.topological();
    let uses = Uses::new(graph);
    let anchors = anchors(graph, &order);
    if anchors.is_empty() {
        return Ok(());
    }
    let mut search = Search { rank: ranks(&order), reach: Reach::new(graph, &order), taken: HashSet::new() };
    let mut regions = Vec::new();
    for anchor in anchors {
        let Some(region) = search.grow(graph, &uses, anchor, context) else { continue };
        if !region.members.is_empty() {
            if !context.allow() {
                break;
            }
            regions.push(region);
        }
    }
    let readable = context.options.runs("prologue");
    let mut patch = Patch::new();
    for region in regions {
        region.emit(graph, &uses, readable, &mut patch, context)?;
    }
    patch.apply(graph, context.pass)
}

fn ranks(order: &[NodeId]) -> Vec<usize> {
    let mut rank = vec![0; order.iter().map(|id| id.index() + 1).max().unwrap_or(0)];
    for (at, id) in order.iter().enumerate() {
        rank[id.index()] = at;
    }
    rank
}

/// Convolutions that have a result program, those with the longest path before them first: where two of
/// them meet in a sum, the later one absorbs it and the earlier one's result is there to be read.
fn anchors(graph: &Graph, order: &[NodeId]) -> Vec<NodeId> {
    let mut depth = vec![0u32; graph.len()];
    let mut anchors = Vec::new();
    for &id in order {
        depth[id.index()] = graph.node(id).operands.iter().map(|v| depth[v.node.index()] + 1).max().unwrap_or(0);
        if as_conv(graph, id).is_some_and(|f| f.has_result()) {
            anchors.push(id);
        }
    }
    anchors.sort_by_key(|id| (std::cmp::Reverse(depth[id.index()]), *id));
    anchors
}

/// Values that readers compute from one stored tensor.
const MAX_COVERED: usize = 16;

/// What the users outside a region need one of its values for.
enum Need {
    /// There are none.
    Inside,
    /// They can compute it themselves.
    Computed,
    /// They read it.
    Stored,
}

/// A convolution and what it absorbs.
struct Region {
    anchor: NodeId,
    shape: Shape,
    /// Absorbed nodes, operands before users.
    members: Vec<NodeId>,
    inside: HashSet<NodeId>,
    /// The anchor's own values in the region.
    raw: Vec<Value>,
}

struct Search {
    rank: Vec<usize>,
    reach: Reach,
    /// Nodes that some region has.
    taken: HashSet<NodeId>,
}

impl Search {
    fn grow(&mut self, graph: &Graph, uses: &Uses, anchor: NodeId, context: &mut Context<'_>) -> Option<Region> {
        let fused = as_conv(graph, anchor)?;
        let first = first_ports(fused)[2];
        let full = |(at, output): (usize, &Output)| output.is_full().then(|| anchor.result(first + at));
        let raw: Vec<Value> = fused.result.outputs.iter().enumerate().filter_map(full).collect();
        let shape = graph.ty(*raw.first()?).shape.clone();
        let mut region = Region { anchor, shape, members: Vec::new(), inside: HashSet::new(), raw };
        let mut steps = fused.result.steps.len();
        let mut operands: HashSet<Value> = graph.node(anchor).operands.iter().copied().collect();
        let mut queue: BTreeSet<(usize, NodeId)> = BTreeSet::new();
        let offer = |queue: &mut BTreeSet<_>, rank: &[usize], value: Value| {
            queue.extend(uses.of(value).map(|u| (rank[u.node.index()], u.node)));
        };
        for &value in &region.raw {
            offer(&mut queue, &self.rank, value);
        }
        // in topological order: what a candidate reads inside the region is there before it
        while let Some((_, candidate)) = queue.pop_first() {
            let Some((size, results)) = candidate_of(graph, &region.shape, candidate) else { continue };
            if self.taken.contains(&candidate) {
                continue;
            }
            let more =
                graph.node(candidate).operands.iter().filter(|v| !region.has(**v) && !operands.contains(v)).count();
            let refused = self.refuse(graph, uses, &region, candidate).err().or_else(|| {
                (steps + size > MAX_STEPS || operands.len() + more > MAX_OPERANDS)
                    .then(|| "the kernel would become too long".to_string())
            });
            if let Some(reason) = refused {
                let (path, into) = (&graph.node(candidate).name, &graph.node(anchor).name);
                context.refused(path, format!("not fused into {into}: {reason}"));
                continue;
            }
            steps += size;
            operands.extend(graph.node(candidate).operands.iter().filter(|v| !region.has(**v)));
            self.taken.insert(candidate);
            self.reach.merge(anchor, candidate);
            region.members.push(candidate);
            region.inside.insert(candidate);
            for value in results {
                offer(&mut queue, &self.rank, value);
            }
        }
        Some(region)
    }

    /// Why `candidate` cannot join.
    fn refuse(&self, graph: &Graph, uses: &Uses, region: &Region, candidate: NodeId) -> Result<(), String> {
        let node = graph.node(candidate);
        for &operand in &node.operands {
            if region.has(operand) {
                continue;
            }
            let of = graph.node(operand.node);
            if fit(graph, operand, &region.shape) == Fit::Stretched {
                return Err(format!(
                    "{} has shape {}; a convolution reads {}, [{}] or a scalar",
                    of.name,
                    graph.ty(operand).shape,
                    region.shape,
                    region.shape.last()
                ));
            }
            if operand.node == region.anchor || self.reach.depends(operand.node, region.anchor) {
                return Err(format!("{} depends on the convolution", of.name));
            }
        }
        match as_map(graph, candidate) {
            Some((map, _)) => sums_are_free(graph, uses, candidate, &map.result.outputs),
            None => Ok(()),
        }
    }
}

/// Steps and full results of a node that could be absorbed into programs over `shape`.
fn candidate_of(graph: &Graph, shape: &Shape, id: NodeId) -> Option<(usize, Vec<Value>)> {
    if is_step(graph, id) {
        return (shape_of(graph, id) == shape).then(|| (3, vec![id.result(0)]));
    }
    let (map, over) = as_map(graph, id)?;
    let full = |(port, output): (usize, &Output)| output.is_full().then(|| id.result(port));
    (over == shape).then(|| (map.result.steps.len(), map.result.outputs.iter().enumerate().filter_map(full).collect()))
}

impl Region {
    fn has(&self, value: Value) -> bool {
        self.inside.contains(&value.node) || self.raw.contains(&value)
    }

    /// Full values of the region, in topological order.
    fn values(&self, graph: &Graph) -> Vec<Value> {
        let mut values = self.raw.clone();
        for &member in &self.members {
            let results = &graph.node(member).results;
            values.extend((0..results.len()).map(|p| member.result(p)).filter(|v| graph.ty(*v).shape == self.shape));
        }
        values
    }

    /// The values to store. What a reader that computes nothing needs, is stored; the other values that are
    /// used outside are covered by as few tensors as possible: each is stored, or a function of one that is.
    fn stored(&self, graph: &Graph, uses: &Uses, readable: bool) -> Vec<Value> {
        let values = self.values(graph);
        let mut stored = Vec::new();
        let mut open = Vec::new();
        for &value in &values {
            match self.need(graph, uses, value, readable) {
                Need::Inside => {}
                Need::Computed => open.push(value),
                Need::Stored => stored.push(value),
            }
        }
        for value in &stored {
            let covered = self.covered(graph, &values, *value);
            open.retain(|v| !covered.contains(v));
        }
        while !open.is_empty() {
            // the latest of those that cover most: alone, each covers itself
            let covers = values.iter().map(|&value| {
                let covered = self.covered(graph, &values, value);
                let count = open.iter().filter(|v| covered.contains(v)).count();
                (count, value, covered)
            });
            let Some((_, value, covered)) = covers.max_by_key(|&(count, ..)| count) else { break };
            open.retain(|v| !covered.contains(v));
            stored.push(value);
        }
        stored
    }

    /// What the users outside the region need `value` for.
    fn need(&self, graph: &Graph, uses: &Uses, value: Value, readable: bool) -> Need {
        if uses.pinned(value) {
            return Need::Stored;
        }
        let mut need = Need::Inside;
        for user in uses.of(value).filter(|u| !self.inside.contains(&u.node)) {
            let step = is_step(graph, user.node) && *shape_of(graph, user.node) == self.shape;
            let map = as_map(graph, user.node).is_some_and(|(_, over)| *over == self.shape);
            let conv = as_conv(graph, user.node).is_some_and(|f| !(user.operand == 0 && f.has_weight()));
            if !(step || map || (readable && conv)) {
                return Need::Stored;
            }
            need = Need::Computed;
        }
        need
    }

    /// The values that a reader can compute from `from`, vectors and numbers alone, in a few steps.
    fn covered(&self, graph: &Graph, values: &[Value], from: Value) -> Vec<Value> {
        let mut covered = vec![from];
        for &value in values.iter().filter(|&&v| v != from && is_step(graph, v.node)) {
            let operands = &graph.node(value.node).operands;
            let known =
                |v: &&Value| covered.contains(v) || (!self.has(**v) && fit(graph, **v, &self.shape) != Fit::Full);
            if covered.len() < MAX_COVERED && operands.iter().all(|v| known(&v)) {
                covered.push(value);
            }
        }
        covered
    }

    /// Adds the fused kernel and redirects what it stores.
    fn emit(
        self,
        graph: &mut Graph,
        uses: &Uses,
        readable: bool,
        patch: &mut Patch,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        let node = graph.node(self.anchor).clone();
        let Op::Fused(old) = &node.op else { return Ok(()) };
        let read = |_: Value, _: &Shape| false;
        let mut kernel = Kernel::open(graph, old, &node.operands, &read)?;
        let mut sums: Vec<(Value, usize)> = Vec::new();
        let mut steps: HashMap<Value, usize> = HashMap::new();
        let [_, _, first, last] = first_ports(old);
        for (at, output) in old.result.outputs.iter().enumerate() {
            let port = self.anchor.result(first + at);
            match *output {
                Output::Full(s) | Output::Bf16(s) => {
                    steps.insert(port, kernel.result_steps[s]);
                    kernel.result.define(port, kernel.result_steps[s]);
                }
                Output::Sums(s) => sums.push((port, kernel.result_steps[s])),
            }
        }
        for &member in &self.members {
            let of = graph.node(member);
            let (result, operands) = (&mut kernel.result, &mut kernel.operands);
            if let Some((map, _)) = as_map(graph, member) {
                let to = result.import(graph, operands, (&map.result, &of.operands), false, &read);
                for (port, output) in map.result.outputs.iter().enumerate() {
                    match *output {
                        Output::Full(s) | Output::Bf16(s) => {
                            steps.insert(member.result(port), to[s]);
                            result.define(member.result(port), to[s]);
                        }
                        Output::Sums(s) => sums.push((member.result(port), to[s])),
                    }
                }
            } else if let Some(step) = result.compute(graph, operands, member.result(0), &read) {
                steps.insert(member.result(0), step);
                result.define(member.result(0), step);
            }
        }
        let mut places: Vec<(Value, usize)> = Vec::new();
        let stored = self.stored(graph, uses, readable);
        for value in &stored {
            if let Some(&step) = steps.get(value) {
                places.push((*value, kernel.result.output(Output::Full(step))));
            }
        }
        let own = sums.iter().filter(|(v, _)| v.node == self.anchor).count();
        for &(value, step) in &sums {
            places.push((value, kernel.result.output(Output::Sums(step))));
        }
        context.done(format!("{}: {}", node.name, self.describe(graph, stored.len(), sums.len() - own)));
        let (fused, operands) = kernel.finish();
        let [_, _, new_first, new_last] = first_ports(&fused);
        let id = graph.insert(Op::Fused(Box::new(fused)), &operands, node.name.clone())?;
        for port in 0..first {
            patch.redirect(self.anchor.result(port), id.result(port));
        }
        for port in last..node.results.len() {
            patch.redirect(self.anchor.result(port), id.result(port - last + new_last));
        }
        let to: HashMap<Value, Value> = places.into_iter().map(|(v, at)| (v, id.result(new_first + at))).collect();
        replace(graph, uses, &to, patch)
    }

    fn describe(&self, graph: &Graph, stored: usize, sums: usize) -> String {
        let mut names: Vec<&str> = self.members.iter().map(|&m| graph.node(m).name.as_str()).collect();
        names.dedup();
        format!("with {}; stores {stored} tensors and {sums} channel sums", names.join(" + "))
    }
}

/// Redirects values to `to`. Partial sums get another number of chunks: the nodes that add them up are made
/// again.
pub(super) fn replace(
    graph: &mut Graph,
    uses: &Uses,
    to: &HashMap<Value, Value>,
    patch: &mut Patch,
) -> Result<(), Error> {
    let mut again: BTreeSet<NodeId> = BTreeSet::new();
    let mut values: Vec<_> = to.iter().map(|(&from, &to)| (from, to)).collect();
    values.sort_unstable();
    for (from, to) in values {
        if graph.ty(from) == graph.ty(to) {
            patch.redirect(from, to);
        } else {
            again.extend(uses.of(from).map(|u| u.node));
        }
    }
    for id in again {
        let node = graph.node(id).clone();
        let operands: Vec<Value> = node.operands.iter().map(|v| to.get(v).copied().unwrap_or(*v)).collect();
        let new = graph.insert(node.op, &operands, node.name)?;
        for port in 0..node.results.len() {
            patch.redirect(id.result(port), new.result(port));
        }
    }
    Ok(())
}
