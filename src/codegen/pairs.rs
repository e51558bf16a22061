//! Convolutions whose tiles multiply pairs of bf16 (`vdpbf16ps`, AMX): what differs from f32.
//!
//! ```text
//!   A: a run of the block, bf16      x0 x1 │ x2 x3 │ … │ x46 x47 │ next pixel …      a pair is one element of a tile
//!   B: packed weight, pairs of rows  w0 w1 │ w2 w3 │ … │ w46 w47 │ 0 0 …             of each column
//! ```
//!
//! A run is cut into whole steps of the instruction (32 numbers for AMX): what A has behind the run meets zeros in B. Blocks
//! have zeroed memory behind them, so that these products are zero too.

use super::amx;
use super::conv::{Geometry, padded};
use super::emit::Emit;
use super::isa::Isa;
use super::leaf::Leaf;
use super::nest::Nest;
use super::nest_ops;
use super::tile::Loop;

/// Bytes of a pair, in A and in each column of B.
pub(super) const PAIR: i64 = 4;
/// Bytes of a bf16.
pub(super) const HALF: i64 = 2;

/// Numbers of a run that one step multiplies.
pub(super) fn step(isa: Isa) -> usize {
    if isa == Isa::Amx { 2 * amx::PAIRS } else { 2 }
}

/// Rows that a tile writes for `rows` rows of C.
pub(super) fn written(isa: Isa, rows: usize) -> usize {
    if isa == Isa::Amx { rows.next_multiple_of(amx::ROWS) } else { rows }
}

/// Runs of numbers that lie side by side in A, over two axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Runs {
    /// How many, and bytes from one to the next in A.
    pub(super) y: (usize, i64),
    pub(super) x: (usize, i64),
    /// Numbers of a run.
    pub(super) k: usize,
    /// Columns of B, whole panels.
    pub(super) columns: usize,
}

impl Runs {
    /// Pairs of a run in whole steps.
    pub(super) fn pairs(&self, isa: Isa) -> usize {
        self.k.next_multiple_of(step(isa)) / 2
    }
    /// Bytes of B.
    pub(super) fn bytes(&self, isa: Isa) -> i64 {
        (self.y.0 * self.x.0 * self.pairs(isa) * self.columns) as i64 * PAIR
    }
    /// The loops of a tile.
    pub(super) fn loops(&self, isa: Isa) -> Vec<Loop> {
        let (pairs, b) = (self.pairs(isa), self.columns as i64 * PAIR);
        let run = pairs as i64 * b;
        vec![
            Loop { count: self.y.0, a: self.y.1, b: self.x.0 as i64 * run },
            Loop { count: self.x.0, a: self.x.1, b: run },
            Loop { count: pairs, a: PAIR, b },
        ]
    }
}

impl Geometry {
    /// The runs of a forward convolution: all taps of a row, or single taps where columns are dilated.
    pub(super) fn runs(&self) -> Runs {
        let pixel = self.ci as i64 * HALF;
        let row = self.block()[1] as i64 * pixel;
        let [dilation_y, dilation_x] = self.conv.dilation.map(|d| d as i64);
        let (x, k) = if dilation_x == 1 { (1, self.kernel[1] * self.ci) } else { (self.kernel[1], self.ci) };
        Runs { y: (self.kernel[0], dilation_y * row), x: (x, dilation_x * pixel), k, columns: padded(self.co) }
    }
    /// Numbers of slack behind a block that tiles read up to `pixels` pixels of `channels` behind, and a step.
    pub(super) fn slack(pixels: usize, channels: usize) -> usize {
        pixels.saturating_mul(channels).saturating_add(4 * 2 * amx::PAIRS)
    }
    /// Packs the weight for [`Geometry::runs`].
    pub(super) fn pack_pairs(&self, isa: Isa) -> Nest {
        let runs = self.runs();
        nest_ops::pack_pairs(runs.y.0 * runs.x.0, runs.k, self.co, [runs.pairs(isa), runs.columns])
    }
}

/// Makes AMX usable in the kernel, where `isa` is AMX.
pub(super) fn begin(e: &mut Emit<'_>, isa: Isa) {
    if isa == Isa::Amx {
        e.call_leaf(Leaf::ConfigureTiles, &[]);
    }
}
/// Undoes [`begin`].
pub(super) fn end(e: &mut Emit<'_>, isa: Isa) {
    if isa == Isa::Amx {
        e.call_leaf(Leaf::ReleaseTiles, &[]);
    }
}
