//! The weight gradient of a convolution's backward kernel: its tiles, its sums, and where they go.
//!
//! ```text
//!   sums [part][ky][kx] of ▓ part_ci × part_co          a tile's rows are input channels (of all kx at once
//!                                                       where they are one run of x), its columns output
//!   x pixels ──▶ rows ─┐                                channels, its products the pixels of some rows
//!   dy pixels ─▶ columns ▶ tile, added to the sums
//! ```
//!
//! The sums are the chunk's partial weight gradient itself, or lie in scratch and are copied there at the end.

use cranelift_codegen::ir::Value;

use super::conv::{F, Geometry, PANEL, Tiles, padded};
use super::conv_backward::Backward;
use super::conv_backward_bands::Band;
use super::depthwise::Filter;
use super::emit::{Count, Emit};
use super::region::{Access, Extent, Region, Sink, Source};
use super::tile::{Calls, Loop, Tile, tile_size};
use crate::ops::Program;

/// Output rows that one call of the weight gradient's tile sums: short sums, added up in memory, keep
/// rounding errors small and cost one addition in a few hundred.
pub(super) fn filter_rows(g: &Geometry) -> usize {
    let [rows, columns] = g.output;
    (256 / columns).clamp(1, rows)
}

/// Runs of `rows` output rows: (how many runs, rows of each).
pub(super) fn filter_runs(g: &Geometry, rows: usize) -> Vec<(usize, usize)> {
    let run = filter_rows(g);
    [(rows / run, run), (1, rows % run)].into_iter().filter(|&(count, rows)| count > 0 && rows > 0).collect()
}

impl Backward {
    /// The operand that can serve as x block as it is.
    pub(super) fn reads_source(&self) -> Option<usize> {
        let source = self.source.as_ref()?;
        if self.geometry.is_padded() || self.on_pairs() { None } else { source.is_tensor(self.element) }
    }

    /// Whether the weight gradient is summed in scratch: in whole panels, and with groups a part by itself.
    pub(super) fn sums_apart(&self) -> bool {
        let g = &self.geometry;
        !g.is_depthwise() && (!g.co.is_multiple_of(PANEL) || g.conv.groups > 1 || self.sum_rows() != g.part_ci())
    }

    /// Rows of a tap's sums: transposed x has whole panels of channels.
    pub(super) fn sum_rows(&self) -> usize {
        let channels = self.geometry.part_ci();
        if self.on_pairs() { padded(channels) } else { channels }
    }

    /// Floats of these sums: `[parts, kh, kw, sum_rows, padded(part_co)]`; a depthwise convolution's are its weight's.
    pub(super) fn sums(&self) -> usize {
        let g = &self.geometry;
        if g.is_depthwise() { g.weights() } else { g.parts() * g.taps() * self.sum_rows() * padded(g.part_co()) }
    }

    /// Tiles of the weight gradient over `output_rows` rows of dy: the rows of one ky (all kx, or one kx
    /// when columns are dilated).
    pub(super) fn filter_tiles(&self, output_rows: usize) -> Tiles {
        let g = &self.geometry;
        let columns = padded(g.part_co());
        let (pixel_x, pixel_y) = (g.ci as i64 * F, padded(g.co) as i64 * F);
        let run = if self.one_run() { g.kernel[1] * g.ci } else { g.part_ci() };
        let (rows, vectors) = tile_size(self.isa, run, columns);
        let tile = Tile {
            isa: self.isa,
            rows,
            vectors,
            around: Vec::new(),
            loops: vec![
                Loop {
                    count: output_rows,
                    a: g.conv.stride[0] as i64 * g.block()[1] as i64 * pixel_x,
                    b: self.gradient_block()[1] as i64 * pixel_y,
                },
                Loop { count: g.output[1], a: g.conv.stride[1] as i64 * pixel_x, b: pixel_y },
            ],
            a_row: F,
            c_row: columns as i64 * F,
            accumulate: true,
        };
        Tiles::new(tile.simplified(), run)
    }

    /// Whether the columns of a kernel and its channels are one run of the block.
    fn one_run(&self) -> bool {
        self.geometry.conv.dilation[1] == 1 && self.geometry.parts() == 1
    }

