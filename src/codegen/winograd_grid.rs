//! A grid of Winograd tiles over images, and how it is walked: what both directions of a convolution share.
//!
//! ```text
//!   padded block            V, a plane a product                  M                         rows
//!   ┌──┬──┬──┐  transform   [(m+2)²][tiles][channels]   tiles     [(m+2)²][tiles][channels]   m×m pixels a tile
//!   │  │  │  │ ───────────▶                            ──────▶                  ──────────▶
//!   └──┴──┴──┘              a band of tile rows, or some whole images at a time
//! ```
//!
//! A band is what gives the products rows enough, but stays in the second-level cache. Where an image has few tiles,
//! several images of the chunk are taken together. The last tiles reach beyond the output; blocks and rows are large
//! enough for whole tiles, and what is too much is cut when rows are read.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{Block, F, Scratch, padded};
use super::emit::{Count, Emit};
use super::isa::Isa;
use super::tile::{Calls, Loop, Tile, Turn, tile_size};
use super::transform::{Cells, Transform, Walk};
use super::winograd::{Form, Line};

/// Tiles that the products should have at a time.
const TILES: usize = 32;
/// The same where the weight's planes are too large to stay in the second-level cache from one time to the next.
const TILES_OF_LARGE: usize = 64;
/// Bytes that stay in the second-level cache beside the tiles.
pub(super) const CACHED: usize = 1 << 20;

/// Tiles that the products of these channels should have at a time.
fn wanted(form: Form, [k, columns]: [usize; 2]) -> usize {
    if form.products() * k * columns * 4 > CACHED { TILES_OF_LARGE } else { TILES }
}

/// The tiles over an output, and how many are taken together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    pub(super) isa: Isa,
    pub(super) form: Form,
    /// Rows and columns of the pixels that the tiles cover.
    pub(super) output: [usize; 2],
    /// Images taken together.
    pub(super) group: usize,
    /// Tile rows of an image taken together: all of them if `group` is not 1.
    pub(super) band: usize,
}

/// Transformed tiles in scratch: `[products][tiles][channels]`, strides in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spectrum {
    pub(super) offset: i64,
    pub(super) plane: i64,
    pub(super) tile: i64,
}

/// Bytes between planes of `floats` numbers. A cache line more than they need: planes a power of two apart would
/// fall into the same lines of the cache.
pub(super) fn plane(floats: usize) -> i64 {
    floats as i64 * F + 64
}

/// The operand `[products][rows][columns]` of a batch of products: bytes from plane to plane, from row to row, and from
/// column to column where that matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) plane: i64,
    pub(super) row: i64,
    pub(super) column: i64,
}

/// A batch of matrix products, one for each plane: `C = A·B`, or `C += A·B`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) isa: Isa,
    pub(super) planes: usize,
    pub(super) rows: usize,
    pub(super) k: usize,
    /// A multiple of 16.
    pub(super) columns: usize,
    pub(super) a: Operand,
    pub(super) b: Operand,
    pub(super) c: Operand,
    pub(super) accumulate: bool,
}

impl Batch {
    /// One tile does all runs of rows of all planes; a second one the rows that are left. With the bytes to add to A and C.
    fn calls(&self) -> Vec<(Tile, i64, i64)> {
        let (rows, vectors) = tile_size(self.isa, self.rows, self.columns);
        let whole = Tile {
            isa: self.isa,
            rows,
            vectors,
            around: Vec::new(),
            loops: vec![Loop { count: self.k, a: self.a.column, b: self.b.row }],
            a_row: self.a.row,
            c_row: self.c.row,
            accumulate: self.accumulate,
        };
        let width = whole.columns();
        let (runs, rest) = (self.rows / rows, self.rows % rows);
        let part = |rows: usize, runs: usize| {
            let around = vec![
                Turn { count: self.planes, a: self.a.plane, b: self.b.plane, c: self.c.plane },
                Turn { count: self.columns / width, a: 0, b: width as i64 * F, c: width as i64 * F },
                Turn { count: runs, a: rows as i64 * self.a.row, b: 0, c: rows as i64 * self.c.row },
            ];
            Tile { rows, around, ..whole.clone() }
        };
        let done = (runs * rows) as i64;
        let mut calls = vec![(part(rows, runs), 0, 0)];
        if rest > 0 {
            calls.push((part(rest, 1), done * self.a.row, done * self.c.row));
        }
        calls
    }
    pub(super) fn tiles(&self) -> Vec<Tile> {
        self.calls().into_iter().map(|c| c.0).collect()
    }
    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>, a: Value, b: Value, c: Value) {
        for (tile, at_a, at_c) in self.calls() {
            let function = e.import(calls(&tile));
            let (a, c) = (e.offset(a, at_a), e.offset(c, at_c));
            e.call(function, &[a, b, c]);
        }
    }
}

/// Zeroes what is around an image of `size` pixels in a block of `rows` rows, and where its channels are ragged the
/// whole block: what is filled with an image again and again.
pub(super) fn clear_around(e: &mut Emit<'_>, block: &Block, rows: usize, size: [usize; 2], channels: usize) {
    if channels != padded(channels) {
        return e.clear(block.base, rows * block.row() as usize);
    }
    block.clear_around(e, rows, [block.low[0], rows - block.low[0] - size[0]], size[1]);
}

