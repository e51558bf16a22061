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

use cranelift_codegen::ir::Value;

use super::conv::{Cursor, F, Tensor};
use super::conv_forward::Forward;
use super::emit::{Count, Emit};
use super::region::{Access, Extent, Region, Sink, Source};
use super::tile::Calls;
use crate::ops::Program;

/// Bytes of a block from which on it is a part of an image, to stay in the second-level cache with the rows that are made
/// of it.
const LARGE: usize = 1 << 20;

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
        let rows = fitting.max(kept.div_ceil(stride)).max(1);
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
        let (run, stride, low) = (self.passing().unwrap_or(g.output[0]), g.conv.stride[0], g.conv.padding[0][0]);
        let kept = self.reach(1) - stride;
        let [input_row, output_row] = [g.size[1] * g.ci, g.output[1] * g.co].map(|numbers| numbers as i64 * F);
        let copy = Program::operand(0);
        // rows of the padded image that were made
        let mut made = 0;
        for first in (0..g.output[0]).step_by(run) {
            let rows = run.min(g.output[0] - first);
            let start = first * stride;
            if first > 0 && kept > 0 {
                let from = e.offset(base, (run * stride) as i64 * block.row());
                let access = |base: Value| Access::new(base, 0, block.row());
                Region {
                    program: &copy,
                    extent: Extent {
                        rows: Count::Static(1),
                        columns: Count::Static(kept),
                        channels: (block.row() / F) as usize,
                    },
                    operands: vec![(0, Source::Full(access(from)))],
                    anchor: None,
                    sinks: vec![Sink::Full(0, access(base))],
                }
                .emit(e);
            }
            let end = if first + rows == g.output[0] { g.block()[0] } else { start + self.reach(rows) };
            // zeros above the image, rows of it, zeros below
            let [top, bottom] = [low, low + g.size[0]].map(|row| row.clamp(made, end));
            for (from, to) in [(made, top), (bottom, end)] {
                let zeros = e.offset(base, (from - start) as i64 * block.row());
                e.clear(zeros, (to - from) * block.row() as usize);
            }
            if bottom > top {
                let at: Vec<Value> = at_input
                    .iter()
                    .zip(inputs)
                    .map(|(&p, t)| e.offset(p, (top - low) as i64 * t.element.of(input_row)))
                    .collect();
                let to = e.offset(base, (top - start) as i64 * block.row() + block.low[1] as i64 * block.pixel);
                let extent =
                    Extent { rows: Count::Static(bottom - top), columns: Count::Static(g.size[1]), channels: g.ci };
                self.source.fill_rows(e, &Cursor::new(inputs, &at), extent, block.at(to));
            }
            made = end;
            let at: Vec<Value> = at_output
                .iter()
                .zip(outputs)
                .map(|(&p, t)| e.offset(p, first as i64 * t.element.of(output_row)))
                .collect();
            self.rows(e, calls, base, (outputs, &at), Count::Static(rows));
        }
    }
}
