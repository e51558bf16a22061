//! Matrix products on register tiles, in blocks that fit into the caches.
//!
//! ```text
//!             n                        for each chunk: a block of rows and columns of C
//!          ┌──┬────┐                     for each `depth` of k
//!        k │  │▒▒▒▒│ depth                 panels of B ──▶ scratch (L2), each as wide as a tile
//!          ├──┼────┤                       for each run of rows of A (L1)
//!     k    │  │    │                         for each panel: tile, added to what C has of the depths before
//!   ┌────┐ ├──┼────┤
//! m │▒▒│ │ │  │ C  │
//!   └────┘ └──┴────┘
//! ```
//!
//! With few rows there is nothing to use a second time: B is read where it is, a few whole rows at a time, as fast as memory
//! gives them. The depths depend on the shape alone, so the order of additions does not depend on the instruction set.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{F, Scratch, padded};
use super::emit::{Count, Emit};
use super::half::Element;
use super::isa::Isa;
use super::region::{Access, Extent, Region, Sink, Source};
use super::tile::{Calls, Loop, Tile, tile_size};
use super::transpose::Block;
use crate::ops::fused::chunks_for;
use crate::ops::{Binary, MatMul, Program, Step};
use crate::types::TensorType;

/// `C[m,n] = A[m,k]·B[k,n]` for each of `batch`. Arguments: A, B, C.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Product {
    isa: Isa,
    batch: usize,
    m: usize,
    k: usize,
    n: usize,
    /// A holds `[k, m]`, B `[n, k]`.
    attributes: MatMul,
    /// A has a matrix for each of the batch.
    batched_a: bool,
    /// B has a matrix for each of the batch.
    batched_b: bool,
    /// Blocks of rows and of columns that C is cut into.
    blocks: [usize; 2],
    pub(super) chunks: usize,
}

/// A block's rows or columns in runs of a tile's: the first run, how many are whole, and whether a short one follows.
struct Span {
    first: Value,
    whole: Count,
    short: Count,
}

impl Product {
    /// The product of `a` and `b`.
    pub(super) fn new(isa: Isa, attributes: MatMul, a: &TensorType, b: &TensorType) -> Product {
        let (m, k, n) = attributes.extents(a, b);
        let batch = (a.shape.elements() / (m * k)).max(b.shape.elements() / (k * n));
        let (batched_a, batched_b) = (a.shape.rank() > 2, b.shape.rank() > 2);
        let blocks = [1, 1];
        let mut product = Product { isa, batch, m, k, n, attributes, batched_a, batched_b, blocks, chunks: 1 };
        product.share();
        product
    }

    /// Cuts C into blocks: narrow enough for the second cache, tall enough to be worth a copy of B's panels, and as many
    /// as keep a team busy, if there is enough to do.
    fn share(&mut self) {
        const WORK: usize = 1 << 19;
        const CHUNKS: usize = 32;
        const ROWS: usize = 192;
        // columns of a block: A is read again for each, and where B streams its rows are cut
        const MOST: usize = 512;
        const LEAST: usize = 128;
        const STREAMED: usize = 1024;
        let [runs, panels] = [self.m.div_ceil(self.rows()), self.n.div_ceil(self.width())];
        let wanted = (self.batch * self.m * self.k * self.n / WORK).clamp(1, CHUNKS);
        let each = wanted.div_ceil(self.batch.max(1));
        let rows = if self.streams() { 1 } else { (self.m / ROWS).clamp(1, each) };
        let columns = if self.streams() {
            (self.n / STREAMED).min(each)
        } else {
            (each / rows).min(self.n / LEAST).max(self.n.div_ceil(MOST))
        };
        // as many as there are when each but the last has the same number of runs
        let even = |blocks: usize, runs: usize| runs.div_ceil(runs.div_ceil(blocks.clamp(1, runs.max(1))).max(1));
        self.blocks = [even(rows, runs), even(columns, panels)];
        self.chunks = if wanted == 1 { 1 } else { chunks_for(self.batch * self.blocks[0] * self.blocks[1]) };
    }

    pub(super) fn flops(&self) -> u64 {
        2 * (self.batch * self.m * self.k * self.n) as u64
    }

