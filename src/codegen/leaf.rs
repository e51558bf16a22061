//! Leaf functions in machine code that kernels call: each is plain data until it is assembled.

use super::amx;
use super::interleave::{Pairs, Transpose};
use super::strip::Strip;
use super::strip_wide;
use crate::error::Error;

/// A leaf function. Equal leaves are assembled once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leaf {
    Strip(Strip),
    Pairs(Pairs),
    Transpose(Transpose),
    /// Makes the tile registers usable; before the first AMX tile of a kernel.
    ConfigureTiles,
    /// Gives them back; after the last.
    ReleaseTiles,
}

impl Leaf {
    /// Machine code.
    pub(super) fn assemble(&self) -> Result<Vec<u8>, Error> {
        match self {
            Leaf::Strip(strip) => strip_wide::assemble(strip),
            Leaf::Pairs(pairs) => pairs.assemble(),
            Leaf::Transpose(transpose) => transpose.assemble(),
            Leaf::ConfigureTiles => amx::configure(),
            Leaf::ReleaseTiles => amx::release(),
        }
    }
}
