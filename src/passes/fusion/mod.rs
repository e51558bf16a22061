//! Fusion. To come.

pub(super) mod chains;
pub(super) mod epilogue;
pub(super) mod pair;
pub(super) mod prologue;
