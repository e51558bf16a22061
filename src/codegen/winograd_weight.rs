//! The weight in Winograd's domain: `U = G w Gᵀ`, once a run.
//!
//! ```text
//!   [3, 3][k][columns]  ──▶  [(m+2)²][k][columns]     rows of whole panels
//! ```

use super::conv::F;
use super::emit::Emit;
use super::transform::{Cells, Transform};
use super::winograd::{Form, TAPS, weight};
use super::winograd_grid::plane;
use crate::ops::fused::chunks_for;

/// Transforms a packed weight. Arguments: the weight `[9, k, columns]`, the planes `[(m+2)²][k, columns]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WeightTransform {
    pub(super) form: Form,
    /// The products' inner extent: channels that are summed.
    pub(super) k: usize,
    /// A multiple of 16.
    pub(super) columns: usize,
    /// Takes the taps from the last to the first: the data gradient's weight.
    pub(super) rotated: bool,
    pub(super) chunks: usize,
}

impl WeightTransform {
    pub(super) fn new(form: Form, [k, columns]: [usize; 2], rotated: bool) -> WeightTransform {
        // a few thousand numbers are not worth sharing
        let chunks = if k * columns < 2048 { 1 } else { chunks_for(k) };
        WeightTransform { form, k, columns, rotated, chunks }
    }
    /// Bytes from product to product of the result.
    pub(super) fn plane(&self) -> i64 {
        plane(self.k * self.columns)
    }
    /// Numbers of the result.
    pub(super) fn floats(&self) -> usize {
        self.form.products() * self.plane() as usize / 4
    }
    fn transform(&self) -> Transform {
        let tap = (self.k * self.columns) as i64 * F * if self.rotated { -1 } else { 1 };
        let plane = self.plane();
        Transform {
            line: weight(self.form),
            from: Cells { row: TAPS as i64 * tap, column: tap },
            to: Cells { row: self.form.inputs() as i64 * plane, column: plane },
            loops: Vec::new(),
            channels: self.columns,
        }
    }
    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let row = self.columns as i64 * F;
        let (first, count) = e.chunk_range(self.k, self.chunks);
        let (from, to) = (e.argument(0), e.argument(1));
        let last = if self.rotated { (TAPS * TAPS - 1) as i64 * self.k as i64 * row } else { 0 };
        let from = e.offset(from, last);
        let (from, to) = (e.at(from, first, row), e.at(to, first, row));
        e.repeat(count, &[(from, row), (to, row)], &[], |e, at, _| {
            self.transform().emit(e, at[0], at[1]);
            Vec::new()
        });
    }
}
