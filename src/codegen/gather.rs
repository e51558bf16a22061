//! Rows of a table by number, and sums of rows by number.
//!
//! ```text
//!  gather        ids  2 0 2      chunks cut the ids: each copies its rows
//!                row  │ │ │
//!  table ▓░▒ ─▶  ▒ ▓ ▒
//!
//!  scatter-add   ids  2 0 2      chunks cut the table: each walks all ids and adds the rows that are its own, in
//!                rows a b c      their order, so that no two threads add to one row and the sum is always the same
//!  table ─▶ b 0 a+c
//! ```
//!
//! An id outside of the table gives a row of zeros, or adds to none: no id can make a kernel leave its buffers.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::F;
use super::emit::{Class, Count, Emit, vector};
use super::lower_map::map_chunks;
use crate::ops::fused::chunks_for;

/// Which way rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Arguments: table `[rows, columns]`, ids, result `[ids, columns]`.
    Gather,
    /// Arguments: rows `[ids, columns]`, ids, result `[rows, columns]`.
    ScatterAdd,
}

/// A kernel over `ids` numbers of rows of `columns` floats, of a table of `rows`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RowMove {
    direction: Direction,
    ids: usize,
    rows: usize,
    columns: usize,
    pub(super) chunks: usize,
}

impl RowMove {
    pub(super) fn new(direction: Direction, ids: usize, [rows, columns]: [usize; 2]) -> RowMove {
        let chunks = match direction {
            Direction::Gather => map_chunks(ids, columns),
            Direction::ScatterAdd if (ids + rows) * columns < 8192 => 1,
            Direction::ScatterAdd => chunks_for(rows),
        };
        RowMove { direction, ids, rows, columns, chunks }
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let [source, ids, sink] = [0, 1, 2].map(|index| e.argument(index));
        match self.direction {
            Direction::Gather => self.gather(e, source, ids, sink),
            Direction::ScatterAdd => self.scatter(e, source, ids, sink),
        }
    }

    fn row_bytes(&self) -> i64 {
        self.columns as i64 * F
    }

    fn gather(&self, e: &mut Emit<'_>, table: Value, ids: Value, result: Value) {
        let (first, count) = e.chunk_range(self.ids, self.chunks);
        let (ids, result) = (e.at(ids, first, 4), e.at(result, first, self.row_bytes()));
        e.repeat(count, &[(ids, 4), (result, self.row_bytes())], &[], |e, at, _| {
            let (id, zero, rows) = (self.id(e, at[0]), e.int(0), e.int(self.rows as i64));
            let inside = e.b.ins().icmp(IntCC::UnsignedLessThan, id, rows);
            let row = e.b.ins().select(inside, id, zero);
            let from = e.at(table, row, self.row_bytes());
            self.columns(e, [from, at[1]], |e, [from, to], lanes| {
                let value = e.load(vector(Class::Float, lanes), from, 0);
                let nothing = e.float(0.0, lanes);
                let value = e.b.ins().select(inside, value, nothing);
                e.store(value, to, 0);
            });
            Vec::new()
        });
    }

    fn scatter(&self, e: &mut Emit<'_>, rows: Value, ids: Value, result: Value) {
        let (first, count) = e.chunk_range(self.rows, self.chunks);
        let own = e.at(result, first, self.row_bytes());
        e.repeat(count, &[(own, self.row_bytes())], &[], |e, at, _| {
            self.columns(e, [at[0], at[0]], |e, [_, to], lanes| {
                let nothing = e.float(0.0, lanes);
                e.store(nothing, to, 0);
            });
            Vec::new()
        });
        let count = match count {
            Count::Static(n) => e.int(n as i64),
            Count::Dynamic(n) => n,
        };
        e.repeat(Count::Static(self.ids), &[(rows, self.row_bytes()), (ids, 4)], &[], |e, at, _| {
            let id = self.id(e, at[1]);
            let local = e.b.ins().isub(id, first);
            // a loop of one turn or none
            let inside = e.b.ins().icmp(IntCC::UnsignedLessThan, local, count);
            let turns = e.b.ins().uextend(I64, inside);
            e.repeat(Count::Dynamic(turns), &[], &[], |e, _, _| {
                let to = e.at(own, local, self.row_bytes());
                self.columns(e, [at[0], to], |e, [from, to], lanes| {
                    let ty = vector(Class::Float, lanes);
                    let (value, sum) = (e.load(ty, from, 0), e.load(ty, to, 0));
                    let sum = e.b.ins().fadd(sum, value);
                    e.store(sum, to, 0);
                });
                Vec::new()
            });
            Vec::new()
        });
    }

    /// An id as a number of 64 bits; negative ones are beyond any table when taken as unsigned.
    fn id(&self, e: &mut Emit<'_>, address: Value) -> Value {
        let id = e.load(I32, address, 0);
        e.b.ins().sextend(I64, id)
    }

    /// Runs `body` on a row: vectors of four, then single floats.
    fn columns(&self, e: &mut Emit<'_>, row: [Value; 2], mut body: impl FnMut(&mut Emit<'_>, [Value; 2], usize)) {
        let whole = self.columns / 4;
        for (lanes, from, count) in [(4, 0, whole), (1, whole * 4, self.columns % 4)] {
            let step = lanes as i64 * F;
            let start = row.map(|pointer| (e.offset(pointer, from as i64 * F), step));
            e.repeat(Count::Static(count), &start, &[], |e, at, _| {
                body(e, [at[0], at[1]], lanes);
                Vec::new()
            });
        }
    }
}
