//! What the kernels of convolutions share: extents, programs bound to operands, padded blocks, rows of tiles.

use cranelift_codegen::ir::Value;

use super::emit::{Count, Emit};
use super::half::Element;
use super::region::{Access, Extent, Region, Sink, Source, operands_of};
use super::tile::{Calls, Tile};
use crate::ops::{Conv2d, Output, Program};
use crate::types::Shape;

/// Bytes of an f32.
pub(super) const F: i64 = 4;
/// Channel counts in scratch and packed weights are rounded up to this: every target's tile divides it.
pub(super) const PANEL: usize = 16;
/// Numbers of f32 in a cache line.
pub(super) const LINE: usize = 16;

/// Rounds channels up to whole panels.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(PANEL)
}

/// All extents of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    pub(super) conv: Conv2d,
    pub(super) images: usize,
    /// Input rows and columns.
    pub(super) size: [usize; 2],
    /// Output rows and columns.
    pub(super) output: [usize; 2],
    /// Kernel rows and columns.
    pub(super) kernel: [usize; 2],
    /// Input channels.
    pub(super) ci: usize,
    /// Output channels.
    pub(super) co: usize,
    /// Groups that one product takes together; their weights are the blocks on the diagonal of a larger one.
    pub(super) merged: usize,
}

impl Geometry {
    /// Extents from shapes that passed shape inference.
    pub(super) fn new(conv: Conv2d, input: &Shape, weight: &Shape) -> Option<Geometry> {
        let (kernel, size) = ([weight.0[0], weight.0[1]], [input.0[1], input.0[2]]);
        let rows = conv.window(0, kernel[0]).output(size[0], conv.padding[0])?;
        let columns = conv.window(1, kernel[1]).output(size[1], conv.padding[1])?;
        let (ci, co, groups) = (input.0[3], weight.0[3], conv.groups);
        let whole = |m: usize| [ci, co].iter().all(|c| (c / groups * m).is_multiple_of(PANEL));
        // the fewest groups that fill panels, so that no product writes beyond its own channels
        let merged = (1..groups).find(|&m| groups.is_multiple_of(m) && whole(m)).unwrap_or(groups);
        Some(Geometry { conv, images: input.0[0], size, output: [rows, columns], kernel, ci, co, merged })
    }
    /// Whether each channel has a kernel of its own: no products of matrices then.
    pub(super) fn is_depthwise(&self) -> bool {
        self.conv.groups > 1 && self.conv.groups == self.ci && self.ci == self.co
    }
    /// Products of disjoint channels that the convolution consists of.
    pub(super) fn parts(&self) -> usize {
        self.conv.groups / self.merged
    }
    /// Input channels of a part.
    pub(super) fn part_ci(&self) -> usize {
        self.ci / self.parts()
    }
    /// Output channels of a part.
    pub(super) fn part_co(&self) -> usize {
        self.co / self.parts()
    }
    /// Taps of the kernel.
    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
    /// Elements of the weight.
    pub(super) fn weights(&self) -> usize {
        self.taps() * self.ci / self.conv.groups * self.co
    }
    /// Multiply-adds count two.
    pub(super) fn flops(&self) -> u64 {
        let per_pixel = self.weights();
        2 * (self.images * self.output[0] * self.output[1] * per_pixel) as u64
    }
    /// Rows and columns of the zero-padded input.
    pub(super) fn block(&self) -> [usize; 2] {
        [0, 1].map(|a| self.size[a] + self.conv.padding[a][0] + self.conv.padding[a][1])
    }
    /// The zero-padded input as a place in scratch.
    pub(super) fn input_block(&self, base: Value, element: Element) -> Block {
        let low = [0, 1].map(|a| self.conv.padding[a][0]);
        Block { base, columns: self.block()[1], pixel: self.ci as i64 * element.bytes(), low, element }
    }
    pub(super) fn is_padded(&self) -> bool {
        self.conv.padding != [[0; 2]; 2]
    }
    pub(super) fn input_bytes(&self) -> i64 {
        (self.size[0] * self.size[1] * self.ci) as i64 * F
    }
    pub(super) fn output_bytes(&self) -> i64 {
        (self.output[0] * self.output[1] * self.co) as i64 * F
    }
}

/// Hands out 64-byte aligned pieces of the worker's scratch.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) bytes: usize,
}

impl Scratch {
    /// A piece of floats with these extents. What is too large for a `usize` makes the total `usize::MAX`, which
    /// [`super::lower`] refuses before an offset is used.
    pub(super) fn take(&mut self, extents: &[usize]) -> i64 {
        self.take_of(Element::F32, extents, 0)
    }
    /// A piece of `element`s with these extents, and `more` of them behind.
    pub(super) fn take_of(&mut self, element: Element, extents: &[usize], more: usize) -> i64 {
        let offset = self.bytes;
        // one vector of slack behind every piece
        let all = extents.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent));
        let end = all
            .and_then(|all| all.checked_add(more)?.checked_mul(element.bytes() as usize))
            .and_then(|bytes| bytes.checked_next_multiple_of(64))
            .and_then(|bytes| bytes.checked_add(64)?.checked_add(offset));
        self.bytes = end.unwrap_or(usize::MAX);
        offset as i64
    }
}

