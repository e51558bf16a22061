//! The element-wise operations that no convolution took become kernels of their own.
//!
//! ```text
//!  g ─▶ m' = b·m + (1-b)·g ─┐
//!   └─▶ v' = …·g·g ─────────┴─▶ p' = p - lr·m'/(√v' + ε)      one kernel that reads g, m, v, p once
//! ```
//!
//! Values that are cheap to compute again go into each kernel that reads them ([`super::storage`]); the
//! others are *roots*. Roots over one shape that feed each other or read the same tensors share a
//! kernel, as long as no path leads out of it and back in.

use std::collections::{HashMap, HashSet};

use super::super::report::Context;
use super::super::uses::Uses;
use super::kernel::Builder;
use super::reach::Reach;
use super::storage::{Readiness, Storage};
use super::{Fit, MAX_OPERANDS, MAX_STEPS, as_map, fit, is_step, shape_of};
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::fused::chunks_for;
use crate::ops::{Anchor, Fused, Op, Output};
use crate::types::Shape;

/// Results that one kernel may have.
const MAX_RESULTS: usize = 12;

pub(in crate::passes) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let order = graph.topological();
    let uses = Uses::new(graph);
    let none = HashMap::new();
    let ready = Readiness { convolutions: false, taken: &none };
    let storage = Storage::new(graph, &order, &uses, &ready);
    let roots: Vec<Root> = order.iter().filter_map(|&id| Root::new(graph, &storage, id)).collect();
    let groups = group(graph, &order, roots);
    let mut patch = Patch::new();
    for group in groups {
        if group.is_kernel_already(graph, &storage) {
            continue;
        }
        if !context.allow() {
            break;
        }
        group.emit(graph, &uses, &storage, &mut patch, context)?;
    }
    patch.apply(graph, context.pass)
}

/// A node whose results are stored, or stay inside a kernel.
struct Root {
    id: NodeId,
    shape: Shape,
    /// What it reads after cheap values were replaced by what they read.
    reads: Vec<Value>,
    steps: usize,
    sums: bool,
    stretched: bool,
}

impl Root {
    fn new(graph: &Graph, storage: &Storage, id: NodeId) -> Option<Root> {
        let (shape, steps, sums) = if is_step(graph, id) {
            if storage.recomputes(id.result(0)) {
                return None;
            }
            (shape_of(graph, id), 1, false)
        } else {
            let (map, shape) = as_map(graph, id)?;
            // a map of another cut has partial sums of another size
            if map.chunks != chunks_for(map.items()) {
                return None;
            }
            (shape, map.result.steps.len(), map.result.has_sums())
        };
        let mut root = Root { id, shape: shape.clone(), reads: Vec::new(), steps, sums, stretched: false };
        root.read(graph, storage, id, &mut HashSet::new());
        root.stretched = root.reads.iter().any(|&v| fit(graph, v, &root.shape) == Fit::Stretched);
        Some(root)
    }

    fn read(&mut self, graph: &Graph, storage: &Storage, id: NodeId, seen: &mut HashSet<Value>) {
        for &operand in &graph.node(id).operands {
            if !seen.insert(operand) || matches!(graph.node(operand.node).op, Op::Constant(_)) {
                continue;
            }
            self.steps += 1;
            if storage.recomputes(operand) && graph.ty(operand).shape == self.shape {
                self.read(graph, storage, operand.node, seen);
            } else {
                self.reads.push(operand);
            }
        }
    }
}

/// Roots that become one kernel.
struct Group {
    shape: Shape,
    members: Vec<NodeId>,
    inside: HashSet<NodeId>,
    reads: HashSet<Value>,
    steps: usize,
    results: usize,
    sums: bool,
    stretched: bool,
}

impl Group {
    fn new(shape: Shape) -> Self {
        Group {
            shape,
            members: Vec::new(),
            inside: HashSet::new(),
            reads: HashSet::new(),
            steps: 0,
            results: 0,
            sums: false,
            stretched: false,
        }
    }
    /// Tensors of the kernel's size that the root would not have to read from memory again.
    fn saves(&self, graph: &Graph, root: &Root) -> usize {
        let full = root.reads.iter().filter(|&&v| graph.ty(v).shape == root.shape);
        full.filter(|v| self.inside.contains(&v.node) || self.reads.contains(v)).count()
    }
    fn takes(&self, graph: &Graph, reach: &Reach, root: &Root) -> bool {
        let Some(&first) = self.members.first() else { return true };
        let results = self.results + graph.node(root.id).results.len();
        let reads = self.reads.len() + root.reads.iter().filter(|v| !self.reads.contains(v)).count();
        let fits = self.steps + root.steps <= MAX_STEPS && reads <= MAX_OPERANDS && results <= MAX_RESULTS;
        // the code generator reads stretched operands only where nothing is summed
        let simple = !((self.sums || root.sums) && (self.stretched || root.stretched));
        fits && simple && root.reads.iter().all(|v| self.inside.contains(&v.node) || !reach.depends(v.node, first))
    }
    fn add(&mut self, graph: &Graph, reach: &mut Reach, root: Root) {
        if let Some(&first) = self.members.first() {
            reach.merge(first, root.id);
        }
        self.members.push(root.id);
        self.inside.insert(root.id);
        self.reads.extend(root.reads);
        self.steps += root.steps;
        self.results += graph.node(root.id).results.len();
        self.sums |= root.sums;
        self.stretched |= root.stretched;
    }
}

