//! Element-wise kernels: a program over a dense tensor, with per-channel operands and sums.

use cranelift_codegen::ir::Value;

use super::conv::{Bound, Cursor, F};
use super::emit::{Count, Emit};
use super::region::Extent;

/// A program over `[items, channels]`. Arguments: operands, then results.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map {
    pub(super) items: usize,
    pub(super) channels: usize,
    pub(super) chunks: usize,
    pub(super) program: Bound,
}

impl Map {
    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let (first, count) = e.chunk_range(self.items, self.chunks);
        self.program.clear_sums(e, self.channels);
        let arguments = self.program.full_arguments();
        let item = self.channels as i64 * F;
        let pointers: Vec<Value> = arguments
            .iter()
            .map(|&argument| {
                let base = e.argument(argument);
                e.at(base, first, item)
            })
            .collect();
        let cursor = Cursor::new(&arguments, &pointers);
        // sums are taken in runs of items, see `Region`
        let (rows, columns) = match count {
            Count::Static(n) => {
                let run = [64, 50, 40, 32, 25, 16, 8].into_iter().find(|run| n.is_multiple_of(*run)).unwrap_or(n);
                (Count::Static(n / run), Count::Static(run))
            }
            Count::Dynamic(_) => (Count::Static(1), count),
        };
        let row = match columns {
            Count::Static(run) => run as i64 * item,
            Count::Dynamic(_) => 0,
        };
        let extent = Extent { rows, columns, channels: self.channels };
        self.program.region(e, &cursor, extent, row, None).emit(e);
    }
}
