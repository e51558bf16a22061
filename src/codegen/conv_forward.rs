//! Direct convolution, forward (design: no im2col).
//!
//! ```text
//!  for each image of the chunk (or one band of an image's rows)
//!    source program ──▶ zero-padded block in scratch: (H+p)×(W+p)×C
//!    for each output row
//!      for each panel of output channels, for each run of pixels: tile ──▶ row
//!      result program on the row ──▶ outputs, sums
//! ```
//!
//! For each ky the (kx, ci) run of the block is contiguous, so the tile sees one long k loop a kernel row.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::amx::ROWS;
use super::conv::{Block, Bound, Cursor, F, Geometry, PANEL, Scratch, Tensor, Tiles, padded, walk};
use super::depthwise::Row;
use super::emit::{Count, Emit};
use super::half::Element;
use super::isa::Isa;
use super::pairs::{HALF, begin, end, written};
use super::region::{Access, Extent};
use super::tile::{Calls, Loop, Tile, tile_size};

/// A forward convolution. Arguments: operands (0 is the weight), results, then the packed weight if
/// the output channels are no whole panels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forward {
    pub(super) isa: Isa,
    pub(super) geometry: Geometry,
    pub(super) chunks: usize,
    /// What the tiles multiply.
    pub(super) element: Element,
    pub(super) source: Bound,
    pub(super) result: Bound,
    /// Argument of the weight, rows of whole panels.
    pub(super) weight: usize,
}

/// Bands of output rows that an image is cut into: with few images, chunks are parts of an image.
pub(super) fn bands(images: usize, chunks: usize) -> usize {
    (chunks / images.max(1)).max(1)
}

/// What a chunk computes: its first image, the number of images, and the band where images are cut into bands of rows.
pub(super) fn share(e: &mut Emit<'_>, images: usize, chunks: usize) -> (Value, Count, Option<Value>) {
    let bands = bands(images, chunks);
    if bands == 1 {
        let (first, count) = e.chunk_range(images, chunks);
        return (first, count, None);
    }
    let (image, band) = e.run_and_part(bands);
    (image, Count::Static(1), Some(band))
}

/// Puts the rows of an image that lie in `block` there; the block's `rows` rows begin at the image's row `start`, and
/// those above and below the image are left alone.
pub(super) fn fill_band(
    e: &mut Emit<'_>,
    source: &Bound,
    g: &Geometry,
    (tensors, pointers): (&[Tensor], &[Value]),
    block: &Block,
    (start, rows): (Value, usize),
) {
    let input_row = (g.size[1] * g.ci) as i64 * F;
    let (zero, rows) = (e.int(0), e.int(rows as i64));
    let low = e.max(start, zero);
    let (end, size) = (e.b.ins().iadd(start, rows), e.int(g.size[0] as i64));
    let high = e.min(end, size);
    // a block may lie below the image
    let high = e.max(high, low);
    let (count, skipped) = (e.b.ins().isub(high, low), e.b.ins().isub(low, start));
    let pointers = at_rows(e, tensors, pointers, low, input_row);
    let base = e.at(block.base, skipped, block.row());
    let base = e.offset(base, block.low[1] as i64 * block.pixel);
    let extent = Extent { rows: Count::Dynamic(count), columns: Count::Static(g.size[1]), channels: g.ci };
    source.fill_rows(e, &Cursor::new(tensors, &pointers), extent, block.at(base));
}

impl Forward {
    pub(super) fn bands(&self) -> usize {
        bands(self.geometry.images, self.chunks)
    }
    /// Output rows of a band; the last band may have fewer.
    fn band_rows(&self) -> usize {
        self.geometry.output[0].div_ceil(self.bands())
    }
    /// Rows of the padded block that a chunk needs at a time.
    fn block_rows(&self) -> usize {
        let g = &self.geometry;
        match self.passing() {
            // the last rows of an image may be more than output rows read
            Some(rows) => self.reach(rows) + g.conv.stride[0],
            None if self.bands() == 1 => g.block()[0],
            None => self.reach(self.band_rows()),
        }
    }
    /// Rows of the padded input that `rows` output rows read.
    pub(super) fn reach(&self, rows: usize) -> usize {
        let g = &self.geometry;
        (rows - 1) * g.conv.stride[0] + (g.kernel[0] - 1) * g.conv.dilation[0] + 1
    }
    /// Bytes of worker scratch.
    pub(super) fn scratch(&self) -> usize {
        self.layout().2
    }
    /// Offsets of the block and the row in scratch, and the total.
    fn layout(&self) -> (i64, i64, usize) {
        let g = &self.geometry;
        let mut scratch = Scratch::default();
        let (rows, columns) = (self.block_rows(), g.block()[1]);
        let copies = self.reads_operand().is_none();
        let block = if copies { scratch.take_of(self.element, &[rows, columns, g.ci], self.slack()) } else { 0 };
        let row = scratch.take(&[written(self.isa, g.output[1]), padded(g.co)]);
        (block, row, scratch.bytes)
    }
    pub(super) fn on_pairs(&self) -> bool {
        self.element == Element::Bf16
    }
    /// Numbers behind the block that tiles read.
    fn slack(&self) -> usize {
        let g = &self.geometry;
        if self.on_pairs() { Geometry::slack(ROWS * g.conv.stride[1], g.ci) } else { 0 }
    }
    /// The operand that the tiles can read without a copy.
    pub(super) fn reads_operand(&self) -> Option<usize> {
        if self.geometry.is_padded() || self.on_pairs() { None } else { self.source.is_tensor(self.element) }
    }
    /// The output row that the tiles can write without a copy.
    fn writes_output(&self) -> Option<usize> {
        let g = &self.geometry;
        let whole = g.co.is_multiple_of(PANEL) && written(self.isa, g.output[1]) == g.output[1];
        if whole { self.result.stores_anchor() } else { None }
    }

