//! To come.
use super::report::Context;
use crate::error::Error;
use crate::graph::Graph;
pub(super) fn run(_: &mut Graph, _: &mut Context<'_>) -> Result<(), Error> {
    Ok(())
}