    /// Rows of a whole tile.
    fn rows(&self) -> usize {
        tile_size(self.isa, self.m, padded(self.n)).0
    }
    /// Columns of a tile.
    fn width(&self) -> usize {
        tile_size(self.isa, self.m, padded(self.n)).1 * self.isa.lanes()
    }
    /// Most runs of columns in a block.
    fn panels(&self) -> usize {
        self.n.div_ceil(self.width()).div_ceil(self.blocks[1])
    }
    /// Whether B is read a few whole rows at a time: there is little to use a second time, or B would not stay in a cache.
    fn streams(&self) -> bool {
        const FEW: usize = 8;
        const SOME: usize = 24;
        const LARGE: usize = 1 << 18;
        !self.attributes.trans_b && (self.m < FEW || (self.m < SOME && self.k * self.n >= LARGE))
    }
    /// Whether tiles read whole panels of B where they are.
    fn reads_b(&self) -> bool {
        const NARROW: usize = 256;
        self.streams() || (!self.attributes.trans_b && self.n <= NARROW)
    }
    /// Steps of k that are taken together: equal ones but for the last.
    fn depth(&self) -> usize {
        // as many rows as a CPU prefetches at a time
        const STREAMS: usize = 16;
        const MOST: usize = 256;
        if self.streams() {
            return STREAMS.min(self.k);
        }
        self.k.div_ceil(self.k.div_ceil(MOST)).next_multiple_of(4).min(self.k)
    }
    /// Depths of a whole and of the last step of k, if that is shorter.
    fn depths(&self) -> Vec<usize> {
        let all = [self.depth(), self.k % self.depth()];
        all.into_iter().filter(|&depth| depth > 0).collect()
    }

    /// The tile of so many rows for panels in scratch (`packed`) or in B itself; a panel that is cut by the last column
    /// is multiplied into scratch.
    fn tile(&self, rows: usize, depth: usize, packed: bool, cut: bool, accumulate: bool) -> Tile {
        let width = self.width() as i64 * F;
        let row = self.n as i64 * F;
        let (a_row, step) = if self.attributes.trans_a { (F, self.m as i64 * F) } else { (self.k as i64 * F, F) };
        Tile {
            isa: self.isa,
            rows,
            vectors: self.width() / self.isa.lanes(),
            around: Vec::new(),
            loops: vec![Loop { count: depth, a: step, b: if packed { width } else { row } }],
            a_row,
            c_row: if cut { width } else { row },
            accumulate,
        }
    }
    /// Rows of the tiles: whole runs, and the last one if it is shorter.
    fn runs(&self) -> Vec<usize> {
        let all = [self.rows().min(self.m), self.m % self.rows()];
        all.into_iter().filter(|&rows| rows > 0).collect()
    }
    pub(super) fn tiles(&self) -> Vec<Tile> {
        let mut tiles = Vec::new();
        for depth in self.depths() {
            for rows in self.runs() {
                if self.n >= self.width() {
                    let packed = !self.reads_b();
                    tiles.extend([false, true].map(|added| self.tile(rows, depth, packed, false, added)));
                }
                if !self.n.is_multiple_of(self.width()) {
                    tiles.push(self.tile(rows, depth, true, true, false));
                }
            }
        }
        tiles
    }
    /// Offsets of the panels, of the one that is cut, and of its part of C, and the bytes of all.
    fn layout(&self) -> ([i64; 3], usize) {
        let mut scratch = Scratch::default();
        let panel = self.depth() * self.width();
        let whole = if self.reads_b() { 0 } else { self.panels() };
        let panels = scratch.take(&[whole, panel]);
        let cut = scratch.take(&[panel]);
        let c = scratch.take(&[self.rows(), self.width()]);
        ([panels, cut, c], scratch.bytes)
    }
    pub(super) fn scratch(&self) -> usize {
        self.layout().1
    }

