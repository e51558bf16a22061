//! Both gradients of a convolution by Winograd, from one reading of `dy` and `x`.
//!
//! ```text
//!  for each group of images of the chunk
//!    gradient program ──▶ zero-padded dy block       source program ──▶ zero-padded x block
//!    filter: x and dy to Winograd's domain, products added to the chunk's sums
//!    data:   a convolution of dy with the rotated, transposed weight ──▶ rows; result program ──▶ outputs, sums
//!  sums ──▶ the chunk's partial weight gradient
//! ```

use cranelift_codegen::ir::Value;

use super::algorithm::BackwardForms;
use super::conv::{Block, Bound, Cursor, F, Geometry, Scratch, Tensor, padded, walk};
use super::emit::{Count, Emit};
use super::half::Element;
use super::isa::Isa;
use super::tile::{Calls, Tile};
use super::winograd::TAPS;
use super::winograd_filter::Filter;
use super::winograd_forward::{Convolution, Taker};
use super::winograd_grid::{Grid, clear_around};

/// Gradients of a convolution by Winograd. Arguments: operands, results, then the rotated, transposed weight in
/// Winograd's domain if there is a data gradient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WinogradBackward {
    pub(super) isa: Isa,
    pub(super) geometry: Geometry,
    pub(super) forms: BackwardForms,
    pub(super) chunks: usize,
    /// Makes dy.
    pub(super) gradient: Bound,
    /// Takes dx, and the argument of the weight.
    pub(super) data: Option<(Bound, usize)>,
    /// Makes x, and the argument of the partial weight gradients.
    pub(super) filter: Option<(Bound, usize)>,
}

/// The grids of the data gradient and of the weight gradient, of which those `wanted` share the groups of images.
pub(super) fn grids(isa: Isa, g: &Geometry, forms: BackwardForms, wanted: [bool; 2], chunks: usize) -> [Grid; 2] {
    let images = g.images.div_ceil(chunks);
    let of = [(forms.data, g.size, [g.co, g.ci]), (forms.filter, g.output, [g.ci, g.co])];
    let groups = of.iter().zip(wanted).filter(|w| w.1).map(|(&(form, size, c), _)| Grid::group(form, size, c, images));
    let group = groups.max().unwrap_or(1);
    of.map(|(form, size, channels)| Grid::new(isa, form, size, channels, group))
}

struct Layout {
    /// Rows and columns of the blocks, and their offsets in scratch.
    dy: ([usize; 2], i64),
    x: ([usize; 2], i64),
    data: Option<Convolution>,
    filter: Option<Filter>,
    bytes: usize,
}

