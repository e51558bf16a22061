//! Winograd convolution, forward.
//!
//! ```text
//!  for each group of images of the chunk (one, or as many as give the products rows enough; or a band of tile rows of one
//!  image, or for a block of output channels, see winograd_cut)
//!    source program ──▶ zero-padded block ──Bᵀ·B──▶ V        a band of tile rows, or the images' all
//!    M = V · U                                               (m+2)² products of [tiles, ci] and [ci, co]
//!    for each tile row: M ──Aᵀ·A──▶ m rows; result program on them ──▶ outputs, sums
//! ```

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{Block, Bound, Cursor, F, Geometry, Scratch, Tensor, padded, walk};
use super::conv_forward::fill_band;
use super::emit::{Count, Emit};
use super::half::Element;
use super::isa::Isa;
use super::region::{Access, Extent};
use super::tile::{Calls, Tile};
use super::winograd::{Form, TAPS, input, output};
use super::winograd_cut::Cut;
use super::winograd_grid::{Batch, Grid, Operand, Spectrum, clear_around, plane};

/// A convolution from a padded block to rows of pixels by Winograd: forward, and the data gradient on dy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Convolution {
    pub(super) grid: Grid,
    /// Channels of the block and those of the result that are computed.
    pub(super) channels: [usize; 2],
    /// All channels of the result.
    all: usize,
    /// Bytes of a row of the block.
    pub(super) row: i64,
    pub(super) v: Spectrum,
    pub(super) m: Spectrum,
    /// Offset of the rows in scratch.
    rows: i64,
}

/// What takes the result of a [`Convolution`].
pub(super) struct Taker<'k> {
    pub(super) result: &'k Bound,
    /// Arguments that are walked with the result.
    pub(super) tensors: &'k [Tensor],
    /// Bytes to the first of the channels that are computed, if they are a part.
    pub(super) part: Option<Value>,
}

