//! Graph rewrites. To come.

/// Which passes run.
#[derive(Clone, Debug, Default)]
pub struct PassOptions {}

/// What the passes did.
#[derive(Clone, Debug, Default)]
pub struct Report {}
/// stub
pub fn optimise(graph: &crate::Graph, _o: &PassOptions) -> Result<(crate::Graph, Report), crate::Error> { Ok((graph.compact(), Report{})) }