    /// Sums the products of a band's output rows, from its first row of x and of dy on.
    pub(super) fn filter(&self, e: &mut Emit<'_>, calls: &Calls<'_>, [x, dy, sums]: [Value; 3], band: &Band) {
        let g = &self.geometry;
        let row_x = (g.block()[1] * g.ci) as i64 * F;
        let block = self.dy_block(dy);
        let row_y = block.row();
        let above = (band.rows.start + block.low[0] - band.gradient.start) as i64;
        let b = e.offset(dy, above * row_y + block.low[1] as i64 * block.pixel);
        let mut before = 0;
        for (count, run) in filter_runs(g, band.rows.len()) {
            let (at_x, at_y) = (before * g.conv.stride[0] as i64 * row_x, before * row_y);
            let walked =
                [(e.offset(x, at_x), (run * g.conv.stride[0]) as i64 * row_x), (e.offset(b, at_y), run as i64 * row_y)];
            before += (count * run) as i64;
            e.repeat(Count::Static(count), &walked, &[], |e, at, _| {
                if g.is_depthwise() {
                    self.depthwise_filter(run).emit(e, [at[0], at[1], sums]);
                    return Vec::new();
                }
                let part = (g.taps() * g.part_ci() * padded(g.part_co())) as i64 * F;
                let parts = [(at[0], g.part_ci() as i64 * F), (at[1], g.part_co() as i64 * F), (sums, part)];
                e.repeat(Count::Static(g.parts()), &parts, &[], |e, at, _| {
                    self.filter_run(e, calls, &self.filter_tiles(run), (at[0], at[1], at[2]), row_x);
                    Vec::new()
                });
                Vec::new()
            });
        }
    }

    /// The weight gradient of one run of rows of a depthwise convolution.
    fn depthwise_filter(&self, rows: usize) -> Filter {
        let g = &self.geometry;
        let (pixel_x, pixel_y) = (g.ci as i64 * F, padded(g.co) as i64 * F);
        let (row_x, row_y) = (g.block()[1] as i64 * pixel_x, self.gradient_block()[1] as i64 * pixel_y);
        let ([down, right], [stride_y, stride_x]) = (g.conv.dilation, g.conv.stride);
        let tap = |ky: usize, kx: usize| (ky * down) as i64 * row_x + (kx * right) as i64 * pixel_x;
        Filter {
            taps: (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| tap(ky, kx))).collect(),
            rows,
            columns: g.output[1],
            row: [stride_y as i64 * row_x, row_y],
            column: [stride_x as i64 * pixel_x, pixel_y],
            channels: g.ci,
        }
    }

    /// The weight gradient of one run of rows: every ky, and every kx where their columns are no one run.
    fn filter_run(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        tiles: &Tiles,
        (x, b, sums): (Value, Value, Value),
        row_x: i64,
    ) {
        let g = &self.geometry;
        let columns = padded(g.part_co());
        let (panels, tap) = (columns / tiles.whole.columns(), (g.part_ci() * columns) as i64 * F);
        let pixel_x = g.ci as i64 * F;
        let rows = [(x, g.conv.dilation[0] as i64 * row_x), (sums, g.kernel[1] as i64 * tap)];
        e.repeat(Count::Static(g.kernel[0]), &rows, &[], |e, at, _| {
            let turns = if self.one_run() { 1 } else { g.kernel[1] };
            let columns = [(at[0], g.conv.dilation[1] as i64 * pixel_x), (at[1], tap)];
            e.repeat(Count::Static(turns), &columns, &[], |e, at, _| {
                tiles.emit(e, calls, panels, at[0], b, at[1]);
                Vec::new()
            });
            Vec::new()
        });
    }

    /// Copies the groups' weight gradients, blocks on the diagonals of the parts' sums, to where they belong.
    pub(super) fn gather(&self, e: &mut Emit<'_>, sums: Value, partial: Value) {
        let g = &self.geometry;
        let copy = Program::operand(0);
        let (ci, co) = (g.ci / g.conv.groups, g.co / g.conv.groups);
        let column = padded(g.part_co()) as i64 * F;
        let part = (g.taps() * self.sum_rows()) as i64 * column;
        let parts = [(sums, part), (partial, g.part_co() as i64 * F)];
        e.repeat(Count::Static(g.parts()), &parts, &[], |e, at, _| {
            let groups = [(at[0], ci as i64 * column + co as i64 * F), (at[1], co as i64 * F)];
            e.repeat(Count::Static(g.merged), &groups, &[], |e, at, _| {
                let from = Access::new(at[0], self.sum_rows() as i64 * column, column);
                let to = Access::new(at[1], (ci * g.co) as i64 * F, g.co as i64 * F);
                Region {
                    program: &copy,
                    extent: Extent { rows: Count::Static(g.taps()), columns: Count::Static(ci), channels: co },
                    operands: vec![(0, Source::Full(from))],
                    anchor: None,
                    sinks: vec![Sink::Full(0, to)],
                }
                .emit(e);
                Vec::new()
            });
            Vec::new()
        });
    }
}
