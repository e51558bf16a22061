//! The table of Keras 3 (`keras.utils.summary_utils`), and its order of layers (`keras.src.ops.function.map_graph`).
//!
//! ```text
//!   output ─ depth 0 ◀─ depth 1 ◀─┬─ depth 2            rows by depth, the deepest first;
//!                                 └─ depth 2 ◀─ depth 3  of equal depth as a walk from the outputs meets them
//! ```

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use super::{Summary, SummaryRow, thousands};
use crate::nn::form::Form;
use crate::nn::network::Network;
use crate::nn::symbol::{Maker, Symbol};

/// A call of a layer, or an input.
struct Node<'n> {
    symbol: &'n Symbol,
    /// The layer.
    operation: usize,
    /// How many calls of the layer come before.
    number: usize,
    operands: Vec<usize>,
}

fn nodes(network: &Network) -> Vec<Node<'_>> {
    let mut nodes: Vec<Node<'_>> = Vec::new();
    let mut place: HashMap<u64, usize> = HashMap::new();
    let mut operations: HashMap<u64, (usize, usize)> = HashMap::new();
    for symbol in network.calls() {
        let identity = match &symbol.0.maker {
            Maker::Layer { definition, .. } => definition.id,
            Maker::Input(_) => symbol.0.order,
            Maker::Module { .. } => continue,
        };
        let next = operations.len();
        let (operation, calls) = operations.entry(identity).or_insert((next, 0));
        let operands = symbol.0.operands.iter().filter_map(|operand| place.get(&operand.source().0.order).copied());
        nodes.push(Node { symbol, operation: *operation, number: *calls, operands: operands.collect() });
        *calls += 1;
        place.insert(symbol.0.order, nodes.len() - 1);
    }
    nodes
}