    pub(super) fn tiles(&self) -> Tiles {
        let g = &self.geometry;
        let columns = padded(g.part_co());
        let (rows, vectors) = tile_size(self.isa, g.output[1], columns);
        let (ci, block_row) = (g.ci as i64 * F, g.block()[1] as i64 * g.ci as i64 * F);
        let b = columns as i64 * F;
        if self.on_pairs() {
            let (loops, a_row) = (g.runs().loops(self.isa), g.conv.stride[1] as i64 * g.ci as i64 * HALF);
            let around = Vec::new();
            let tile = Tile { isa: self.isa, rows, vectors, around, loops, a_row, c_row: b, accumulate: false };
            return Tiles::new(tile.simplified(), g.output[1]);
        }
        let tile = Tile {
            isa: self.isa,
            rows,
            vectors,
            around: Vec::new(),
            loops: vec![
                Loop {
                    count: g.kernel[0],
                    a: g.conv.dilation[0] as i64 * block_row,
                    b: b * (g.kernel[1] * g.part_ci()) as i64,
                },
                Loop { count: g.kernel[1], a: g.conv.dilation[1] as i64 * ci, b: b * g.part_ci() as i64 },
                Loop { count: g.part_ci(), a: F, b },
            ],
            a_row: g.conv.stride[1] as i64 * ci,
            c_row: padded(g.co) as i64 * F,
            accumulate: false,
        };
        Tiles::new(tile.simplified(), g.output[1])
    }

