//! What the benches of single kernels share: numbers, and a session on one thread.

use std::sync::Arc;

use outrigger::{Error, Graph, Options, Session, Store, Team, compile};

/// Numbers in [-1, 1) without a pattern that a kernel could profit from.
pub fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 12.9898).sin()).collect()
}

/// A session on one thread with every input set to [`numbers`].
pub fn session(graph: &Graph) -> Result<Session, Error> {
    session_with(graph, &Options::default())
}

/// The same, compiled with `options`.
pub fn session_with(graph: &Graph, options: &Options) -> Result<Session, Error> {
    let team = Arc::new(Team::new(1)?);
    let program = compile(graph, options)?;
    let mut session = program.session(&Store::new(graph, 0)?, &team)?;
    for id in graph.inputs() {
        if let Some(node) = graph.get(id) {
            session.set_f32(&node.name, &numbers(node.results[0].shape.elements()))?;
        }
    }
    Ok(session)
}
