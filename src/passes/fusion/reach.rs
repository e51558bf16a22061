//! Which node depends on which, kept exact while nodes are merged into kernels.
//!
//! One bit for each pair: a graph of a thousand nodes takes 125 KB, and a merge is one sweep over the
//! rows.

use crate::graph::{Graph, NodeId};

/// The transitive closure of a graph whose nodes can be merged.
pub(super) struct Reach {
    words: usize,
    /// Row `i`: the nodes that depend on node `i`.
    rows: Vec<u64>,
    /// The node that stands for a merged group.
    leader: Vec<u32>,
}

impl Reach {
    /// The closure of `graph`, whose topological order is `order`.
    pub(super) fn new(graph: &Graph, order: &[NodeId]) -> Self {
        let count = graph.len();
        let words = count.div_ceil(64);
        let mut reach = Reach { words, rows: vec![0; count * words], leader: (0..count as u32).collect() };
        for &id in order.iter().rev() {
            // all users of `id` are done: hand its row to its operands
            let row = reach.row(id.index()).to_vec();
            for operand in &graph.node(id).operands {
                let at = operand.node.index();
                reach.unite(at, &row);
                reach.set(at, id.index());
            }
        }
        reach
    }

    /// Whether `to` depends on `from`, through any number of nodes. A group depends on itself no more than
    /// a node does.
    pub(super) fn depends(&self, to: NodeId, from: NodeId) -> bool {
        let (from, to) = (self.lead(from), self.lead(to));
        from != to && self.get(from, to)
    }

    /// Whether both are in one group.
    pub(super) fn together(&self, a: NodeId, b: NodeId) -> bool {
        self.lead(a) == self.lead(b)
    }

    /// Makes one kernel of the groups of `a` and `b`. No path may lead from one to the other through a
    /// third node.
    pub(super) fn merge(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = (self.lead(a), self.lead(b));
        if a == b {
            return;
        }
        for leader in &mut self.leader {
            if *leader == b as u32 {
                *leader = a as u32;
            }
        }
        let other = self.row(b).to_vec();
        self.unite(a, &other);
        self.clear(a, a);
        self.clear(a, b);
        let union = self.row(a).to_vec();
        for row in 0..self.leader.len() {
            if row != a && (self.get(row, a) || self.get(row, b)) {
                self.unite(row, &union);
                self.set(row, a);
            }
        }
    }

    fn lead(&self, id: NodeId) -> usize {
        self.leader[id.index()] as usize
    }
    fn row(&self, row: usize) -> &[u64] {
        &self.rows[row * self.words..(row + 1) * self.words]
    }
    fn unite(&mut self, row: usize, with: &[u64]) {
        for (bits, more) in self.rows[row * self.words..].iter_mut().zip(with) {
            *bits |= more;
        }
    }
    fn get(&self, row: usize, bit: usize) -> bool {
        self.rows[row * self.words + bit / 64] >> (bit % 64) & 1 == 1
    }
    fn set(&mut self, row: usize, bit: usize) {
        self.rows[row * self.words + bit / 64] |= 1 << (bit % 64);
    }
    fn clear(&mut self, row: usize, bit: usize) {
        self.rows[row * self.words + bit / 64] &= !(1 << (bit % 64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::types::DType;

    #[test]
    fn merging_makes_each_depend_on_what_the_other_needs() -> Result<(), Error> {
        let mut g = Graph::new("two lines");
        let x = g.input("x", DType::F32, [4])?;
        let y = g.input("y", DType::F32, [4])?;
        let (a, c) = (g.exp(x)?, g.exp(y)?);
        let (b, d) = (g.neg(a)?, g.neg(c)?);
        let mut reach = Reach::new(&g, &g.topological());
        assert!(reach.depends(b.node, x.node) && !reach.depends(d.node, x.node));
        // one kernel for a and d: now a needs y, and what needs a needs c
        reach.merge(a.node, d.node);
        assert!(reach.depends(a.node, y.node) && reach.depends(b.node, c.node));
        assert!(!reach.depends(c.node, a.node) && !reach.depends(a.node, d.node));
        // b and c cannot be one kernel any more: c → {a, d} → b
        assert!(reach.depends(b.node, c.node));
        Ok(())
    }
}