impl WinogradBackward {
    /// Zeros before dy on each axis.
    fn low(&self) -> [usize; 2] {
        [0, 1].map(|a| if self.data.is_some() { TAPS - 1 - self.geometry.conv.padding[a][0] } else { 0 })
    }
    /// The grids of the data gradient and of the weight gradient.
    fn grids(&self) -> [Grid; 2] {
        grids(self.isa, &self.geometry, self.forms, [self.data.is_some(), self.filter.is_some()], self.chunks)
    }
    fn layout(&self) -> Layout {
        let g = &self.geometry;
        let mut scratch = Scratch::default();
        let [data, filter] = self.grids();
        let (low, filter_block, data_block) = (self.low(), filter.block(), data.block());
        let mut dy = [0, 1].map(|a| low[a] + g.output[a]);
        for a in 0..2 {
            if self.data.is_some() {
                dy[a] = dy[a].max(data_block[a]);
            }
            if self.filter.is_some() {
                dy[a] = dy[a].max(low[a] + filter_block[a] - (TAPS - 1));
            }
        }
        let dy = (dy, scratch.take(&[dy[0], dy[1], padded(g.co)]));
        let x = if self.filter.is_some() { filter_block } else { [0, 0] };
        let x = (x, scratch.take(&[x[0], x[1], padded(g.ci)]));
        let row_dy = (dy.0[1] * padded(g.co)) as i64 * F;
        let row_x = (x.0[1] * padded(g.ci)) as i64 * F;
        let images = g.images.is_multiple_of(self.chunks).then(|| g.images / self.chunks);
        let filter =
            self.filter.as_ref().map(|_| Filter::new(filter, [g.ci, g.co], [row_x, row_dy], images, &mut scratch));
        let data = self.data.as_ref().map(|_| Convolution::new(data, [g.co, g.ci], 1, row_dy, &mut scratch));
        Layout { dy, x, data, filter, bytes: scratch.bytes }
    }
    /// Bytes of worker scratch.
    pub(super) fn scratch(&self) -> usize {
        self.layout().bytes
    }
    /// Every tile that the kernel calls.
    pub(super) fn tiles(&self) -> Vec<Tile> {
        let layout = self.layout();
        let data = layout.data.iter().flat_map(Convolution::tiles);
        data.chain(layout.filter.iter().flat_map(Filter::tiles)).collect()
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>) {
        let g = &self.geometry;
        let layout = self.layout();
        let scratch = e.scratch();
        let block = |e: &mut Emit<'_>, ([_, columns], at): ([usize; 2], i64), channels: usize, low: [usize; 2]| Block {
            base: e.offset(scratch, at),
            columns,
            pixel: padded(channels) as i64 * F,
            low,
            element: Element::F32,
        };
        let dy = block(e, layout.dy, g.co, self.low());
        let x = block(e, layout.x, g.ci, [0, 1].map(|a| g.conv.padding[a][0]));
        clear_around(e, &dy, layout.dy.0[0], g.output, g.co);
        if self.filter.is_some() {
            clear_around(e, &x, layout.x.0[0], g.size, g.ci);
        }
        let inner = e.offset(dy.base, dy.inner());
        self.gradient.clear_sums(e, g.co);
        let programs = [self.filter.as_ref(), self.data.as_ref()];
        for (program, _) in programs.into_iter().flatten() {
            program.clear_sums(e, g.ci);
        }
        if let Some(filter) = &layout.filter {
            filter.clear(e);
        }
        let (first, count) = e.chunk_range(g.images, self.chunks);
        let mut of_input: Vec<Tensor> = programs.into_iter().flatten().flat_map(|(p, _)| p.tensors()).collect();
        of_input.sort_unstable();
        of_input.dedup();
        let of_output = self.gradient.tensors();
        let mut walked = walk(e, &of_input, first, g.input_bytes());
        walked.extend(walk(e, &of_output, first, g.output_bytes()));
        let fill = |e: &mut Emit<'_>, pointers: &[Value]| {
            let (at_input, at_output) = pointers.split_at(of_input.len());
            self.gradient.fill(e, &Cursor::new(&of_output, at_output), g.output, g.co, &dy);
            if let Some((source, _)) = &self.filter {
                source.fill(e, &Cursor::new(&of_input, at_input), g.size, g.ci, &x);
            }
        };
        let data = layout.data.zip(self.data.as_ref()).map(|(convolution, (result, weight))| {
            (convolution, Taker { result, tensors: &of_input, part: None }, e.argument(*weight))
        });
        let grids = self.grids();
        let steps: Vec<i64> = walked.iter().map(|w| w.1).collect();
        grids[0].groups(e, count, &walked, &|e, at, images| {
            if grids[0].group == 1 {
                fill(e, at);
                if let Some(filter) = &layout.filter {
                    filter.image(e, calls, [x.base, inner]);
                }
                if let Some((convolution, taker, weight)) = &data {
                    convolution.image(e, calls, taker, (dy.base, *weight), &at[..of_input.len()]);
                }
                return;
            }
            // where the transformed tiles of an image go, and how far it is to the next image's
            let spectra = [
                layout.filter.map(|f| (f.v, f.grid)),
                layout.filter.map(|f| (f.w, f.grid)),
                layout.data.map(|d| (d.v, d.grid)),
            ];
            let mut walked: Vec<(Value, i64)> = Vec::new();
            for (spectrum, grid) in spectra.into_iter().flatten() {
                walked.push((e.offset(scratch, spectrum.offset), grid.image_tiles() as i64 * spectrum.tile));
            }
            let first = walked.len();
            walked.extend(at.iter().copied().zip(steps.iter().copied()));
            e.repeat(Count::Static(images), &walked, &[], |e, at, _| {
                fill(e, &at[first..]);
                if let Some(filter) = &layout.filter {
                    filter.scatter(e, [x.base, inner], [at[0], at[1]], filter.grid.tiles()[0]);
                }
                if let Some((convolution, ..)) = &data {
                    convolution.scatter(e, dy.base, at[first - 1], convolution.grid.tiles()[0]);
                }
                Vec::new()
            });
            if let Some(filter) = &layout.filter {
                filter.multiply(e, calls, images * filter.grid.image_tiles());
            }
            if let Some((convolution, taker, weight)) = &data {
                convolution.multiply(e, calls, *weight, images * convolution.grid.image_tiles());
                convolution.gather_images(e, taker, &at[..of_input.len()], images);
            }
        });
        if let (Some(filter), Some((_, partial))) = (&layout.filter, &self.filter) {
            let (base, chunk) = (e.argument(*partial), e.chunk());
            let bytes = TAPS * TAPS * g.ci * g.co * 4;
            let to = e.at(base, chunk, bytes as i64);
            filter.finish(e, to);
        }
    }
}
