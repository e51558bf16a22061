//! Element-wise kernels: a program over a dense tensor, with per-channel operands and sums.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{Bound, Cursor, F, walk};
use super::emit::{Count, Emit};
use super::region::Extent;

/// Items that are summed before their sum is added to the chunk's: rounding errors grow with the length of a run
/// and with the number of runs, not with their product.
const RUN: usize = 64;

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
        let tensors = self.program.tensors();
        let item = self.channels as i64 * F;
        let pointers: Vec<Value> = walk(e, &tensors, first, item).into_iter().map(|(pointer, _)| pointer).collect();
        // sums are taken in runs of items, see `Region`
        let run = RUN as i64 * item;
        let (runs, left) = match count {
            Count::Static(n) => (Count::Static(n / RUN), Count::Static(n % RUN)),
            Count::Dynamic(n) => {
                let runs = e.b.ins().ushr_imm_u(n, i64::from(RUN.trailing_zeros()));
                let whole = e.b.ins().ishl_imm_u(runs, i64::from(RUN.trailing_zeros()));
                (Count::Dynamic(runs), Count::Dynamic(e.b.ins().isub(n, whole)))
            }
        };
        let extent = |rows, columns| Extent { rows, columns, channels: self.channels };
        if !matches!(runs, Count::Static(0)) {
            let cursor = Cursor::new(&tensors, &pointers);
            self.program.region(e, &cursor, extent(runs, Count::Static(RUN)), run, None).emit(e);
        }
        if !matches!(left, Count::Static(0)) {
            let behind: Vec<Value> = pointers
                .iter()
                .zip(&tensors)
                .map(|(&pointer, tensor)| match (runs, tensor.element.of(run)) {
                    (Count::Static(runs), run) => e.offset(pointer, runs as i64 * run),
                    (Count::Dynamic(runs), run) => e.at(pointer, runs, run),
                })
                .collect();
            let cursor = Cursor::new(&tensors, &behind);
            self.program.region(e, &cursor, extent(Count::Static(1), left), 0, None).emit(e);
        }
    }
}
