//! The verifier: a list of invariants; it collects every violation.

use super::Graph;
use crate::error::Error;

impl Graph {
    /// Checks every invariant.
    ///
    /// # Errors
    /// [`Error::Invalid`] with one line a violation.
    pub fn verify(&self) -> Result<(), Error> {
        let mut violations = Vec::new();
        if self.topological().len() != self.len() {
            violations.push("nodes form a cycle".to_string());
        }
        for id in self.nodes() {
            let node = self.node(id);
            match self.infer(&node.op, &node.operands, &node.name) {
                Ok(results) if results == node.results => {}
                Ok(_) => violations.push(format!("{id} ({}) has wrong result types", node.name)),
                Err(error) => violations.push(format!("{id}: {error}")),
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(Error::Invalid { after: None, violations }) }
    }
}
