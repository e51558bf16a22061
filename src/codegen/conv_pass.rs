//! A large image on its way through a direct convolution: its block in scratch holds some rows at a time.
//!
//! ```text
//!   padded image    block          next
//!   0 ░░░░░░░░     ░░░░░░░░
//!   1 ▒▒▒▒▒▒▒▒     ▒▒▒▒▒▒▒▒       rows that the next output rows read too move to the top,
//!   2 ▒▒▒▒▒▒▒▒     ▒▒▒▒▒▒▒▒  ──▶  ▒▒▒▒▒▒▒▒
//!   3 ▒▒▒▒▒▒▒▒     ▒▒▒▒▒▒▒▒       ▒▒▒▒▒▒▒▒
//!   4 ▒▒▒▒▒▒▒▒                    ▒▒▒▒▒▒▒▒   and the source program goes on below them: it sees each row once
//!   5 ░░░░░░░░                    ░░░░░░░░
//! ```
//!
//! So what the source program writes is still in the second-level cache when the tiles read it.

use std::ops::Range;

use cranelift_codegen::ir::Value;

use super::conv::{Block, Bound, Cursor, F, Tensor};
use super::conv_forward::Forward;
use super::emit::{Count, Emit};
use super::region::{Access, Extent, Region, Sink, Source};
use super::tile::Calls;
use crate::ops::Program;

/// Bytes of a block from which on it is a part of an image, to stay in the second-level cache with the rows that are made
/// of it.
pub(super) const LARGE: usize = 1 << 20;
/// The most bands of an image: each has code of its own.
pub(super) const MOST_BANDS: usize = 64;

impl Forward {
    /// Output rows that are made at a time of an image that passes through its block.
    pub(super) fn passing(&self) -> Option<usize> {
        let g = &self.geometry;
        let row = g.block()[1] * g.ci * self.element.bytes() as usize;
        let stride = g.conv.stride[0];
        let kept = self.reach(1).checked_sub(stride)?;
        if self.bands() > 1 || self.on_pairs() || self.reads_operand().is_some() || g.block()[0] * row <= LARGE {
            return None;
        }
        let fitting = (LARGE / 2 / row).saturating_sub(kept) / stride;
        let rows = fitting.max(kept.div_ceil(stride)).max(g.output[0].div_ceil(MOST_BANDS));
        (rows < g.output[0]).then_some(rows)
    }

    /// An image through its block, some output rows at a time.
    pub(super) fn pass(
        &self,
        e: &mut Emit<'_>,
        calls: &Calls<'_>,
        (inputs, at_input): (&[Tensor], &[Value]),
        (outputs, at_output): (&[Tensor], &[Value]),
    ) {
        let g = &self.geometry;
        let base = self.block(e);
        let block = g.input_block(base, self.element);
        let (run, stride) = (self.passing().unwrap_or(g.output[0]), g.conv.stride[0]);
        let output_row = (g.output[1] * g.co) as i64 * F;
        let mut window = Window::new(&self.source, block, g.size, g.ci, None, false);
        for first in (0..g.output[0]).step_by(run) {
            let rows = run.min(g.output[0] - first);
            let start = first * stride;
            let end = if first + rows == g.output[0] { g.block()[0] } else { start + self.reach(rows) };
            let a = window.slide(e, (inputs, at_input), start..end);
            let at = from_row(e, outputs, at_output, first, output_row);
            self.rows(e, calls, a, (outputs, &at), Count::Static(rows));
        }
    }
}

/// Pointers to row `first` of images whose rows have `bytes` bytes as f32.
fn from_row(e: &mut Emit<'_>, tensors: &[Tensor], pointers: &[Value], first: usize, bytes: i64) -> Vec<Value> {
    pointers.iter().zip(tensors).map(|(&p, t)| e.offset(p, first as i64 * t.element.of(bytes))).collect()
}

/// The rows of a zero-padded image that its block holds.
pub(super) struct Window<'p> {
    program: &'p Bound,
    block: Block,
    /// Rows and columns of the image, without zeros.
    size: [usize; 2],
    channels: usize,
    /// The tensor that is there to be read without a block.
    operand: Option<usize>,
    /// Whether the block holds all rows at once: the zeros around them, once there, stay from image to image.
    whole: bool,
    held: Range<usize>,
}

impl<'p> Window<'p> {
    pub(super) fn new(
        program: &'p Bound,
        block: Block,
        size: [usize; 2],
        channels: usize,
        operand: Option<usize>,
        whole: bool,
    ) -> Window<'p> {
        Window { program, block, size, channels, operand, whole, held: 0..0 }
    }

    /// Lets the block hold rows `to`, counted with the zeros above the image, which begin no earlier than those that it
    /// holds and leave out none behind them; returns where they are.
    pub(super) fn slide(
        &mut self,
        e: &mut Emit<'_>,
        (tensors, pointers): (&[Tensor], &[Value]),
        to: Range<usize>,
    ) -> Value {
        let block = &self.block;
        if let Some(operand) = self.operand {
            let image = Cursor::new(tensors, pointers).get(operand, block.base);
            return e.offset(image, to.start as i64 * block.row());
        }
        self.keep(e, to.start);
        let low = block.low[0];
        // zeros above the image, rows of it, zeros below
        let [top, bottom] = [low, low + self.size[0]].map(|row| row.clamp(self.held.end, to.end));
        let zeros = [(self.held.end, top), (bottom, to.end)];
        for (from, until) in zeros.into_iter().filter(|_| !self.whole) {
            let zeros = e.offset(block.base, (from - to.start) as i64 * block.row());
            e.clear(zeros, (until - from) * block.row() as usize);
        }
        if bottom > top {
            let row = (self.size[1] * self.channels) as i64 * F;
            let at = from_row(e, tensors, pointers, top - low, row);
            let place = (top - to.start) as i64 * block.row() + block.low[1] as i64 * block.pixel;
            let place = e.offset(block.base, place);
            let extent = Extent {
                rows: Count::Static(bottom - top),
                columns: Count::Static(self.size[1]),
                channels: self.channels,
            };
            self.program.fill_rows(e, &Cursor::new(tensors, &at), extent, block.at(place));
        }
        self.held = to;
        block.base
    }

    /// Moves the rows from `start` on to the top of the block.
    fn keep(&self, e: &mut Emit<'_>, start: usize) {
        let (moved, kept) = (start - self.held.start, self.held.end - start);
        if moved == 0 || kept == 0 {
            return;
        }
        let row = self.block.row();
        let from = e.offset(self.block.base, moved as i64 * row);
        let access = |base: Value| Access::new(base, 0, row);
        Region {
            program: &Program::operand(0),
            extent: Extent { rows: Count::Static(1), columns: Count::Static(kept), channels: (row / F) as usize },
            operands: vec![(0, Source::Full(access(from)))],
            anchor: None,
            sinks: vec![Sink::Full(0, access(self.block.base))],
        }
        .emit(e);
    }
}