    /// A row of a depthwise convolution.
    fn depthwise(&self) -> Row {
        let g = &self.geometry;
        let pixel = g.ci as i64 * F;
        let row = g.block()[1] as i64 * pixel;
        let [down, right] = g.conv.dilation.map(|d| d as i64);
        let tap = |ky: usize, kx: usize| {
            let weight = (ky * g.kernel[1] + kx) as i64 * pixel;
            [ky as i64 * down * row + kx as i64 * right * pixel, weight]
        };
        Row {
            taps: (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| tap(ky, kx))).collect(),
            pixels: g.output[1],
            step: [g.conv.stride[1] as i64 * pixel, padded(g.co) as i64 * F],
            channels: g.ci,
        }
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>) {
        let g = &self.geometry;
        if g.is_padded() || self.on_pairs() {
            self.clear_borders(e);
        }
        begin(e, self.isa);
        self.source.clear_sums(e, g.ci);
        self.result.clear_sums(e, g.co);
        let (inputs, outputs) = (self.source.tensors(), self.result.tensors());
        let (image, count, band) = share(e, g.images, self.chunks);
        let mut walked = walk(e, &inputs, image, g.input_bytes());
        walked.extend(walk(e, &outputs, image, g.output_bytes()));
        e.repeat(count, &walked, &[], |e, at, _| {
            let (at_input, at_output) = at.split_at(inputs.len());
            match band {
                None if self.passing().is_some() => {
                    self.pass(e, calls, (&inputs, at_input), (&outputs, at_output));
                }
                None => {
                    let a = self.image(e, &Cursor::new(&inputs, at_input));
                    self.rows(e, calls, a, (&outputs, at_output), Count::Static(g.output[0]));
                }
                Some(band) => {
                    let a = self.band(e, (&inputs, at_input), band);
                    let first = e.at_index(band, self.band_rows());
                    let row = (g.output[1] * g.co) as i64 * F;
                    let at_output = at_rows(e, &outputs, at_output, first, row);
                    let all = e.int(g.output[0] as i64);
                    let left = e.b.ins().isub(all, first);
                    let most = e.int(self.band_rows() as i64);
                    let count = e.min(left, most);
                    self.rows(e, calls, a, (&outputs, &at_output), Count::Dynamic(count));
                }
            }
            Vec::new()
        });
        end(e, self.isa);
    }

    /// Zeroes what the source program does not fill: rows above and below the image, columns beside it.
    fn clear_borders(&self, e: &mut Emit<'_>) {
        let g = &self.geometry;
        let base = self.block(e);
        let (rows, block) = (self.block_rows(), g.input_block(base, self.element));
        let (bytes, slack) = (rows * block.row() as usize, self.slack() * HALF as usize);
        if block.pixel % 4 != 0 {
            // borders are no whole words
            e.clear(base, (bytes + slack).next_multiple_of(4));
            return;
        }
        let behind = e.offset(base, bytes as i64);
        e.clear(behind, slack.next_multiple_of(4));
        if self.passing().is_some() {
            return block.clear_around(e, rows, [0, 0], g.size[1]);
        }
        let above = block.low[0];
        // the last band ends furthest below the image
        let start = (self.bands() - 1) * self.band_rows() * g.conv.stride[0];
        let below = (start + rows).saturating_sub(above + g.size[0]).min(rows);
        block.clear_around(e, rows, [above.min(rows), below], g.size[1]);
    }

    pub(super) fn block(&self, e: &mut Emit<'_>) -> Value {
        let scratch = e.scratch();
        e.offset(scratch, self.layout().0)
    }

    /// Makes the block of a whole image; returns where the tiles read.
    fn image(&self, e: &mut Emit<'_>, cursor: &Cursor) -> Value {
        let g = &self.geometry;
        let block = self.block(e);
        if let Some(operand) = self.reads_operand() {
            return cursor.get(operand, block);
        }
        self.source.fill(e, cursor, g.size, g.ci, &g.input_block(block, self.element));
        block
    }

    /// Makes the block of one band of the image at `pointers`; returns where the tiles read.
    fn band(&self, e: &mut Emit<'_>, (tensors, pointers): (&[Tensor], &[Value]), band: Value) -> Value {
        let g = &self.geometry;
        let block = self.block(e);
        let input_row = (g.size[1] * g.ci) as i64 * F;
        // the image's row that is the block's first; rows above the image are zeros
        let first = e.at_index(band, self.band_rows() * g.conv.stride[0]);
        let above = e.int(g.conv.padding[0][0] as i64);
        let start = e.b.ins().isub(first, above);
        if let Some(operand) = self.reads_operand() {
            let base = Cursor::new(tensors, pointers).get(operand, block);
            return e.at(base, start, input_row);
        }
        let block = g.input_block(block, self.element);
        fill_band(e, &self.source, g, (tensors, pointers), &block, (start, self.block_rows()));
        block.base
    }

    /// Output rows from the block at `a`; `pointers` are the outputs' first rows.
    pub(super) fn rows(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        a: Value,
        (tensors, pointers): (&[Tensor], &[Value]),
        count: Count,
    ) {
        let g = &self.geometry;
        let scratch = e.scratch();
        let row = e.offset(scratch, self.layout().1);
        let weight = e.argument(self.weight);
        let output_row = (g.output[1] * g.co) as i64 * F;
        let block_row = (g.block()[1] * g.ci) as i64 * self.element.bytes();
        let mut rows: Vec<(Value, i64)> = vec![(a, g.conv.stride[0] as i64 * block_row)];
        rows.extend(pointers.iter().zip(tensors).map(|(&p, t)| (p, t.element.of(output_row))));
        e.repeat(count, &rows, &[], |e, at, _| {
            let cursor = Cursor::new(tensors, &at[1..]);
            let direct = self.writes_output();
            let c = direct.map_or(row, |argument| cursor.get(argument, row));
            if g.is_depthwise() {
                self.depthwise().emit(e, [at[0], weight, c]);
            } else {
                let tiles = self.tiles();
                let columns = padded(g.part_co());
                let panels = columns / tiles.whole.columns();
                let part = [g.part_ci(), g.taps() * g.part_ci() * columns, g.part_co()].map(|n| n as i64 * F);
                let walked = [(at[0], part[0]), (weight, part[1]), (c, part[2])];
                e.repeat(Count::Static(g.parts()), &walked, &[], |e, at, _| {
                    tiles.emit(e, calls, panels, at[0], at[1], at[2]);
                    Vec::new()
                });
            }
            if direct.is_none() {
                let extent = Extent { rows: Count::Static(1), columns: Count::Static(g.output[1]), channels: g.co };
                let anchor = Access::new(row, 0, padded(g.co) as i64 * F);
                self.result.region(e, &cursor, extent, output_row, Some(anchor)).emit(e);
            }
            Vec::new()
        });
    }
}

/// Pointers to row `index` of tensors whose rows have `bytes` bytes as f32.
fn at_rows(e: &mut Emit<'_>, tensors: &[Tensor], pointers: &[Value], index: Value, bytes: i64) -> Vec<Value> {
    pointers.iter().zip(tensors).map(|(&pointer, t)| e.at(pointer, index, t.element.of(bytes))).collect()
}
