//! Element-wise kernels: a program over a dense tensor, with per-channel operands and sums.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{Bound, Cursor, F};
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
    /// Makes each chunk one of `images` equal parts; `false` if that cannot be.
    pub(super) fn cut(&mut self, images: usize) -> bool {
        let elements = self.items * self.channels;
        if !elements.is_multiple_of(images) || self.program.program.has_sums() {
            return false;
        }
        // without per-channel operands any width will do, so take one that divides an image
        let part = elements / images;
        if !part.is_multiple_of(self.channels) {
            if self.program.has_channels() {
                return false;
            }
            self.channels = part;
            self.items = images;
        }
        self.chunks = images;
        true
    }

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
            let cursor = Cursor::new(&arguments, &pointers);
            self.program.region(e, &cursor, extent(runs, Count::Static(RUN)), run, None).emit(e);
        }
        if !matches!(left, Count::Static(0)) {
            let behind: Vec<Value> = pointers
                .iter()
                .map(|&pointer| match runs {
                    Count::Static(runs) => e.offset(pointer, runs as i64 * run),
                    Count::Dynamic(runs) => e.at(pointer, runs, run),
                })
                .collect();
            let cursor = Cursor::new(&arguments, &behind);
            self.program.region(e, &cursor, extent(Count::Static(1), left), 0, None).emit(e);
        }
    }
}
