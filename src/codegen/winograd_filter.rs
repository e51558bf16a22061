//! The weight gradient in Winograd's domain.
//!
//! ```text
//!   x block  ──Bᵀ·B──▶ V [(m+2)²][tiles][ci] ─┐
//!                                             ├─ Vᵀ·W added to the chunk's sums [(m+2)²][ci][co]
//!   dy block ──A·Aᵀ──▶ W [(m+2)²][tiles][co] ─┘                  └─ at the chunk's end ──Gᵀ·G──▶ [3, 3, ci, co]
//! ```

use cranelift_codegen::ir::Value;

use super::conv::{F, PANEL, Scratch, padded};
use super::emit::{Count, Emit};
use super::region::{Access, Extent, Region, Sink, Source};
use super::tile::{Calls, Tile};
use super::transform::{Cells, Transform};
use super::winograd::{TAPS, gradient, input, weight_gradient};
use super::winograd_grid::{Batch, Grid, Operand, Spectrum, plane};
use crate::ops::Program;

/// The weight gradient of the images of a chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Filter {
    pub(super) grid: Grid,
    /// Channels of x and of dy.
    channels: [usize; 2],
    /// Bytes of a row of the blocks of x and dy.
    rows: [i64; 2],
    pub(super) v: Spectrum,
    pub(super) w: Spectrum,
    /// Offset of the sums in scratch.
    sums: i64,
    /// Whether a chunk's sums are those of one batch of products.
    once: bool,
    /// Offset of the weight gradient with rows of whole panels, where channels are ragged.
    ragged: Option<i64>,
}

impl Filter {
    /// Takes its memory from `scratch`; the blocks of x and dy have rows of `rows` bytes; a chunk has `images`,
    /// if all have the same.
    pub(super) fn new(
        grid: Grid,
        channels: [usize; 2],
        rows: [i64; 2],
        images: Option<usize>,
        scratch: &mut Scratch,
    ) -> Filter {
        let [ci, co] = channels;
        let (v, w) = (grid.spectrum(scratch, ci), grid.spectrum(scratch, co));
        let sums = scratch.take(&[grid.form.products(), plane(ci * padded(co)) as usize / 4]);
        let ragged = (!co.is_multiple_of(PANEL)).then(|| scratch.take(&[TAPS * TAPS, ci, padded(co)]));
        let once = images == Some(grid.group) && grid.capacity() == grid.group * grid.image_tiles();
        Filter { grid, channels, rows, v, w, sums, once, ragged }
    }
    fn plane(&self) -> i64 {
        plane(self.channels[0] * padded(self.channels[1]))
    }
    fn batch(&self, tiles: usize) -> Batch {
        let [ci, co] = self.channels;
        let columns = padded(co);
        Batch {
            isa: self.grid.isa,
            planes: self.grid.form.products(),
            rows: ci,
            k: tiles,
            columns,
            a: Operand { plane: self.v.plane, row: F, column: self.v.tile },
            b: Operand { plane: self.w.plane, row: self.w.tile, column: F },
            c: Operand { plane: self.plane(), row: columns as i64 * F, column: F },
            accumulate: !self.once,
        }
    }
    pub(super) fn tiles(&self) -> Vec<Tile> {
        self.grid.counts().into_iter().flat_map(|tiles| self.batch(tiles).tiles()).collect()
    }
    /// Zeroes the sums, if anything is added to them.
    pub(super) fn clear(&self, e: &mut Emit<'_>) {
        if self.once {
            return;
        }
        let scratch = e.scratch();
        let sums = e.offset(scratch, self.sums);
        e.clear(sums, self.grid.form.products() * self.plane() as usize);
    }
    /// Tile rows of the blocks of x and dy into V and W, at the tiles that begin at `v` and `w`.
    pub(super) fn scatter(&self, e: &mut Emit<'_>, [x, dy]: [Value; 2], [v, w]: [Value; 2], rows: usize) {
        let form = self.grid.form;
        self.grid.scatter(input(form), self.rows[0], self.v, rows).emit(e, x, v);
        self.grid.scatter(gradient(form), self.rows[1], self.w, rows).emit(e, dy, w);
    }
    /// Adds the products of `tiles` tiles to the sums.
    pub(super) fn multiply(&self, e: &mut Emit<'_>, calls: &Calls<'_>, tiles: usize) {
        let scratch = e.scratch();
        let [v, w, sums] = [self.v.offset, self.w.offset, self.sums].map(|at| e.offset(scratch, at));
        self.batch(tiles).emit(e, calls, v, w, sums);
    }
    /// One image's bands, one after the other.
    pub(super) fn image(&self, e: &mut Emit<'_>, calls: &Calls<'_>, blocks: [Value; 2]) {
        let scratch = e.scratch();
        let spectra = [self.v, self.w].map(|s| e.offset(scratch, s.offset));
        let columns = self.grid.tiles()[1];
        let mut before = 0;
        for (turns, rows) in self.grid.bands() {
            let step = |rows: usize, block: usize| (rows * self.grid.form.outputs()) as i64 * self.rows[block];
            let walked = [0, 1].map(|block| (e.offset(blocks[block], step(before, block)), step(rows, block)));
            before += turns * rows;
            e.repeat(Count::Static(turns), &walked, &[], |e, at, _| {
                self.scatter(e, [at[0], at[1]], spectra, rows);
                self.multiply(e, calls, rows * columns);
                Vec::new()
            });
        }
    }
    /// The sums become the weight gradient `[3, 3, ci, co]` at `to`.
    pub(super) fn finish(&self, e: &mut Emit<'_>, to: Value) {
        let [ci, co] = self.channels;
        let scratch = e.scratch();
        let sums = e.offset(scratch, self.sums);
        let whole = self.ragged.map_or(to, |at| e.offset(scratch, at));
        let tap = (ci * padded(co)) as i64 * F;
        let plane = self.plane();
        Transform {
            line: weight_gradient(self.grid.form),
            from: Cells { row: self.grid.form.inputs() as i64 * plane, column: plane },
            to: Cells { row: TAPS as i64 * tap, column: tap },
            loops: Vec::new(),
            channels: ci * padded(co),
        }
        .emit(e, sums, whole);
        if self.ragged.is_some() {
            let copy = Program::operand(0);
            let from = Access::new(whole, 0, padded(co) as i64 * F);
            let dense = Access::new(to, 0, co as i64 * F);
            Region {
                program: &copy,
                extent: Extent { rows: Count::Static(1), columns: Count::Static(TAPS * TAPS * ci), channels: co },
                operands: vec![(0, Source::Full(from))],
                anchor: None,
                sinks: vec![Sink::Full(0, dense)],
            }
            .emit(e);
        }
    }
}
