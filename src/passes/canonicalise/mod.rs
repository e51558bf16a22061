//! Canonical form: operations without effect go, and what can be written in two ways is written in one.
//!
//! Rules are named data; each looks at one node and offers a value that replaces its result. They are
//! tried in sweeps over the graph until none fires. A rule never changes a result by more than the sign
//! of a zero: `x·0` stays, since `x` may be infinite.

use std::collections::HashMap;

use super::constants::number;
use super::report::Context;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Op, Unary};
use crate::types::Shape;

mod algebra;
mod movement;

/// A rewrite of one node.
struct Rule {
    name: &'static str,
    apply: fn(&mut Rewriter<'_>, NodeId) -> Result<Option<Value>, Error>,
}

/// Sweeps after which the pass gives up: rules that undo each other would never end.
const SWEEPS: usize = 16;

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    for _ in 0..SWEEPS {
        if !sweep(graph, context)? {
            break;
        }
    }
    Ok(())
}

fn sweep(graph: &mut Graph, context: &mut Context<'_>) -> Result<bool, Error> {
    let order = graph.topological();
    let mut relu_of = HashMap::new();
    for &id in &order {
        if let (Op::Unary(Unary::Relu), &[x]) = (&graph.node(id).op, graph.node(id).operands.as_slice()) {
            relu_of.entry(x).or_insert(id.result(0));
        }
    }
    let mut rewriter = Rewriter { graph, moved: HashMap::new(), relu_of };
    let mut patch = Patch::new();
    'nodes: for id in order {
        for rule in algebra::RULES.iter().chain(movement::RULES) {
            let Some(value) = (rule.apply)(&mut rewriter, id)? else { continue };
            let old = id.result(0);
            let value = rewriter.resolve(value);
            if value == old || rewriter.graph.ty(value) != rewriter.graph.ty(old) {
                continue;
            }
            if !context.allow() {
                break 'nodes;
            }
            context.done(format!("{}: {}", rewriter.graph.node(id).name, rule.name));
            rewriter.moved.insert(old, value);
            patch.redirect(old, value);
            break;
        }
    }
    let changed = !patch.is_empty();
    patch.apply(graph, context.pass)?;
    if changed {
        // a node that nothing uses any more would match its rule again in the next sweep
        *graph = graph.compact();
    }
    Ok(changed)
}

/// The graph as it will be after the rewrites found so far.
struct Rewriter<'a> {
    graph: &'a mut Graph,
    moved: HashMap<Value, Value>,
    /// A ReLU of a value.
    relu_of: HashMap<Value, Value>,
}

impl Rewriter<'_> {
    fn resolve(&self, mut value: Value) -> Value {
        while let Some(&to) = self.moved.get(&value) {
            value = to;
        }
        value
    }
    /// Operand `index` of a node.
    fn operand(&self, id: NodeId, index: usize) -> Value {
        self.resolve(self.graph.node(id).operands[index])
    }
    fn operands(&self, id: NodeId) -> Vec<Value> {
        self.graph.node(id).operands.iter().map(|&v| self.resolve(v)).collect()
    }
    fn op(&self, id: NodeId) -> &Op {
        &self.graph.node(id).op
    }
    /// The operation that makes a value.
    fn maker(&self, value: Value) -> &Op {
        self.op(value.node)
    }
    fn shape(&self, value: Value) -> &Shape {
        &self.graph.ty(value).shape
    }
    /// The number that all elements of a constant are.
    fn number(&self, value: Value) -> Option<f32> {
        number(self.graph, value)
    }
    /// Adds a node named as `id`.
    fn add(&mut self, id: NodeId, op: Op, operands: &[Value]) -> Result<Value, Error> {
        let name = self.graph.node(id).name.clone();
        self.graph.insert(op, operands, name).map(|new| new.result(0))
    }
}
