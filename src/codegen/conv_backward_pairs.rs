//! The gradients of a convolution on pairs of bf16: what differs from [`super::conv_backward`].
//!
//! ```text
//!   dy block ──▶ data: runs over (tap, co) in ascending order, the weight packed to match
//!        └─▶ interleaved: a row for two pixels, its columns co  (B) ─┐
//!   x block ──▶ transposed: a row for each channel, its pixels  (A) ─┴─▶ for each tap: Σ over all pixels of the image
//! ```
//!
//! The weight gradient takes an image as one long row of pixels. Rows of dy are as wide as those of the transposed x;
//! where x has more columns than dy has pixels, dy is zero, so that what a row's end meets in the next does not count. A tap
//! moves A by a number of pixels. With stride s, x falls into s×s planes, and a tap reads one of them.

use cranelift_codegen::ir::Value;

use super::conv::{F, Geometry, PANEL, Tiles, padded};
use super::conv_backward::Backward;
use super::emit::Emit;
use super::half::Element;
use super::interleave::{Pairs, Transpose};
use super::leaf::Leaf;
use super::nest::Nest;
use super::nest_ops::{self, Reversed};
use super::pairs::{HALF, PAIR, Runs, step, written};
use super::tile::{Calls, Loop, Tile, tile_size};

/// Pixels that are transposed at a time.
const GROUP: usize = 32;

/// x, transposed: for each plane and channel a row of pixels.
pub(super) struct Flat {
    /// Pixels of an image's row.
    width: usize,
    /// Pairs of pixels in whole steps.
    pairs: usize,
    /// Numbers of a channel's row.
    channel: usize,
}

impl Backward {
    pub(super) fn on_pairs(&self) -> bool {
        self.element == Element::Bf16
    }

    /// The runs of a phase of the data gradient, or `None` when no tap reaches it.
    fn phase_runs(&self, phase: [usize; 2]) -> Option<Runs> {
        let g = &self.geometry;
        let (taps_y, taps_x) = (self.taps(0, phase[0]), self.taps(1, phase[1]));
        if taps_y.count == 0 || taps_x.count == 0 {
            return None;
        }
        let channels = padded(g.co);
        let pixel = channels as i64 * HALF;
        let row = self.gradient_block()[1] as i64 * pixel;
        // taps of neighbouring pixels are one run, if a step behind it is whole taps
        let whole = step(self.isa).is_multiple_of(channels) || channels.is_multiple_of(step(self.isa));
        let (x, k) = if taps_x.back == 1 && whole { (1, taps_x.count * channels) } else { (taps_x.count, channels) };
        Some(Runs { y: (taps_y.count, taps_y.back * row), x: (x, taps_x.back * pixel), k, columns: padded(g.ci) })
    }
    /// Where the packed weight of a phase starts; of the phase behind the last, the bytes of all.
    pub(super) fn weight_offset(&self, phase: Option<[usize; 2]>) -> i64 {
        let before = self.phases().into_iter().take_while(|&p| Some(p) != phase);
        before.filter_map(|p| self.phase_runs(p)).map(|runs| runs.bytes(self.isa)).sum()
    }
    /// Packs the weight of each phase.
    pub(super) fn pack_phases(&self) -> Vec<Nest> {
        let g = &self.geometry;
        let pack = |phase: [usize; 2]| {
            let runs = self.phase_runs(phase)?;
            let [y, x] = [0, 1].map(|axis| {
                let taps = self.taps(axis, phase[axis]);
                // before a single tap comes none
                let step = if taps.count == 1 { g.kernel[axis] } else { taps.step };
                Reversed { last: taps.first + step * (taps.count - 1), step }
            });
            let channels = padded(g.co);
            // behind a run come taps that do not exist: their weights are zero
            let run = runs.pairs(self.isa);
            let pairs = if runs.x.0 == 1 && (2 * run).is_multiple_of(channels) { channels / 2 } else { run };
            let taps = [runs.y.0, runs.x.0 * run / pairs];
            let offset = self.weight_offset(Some(phase)) / HALF;
            Some(nest_ops::pack_taps(g, [y, x], taps, [pairs, runs.columns], offset))
        };
        self.phases().into_iter().filter_map(pack).collect()
    }
    /// The tiles of a phase of the data gradient.
    pub(super) fn pair_data_tiles(&self, phase: [usize; 2]) -> Option<Tiles> {
        let g = &self.geometry;
        let runs = self.phase_runs(phase)?;
        let pixels = (g.size[1] - phase[1]).div_ceil(g.conv.stride[1]);
        let (rows, vectors) = tile_size(self.isa, pixels, runs.columns);
        let a_row = padded(g.co) as i64 * HALF;
        let c_row = (g.conv.stride[1] * runs.columns) as i64 * F;
        let loops = runs.loops(self.isa);
        let around = Vec::new();
        let tile = Tile { isa: self.isa, rows, vectors, around, loops, a_row, c_row, accumulate: false };
        Some(Tiles::new(tile.simplified(), pixels))
    }

