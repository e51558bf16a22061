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
        let extent = Extent { rows: Count::Static(1), columns: count, channels: self.channels };
        self.program.region(e, &cursor, extent, 0, None).emit(e);
    }
}