/// Layers in the order in which a walk from the outputs, operand by operand, first meets them, and calls in the order
/// in which it leaves them.
fn walk(nodes: &[Node<'_>], outputs: &[usize]) -> (HashMap<usize, usize>, Vec<usize>) {
    let (mut met, mut left) = (HashMap::new(), Vec::new());
    let mut known = vec![false; nodes.len()];
    let mut open: Vec<(usize, usize)> = Vec::new();
    for &output in outputs {
        let mut next = Some(output);
        loop {
            if let Some(at) = next.take().filter(|&at| !std::mem::replace(&mut known[at], true)) {
                let count = met.len();
                met.entry(nodes[at].operation).or_insert(count);
                open.push((at, 0));
            }
            let Some((at, operand)) = open.last_mut() else { break };
            match nodes[*at].operands.get(*operand) {
                Some(&inner) => {
                    *operand += 1;
                    next = Some(inner);
                }
                None => {
                    left.push(*at);
                    open.pop();
                }
            }
        }
    }
    (met, left)
}

pub(super) fn rows(network: &Network, parameters: impl Fn(&str) -> usize) -> Vec<SummaryRow> {
    let nodes = nodes(network);
    let outputs: Vec<u64> = network.outputs().iter().map(|output| output.source().0.order).collect();
    let at = |order: &u64| nodes.iter().position(|node| node.symbol.0.order == *order);
    let (met, left) = walk(&nodes, &outputs.iter().filter_map(at).collect::<Vec<_>>());

    // how far a call is from the outputs; a layer is as deep as its deepest call before this one
    let mut depths = vec![0; nodes.len()];
    let mut layers: HashMap<usize, usize> = HashMap::new();
    for &at in left.iter().rev() {
        let layer = layers.entry(nodes[at].operation).or_insert(0);
        *layer = depths[at].max(*layer);
        let depth = *layer;
        nodes[at].operands.iter().for_each(|&operand| depths[operand] = depths[operand].max(depth + 1));
    }
    let mut order: Vec<usize> = layers.keys().copied().collect();
    order.sort_by_key(|operation| (Reverse(layers[operation]), met.get(operation).copied()));

    let mut calls: Vec<Vec<&Node<'_>>> = vec![Vec::new(); layers.len()];
    nodes.iter().for_each(|node| calls[node.operation].push(node));
    let name = |node: &Node<'_>| network.name_of(node.symbol).to_string();
    let mut rows = Vec::with_capacity(order.len());
    for calls in order.iter().map(|&operation| &calls[operation]) {
        let Some(last) = calls.last() else { continue };
        let operands = calls.iter().flat_map(|call| &call.operands).map(|&operand| &nodes[operand]);
        rows.push(SummaryRow {
            name: name(last),
            class: match &last.symbol.0.maker {
                Maker::Layer { definition, .. } => definition.kind.class(Form::Keras).to_string(),
                Maker::Input(_) | Maker::Module { .. } => "InputLayer".to_string(),
            },
            shape: last.symbol.shape().to_vec(),
            parameters: match last.symbol.0.maker {
                Maker::Layer { .. } => parameters(&name(last)),
                Maker::Input(_) | Maker::Module { .. } => 0,
            },
            connected_to: operands.map(|node| format!("{}[{}][0]", name(node), node.number)).collect(),
        });
    }
    rows
}

/// Widths of Keras's columns in a table of 108 characters.
const WIDTHS: [usize; 4] = [30, 25, 16, 24];
const HEADER: [&str; 4] = ["Layer (type)", "Output Shape", "Param #", "Connected to"];

pub(super) fn write(summary: &Summary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let cells: Vec<[String; 4]> = summary.rows.iter().map(cells).collect();
    let mut widths = WIDTHS;
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.split(' ').map(str::len).fold(*width, usize::max);
        }
    }
    let rule = |[left, line, between, right]: [&str; 4]| {
        let parts: Vec<String> = widths.iter().map(|&width| line.repeat(width + 2)).collect();
        format!("{left}{}{right}", parts.join(between))
    };
    writeln!(f, "Model: \"{}\"\n{}", summary.name, rule(["┏", "━", "┳", "┓"]))?;
    write_row(f, &HEADER.map(str::to_string), widths, "┃")?;
    writeln!(f, "{}", rule(["┡", "━", "╇", "┩"]))?;
    for (at, row) in cells.iter().enumerate() {
        if at > 0 {
            writeln!(f, "{}", rule(["├", "─", "┼", "┤"]))?;
        }
        write_row(f, row, widths, "│")?;
    }
    writeln!(f, "{}", rule(["└", "─", "┴", "┘"]))?;
    let [trainable, others] = summary.counts;
    let count = |elements: usize| format!("{} ({})", thousands(elements), memory(4 * elements));
    writeln!(f, " Total params: {}", count(trainable + others))?;
    write!(f, " Trainable params: {}\n Non-trainable params: {}", count(trainable), count(others))
}

fn cells(row: &SummaryRow) -> [String; 4] {
    let extents: Vec<String> = row.shape.iter().map(usize::to_string).collect();
    let shape = format!("(None, {})", extents.join(", "));
    let connected = if row.connected_to.is_empty() { "-".to_string() } else { row.connected_to.join(", ") };
    [format!("{} ({})", row.name, row.class), shape, thousands(row.parameters), connected]
}

/// The cells of a row, each over as many lines as it needs; numbers at the right.
fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String; 4], widths: [usize; 4], bar: &str) -> fmt::Result {
    let lines: [Vec<String>; 4] = std::array::from_fn(|column| wrapped(&cells[column], widths[column]));
    for line in 0..lines.iter().map(Vec::len).max().unwrap_or(0) {
        for (column, (cell, &width)) in lines.iter().zip(&widths).enumerate() {
            let text = cell.get(line).map_or("", String::as_str);
            match column {
                2 => write!(f, "{bar} {text:>width$} ")?,
                _ => write!(f, "{bar} {text:<width$} ")?,
            }
        }
        writeln!(f, "{bar}")?;
    }
    Ok(())
}

/// Lines of at most `width` characters, broken at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => *line += &format!(" {word}"),
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// Bytes as Keras prints them (`readable_memory_size`).
fn memory(bytes: usize) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KB", "MB", "GB", "TB"] {
        if size < 1024.0 {
            return format!("{size:.2} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.2} PB")
}