    /// Numbers behind the dy block that are read with it.
    pub(super) fn gradient_slack(&self) -> usize {
        if self.on_pairs() { Geometry::slack(GROUP, padded(self.geometry.co)) } else { 0 }
    }
    /// Numbers behind the x block that are read with it.
    pub(super) fn source_slack(&self) -> usize {
        let g = &self.geometry;
        if self.on_pairs() { Geometry::slack(GROUP * g.conv.stride[1], g.ci) } else { 0 }
    }
    /// Pixels of a row of dx that tiles write.
    pub(super) fn row_pixels(&self) -> usize {
        let (stride, pixels) = (self.geometry.conv.stride[1], self.geometry.size[1]);
        if self.on_pairs() { written(self.isa, pixels.div_ceil(stride)) * stride } else { pixels }
    }
    /// Columns that the dy block must have for the weight gradient.
    pub(super) fn flat_columns(&self) -> usize {
        if self.on_pairs() && self.source.is_some() { self.plane()[1] } else { 0 }
    }

    /// Rows and columns of the largest plane of x.
    fn plane(&self) -> [usize; 2] {
        let block = self.geometry.block();
        [0, 1].map(|axis| block[axis].div_ceil(self.geometry.conv.stride[axis]))
    }
    fn flat(&self) -> Flat {
        let g = &self.geometry;
        let width = self.gradient_block()[1];
        let pixels = (g.output[0] * width).next_multiple_of(step(self.isa));
        let [down, right] = [0, 1].map(|axis| (g.kernel[axis] - 1) * g.conv.dilation[axis] / g.conv.stride[axis]);
        let [rows, columns] = self.plane();
        let moved = (rows - 1) * width + columns.next_multiple_of(GROUP);
        let all = (pixels + down * width + right).max(moved).max((rows * width).next_multiple_of(GROUP));
        // an odd number of cache lines, so that sixteen rows do not share a few sets of the cache
        let channel = all.next_multiple_of(GROUP);
        let even = (channel / GROUP).is_multiple_of(2);
        Flat { width, pairs: pixels / 2, channel: if even { channel + GROUP } else { channel } }
    }
    /// Extents of x transposed, bf16.
    pub(super) fn transposed(&self) -> [usize; 3] {
        let [y, x] = self.geometry.conv.stride;
        [y * x, padded(self.geometry.ci), self.flat().channel]
    }
    /// Extents of dy interleaved, f32.
    pub(super) fn interleaved(&self) -> [usize; 2] {
        [self.flat().pairs, padded(self.geometry.co)]
    }

