//! The sum of rows: of the partial weight gradients of all chunks, say.
//!
//! ```text
//!   row 0  ░░░░▓▓▓▓░░░░░░        a block of columns is summed over all rows in registers, the rows in order;
//!   row 1  ░░░░▓▓▓▓░░░░░░        chunks cut the columns
//!   …
//!   sum        ▓▓▓▓
//! ```
//!
//! Rows often lie a multiple of 4096 bytes apart, where their lines share a set of the cache. So a block is whole
//! lines, each of which is read once.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::F;
use super::emit::{Class, Count, Emit, vector};
use super::lower_map::map_chunks;

/// Columns of a block: two cache lines in eight registers of four.
const BLOCK: usize = 32;

/// Sums over `[rows, columns]`. Arguments: the operand, the result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RowSum {
    rows: usize,
    columns: usize,
    /// Cut the blocks of columns.
    pub(super) chunks: usize,
}

impl RowSum {
    pub(super) fn new(rows: usize, columns: usize) -> RowSum {
        RowSum { rows, columns, chunks: map_chunks(columns.div_ceil(BLOCK), rows * BLOCK) }
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let (first, count) = e.chunk_range(self.columns.div_ceil(BLOCK), self.chunks);
        let count = match count {
            Count::Static(n) => e.int(n as i64),
            Count::Dynamic(n) => n,
        };
        let block = e.int(BLOCK as i64);
        let from = e.b.ins().imul(first, block);
        let columns = e.b.ins().imul(count, block);
        let all = e.int(self.columns as i64);
        let left = e.b.ins().isub(all, from);
        let columns = e.min(columns, left);
        let (source, sink) = (e.argument(0), e.argument(1));
        let at = [e.at(source, from, F), e.at(sink, from, F)];
        let whole = e.b.ins().ushr_imm_u(columns, i64::from(BLOCK.trailing_zeros()));
        self.columns(e, at, Count::Dynamic(whole), BLOCK, 4);
        if !self.columns.is_multiple_of(BLOCK) {
            let done = e.b.ins().imul(whole, block);
            let rest = e.b.ins().isub(columns, done);
            let at = at.map(|pointer| e.at(pointer, done, F));
            self.columns(e, at, Count::Dynamic(rest), 1, 1);
        }
    }

    /// Sums `count` blocks of `width` columns.
    fn columns(&self, e: &mut Emit<'_>, [source, sink]: [Value; 2], count: Count, width: usize, lanes: usize) {
        let (step, ty) = (width as i64 * F, vector(Class::Float, lanes));
        let offsets: Vec<i64> = (0..width / lanes).map(|v| (v * lanes) as i64 * F).collect();
        e.repeat(count, &[(source, step), (sink, step)], &[], |e, at, _| {
            let zero = vec![e.float(0.0, lanes); offsets.len()];
            let row = self.columns as i64 * F;
            let sums = e.repeat(Count::Static(self.rows), &[(at[0], row)], &zero, |e, from, sums| {
                let add = |(&sum, &offset): (&Value, &i64)| {
                    let value = e.load(ty, from[0], offset);
                    e.b.ins().fadd(sum, value)
                };
                sums.iter().zip(&offsets).map(add).collect()
            });
            for (sum, offset) in sums.into_iter().zip(&offsets) {
                e.store(sum, at[1], *offset);
            }
            Vec::new()
        });
    }
}
