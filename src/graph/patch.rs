//! Checked rewrites: new nodes, and redirects of uses from old values to new ones.

use petgraph::graph::NodeIndex;

use super::{Graph, Value};
use crate::error::Error;

/// Redirects gathered by a pass. New nodes are added to the graph as the pass goes (nothing uses them
/// until the patch is applied), then [`Patch::apply`] moves all uses at once.
#[derive(Debug, Default)]
pub struct Patch {
    redirects: Vec<(Value, Value)>,
}

impl Patch {
    /// An empty patch.
    pub fn new() -> Self {
        Patch::default()
    }
    /// Every use of `from` (operands, outputs, updates' new values) becomes a use of `to`.
    pub fn redirect(&mut self, from: Value, to: Value) {
        self.redirects.push((from, to));
    }
    /// Number of redirects.
    pub fn len(&self) -> usize {
        self.redirects.len()
    }
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.redirects.is_empty()
    }

    /// Applies all redirects; chains (`a→b`, `b→c`) are followed. The nodes left without uses stay
    /// until [`Graph::compact`].
    ///
    /// # Errors
    /// [`Error::Patch`] when a redirect would change a type, names an unknown value, or goes round in
    /// a circle; the graph is unchanged then.
    pub fn apply(self, graph: &mut Graph, pass: &str) -> Result<(), Error> {
        let refuse = |reason: String| Error::Patch { pass: pass.to_string(), reason };
        let mut target = std::collections::HashMap::new();
        for &(from, to) in &self.redirects {
            let (Some(a), Some(b)) = (graph.value_type(from), graph.value_type(to)) else {
                return Err(refuse(format!("redirect of {from} to {to} names a value that does not exist")));
            };
            if a != b {
                return Err(refuse(format!("redirect of {from} ({a}) to {to} ({b}) would change its type")));
            }
            if target.insert(from, to).is_some() {
                return Err(refuse(format!("{from} is redirected twice")));
            }
        }
        let mut resolved = std::collections::HashMap::new();
        for &from in target.keys() {
            let mut to = target[&from];
            for _ in 0..=target.len() {
                match target.get(&to) {
                    Some(&next) => to = next,
                    None => break,
                }
            }
            if target.contains_key(&to) {
                return Err(refuse(format!("the redirects of {from} go round in a circle")));
            }
            resolved.insert(from, to);
        }
        graph.redirect(&resolved);
        Ok(())
    }
}

impl Graph {
    fn redirect(&mut self, to: &std::collections::HashMap<Value, Value>) {
        let moved = |v: Value| to.get(&v).copied().unwrap_or(v);
        for index in 0..self.len() {
            let node = NodeIndex::new(index);
            for at in 0..self.inner[node].operands.len() {
                let old = self.inner[node].operands[at];
                let new = moved(old);
                if new == old {
                    continue;
                }
                self.inner[node].operands[at] = new;
                if let Some(edge) = self.inner.find_edge(NodeIndex::new(old.node.index()), node) {
                    self.inner.remove_edge(edge);
                }
                self.inner.add_edge(NodeIndex::new(new.node.index()), node, ());
            }
        }
        for (_, value) in &mut self.outputs {
            *value = moved(*value);
        }
        for (_, value) in &mut self.updates {
            *value = moved(*value);
        }
    }
}
