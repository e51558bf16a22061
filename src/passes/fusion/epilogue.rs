//! To come.
use super::super::report::Context;
use crate::error::Error;
use crate::graph::Graph;
pub(in crate::passes) fn run(_: &mut Graph, _: &mut Context<'_>) -> Result<(), Error> {
    Ok(())
}