    /// Block `block` of `blocks` over `extent` in runs of `size`.
    fn span(&self, e: &mut Emit<'_>, block: Value, [blocks, extent, size]: [usize; 3]) -> Span {
        let (whole, all) = (extent / size, extent.div_ceil(size));
        let per = all.div_ceil(blocks);
        if blocks == 1 {
            return Span { first: e.int(0), whole: Count::Static(whole), short: Count::Static(all - whole) };
        }
        let first = e.at_index(block, per);
        if whole == all && all.is_multiple_of(blocks) {
            return Span { first, whole: Count::Static(per), short: Count::Static(0) };
        }
        let (whole, all) = (e.int(whole as i64), e.int(all as i64));
        let end = e.offset(first, per as i64);
        let end = e.min(end, all);
        let last = e.min(end, whole);
        let count = e.b.ins().isub(last, first);
        let short = e.b.ins().isub(end, last);
        Span { first, whole: Count::Dynamic(count), short: Count::Dynamic(short) }
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>) {
        let arguments = [0, 1, 2].map(|index| e.argument(index));
        let [rows, columns] = self.blocks;
        let (first, count) = e.chunk_range(self.batch * rows * columns, self.chunks);
        if !self.n.is_multiple_of(self.width()) {
            let scratch = e.scratch();
            let cut = e.offset(scratch, self.layout().0[1]);
            e.clear(cut, self.depth() * self.width() * 4);
        }
        e.repeat(count, &[(first, 1)], &[], |e, at, _| {
            let digit = |e: &mut Emit<'_>, number: Value, base: usize| {
                let base = e.int(base as i64);
                let rest = e.b.ins().udiv(number, base);
                let before = e.b.ins().imul(rest, base);
                (rest, e.b.ins().isub(number, before))
            };
            let (rest, column) = digit(e, at[0], columns);
            let (matrix, row) = digit(e, rest, rows);
            let rows = self.span(e, row, [rows, self.m, self.rows()]);
            let columns = self.span(e, column, [columns, self.n, self.width()]);
            self.block(e, calls, arguments, matrix, &rows, &columns);
            Vec::new()
        });
    }

    /// A block of C, depth by depth.
    fn block(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        [a, b, c]: [Value; 3],
        matrix: Value,
        rows: &Span,
        columns: &Span,
    ) {
        let tile = self.tile(self.rows(), self.depth(), false, false, false);
        let (run, width) = (self.rows() as i64, self.width() as i64);
        let [of_column, of_k] = if self.attributes.trans_b { [self.k as i64 * F, F] } else { [F, self.n as i64 * F] };
        let a = if self.batched_a { e.at(a, matrix, (self.m * self.k) as i64 * F) } else { a };
        let a = e.at(a, rows.first, run * tile.a_row);
        let b = if self.batched_b { e.at(b, matrix, (self.k * self.n) as i64 * F) } else { b };
        let b = e.at(b, columns.first, width * of_column);
        let c = e.at(c, matrix, (self.m * self.n) as i64 * F);
        let c = e.at(c, rows.first, run * tile.c_row);
        let c = e.at(c, columns.first, width * F);
        let (depth, whole) = (self.depth(), self.k / self.depth());
        let (step_a, step_b) = (depth as i64 * tile.loops[0].a, depth as i64 * of_k);
        self.deep(e, calls, [a, b, c], (depth, false), rows, columns);
        let next = [(e.offset(a, step_a), step_a), (e.offset(b, step_b), step_b)];
        e.repeat(Count::Static(whole - 1), &next, &[], |e, at, _| {
            self.deep(e, calls, [at[0], at[1], c], (depth, true), rows, columns);
            Vec::new()
        });
        let rest = self.k % depth;
        if rest > 0 {
            let (a, b) = (e.offset(a, whole as i64 * step_a), e.offset(b, whole as i64 * step_b));
            self.deep(e, calls, [a, b, c], (rest, true), rows, columns);
        }
    }

    /// One depth of a block; with `add` C has what the depths before came to.
    fn deep(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        [a, b, c]: [Value; 3],
        (depth, add): (usize, bool),
        rows: &Span,
        columns: &Span,
    ) {
        let scratch = e.scratch();
        let [panels, cut, _] = self.layout().0.map(|offset| e.offset(scratch, offset));
        let width = self.width() as i64 * F;
        let beyond = |e: &mut Emit<'_>, base: Value, step: i64, count: Count| match count {
            Count::Static(n) => e.offset(base, n as i64 * step),
            Count::Dynamic(n) => e.at(base, n, step),
        };
        if !self.reads_b() && self.n >= self.width() {
            self.pack(e, b, panels, (depth, columns.whole), self.width());
        }
        let short = self.n % self.width();
        let across = if self.attributes.trans_b { self.k as i64 * width } else { width };
        let last = beyond(e, b, across, columns.whole);
        if short > 0 {
            e.repeat(columns.short, &[], &[], |e, _, _| {
                self.pack(e, last, cut, (depth, Count::Static(1)), short);
                Vec::new()
            });
        }
        let from = if self.reads_b() { b } else { panels };
        let panel = if self.reads_b() { width } else { depth as i64 * width };
        let run = |e: &mut Emit<'_>, count: usize, a: Value, c: Value| {
            if self.n >= self.width() {
                let function = e.import(calls(&self.tile(count, depth, !self.reads_b(), false, add)));
                e.repeat(columns.whole, &[(from, panel), (c, width)], &[], |e, at, _| {
                    e.call(function, &[a, at[0], at[1]]);
                    Vec::new()
                });
            }
            if short > 0 {
                let function = e.import(calls(&self.tile(count, depth, true, true, false)));
                let c = beyond(e, c, width, columns.whole);
                e.repeat(columns.short, &[], &[], |e, _, _| {
                    let sums = e.scratch();
                    let sums = e.offset(sums, self.layout().0[2]);
                    e.call(function, &[a, cut, sums]);
                    self.add(e, sums, c, [count, short], add);
                    Vec::new()
                });
            }
        };
        let (down, c_down) = {
            let tile = self.tile(self.rows(), depth, false, false, false);
            (tile.rows as i64 * tile.a_row, tile.rows as i64 * tile.c_row)
        };
        let runs = self.runs();
        if self.m >= self.rows() {
            e.repeat(rows.whole, &[(a, down), (c, c_down)], &[], |e, at, _| {
                run(e, runs[0], at[0], at[1]);
                Vec::new()
            });
        }
        if !self.m.is_multiple_of(self.rows()) {
            let (a, c) = (beyond(e, a, down, rows.whole), beyond(e, c, c_down, rows.whole));
            e.repeat(rows.short, &[], &[], |e, _, _| {
                run(e, runs[runs.len() - 1], a, c);
                Vec::new()
            });
        }
    }

    /// Copies panels of `columns` columns at `b` to `to`.
    fn pack(&self, e: &mut Emit<'_>, b: Value, to: Value, (depth, panels): (usize, Count), columns: usize) {
        let width = self.width() as i64 * F;
        let panel = depth as i64 * width;
        if self.attributes.trans_b {
            let row = self.k as i64 * F;
            // what is behind the columns stays zero
            let block = Block { rows: columns, from: row, to: width, zeros: 0, element: Element::F32 };
            let walked = [(b, self.width() as i64 * row), (to, panel)];
            e.repeat(panels, &walked, &[], |e, at, _| {
                block.emit(e, at[0], at[1], depth);
                Vec::new()
            });
            return;
        }
        let copy = Program::operand(0);
        Region {
            program: &copy,
            extent: Extent { rows: Count::Static(depth), columns: panels, channels: columns },
            operands: vec![(0, Source::Full(Access::new(b, self.n as i64 * F, width)))],
            anchor: None,
            sinks: vec![Sink::Full(0, Access::new(to, width, panel))],
        }
        .emit(e);
    }

    /// Puts a tile's `sums`, or with `add` C and them, to the last columns of C.
    fn add(&self, e: &mut Emit<'_>, sums: Value, c: Value, [rows, columns]: [usize; 2], add: bool) {
        let (from, to) = (self.width() as i64 * F, self.n as i64 * F);
        let steps = match add {
            true => vec![Step::Operand(0), Step::Operand(1), Step::Binary(Binary::Add, 0, 1)],
            false => vec![Step::Operand(0)],
        };
        let value = steps.len() - 1;
        let program = Program { steps, value, outputs: Vec::new() };
        let mut operands = vec![(0, Source::Full(Access::new(sums, 0, from)))];
        if add {
            operands.push((1, Source::Full(Access::new(c, 0, to))));
        }
        Region {
            program: &program,
            extent: Extent { rows: Count::Static(1), columns: Count::Static(rows), channels: columns },
            operands,
            anchor: None,
            sinks: vec![Sink::Full(value, Access::new(c, 0, to))],
        }
        .emit(e);
    }
}