/// A program with the shapes of the node's operands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) program: Program,
    /// Whether each of the node's operands has the program's full shape, by operand index.
    pub(super) full: Vec<bool>,
    /// Whether each of the node's operands is a scalar.
    pub(super) scalar: Vec<bool>,
    /// How each of the node's operands lies in memory.
    pub(super) elements: Vec<Element>,
    /// Argument index of each of the program's outputs.
    pub(super) outputs: Vec<usize>,
    /// Whether full outputs are stored past the caches.
    pub(super) past_caches: bool,
}

/// An image with zeros around it in scratch.
pub(super) struct Block {
    pub(super) base: Value,
    /// Pixels of a row, zeros included.
    pub(super) columns: usize,
    /// Bytes of a pixel.
    pub(super) pixel: i64,
    /// Rows and columns of zeros before the image.
    pub(super) low: [usize; 2],
    pub(super) element: Element,
}

/// A full tensor among a kernel's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tensor {
    pub(super) argument: usize,
    pub(super) element: Element,
}

impl Block {
    /// Bytes of a row.
    pub(super) fn row(&self) -> i64 {
        self.columns as i64 * self.pixel
    }
    /// Bytes from the block's start to the image's first pixel.
    pub(super) fn inner(&self) -> i64 {
        self.low[0] as i64 * self.row() + self.low[1] as i64 * self.pixel
    }
    /// The block's pixels from `base` on.
    pub(super) fn at(&self, base: Value) -> Access {
        Access { base, element: self.element, row: self.row(), column: self.pixel, past_caches: false }
    }
    /// Zeroes what is around an image in a block of `rows` rows: so many whole rows above and below it, and in those
    /// between what is beside its `columns` columns. A pixel is whole words.
    pub(super) fn clear_around(&self, e: &mut Emit<'_>, rows: usize, [above, below]: [usize; 2], columns: usize) {
        let (row, pixel) = (self.row() as usize, self.pixel as usize);
        e.clear(self.base, above * row);
        let under = e.offset(self.base, ((rows - below) * row) as i64);
        e.clear(under, below * row);
        let (left, right) = (self.low[1], self.columns - self.low[1] - columns);
        if left + right == 0 {
            return;
        }
        let first = e.offset(self.base, (above * row) as i64);
        let between = Count::Static(rows.saturating_sub(above + below));
        e.repeat(between, &[(first, row as i64)], &[], |e, at, _| {
            e.clear(at[0], left * pixel);
            let behind = e.offset(at[0], ((left + columns) * pixel) as i64);
            e.clear(behind, right * pixel);
            Vec::new()
        });
    }
}

/// Pointers of the current image or row for full tensors, by argument index.
pub(super) struct Cursor {
    entries: Vec<(usize, Value)>,
}

impl Cursor {
    pub(super) fn get(&self, argument: usize, fallback: Value) -> Value {
        self.entries.iter().find(|(a, _)| *a == argument).map_or(fallback, |&(_, v)| v)
    }
    pub(super) fn new(tensors: &[Tensor], pointers: &[Value]) -> Cursor {
        Cursor { entries: tensors.iter().map(|t| t.argument).zip(pointers.iter().copied()).collect() }
    }
}

