//! Graph rewrites. To come.

/// Which passes run.
#[derive(Clone, Debug, Default)]
pub struct PassOptions {}

/// What the passes did.
#[derive(Clone, Debug, Default)]
pub struct Report {}
mod lower;
/// stub
pub fn optimise(graph: &crate::Graph, _o: &PassOptions) -> Result<(crate::Graph, Report), crate::Error> {
    let mut g = graph.compact();
    lower::lower(&mut g)?;
    g.verify()?;
    Ok((g.compact(), Report {}))
}
