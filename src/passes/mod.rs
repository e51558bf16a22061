//! Graph rewrites. To come.

/// Which passes run.
#[derive(Clone, Debug, Default)]
pub struct PassOptions {}

/// What the passes did.
#[derive(Clone, Debug, Default)]
pub struct Report {}
