//! Pictures of graphs and of memory, as SVG and as DOT, without other programs.
//!
//! ```text
//!   Graph ─▶ Drawing: boxes, edges ─┬─▶ layers, orders, places ─▶ SVG
//!                                   └─▶ DOT (Graphviz)
//!   Planned ─▶ buffers: steps wide, bytes high ─────────────────▶ SVG
//! ```
//!
//! A box is an operation; what depends on weights only is a line in the box that reads it, and every edge bears the type
//! of its value. A fused kernel is a box around the operations that it was made of.

mod arena;
mod boxes;
mod dot;
mod kind;
mod layout;
mod svg;
mod text;

pub use arena::arena;

use std::collections::{BTreeSet, HashMap};

use crate::error::{Error, nearest};
use crate::graph::Graph;
use crate::passes::{PASSES, PassOptions, optimise_until};
use kind::Kind;

/// One operation inside a fused kernel's box.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    text: String,
    kind: Kind,
}

/// An operation, an input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Block {
    /// What it is.
    title: String,
    /// The node's path.
    path: String,
    /// Parameters and constants that it reads.
    lines: Vec<String>,
    kind: Kind,
    /// The operations of a fused kernel, in order.
    parts: Vec<Part>,
}

/// A value on its way to an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edge {
    from: usize,
    /// Which of the block's results.
    port: u32,
    to: usize,
    /// The part of a fused kernel that reads it.
    part: usize,
    /// The value's type.
    label: String,
}

/// A picture of a graph.
///
/// ```
/// use outrigger::export::picture::Drawing;
/// use outrigger::{DType, Graph};
///
/// let mut g = Graph::new("g");
/// let x = g.input("x", DType::F32, [2, 3])?;
/// let y = g.relu(x)?;
/// g.set_output("y", y)?;
/// let drawing = Drawing::of(&g);
/// assert!(drawing.svg().starts_with("<svg") && drawing.dot().starts_with("digraph"));
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    title: String,
    blocks: Vec<Block>,
    edges: Vec<Edge>,
}

impl Drawing {
    /// The picture of `graph`, portable or at the machine level.
    pub fn of(graph: &Graph) -> Drawing {
        boxes::drawing(graph)
    }
    /// The same under another title.
    pub fn titled(mut self, title: impl Into<String>) -> Drawing {
        self.title = title.into();
        self
    }

    /// Only the operations below the path `scope` (`layer2.0`), with what they read and who reads them as stubs.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when there is no operation below it.
    pub fn scope(&self, scope: &str) -> Result<Drawing, Error> {
        let below = |path: &str| path.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let inside: Vec<bool> = self.blocks.iter().map(|block| below(&block.path)).collect();
        if !inside.contains(&true) {
            let scopes: BTreeSet<&str> = self.blocks.iter().filter_map(|b| Some(b.path.rsplit_once('.')?.0)).collect();
            return Err(Error::UnknownName { what: "scope", name: scope.to_string(), near: nearest(scope, scopes) });
        }
        let stub = |at: &usize, direction: &str| {
            let block = &self.blocks[*at];
            let title = format!("{direction} {}", if block.path.is_empty() { &block.title } else { &block.path });
            let (path, lines, parts) = (String::new(), Vec::new(), Vec::new());
            Block { title, path, lines, kind: Kind::Border, parts }
        };
        let edges = || self.edges.iter().filter(|edge| inside[edge.from] || inside[edge.to]);
        // what is read comes first and who reads last, so that edges lead from smaller to larger numbers
        let read: BTreeSet<usize> = edges().map(|edge| edge.from).filter(|&at| !inside[at]).collect();
        let readers: BTreeSet<usize> = edges().map(|edge| edge.to).filter(|&at| !inside[at]).collect();
        let own: Vec<usize> = (0..self.blocks.len()).filter(|&at| inside[at]).collect();
        let blocks = read.iter().map(|at| stub(at, "from"));
        let blocks = blocks.chain(own.iter().map(|&at| self.blocks[at].clone()));
        let blocks = blocks.chain(readers.iter().map(|at| stub(at, "to"))).collect();
        let from: HashMap<usize, usize> = read.iter().chain(&own).enumerate().map(|(new, &at)| (at, new)).collect();
        let to = own.iter().chain(&readers).enumerate().map(|(new, &at)| (at, new + read.len()));
        let to: HashMap<usize, usize> = to.collect();
        let edges = edges().map(|edge| {
            let part = if inside[edge.to] { edge.part } else { 0 };
            Edge { from: from[&edge.from], to: to[&edge.to], part, ..edge.clone() }
        });
        Ok(Drawing { title: format!("{}: {scope}", self.title), blocks, edges: edges.collect() })
    }

    /// As a DOT text for Graphviz; fused kernels are clusters.
    pub fn dot(&self) -> String {
        dot::write(self)
    }
    /// As an SVG picture on a light ground.
    pub fn svg(&self) -> String {
        svg::write(self)
    }
}

/// The graph before the passes and after each of them, with the pass's name: pictures of how it is fused. Passes that
/// are switched off are left out.
///
/// # Errors
/// Those of the passes.
pub fn stages(graph: &Graph, options: &PassOptions) -> Result<Vec<(&'static str, Graph)>, Error> {
    let mut stages = vec![("before", graph.clone())];
    for pass in PASSES.iter().filter(|pass| pass.mandatory || options.runs(pass.name)) {
        stages.push((pass.name, optimise_until(graph, options, pass.name)?.0));
    }
    Ok(stages)
}
