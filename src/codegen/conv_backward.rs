//! The gradients of a direct convolution, both from one reading of `dy` and `x`.
//!
//! ```text
//!  for each image of the chunk, a large one in bands of rows
//!    gradient program ──▶ zero-padded dy block        source program ──▶ zero-padded x block
//!    data:   for each input row: tiles over (taps, co) of dy and the transposed weight ──▶ row
//!            result program on the row ──▶ outputs, sums
//!    filter: for each ky: tiles over the pixels of x (rows: kx, ci) and dy (columns: co), added to the
//!            chunk's partial weight gradient
//! ```
//!
//! With stride s the input pixels fall into s×s phases; each phase is a convolution of dy with the taps
//! that reach it, so no product with an inserted zero is ever computed. The taps of a phase form an
//! arithmetic progression, walked backwards through dy.

use cranelift_codegen::ir::Value;

use super::conv::{Block, Bound, Cursor, F, Geometry, PANEL, Scratch, Tensor, Tiles, padded, walk};
use super::conv_backward_bands::Band;
use super::conv_filter::filter_runs;
use super::depthwise::Row;
use super::emit::{Count, Emit};
use super::half::Element;
use super::isa::Isa;
use super::pairs::{begin, end};
use super::region::{Access, Extent};
use super::tile::{Calls, Loop, Tile, tile_size};

/// Gradients of a convolution. Arguments: operands (0 is the weight if `data`), results, then the
/// transposed weight `[kh, kw, co, padded(ci)]` if `data`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backward {
    pub(super) isa: Isa,
    pub(super) geometry: Geometry,
    pub(super) chunks: usize,
    /// What the tiles multiply.
    pub(super) element: Element,
    /// Makes x; present for the weight gradient.
    pub(super) source: Option<Bound>,
    /// Makes dy.
    pub(super) gradient: Bound,
    /// Takes dx; present for the data gradient.
    pub(super) result: Option<Bound>,
    /// Argument of the transposed weight (with `result`).
    pub(super) weight: usize,
    /// Argument of the partial weight gradients (with `source`).
    pub(super) partial: usize,
}

/// The taps of one axis that reach the input pixels of one phase.
pub(super) struct Taps {
    pub(super) count: usize,
    /// First tap and distance of taps in the kernel.
    pub(super) first: usize,
    pub(super) step: usize,
    /// Output position of the first tap for the phase's first pixel, and its change from tap to tap.
    pub(super) start: i64,
    pub(super) back: i64,
}

struct Layout {
    gradient: i64,
    source: i64,
    row: i64,
    weight: i64,
    transposed: i64,
    interleaved: i64,
    bytes: usize,
}

impl Backward {
    pub(super) fn taps(&self, axis: usize, phase: usize) -> Taps {
        let g = &self.geometry;
        let (stride, dilation) = (g.conv.stride[axis] as i64, g.conv.dilation[axis] as i64);
        let position = |k: usize| phase as i64 + g.conv.padding[axis][0] as i64 - k as i64 * dilation;
        let reach: Vec<usize> = (0..g.kernel[axis]).filter(|&k| position(k).rem_euclid(stride) == 0).collect();
        let Some(&first) = reach.first() else { return Taps { count: 0, first: 0, step: 1, start: 0, back: 0 } };
        let step = reach.get(1).map_or(1, |second| second - first);
        Taps {
            count: reach.len(),
            first,
            step,
            start: position(first).div_euclid(stride),
            back: step as i64 * dilation / stride,
        }
    }

    /// Zeros before and after dy on `axis`, so that every tap of every phase stays inside the block.
    pub(super) fn margin(&self, axis: usize) -> [usize; 2] {
        let g = &self.geometry;
        if self.result.is_none() {
            return [0, 0];
        }
        let (mut low, mut high) = (0i64, g.output[axis] as i64 - 1);
        for phase in 0..g.conv.stride[axis].min(g.size[axis]) {
            let taps = self.taps(axis, phase);
            if taps.count == 0 {
                continue;
            }
            let pixels = (g.size[axis] - phase).div_ceil(g.conv.stride[axis]) as i64;
            low = low.min(taps.start - taps.back * (taps.count as i64 - 1));
            high = high.max(taps.start + pixels - 1);
        }
        [(-low) as usize, (high - (g.output[axis] as i64 - 1)) as usize]
    }

