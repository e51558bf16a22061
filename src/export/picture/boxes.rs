//! From a graph to blocks and edges. What depends on weights only is a line in the block that reads it.
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
use crate::types::TensorType;

/// Characters of a line in a block.
const LINE: usize = 52;
/// Lines about operands in a block; a kernel that updates all parameters reads hundreds.
const LINES: usize = 6;

pub(super) fn drawing(graph: &Graph) -> Drawing {
    let mut made = Drawing { title: graph.name().to_string(), blocks: Vec::new(), edges: Vec::new() };
    let mut block_of: Vec<Option<usize>> = vec![None; graph.len()];
    for id in graph.topological() {
        let node = graph.node(id);
        let changes = matches!(node.op, Op::Input(_) | Op::Random(_));
        if !changes && node.operands.iter().all(|v| block_of[v.node.index()].is_none()) {
            continue;
        }
        let at = made.blocks.len();
        block_of[id.index()] = Some(at);
        let block = block(graph, node, &|value| block_of[value.node.index()].is_none());
        for (operand, &value) in node.operands.iter().enumerate() {
            if let Some(from) = block_of[value.node.index()] {
                let readers = readers(&node.op, operand);
                made.edges.extend(readers.into_iter().map(|part| edge(graph, value, from, at, part)));
            }
        }
        made.blocks.push(block);
    }
    let outputs = graph.outputs().iter().map(|(name, value)| (format!("output {name}"), *value));
    let updates = graph.updates().iter().map(|&(state, value)| (format!("new {}", graph.node(state).name), value));
    for (title, value) in outputs.chain(updates) {
        let at = made.blocks.len();
        // an output that depends on no input has nowhere to come from
        let Some(from) = block_of[value.node.index()] else { continue };
        let (path, lines, parts) = (String::new(), Vec::new(), Vec::new());
        made.blocks.push(Block { title, path, lines, kind: Kind::Border, parts });
        made.edges.push(edge(graph, value, from, at, 0));
    }
    made
}

fn edge(graph: &Graph, value: Value, from: usize, to: usize, part: usize) -> Edge {
    let ty = graph.ty(value);
    let extents = ty.shape.0.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
    let label = if extents.is_empty() { ty.dtype.to_string() } else { format!("{} {extents}", ty.dtype) };
    Edge { from, port: value.port, to, part, label }
}

/// The parts of a kernel that read an operand: the first of all, and the first behind the anchor, since a residual block's
/// input may be both what is convolved and what is added.
fn readers(op: &Op, operand: usize) -> Vec<usize> {
    let Op::Fused(fused) = op else { return vec![0] };
    let parts = parts(fused);
    let anchor = parts.iter().position(|part| part.anchor).unwrap_or(parts.len());
    let mut reads = (0..parts.len()).filter(|&at| parts[at].operands.contains(&operand));
    let first = reads.next();
    let behind = reads.find(|&at| at > anchor).filter(|_| first.is_some_and(|first| first <= anchor));
    [Some(first.unwrap_or(0)), behind].into_iter().flatten().collect()
}

/// The block of a node; `is_line` tells operands that have none of their own.
fn block(graph: &Graph, node: &Node, is_line: &dyn Fn(Value) -> bool) -> Block {
    let title = match &node.op {
        Op::Input(_) => format!("input {}", node.name),
        op => title(graph, op, &node.operands),
    };
    let mut block =
        Block { title, path: node.name.clone(), lines: Vec::new(), kind: Kind::of(&node.op), parts: Vec::new() };
    let line = |value: Value| is_line(value).then(|| line(graph.node(value.node), graph.ty(value), &node.name));
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

/// `weight [3,3,16,16]`, `0.00001`: an operand that is no block, without the scope that its name shares with the reader's.
fn line(node: &Node, ty: &TensorType, reader: &str) -> String {
    if let Op::Constant(tensor) = &node.op
        && let Some(&[number]) = tensor.as_f32()
    {
        return number.to_string();
    }
    let scope = |name: &str| name.rsplit_once(['.', '/']).map(|(scope, _)| scope.to_string());
    let (own, of_reader) = (scope(&node.name), scope(reader));
    let name = match own {
        Some(own) if of_reader.as_ref() == Some(&own) || !node.op.is_source() => &node.name[own.len() + 1..],
        _ => node.name.as_str(),
    };
    let how = if node.op.is_source() { "" } else { ", computed once" };
    shortened(&format!("{name} {}{how}", ty.shape), LINE)
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