/// Greedy, in topological order: a root joins the group that saves it most reads, the latest on a tie.
fn group(graph: &Graph, order: &[NodeId], roots: Vec<Root>) -> Vec<Group> {
    let mut reach = Reach::new(graph, order);
    let mut groups: Vec<Group> = Vec::new();
    // groups that make or read a value
    let mut about: HashMap<Value, Vec<usize>> = HashMap::new();
    for root in roots {
        let mut near: Vec<usize> = root.reads.iter().filter_map(|v| about.get(v)).flatten().copied().collect();
        near.sort_unstable();
        near.dedup();
        let best = near
            .into_iter()
            .filter(|&g| groups[g].shape == root.shape)
            .map(|g| (groups[g].saves(graph, &root), g))
            .filter(|&(saves, g)| saves > 0 && groups[g].takes(graph, &reach, &root))
            .max();
        let at = best.map_or(groups.len(), |(_, g)| g);
        if at == groups.len() {
            groups.push(Group::new(root.shape.clone()));
        }
        let results = (0..graph.node(root.id).results.len()).map(|port| root.id.result(port));
        for value in root.reads.iter().copied().filter(|&v| graph.ty(v).shape == root.shape).chain(results) {
            let groups = about.entry(value).or_default();
            if groups.last() != Some(&at) {
                groups.push(at);
            }
        }
        groups[at].add(graph, &mut reach, root);
    }
    groups
}

impl Group {
    /// A lone node that computes nothing besides itself has a kernel as it is.
    fn is_kernel_already(&self, graph: &Graph, storage: &Storage) -> bool {
        let &[only] = self.members.as_slice() else { return false };
        let computed = |v: &&Value| storage.recomputes(**v) && graph.ty(**v).shape == self.shape;
        !graph.node(only).operands.iter().any(|v| computed(&v))
    }

    fn emit(
        self,
        graph: &mut Graph,
        uses: &Uses,
        storage: &Storage,
        patch: &mut Patch,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        let mut builder = Builder::new(self.shape.clone());
        let mut operands = Vec::new();
        let mut places: Vec<(Value, usize)> = Vec::new();
        let expand = |value: Value, shape: &Shape| storage.recomputes(value) && graph.ty(value).shape == *shape;
        for &member in &self.members {
            let node = graph.node(member);
            let results = if let Some((map, _)) = as_map(graph, member) {
                let inputs = (&map.result, node.operands.as_slice());
                let to = builder.import(graph, &mut operands, inputs, false, &expand);
                map.result.outputs.iter().map(|output| output.of(to[output.step()])).collect()
            } else {
                let step = builder.compute(graph, &mut operands, member.result(0), &expand);
                step.map(Output::Full).into_iter().collect::<Vec<_>>()
            };
            for (port, output) in results.into_iter().enumerate() {
                let value = member.result(port);
                if let Output::Full(step) = output {
                    builder.define(value, step);
                    if !self.used_outside(graph, uses, storage, value) {
                        continue;
                    }
                }
                places.push((value, builder.output(output)));
            }
        }
        let steps = builder.len();
        let Some(&last) = self.members.last() else { return Ok(()) };
        let name = graph.node(last).name.clone();
        let mut names: Vec<&str> = self.members.iter().map(|&m| graph.node(m).name.as_str()).collect();
        names.dedup();
        context.done(format!(
            "{name}: {} over {}: {steps} steps, {} operands, {} results",
            names.join(" + "),
            self.shape,
            operands.len(),
            places.len()
        ));
        let fused = Fused { result: builder.finish(), ..Fused::new(Anchor::Map(self.shape)) };
        let id = graph.insert(Op::Fused(Box::new(fused)), &operands, name)?;
        for (value, at) in places {
            patch.redirect(value, id.result(at));
        }
        Ok(())
    }

    /// Whether anyone but the group's own members, and values computed in them, reads `value`.
    fn used_outside(&self, graph: &Graph, uses: &Uses, storage: &Storage, value: Value) -> bool {
        uses.pinned(value)
            || uses.of(value).any(|user| {
                if self.inside.contains(&user.node) {
                    return false;
                }
                let result = user.node.result(0);
                let computed = is_step(graph, user.node)
                    && storage.recomputes(result)
                    && *shape_of(graph, user.node) == self.shape;
                !computed || self.used_outside(graph, uses, storage, result)
            })
    }
}