    /// Rows and columns of the dy block.
    pub(super) fn gradient_block(&self) -> [usize; 2] {
        let [rows, columns] = [0, 1].map(|a| self.geometry.output[a] + self.margin(a)[0] + self.margin(a)[1]);
        [rows, columns.max(self.flat_columns())]
    }
    /// The operand that can serve as dy block as it is.
    pub(super) fn reads_gradient(&self) -> Option<usize> {
        let g = &self.geometry;
        let plain =
            self.margin(0) == [0, 0] && self.margin(1) == [0, 0] && g.co.is_multiple_of(PANEL) && !self.on_pairs();
        if plain { self.gradient.is_tensor(self.element) } else { None }
    }
    fn writes_result(&self) -> Option<usize> {
        let result = self.result.as_ref()?;
        let g = &self.geometry;
        let whole = g.ci.is_multiple_of(PANEL) && self.row_pixels() == g.size[1];
        if whole { result.stores_anchor() } else { None }
    }

    fn layout(&self) -> Layout {
        let g = &self.geometry;
        let mut scratch = Scratch::default();
        let [of_dy, of_x] = self.held_rows();
        let copies = self.reads_gradient().is_none();
        let (columns, more) = (self.gradient_block()[1], self.gradient_slack());
        let gradient = if copies { scratch.take_of(self.element, &[of_dy, columns, padded(g.co)], more) } else { 0 };
        let copies = self.source.is_some() && self.reads_source().is_none();
        let (columns, more) = (g.block()[1], self.source_slack());
        let source = if copies { scratch.take_of(self.element, &[of_x, columns, g.ci], more) } else { 0 };
        let row = if self.result.is_some() { scratch.take(&[self.row_pixels(), padded(g.ci)]) } else { 0 };
        let apart = self.source.is_some() && self.sums_apart();
        let weight = if apart { scratch.take(&[self.sums()]) } else { 0 };
        let (mut transposed, mut interleaved) = (0, 0);
        if self.on_pairs() && self.source.is_some() {
            transposed = scratch.take_of(self.element, &self.transposed(), 0);
            interleaved = scratch.take(&self.interleaved());
        }
        Layout { gradient, source, row, weight, transposed, interleaved, bytes: scratch.bytes }
    }
    /// Bytes of worker scratch.
    pub(super) fn scratch(&self) -> usize {
        self.layout().bytes
    }

    /// Tiles of the data gradient for a phase, or `None` when no tap reaches it.
    fn data_tiles(&self, phase: [usize; 2]) -> Option<Tiles> {
        if self.on_pairs() {
            return self.pair_data_tiles(phase);
        }
        let g = &self.geometry;
        let (taps_y, taps_x) = (self.taps(0, phase[0]), self.taps(1, phase[1]));
        if taps_y.count == 0 || taps_x.count == 0 {
            return None;
        }
        let pixel = padded(g.co) as i64 * F;
        let row = self.gradient_block()[1] as i64 * pixel;
        let columns = padded(g.part_ci());
        let (b, co) = (columns as i64 * F, g.part_co());
        let pixels = (g.size[1] - phase[1]).div_ceil(g.conv.stride[1]);
        let (rows, vectors) = tile_size(self.isa, pixels, columns);
        let tile = Tile {
            isa: self.isa,
            rows,
            vectors,
            around: Vec::new(),
            loops: vec![
                Loop { count: taps_y.count, a: -taps_y.back * row, b: b * (taps_y.step * g.kernel[1] * co) as i64 },
                Loop { count: taps_x.count, a: -taps_x.back * pixel, b: b * (taps_x.step * co) as i64 },
                Loop { count: co, a: F, b },
            ],
            a_row: pixel,
            c_row: (g.conv.stride[1] * padded(g.ci)) as i64 * F,
            accumulate: false,
        };
        Some(Tiles::new(tile.simplified(), pixels))
    }

    pub(super) fn phases(&self) -> Vec<[usize; 2]> {
        let g = &self.geometry;
        let along = |axis: usize| 0..g.conv.stride[axis].min(g.size[axis]);
        along(0).flat_map(|y| along(1).map(move |x| [y, x])).collect()
    }