    /// Fills both from the blocks of x and dy.
    fn arrange(&self, e: &mut Emit<'_>, (x, dy): (Value, Value), (transposed, interleaved): (Value, Value)) {
        let g = &self.geometry;
        let flat = self.flat();
        let from = e.offset(dy, self.dy_block(dy).inner());
        e.call_leaf(Leaf::Pairs(Pairs { pairs: flat.pairs, channels: padded(g.co) }), &[from, interleaved]);
        let [rows, columns] = g.block();
        let pixel = g.ci as i64 * HALF;
        let row = columns as i64 * pixel;
        let [stride_y, stride_x] = g.conv.stride;
        let used = |axis: usize, phase: usize| {
            (0..g.kernel[axis]).any(|tap| tap * g.conv.dilation[axis] % g.conv.stride[axis] == phase)
        };
        for y in (0..stride_y.min(rows)).filter(|&y| used(0, y)) {
            for x_phase in (0..stride_x.min(columns)).filter(|&x| used(1, x)) {
                let whole = g.conv.stride == [1, 1] && columns == flat.width;
                let (rows, columns) = if whole {
                    (1, rows * columns)
                } else {
                    ((rows - y).div_ceil(stride_y), (columns - x_phase).div_ceil(stride_x))
                };
                let leaf = Transpose {
                    rows: (rows, stride_y as i64 * row, flat.width as i64 * HALF),
                    groups: columns.div_ceil(GROUP),
                    pixel: stride_x as i64 * pixel,
                    blocks: padded(g.ci) / PANEL,
                    channel: flat.channel as i64 * HALF,
                };
                let from = e.offset(x, y as i64 * row + x_phase as i64 * pixel);
                let to = e.offset(transposed, self.plane_offset(&flat, [y, x_phase]));
                e.call_leaf(Leaf::Transpose(leaf), &[from, to]);
            }
        }
    }
    fn plane_offset(&self, flat: &Flat, [y, x]: [usize; 2]) -> i64 {
        ((y * self.geometry.conv.stride[1] + x) * padded(self.geometry.ci) * flat.channel) as i64 * HALF
    }

    /// The tiles of the weight gradient: the rows of one tap over an image.
    pub(super) fn pair_filter_tiles(&self) -> Tiles {
        let g = &self.geometry;
        let (flat, columns) = (self.flat(), padded(g.co));
        let (rows, vectors) = tile_size(self.isa, g.ci, columns);
        let loops = vec![Loop { count: flat.pairs, a: PAIR, b: columns as i64 * PAIR }];
        let (a_row, c_row) = (flat.channel as i64 * HALF, columns as i64 * F);
        let around = Vec::new();
        let tile = Tile { isa: self.isa, rows, vectors, around, loops, a_row, c_row, accumulate: true };
        Tiles::new(tile, g.ci)
    }
    /// Adds the weight gradient of an image, from the blocks of x and dy, to `sums`, `[kh, kw, padded(ci), padded(co)]`.
    pub(super) fn filter_pairs(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        blocks: (Value, Value),
        (transposed, interleaved): (Value, Value),
        sums: Value,
    ) {
        self.arrange(e, blocks, (transposed, interleaved));
        let g = &self.geometry;
        let (flat, tiles) = (self.flat(), self.pair_filter_tiles());
        let panels = padded(g.co) / tiles.whole.columns();
        let tap = (padded(g.ci) * padded(g.co)) as i64 * F;
        let split = |axis: usize, k: usize| {
            let (at, stride) = (k * g.conv.dilation[axis], g.conv.stride[axis]);
            (at % stride, at / stride)
        };
        for ky in 0..g.kernel[0] {
            for kx in 0..g.kernel[1] {
                let ((plane_y, down), (plane_x, right)) = (split(0, ky), split(1, kx));
                let moved = (down * flat.width + right) as i64 * HALF;
                let a = e.offset(transposed, self.plane_offset(&flat, [plane_y, plane_x]) + moved);
                let c = e.offset(sums, (ky * g.kernel[1] + kx) as i64 * tap);
                tiles.emit(e, calls, panels, a, interleaved, c);
            }
        }
    }
}