impl Bound {
    /// Whether an operand or output is per channel.
    pub(super) fn has_channels(&self) -> bool {
        operands_of(&self.program).into_iter().any(|i| !self.full[i] && !self.scalar[i]) || self.program.has_sums()
    }
    /// Tensors that are walked image by image: full operands and full outputs.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let operands = operands_of(&self.program).into_iter().filter(|&i| self.full[i]);
        let mut all: Vec<Tensor> = operands.map(|i| Tensor { argument: i, element: self.elements[i] }).collect();
        for (output, &argument) in self.program.outputs.iter().zip(&self.outputs) {
            match output {
                Output::Full(_) => all.push(Tensor { argument, element: Element::F32 }),
                Output::Bf16(_) => all.push(Tensor { argument, element: Element::Bf16 }),
                Output::Sums(_) => {}
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
    /// The operand that the program passes on as it is, if that is what a tile reads.
    pub(super) fn is_tensor(&self, element: Element) -> Option<usize> {
        self.program.is_operand().filter(|&i| self.full[i] && self.elements[i] == element)
    }
    /// The region of this program over `extent`. Full tensors are dense: `row` bytes (as f32) from one
    /// row to the next, starting at the cursor. Sums go to the chunk's row of the partial sums.
    pub(super) fn region<'p>(
        &'p self,
        e: &mut Emit<'_>,
        cursor: &Cursor,
        extent: Extent,
        row: i64,
        anchor: Option<Access>,
    ) -> Region<'p> {
        let column = extent.channels as i64 * F;
        let access = |base: Value, element: Element| {
            let [row, column] = [row, column].map(|bytes| element.of(bytes));
            Access { base, element, row, column, past_caches: false }
        };
        let stored = |base: Value, element: Element| Access { past_caches: self.past_caches, ..access(base, element) };
        let mut operands = Vec::new();
        for index in operands_of(&self.program) {
            let base = e.argument(index);
            let source = if self.full[index] {
                Source::Full(access(cursor.get(index, base), self.elements[index]))
            } else if self.scalar[index] {
                Source::Scalar(base)
            } else {
                Source::Channel(base)
            };
            operands.push((index, source));
        }
        let mut sinks = Vec::new();
        for (&output, &argument) in self.program.outputs.iter().zip(&self.outputs) {
            let base = e.argument(argument);
            sinks.push(match output {
                Output::Full(step) => Sink::Full(step, stored(cursor.get(argument, base), Element::F32)),
                Output::Bf16(step) => Sink::Full(step, stored(cursor.get(argument, base), Element::Bf16)),
                Output::Sums(step) => Sink::Sums(step, sums_row(e, base, extent.channels)),
            });
        }
        debug_assert!(self.program.outputs.iter().all(|&o| o.step() < self.program.steps.len()));
        Region { program: &self.program, extent, operands, anchor, sinks }
    }
    /// Runs the program over an image of `size` rows and columns and puts its value inside `block`.
    pub(super) fn fill(&self, e: &mut Emit<'_>, cursor: &Cursor, size: [usize; 2], channels: usize, block: &Block) {
        let base = e.offset(block.base, block.inner());
        let extent = Extent { rows: Count::Static(size[0]), columns: Count::Static(size[1]), channels };
        self.fill_rows(e, cursor, extent, block.at(base));
    }
    /// Runs the program over the rows of an image at `cursor` and puts its value to `to`.
    pub(super) fn fill_rows(&self, e: &mut Emit<'_>, cursor: &Cursor, extent: Extent, to: Access) {
        let Count::Static(columns) = extent.columns else { return };
        let mut region = self.region(e, cursor, extent, (columns * extent.channels) as i64 * F, None);
        region.sinks.push(Sink::Full(self.program.value, to));
        region.emit(e);
    }
    /// Zeroes this chunk's partial sums.
    pub(super) fn clear_sums(&self, e: &mut Emit<'_>, channels: usize) {
        for (output, &argument) in self.program.outputs.iter().zip(&self.outputs) {
            if matches!(output, Output::Sums(_)) {
                let base = e.argument(argument);
                let row = sums_row(e, base, channels);
                e.clear(row, channels * 4);
            }
        }
    }
    /// Whether the anchor's result is stored as it is and nothing else happens.
    pub(super) fn stores_anchor(&self) -> Option<usize> {
        let plain = self.program == Program::store_anchor();
        plain.then(|| self.outputs[0])
    }
}

/// Pointers to image `first` of `tensors`, whose images have `bytes` bytes as f32, with their steps.
pub(super) fn walk(e: &mut Emit<'_>, tensors: &[Tensor], first: Value, bytes: i64) -> Vec<(Value, i64)> {
    let mut walked = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let (base, bytes) = (e.argument(tensor.argument), tensor.element.of(bytes));
        walked.push((e.at(base, first, bytes), bytes));
    }
    walked
}

fn sums_row(e: &mut Emit<'_>, base: Value, channels: usize) -> Value {
    let chunk = e.chunk();
    e.at(base, chunk, channels as i64 * F)
}

/// Calls of tiles along a row: the tile for whole runs and the one for what is left.
pub(super) struct Tiles {
    pub(super) whole: Tile,
    pub(super) rest: Option<Tile>,
    count: usize,
}

impl Tiles {
    /// Cuts `rows` into runs of `tile.rows`.
    pub(super) fn new(tile: Tile, rows: usize) -> Tiles {
        let rest = rows % tile.rows;
        let rest = (rest > 0).then(|| Tile { rows: rest, ..tile.clone() });
        Tiles { count: rows / tile.rows, rest, whole: tile }
    }
    pub(super) fn list(&self) -> Vec<Tile> {
        let whole = (self.count > 0).then(|| self.whole.clone());
        whole.into_iter().chain(self.rest.clone()).collect()
    }
    /// Covers `panels` panels of columns and all rows; `a`, `b`, `c` point at the first.
    pub(super) fn emit(&self, e: &mut Emit<'_>, calls: &Calls<'_>, panels: usize, a: Value, b: Value, c: Value) {
        let width = self.whole.columns() as i64 * F;
        let run = self.whole.rows as i64;
        let (step_a, step_c) = (run * self.whole.a_row, run * self.whole.c_row);
        e.repeat(Count::Static(panels), &[(b, width), (c, width)], &[], |e, at, _| {
            let (b, c) = (at[0], at[1]);
            if self.count > 0 {
                let function = e.import(calls(&self.whole));
                e.repeat(Count::Static(self.count), &[(a, step_a), (c, step_c)], &[], |e, at, _| {
                    e.call(function, &[at[0], b, at[1]]);
                    Vec::new()
                });
            }
            if let Some(rest) = &self.rest {
                let function = e.import(calls(rest));
                let a = e.offset(a, step_a * self.count as i64);
                let c = e.offset(c, step_c * self.count as i64);
                e.call(function, &[a, b, c]);
            }
            Vec::new()
        });
    }
}