    /// Every tile that the kernel calls.
    pub(super) fn tiles(&self) -> Vec<Tile> {
        let mut tiles = Vec::new();
        if self.geometry.is_depthwise() {
            return tiles;
        }
        if self.result.is_some() {
            tiles.extend(self.phases().into_iter().filter_map(|p| self.data_tiles(p)).flat_map(|t| t.list()));
        }
        if self.source.is_some() && self.on_pairs() {
            tiles.extend(self.pair_filter_tiles().list());
        } else if self.source.is_some() {
            for band in self.bands() {
                for (_, rows) in filter_runs(&self.geometry, band.rows.len()) {
                    tiles.extend(self.filter_tiles(rows).list());
                }
            }
        }
        tiles
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>) {
        let g = &self.geometry;
        let layout = self.layout();
        let scratch = e.scratch();
        let gradient = e.offset(scratch, layout.gradient);
        let source = e.offset(scratch, layout.source);
        let arranged = (e.offset(scratch, layout.transposed), e.offset(scratch, layout.interleaved));
        self.clear(e, gradient, source, arranged.0);
        begin(e, self.isa);
        let partial = self.source.as_ref().map(|_| {
            let base = e.argument(self.partial);
            let chunk = e.chunk();
            e.at(base, chunk, g.weights() as i64 * F)
        });
        let sums = partial.map(|p| if self.sums_apart() { e.offset(scratch, layout.weight) } else { p });
        if let Some(sums) = sums {
            e.clear(sums, self.sums() * 4);
        }
        let (first, count) = e.chunk_range(g.images, self.chunks);
        let mut of_input: Vec<Tensor> =
            [&self.source, &self.result].into_iter().flatten().flat_map(Bound::tensors).collect();
        of_input.sort_unstable();
        of_input.dedup();
        let of_output = self.gradient.tensors();
        let mut walked = walk(e, &of_input, first, g.input_bytes());
        walked.extend(walk(e, &of_output, first, g.output_bytes()));
        e.repeat(count, &walked, &[], |e, at, _| {
            let (at_input, at_output) = at.split_at(of_input.len());
            let (inputs, outputs) = ((of_input.as_slice(), at_input), (of_output.as_slice(), at_output));
            let mut dy = self.gradient_window(gradient);
            let mut x = self.source.as_ref().map(|program| self.source_window(program, source));
            for band in self.bands() {
                let dy = dy.slide(e, outputs, band.gradient.clone());
                if let (Some(x), Some(sums)) = (&mut x, sums) {
                    let x = x.slide(e, inputs, band.source.clone());
                    if self.on_pairs() {
                        self.filter_pairs(e, calls, (x, dy), arranged, sums);
                    } else {
                        self.filter(e, calls, [x, dy, sums], &band);
                    }
                }
                if let Some(result) = &self.result {
                    let row = e.offset(scratch, layout.row);
                    self.data(e, calls, result, inputs, (dy, row), &band);
                }
            }
            Vec::new()
        });
        if let (true, Some(partial), Some(sums)) = (self.sums_apart(), partial, sums) {
            self.gather(e, sums, partial);
        }
        end(e, self.isa);
    }

    /// Zeroes what must be zero before the first image: borders, padding channels, sums.
    fn clear(&self, e: &mut Emit<'_>, gradient: Value, source: Value, transposed: Value) {
        let g = &self.geometry;
        let bytes = |numbers: usize| (numbers * self.element.bytes() as usize).next_multiple_of(4);
        let [of_dy, of_x] = self.held_rows();
        let partly = self.gradient_block() != g.output || !g.co.is_multiple_of(PANEL) || self.on_pairs();
        if self.reads_gradient().is_none() && partly {
            let row = self.gradient_block()[1] * padded(g.co);
            e.clear(gradient, bytes(of_dy * row + self.gradient_slack()));
        }
        if self.source.is_some() && (g.is_padded() || self.on_pairs()) {
            e.clear(source, bytes(of_x * g.block()[1] * g.ci + self.source_slack()));
        }
        if self.source.is_some() && self.on_pairs() {
            e.clear(transposed, bytes(self.transposed().iter().product()));
        }
        self.gradient.clear_sums(e, g.co);
        for program in [&self.source, &self.result].into_iter().flatten() {
            program.clear_sums(e, g.ci);
        }
    }

    /// The zero-padded dy, in whole panels of channels, as a place in scratch.
    pub(super) fn dy_block(&self, base: Value) -> Block {
        let low = [0, 1].map(|a| self.margin(a)[0]);
        let (columns, pixel) = (self.gradient_block()[1], padded(self.geometry.co) as i64 * self.element.bytes());
        Block { base, columns, pixel, low, element: self.element }
    }