impl Convolution {
    /// Takes its memory from `scratch`; the block has rows of `row` bytes. One of `parts` of the result's channels is
    /// computed at a time.
    pub(super) fn new(
        grid: Grid,
        [from, all]: [usize; 2],
        parts: usize,
        row: i64,
        scratch: &mut Scratch,
    ) -> Convolution {
        let channels = [from, all / parts];
        let v = grid.spectrum(scratch, channels[0]);
        let m = grid.spectrum(scratch, channels[1]);
        let rows = scratch.take(&[grid.pixels(channels[1])]);
        Convolution { grid, channels, all, row, v, m, rows }
    }
    /// The products of `tiles` tiles.
    fn batch(&self, tiles: usize) -> Batch {
        let [k, columns, all] = [self.channels[0], padded(self.channels[1]), padded(self.all)];
        Batch {
            isa: self.grid.isa,
            planes: self.grid.form.products(),
            rows: tiles,
            k,
            columns,
            a: Operand { plane: self.v.plane, row: self.v.tile, column: F },
            b: Operand { plane: plane(k * all), row: all as i64 * F, column: F },
            c: Operand { plane: self.m.plane, row: self.m.tile, column: F },
            accumulate: false,
        }
    }
    pub(super) fn tiles(&self) -> Vec<Tile> {
        self.grid.counts().into_iter().flat_map(|tiles| self.batch(tiles).tiles()).collect()
    }
    /// Tile rows of the block at `block` into V, at the tiles that begin at `v`.
    pub(super) fn scatter(&self, e: &mut Emit<'_>, block: Value, v: Value, rows: usize) {
        self.grid.scatter(input(self.grid.form), self.row, self.v, rows).emit(e, block, v);
    }
    pub(super) fn multiply(&self, e: &mut Emit<'_>, calls: &Calls<'_>, weight: Value, tiles: usize) {
        let scratch = e.scratch();
        let (v, m) = (e.offset(scratch, self.v.offset), e.offset(scratch, self.m.offset));
        self.batch(tiles).emit(e, calls, v, weight, m);
    }
    /// `rows` tile rows of M from `m` on through the result program; `pointers` are at the first row of pixels. The last
    /// tile row has `last` rows of pixels.
    pub(super) fn gather(
        &self,
        e: &mut Emit<'_>,
        taker: &Taker<'_>,
        pointers: &[Value],
        m: Value,
        (rows, last): (usize, Count),
    ) {
        let size = self.grid.form.outputs();
        let dense = (self.grid.output[1] * self.all) as i64 * F;
        let tile_row = self.grid.tiles()[1] as i64 * self.m.tile;
        let mut walked = vec![(m, tile_row)];
        walked.extend(pointers.iter().map(|&p| (p, size as i64 * dense)));
        let cut = !matches!(last, Count::Static(n) if n == size);
        let whole = rows - usize::from(cut);
        e.repeat(Count::Static(whole), &walked, &[], |e, at, _| {
            self.tile_row(e, taker, at, Count::Static(size));
            Vec::new()
        });
        if cut {
            let at: Vec<Value> = walked.iter().map(|&(p, stride)| e.offset(p, whole as i64 * stride)).collect();
            self.tile_row(e, taker, &at, last);
        }
    }
    /// Rows of pixels of an image's last tile row.
    fn last(&self) -> Count {
        let size = self.grid.form.outputs();
        Count::Static(size - (self.grid.tiles()[0] * size - self.grid.output[0]))
    }
    /// All tile rows of `images` images; `pointers` are at the first image.
    pub(super) fn gather_images(&self, e: &mut Emit<'_>, taker: &Taker<'_>, pointers: &[Value], images: usize) {
        let scratch = e.scratch();
        let image = (self.grid.output[0] * self.grid.output[1] * self.all) as i64 * F;
        let m = e.offset(scratch, self.m.offset);
        let mut walked = vec![(m, self.grid.image_tiles() as i64 * self.m.tile)];
        walked.extend(pointers.iter().map(|&p| (p, image)));
        e.repeat(Count::Static(images), &walked, &[], |e, at, _| {
            self.gather(e, taker, &at[1..], at[0], (self.grid.tiles()[0], self.last()));
            Vec::new()
        });
    }
    /// One tile row, of which `rows` rows of pixels count; `at` is M, then the taker's pointers.
    fn tile_row(&self, e: &mut Emit<'_>, taker: &Taker<'_>, at: &[Value], rows: Count) {
        let scratch = e.scratch();
        let to = e.offset(scratch, self.rows);
        self.grid.gather(output(self.grid.form), self.m).emit(e, at[0], to);
        let (columns, channels) = (self.grid.output[1], self.all);
        let extent = Extent { rows, columns: Count::Static(columns), channels };
        let anchor = Access::new(to, self.grid.row(self.m), self.m.tile);
        let cursor = Cursor::new(taker.tensors, &at[1..]);
        let region = taker.result.region(e, &cursor, extent, (columns * channels) as i64 * F, Some(anchor));
        match taker.part {
            Some(first) => region.of_channels(e, first, self.channels[1]).emit(e),
            None => region.emit(e),
        }
    }
    /// One image's bands, one after the other: block to V to M to rows.
    pub(super) fn image(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        taker: &Taker<'_>,
        (block, weight): (Value, Value),
        pointers: &[Value],
    ) {
        let [all, columns] = self.grid.tiles();
        let size = self.grid.form.outputs();
        let dense = (self.grid.output[1] * self.all) as i64 * F;
        let scratch = e.scratch();
        let (v, m) = (e.offset(scratch, self.v.offset), e.offset(scratch, self.m.offset));
        // the last band is cut, so it is no turn of a loop
        let cut = !self.grid.output[0].is_multiple_of(size);
        let mut before = 0;
        for (turns, rows) in self.grid.bands() {
            let split = if cut && before + turns * rows == all { vec![turns - 1, 1] } else { vec![turns] };
            for turns in split {
                let pixels = (before * size) as i64;
                let mut walked = vec![(e.offset(block, pixels * self.row), (rows * size) as i64 * self.row)];
                walked.extend(pointers.iter().map(|&p| (e.offset(p, pixels * dense), (rows * size) as i64 * dense)));
                before += turns * rows;
                let last = if before == all { self.last() } else { Count::Static(size) };
                e.repeat(Count::Static(turns), &walked, &[], |e, at, _| {
                    self.scatter(e, at[0], v, rows);
                    self.multiply(e, calls, weight, rows * columns);
                    self.gather(e, taker, &at[1..], m, (rows, last));
                    Vec::new()
                });
            }
        }
    }
}

/// A forward convolution by Winograd. Arguments: operands, results, the weight in Winograd's domain.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WinogradForward {
    pub(super) geometry: Geometry,
    pub(super) grid: Grid,
    pub(super) cut: Cut,
    pub(super) source: Bound,
    pub(super) result: Bound,
    /// Argument of the transformed weight.
    pub(super) weight: usize,
}

/// The grid of a forward convolution.
pub(super) fn grid(isa: Isa, g: &Geometry, form: Form, cut: Cut) -> Grid {
    let channels = [g.ci, g.co / cut.parts];
    let group = Grid::group(form, g.output, channels, g.images.div_ceil(cut.runs));
    let grid = Grid::new(isa, form, g.output, channels, group);
    if cut.bands > 1 { Grid { band: grid.tiles()[0] / cut.bands, ..grid } } else { grid }
}

struct Layout {
    block: i64,
    convolution: Convolution,
    bytes: usize,
}

