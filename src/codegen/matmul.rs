//! Matrix products on register tiles: rows of A are broadcast, B has rows of whole panels.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{F, PANEL, Scratch, padded};
use super::emit::{Count, Emit};
use super::isa::Isa;
use super::region::{Access, Extent, Region, Sink, Source};
use super::tile::{Calls, Loop, Tile, tile_size};
use crate::ops::Program;

/// `C[m,n] = A[m,k]·B[k,n]` for each of `batch`. Arguments: A, B, C, then the packed B
/// `[batch or 1, k, padded(n)]` if B is transposed or ragged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Product {
    pub(super) isa: Isa,
    pub(super) batch: usize,
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// A holds `[k, m]`.
    pub(super) trans_a: bool,
    /// A has a matrix for each of the batch.
    pub(super) batched_a: bool,
    /// B has a matrix for each of the batch.
    pub(super) batched_b: bool,
    /// Argument of B with rows of whole panels.
    pub(super) b: usize,
    pub(super) chunks: usize,
}

impl Product {
    fn tile(&self) -> Tile {
        let columns = padded(self.n);
        let (rows, vectors) = tile_size(self.isa, self.m, columns);
        let (row, step) = if self.trans_a { (F, self.m as i64 * F) } else { (self.k as i64 * F, F) };
        let b = columns as i64 * F;
        Tile {
            isa: self.isa,
            rows,
            vectors,
            around: Vec::new(),
            loops: vec![Loop { count: self.k, a: step, b }],
            a_row: row,
            c_row: b,
            accumulate: false,
        }
    }
    fn rest(&self) -> Option<Tile> {
        let tile = self.tile();
        let rest = self.m % tile.rows;
        (rest > 0).then_some(Tile { rows: rest, ..tile })
    }
    /// Runs of rows in one matrix, counting the last short one.
    fn runs(&self) -> usize {
        self.m.div_ceil(self.tile().rows)
    }
    /// Chunks that this product should be cut into.
    pub(super) fn natural_chunks(&self) -> usize {
        let points = self.batch * self.m * self.n * self.k;
        if points < 1 << 15 { 1 } else { crate::ops::fused::chunks_for(self.batch * self.runs()) }
    }
    pub(super) fn tiles(&self) -> Vec<Tile> {
        let whole = (self.m >= self.tile().rows).then(|| self.tile());
        whole.into_iter().chain(self.rest()).collect()
    }
    pub(super) fn scratch(&self) -> usize {
        let mut scratch = Scratch::default();
        scratch.take(&[self.tile().rows, padded(self.n)]);
        scratch.bytes
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>) {
        let (a, b, c) = (e.argument(0), e.argument(self.b), e.argument(2));
        let tile = self.tile();
        let runs = self.runs();
        let (first, count) = e.chunk_range(self.batch * runs, self.chunks);
        e.repeat(count, &[(first, 1)], &[], |e, at, _| {
            let runs_value = e.int(runs as i64);
            let matrix = e.b.ins().udiv(at[0], runs_value);
            let before = e.b.ins().imul(matrix, runs_value);
            let run = e.b.ins().isub(at[0], before);
            let a = if self.batched_a { e.at(a, matrix, (self.m * self.k) as i64 * F) } else { a };
            let a = e.at(a, run, tile.rows as i64 * tile.a_row);
            let b = if self.batched_b { e.at(b, matrix, (self.k * padded(self.n)) as i64 * F) } else { b };
            let c = e.at(c, matrix, (self.m * self.n) as i64 * F);
            let c = e.at(c, run, (tile.rows * self.n) as i64 * F);
            let Some(rest) = self.rest() else {
                self.run(e, calls, &tile, a, b, c);
                return Vec::new();
            };
            // exactly one of two loops of zero or one turn runs
            let last = e.int(runs as i64 - 1);
            let is_last = e.b.ins().icmp(IntCC::Equal, run, last);
            let (zero, one) = (e.int(0), e.int(1));
            if self.m >= tile.rows {
                let whole = e.b.ins().select(is_last, zero, one);
                e.repeat(Count::Dynamic(whole), &[], &[], |e, _, _| {
                    self.run(e, calls, &tile, a, b, c);
                    Vec::new()
                });
            }
            let short = e.b.ins().select(is_last, one, zero);
            e.repeat(Count::Dynamic(short), &[], &[], |e, _, _| {
                self.run(e, calls, &rest, a, b, c);
                Vec::new()
            });
            Vec::new()
        });
    }

    /// One run of rows over all columns; ragged columns go through scratch.
    fn run(&self, e: &mut Emit<'_>, calls: &Calls<'_>, tile: &Tile, a: Value, b: Value, c: Value) {
        let ragged = !self.n.is_multiple_of(PANEL);
        let to = if ragged { e.scratch() } else { c };
        let width = tile.columns() as i64 * F;
        let function = e.import(calls(tile));
        let panels = padded(self.n) / tile.columns();
        e.repeat(Count::Static(panels), &[(b, width), (to, width)], &[], |e, at, _| {
            e.call(function, &[a, at[0], at[1]]);
            Vec::new()
        });
        if ragged {
            let copy = Program::operand(0);
            let from = Access::new(to, 0, padded(self.n) as i64 * F);
            let dense = Access::new(c, 0, self.n as i64 * F);
            Region {
                program: &copy,
                extent: Extent { rows: Count::Static(1), columns: Count::Static(tile.rows), channels: self.n },
                operands: vec![(0, Source::Full(from))],
                anchor: None,
                sinks: vec![Sink::Full(0, dense)],
            }
            .emit(e);
        }
    }
}