impl Grid {
    /// Tiles over `output` for products of these channels, `group` images at a time.
    pub(super) fn new(isa: Isa, form: Form, output: [usize; 2], channels: [usize; 2], group: usize) -> Grid {
        let grid = Grid { isa, form, output, group, band: 1 };
        let [rows, columns] = grid.tiles();
        let bands = if group > 1 { 1 } else { rows.div_ceil(wanted(form, channels).div_ceil(columns)) };
        Grid { band: rows.div_ceil(bands), ..grid }
    }
    /// Images that are taken together, of a chunk's `images`, so that there are tiles enough over `output`.
    pub(super) fn group(form: Form, output: [usize; 2], channels: [usize; 2], images: usize) -> usize {
        let tiles: usize = output.map(|pixels| pixels.div_ceil(form.outputs())).iter().product();
        let wanted = wanted(form, channels);
        // a divisor of the chunk's images leaves none for a second, smaller group
        let enough = |&group: &usize| images.is_multiple_of(group) && group * tiles >= wanted;
        (1..images).find(enough).unwrap_or(images).clamp(1, (2 * wanted).div_ceil(tiles))
    }

    /// Rows and columns of tiles.
    pub(super) fn tiles(&self) -> [usize; 2] {
        self.output.map(|pixels| pixels.div_ceil(self.form.outputs()))
    }
    /// Tiles of an image.
    pub(super) fn image_tiles(&self) -> usize {
        self.tiles().iter().product()
    }
    /// Numbers of tiles that are multiplied at a time.
    pub(super) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![self.capacity()];
        counts.extend(self.bands().iter().map(|&(_, band)| band * self.tiles()[1]));
        counts.sort_unstable();
        counts.dedup();
        counts
    }
    /// Tiles that are in scratch at a time.
    pub(super) fn capacity(&self) -> usize {
        self.group * self.band * self.tiles()[1]
    }
    /// Rows and columns of a block that all input tiles can be read from.
    pub(super) fn block(&self) -> [usize; 2] {
        self.tiles().map(|tiles| tiles * self.form.outputs() + 2)
    }
    pub(super) fn spectrum(&self, scratch: &mut Scratch, channels: usize) -> Spectrum {
        let tile = padded(channels);
        let plane = plane(self.capacity() * tile);
        let offset = scratch.take(&[self.form.products(), plane as usize / 4]);
        Spectrum { offset, plane, tile: tile as i64 * F }
    }
    /// Bands of an image: (how many, tile rows of each).
    pub(super) fn bands(&self) -> Vec<(usize, usize)> {
        let all = self.tiles()[0];
        [(all / self.band, self.band), (1, all % self.band)].into_iter().filter(|b| b.0 > 0 && b.1 > 0).collect()
    }

    /// Transforms `rows` tile rows of a block with rows of `row` bytes into a spectrum, a plane a product.
    pub(super) fn scatter(&self, line: Line, row: i64, spectrum: Spectrum, rows: usize) -> Transform {
        let m = self.form.outputs() as i64;
        let columns = self.tiles()[1];
        Transform {
            line,
            from: Cells { row, column: spectrum.tile },
            to: Cells { row: self.form.inputs() as i64 * spectrum.plane, column: spectrum.plane },
            loops: vec![
                Walk { count: rows, from: m * row, to: columns as i64 * spectrum.tile },
                Walk { count: columns, from: m * spectrum.tile, to: spectrum.tile },
            ],
            channels: (spectrum.tile / F) as usize,
        }
    }
    /// Transforms one tile row of a spectrum into rows of pixels, whole tiles wide.
    pub(super) fn gather(&self, line: Line, spectrum: Spectrum) -> Transform {
        let m = self.form.outputs() as i64;
        Transform {
            line,
            from: Cells { row: self.form.inputs() as i64 * spectrum.plane, column: spectrum.plane },
            to: Cells { row: self.row(spectrum), column: spectrum.tile },
            loops: vec![Walk { count: self.tiles()[1], from: spectrum.tile, to: m * spectrum.tile }],
            channels: (spectrum.tile / F) as usize,
        }
    }
    /// Bytes of a row of pixels, whole tiles wide.
    pub(super) fn row(&self, spectrum: Spectrum) -> i64 {
        (self.tiles()[1] * self.form.outputs()) as i64 * spectrum.tile
    }
    /// Rows of pixels that [`Grid::gather`] makes at a time, in floats.
    pub(super) fn pixels(&self, channels: usize) -> usize {
        self.form.outputs() * self.form.outputs() * self.tiles()[1] * padded(channels)
    }

    /// Runs `body` for groups of images until `count` are done, and for single ones if some are left.
    pub(super) fn groups(
        &self,
        e: &mut Emit<'_>,
        count: Count,
        pointers: &[(Value, i64)],
        body: &dyn Fn(&mut Emit<'_>, &[Value], usize),
    ) {
        let size = self.group;
        let strides: Vec<(Value, i64)> = pointers.iter().map(|&(p, bytes)| (p, bytes * size as i64)).collect();
        let (groups, left) = match count {
            Count::Static(n) => (Count::Static(n / size), Count::Static(n % size)),
            Count::Dynamic(n) if size > 1 => {
                let by = e.int(size as i64);
                let (groups, left) = (e.b.ins().udiv(n, by), e.b.ins().urem(n, by));
                (Count::Dynamic(groups), Count::Dynamic(left))
            }
            Count::Dynamic(_) => (count, Count::Static(0)),
        };
        e.repeat(groups, &strides, &[], |e, at, _| {
            body(e, at, size);
            Vec::new()
        });
        if matches!(left, Count::Static(0)) {
            return;
        }
        let behind: Vec<(Value, i64)> = strides
            .iter()
            .zip(pointers)
            .map(|(&(p, stride), &(_, bytes))| match groups {
                Count::Static(n) => (e.offset(p, n as i64 * stride), bytes),
                Count::Dynamic(n) => (e.at(p, n, stride), bytes),
            })
            .collect();
        e.repeat(left, &behind, &[], |e, at, _| {
            body(e, at, 1);
            Vec::new()
        });
    }
}