    /// A row of a phase of a depthwise convolution's data gradient, from the first tap's first pixel of dy on.
    fn depthwise_row(&self, phase: [usize; 2]) -> Row {
        let g = &self.geometry;
        let (taps_y, taps_x) = (self.taps(0, phase[0]), self.taps(1, phase[1]));
        let pixel = padded(g.co) as i64 * F;
        let row = self.gradient_block()[1] as i64 * pixel;
        let tap = |ky: usize, kx: usize| {
            let weight = (taps_y.first + ky * taps_y.step) * g.kernel[1] + taps_x.first + kx * taps_x.step;
            [-(ky as i64 * taps_y.back * row + kx as i64 * taps_x.back * pixel), (weight * g.ci) as i64 * F]
        };
        Row {
            taps: (0..taps_y.count)
                .flat_map(|ky| (0..taps_x.count).map(move |kx| (ky, kx)))
                .map(|(y, x)| tap(y, x))
                .collect(),
            pixels: (g.size[1] - phase[1]).div_ceil(g.conv.stride[1]),
            step: [pixel, (g.conv.stride[1] * padded(g.ci)) as i64 * F],
            channels: g.ci,
        }
    }

    /// Where the taps of an axis start in dy: pairs are walked forwards, from the last tap on.
    fn from(&self, taps: &Taps) -> i64 {
        if self.on_pairs() { taps.start - taps.back * (taps.count as i64 - 1) } else { taps.start }
    }

    fn data(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        result: &Bound,
        (tensors, pointers): (&[Tensor], &[Value]),
        (dy, row): (Value, Value),
        band: &Band,
    ) {
        let g = &self.geometry;
        let [stride_y, stride_x] = g.conv.stride;
        let weight = e.argument(self.weight);
        let pixel = padded(g.co) as i64 * self.element.bytes();
        let block_row = self.gradient_block()[1] as i64 * pixel;
        let columns = padded(g.part_ci());
        let tap = (g.part_co() * columns) as i64 * F;
        let dense_row = (g.size[1] * g.ci) as i64 * F;
        let row_pixel = padded(g.ci) as i64 * F;
        for (phase_y, rows) in band.result.iter().enumerate() {
            let taps_y = self.taps(0, phase_y);
            let first = self.from(&taps_y) + (rows.start + self.margin(0)[0]) as i64 - band.gradient.start as i64;
            let mut walked: Vec<(Value, i64)> = vec![(e.offset(dy, first * block_row), block_row)];
            for (&pointer, tensor) in pointers.iter().zip(tensors) {
                let dense_row = tensor.element.of(dense_row);
                let first = (phase_y + rows.start * stride_y) as i64;
                walked.push((e.offset(pointer, first * dense_row), stride_y as i64 * dense_row));
            }
            e.repeat(Count::Static(rows.len()), &walked, &[], |e, at, _| {
                let cursor = Cursor::new(tensors, &at[1..]);
                let direct = self.writes_result();
                let c = direct.map_or(row, |argument| cursor.get(argument, row));
                for phase_x in 0..stride_x.min(g.size[1]) {
                    let taps_x = self.taps(1, phase_x);
                    let c = e.offset(c, phase_x as i64 * row_pixel);
                    if g.is_depthwise() {
                        let a = e.offset(at[0], (taps_x.start + self.margin(1)[0] as i64) * pixel);
                        self.depthwise_row([phase_y, phase_x]).emit(e, [a, weight, c]);
                    } else if let Some(tiles) = self.data_tiles([phase_y, phase_x]) {
                        let a = e.offset(at[0], (self.from(&taps_x) + self.margin(1)[0] as i64) * pixel);
                        let first = match self.on_pairs() {
                            true => self.weight_offset(Some([phase_y, phase_x])),
                            false => (taps_y.first * g.kernel[1] + taps_x.first) as i64 * tap,
                        };
                        let b = e.offset(weight, first);
                        let panels = columns / tiles.whole.columns();
                        let part = [g.part_co() as i64 * F, g.taps() as i64 * tap, g.part_ci() as i64 * F];
                        let walked = [(a, part[0]), (b, part[1]), (c, part[2])];
                        e.repeat(Count::Static(g.parts()), &walked, &[], |e, at, _| {
                            tiles.emit(e, calls, panels, at[0], at[1], at[2]);
                            Vec::new()
                        });
                    } else {
                        let pixels = (g.size[1] - phase_x).div_ceil(stride_x);
                        e.repeat(Count::Static(pixels), &[(c, stride_x as i64 * row_pixel)], &[], |e, at, _| {
                            e.clear(at[0], padded(g.ci) * 4);
                            Vec::new()
                        });
                    }
                }
                if direct.is_none() {
                    let extent = Extent { rows: Count::Static(1), columns: Count::Static(g.size[1]), channels: g.ci };
                    let anchor = Access::new(row, 0, row_pixel);
                    result.region(e, &cursor, extent, dense_row, Some(anchor)).emit(e);
                }
                Vec::new()
            });
        }
    }
}
