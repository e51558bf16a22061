//! From a graph to blocks and edges.
//!
//! ```text
//!   %2 parameter "conv.weight"                      ┌──────────────────────┐
//!   %3 = conv2d(%0, %2) "conv.conv2d"    images ───▶│ conv2d 3×3           │
//!                                                   │ weight [3,3,3,16]    │
//!                                                   └──────────────────────┘
//! ```

use super::kind::Kind;
use super::text::shortened;
use super::{Block, Drawing, Edge, Part};
use crate::export::kernels::{convolution, parts};
use crate::graph::{Graph, Node, Value};
use crate::ops::{Op, Unary};

/// Characters of a line in a block.
const LINE: usize = 40;
/// Lines about operands in a block; a kernel that updates all parameters reads hundreds.
const LINES: usize = 6;

pub(super) fn drawing(graph: &Graph) -> Drawing {
    let mut made = Drawing { title: graph.name().to_string(), blocks: Vec::new(), edges: Vec::new() };
    let mut block_of: Vec<Option<usize>> = vec![None; graph.len()];
    for id in graph.topological() {
        let node = graph.node(id);
        if is_line(node) {
            continue;
        }
        let at = made.blocks.len();
        block_of[id.index()] = Some(at);
        let mut block = block(graph, node);
        for (operand, &value) in node.operands.iter().enumerate() {
            if let Some(from) = block_of[value.node.index()] {
                block.flows |= made.blocks[from].flows;
                let part = part_of(&node.op, operand, block.parts.len());
                made.edges.push(edge(graph, value, from, at, part));
            }
        }
        made.blocks.push(block);
    }
    let outputs = graph.outputs().iter().map(|(name, value)| (format!("output {name}"), *value));
    let updates = graph.updates().iter().map(|&(state, value)| (format!("new {}", graph.node(state).name), value));
    for (title, value) in outputs.chain(updates) {
        let at = made.blocks.len();
        // an output that is a parameter has nowhere to come from
        let Some(from) = block_of[value.node.index()] else { continue };
        let flows = made.blocks[from].flows;
        let (path, lines, parts) = (String::new(), Vec::new(), Vec::new());
        made.blocks.push(Block { title, path, lines, kind: Kind::Border, parts, flows });
        made.edges.push(edge(graph, value, from, at, 0));
    }
    made
}

/// Whether the node is a line in the blocks that read it, not a block.
fn is_line(node: &Node) -> bool {
    node.op.is_state() || matches!(node.op, Op::Constant(_))
}

fn edge(graph: &Graph, value: Value, from: usize, to: usize, part: usize) -> Edge {
    let ty = graph.ty(value);
    let extents = ty.shape.0.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
    let label = if extents.is_empty() { ty.dtype.to_string() } else { format!("{} {extents}", ty.dtype) };
    Edge { from, port: value.port, to, part, label }
}

/// The part of a kernel that reads an operand first.
fn part_of(op: &Op, operand: usize, parts_drawn: usize) -> usize {
    match op {
        Op::Fused(fused) => {
            let reads = parts(fused).iter().position(|part| part.operands.contains(&operand));
            reads.unwrap_or(0).min(parts_drawn.saturating_sub(1))
        }
        _ => 0,
    }
}

fn block(graph: &Graph, node: &Node) -> Block {
    let title = match &node.op {
        Op::Input(_) => format!("input {}", node.name),
        op => title(graph, op, &node.operands),
    };
    let mut block = Block {
        title,
        path: node.name.clone(),
        lines: Vec::new(),
        kind: Kind::of(&node.op),
        parts: Vec::new(),
        flows: matches!(node.op, Op::Input(_)),
    };
    let line = |value: Value| Some(graph.node(value.node)).filter(|n| is_line(n)).map(|n| line(n, &node.name));
    match &node.op {
        Op::Fused(fused) => {
            for part in parts(fused) {
                let reads = part.operands.iter().filter_map(|&at| line(*node.operands.get(at)?));
                let reads: Vec<String> = reads.take(LINES).collect();
                let text = [part.text].into_iter().chain(reads).collect::<Vec<_>>().join("  ");
                let kind = if part.anchor { block.kind } else { Kind::Elementwise };
                block.parts.push(Part { text: shortened(&text, LINE), kind });
            }
        }
        _ => block.lines = node.operands.iter().filter_map(|&v| line(v)).take(LINES).collect(),
    }
    block
}

/// `weight [3,3,16,16]`, `0.00001`: an operand that is no block, without what its name shares with the reader's.
fn line(node: &Node, reader: &str) -> String {
    if let Op::Constant(tensor) = &node.op
        && let Some(&[number]) = tensor.as_f32()
    {
        return number.to_string();
    }
    let scope = |name: &str| name.rsplit_once(['.', '/']).map(|(scope, _)| scope.to_string());
    let own = scope(&node.name).filter(|own| scope(reader).as_ref() == Some(own));
    let name = own.map_or(node.name.as_str(), |own| &node.name[own.len() + 1..]);
    shortened(&format!("{name} {}", node.results[0].shape), LINE)
}

/// The operation with the attributes that one looks for in a picture.
fn title(graph: &Graph, op: &Op, operands: &[Value]) -> String {
    let weight = |at: usize| operands.get(at).map(|&v| graph.ty(v).shape.clone()).unwrap_or_default();
    let window = |size: [usize; 2], stride: [usize; 2]| {
        let of = |pair: [usize; 2]| format!("{}×{}", pair[0], pair[1]);
        let stride = if stride == [1, 1] { String::new() } else { format!(" / {}", of(stride)) };
        format!("{} {}{stride}", op.kind(), of(size))
    };
    match op {
        Op::Conv2d(conv) | Op::Conv2dGradInput(conv, _) => convolution(op.kind(), conv, &weight(1)),
        Op::Conv2dGradWeight(conv, shape) => convolution(op.kind(), conv, shape),
        Op::MaxPool(pool) | Op::AvgPool(pool) => window(pool.size, pool.stride),
        Op::Reduce(reduce) => format!("{} over {:?}", op.kind(), reduce.axes),
        Op::Softmax(axis) | Op::LogSoftmax(axis) | Op::Concat(axis) => format!("{} over [{axis}]", op.kind()),
        Op::Transpose(order) => format!("transpose {order:?}"),
        Op::Unary(Unary::Clamp(low, high)) => format!("clamp {low} … {high}"),
        Op::Cast(to) => format!("cast to {to}"),
        _ => op.kind().to_string(),
    }
}