impl WinogradForward {
    /// Rows of the block: an image's, or a band's.
    fn block_rows(&self) -> usize {
        let rows = if self.cut.bands > 1 { self.grid.band } else { self.grid.tiles()[0] };
        rows * self.grid.form.outputs() + TAPS - 1
    }
    fn layout(&self) -> Layout {
        let g = &self.geometry;
        let mut scratch = Scratch::default();
        let (rows, columns) = (self.block_rows(), self.grid.block()[1]);
        let block = scratch.take(&[rows, columns, padded(g.ci)]);
        let row = (columns * padded(g.ci)) as i64 * F;
        let convolution = Convolution::new(self.grid, [g.ci, g.co], self.cut.parts, row, &mut scratch);
        Layout { block, convolution, bytes: scratch.bytes }
    }
    /// Bytes of worker scratch.
    pub(super) fn scratch(&self) -> usize {
        self.layout().bytes
    }
    pub(super) fn tiles(&self) -> Vec<Tile> {
        self.layout().convolution.tiles()
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>) {
        let g = &self.geometry;
        let layout = self.layout();
        let convolution = layout.convolution;
        let scratch = e.scratch();
        let base = e.offset(scratch, layout.block);
        let low = [0, 1].map(|a| g.conv.padding[a][0]);
        let block =
            Block { base, columns: self.grid.block()[1], pixel: padded(g.ci) as i64 * F, low, element: Element::F32 };
        self.source.clear_sums(e, g.ci);
        self.result.clear_sums(e, g.co);
        let weight = e.argument(self.weight);
        let (first, count, rest) = self.cut.share(e, g.images);
        let (inputs, outputs) = (self.source.tensors(), self.result.tensors());
        let mut walked = walk(e, &inputs, first, g.input_bytes());
        walked.extend(walk(e, &outputs, first, g.output_bytes()));
        let mut taker = Taker { result: &self.result, tensors: &outputs, part: None };
        let mut weight = weight;
        if self.cut.parts > 1 {
            let part = e.at_index(rest, g.co / self.cut.parts * 4);
            taker.part = Some(part);
            weight = e.b.ins().iadd(weight, part);
        }
        if self.cut.bands > 1 {
            e.clear(base, self.block_rows() * block.row() as usize);
            let (at_input, at_output) = walked.split_at(inputs.len());
            let pointers = |walked: &[(Value, i64)]| walked.iter().map(|w| w.0).collect::<Vec<_>>();
            self.band(e, calls, &taker, &block, (&inputs, &pointers(at_input)), (&pointers(at_output), rest));
            return;
        }
        clear_around(e, &block, self.block_rows(), g.size, g.ci);
        let (tiles, v) = (self.grid.image_tiles(), e.offset(scratch, convolution.v.offset));
        self.grid.groups(e, count, &walked, &|e, at, images| {
            let fill = |e: &mut Emit<'_>, pointers: &[Value]| {
                self.source.fill(e, &Cursor::new(&inputs, pointers), g.size, g.ci, &block);
            };
            let (at_input, at_output) = at.split_at(inputs.len());
            if self.grid.group == 1 {
                fill(e, at_input);
                convolution.image(e, calls, &taker, (base, weight), at_output);
                return;
            }
            let mut walked: Vec<(Value, i64)> = vec![(v, tiles as i64 * convolution.v.tile)];
            walked.extend(at_input.iter().map(|&p| (p, g.input_bytes())));
            e.repeat(Count::Static(images), &walked, &[], |e, at, _| {
                fill(e, &at[1..]);
                convolution.scatter(e, base, at[0], self.grid.tiles()[0]);
                Vec::new()
            });
            convolution.multiply(e, calls, weight, images * tiles);
            convolution.gather_images(e, &taker, at_output, images);
        });
    }
    /// One band of the image at the pointers; the block is clear.
    fn band(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        taker: &Taker<'_>,
        block: &Block,
        inputs: (&[Tensor], &[Value]),
        (outputs, band): (&[Value], Value),
    ) {
        let g = &self.geometry;
        let convolution = self.layout().convolution;
        let size = self.grid.form.outputs();
        let rows = self.grid.band;
        let first = e.at_index(band, rows * size);
        let above = e.int(block.low[0] as i64);
        let start = e.b.ins().isub(first, above);
        fill_band(e, &self.source, g, inputs, block, (start, self.block_rows()));
        let scratch = e.scratch();
        let (v, m) = (e.offset(scratch, convolution.v.offset), e.offset(scratch, convolution.m.offset));
        convolution.scatter(e, block.base, v, rows);
        let weight = e.argument(self.weight);
        convolution.multiply(e, calls, weight, rows * self.grid.tiles()[1]);
        let dense = (g.output[1] * g.co) as i64 * F;
        let outputs: Vec<Value> = outputs.iter().map(|&p| e.at(p, first, dense)).collect();
        let last = if g.output[0].is_multiple_of(size) {
            Count::Static(size)
        } else {
            let (before, most) = (e.int((g.output[0] - (rows - 1) * size) as i64), e.int(size as i64));
            let left = e.b.ins().isub(before, first);
            Count::Dynamic(e.min(left, most))
        };
        convolution.gather(e, taker, &outputs, m, (rows, last));
    }
}
