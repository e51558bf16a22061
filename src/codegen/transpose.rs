//! Transposition in blocks of 4 × 4 numbers that stay in registers.
//!
//! ```text
//!   a₀ a₁ a₂ a₃                a₀ b₀ c₀ d₀        from four rows at a time, sixteen columns side by side: each line of
//!   b₀ b₁ b₂ b₃  ──unpack──▶   a₁ b₁ c₁ d₁        the cache is read once, and the lines that are written
//!   c₀ c₁ c₂ c₃      twice     a₂ b₂ c₂ d₂        are still there when the next four rows come
//!   d₀ d₁ d₂ d₃                a₃ b₃ c₃ d₃
//! ```
//!
//! 128-bit vectors suffice: what bounds a transposition is memory.

use cranelift_codegen::ir::types::I8X16;
use cranelift_codegen::ir::{ConstantData, InstBuilder, MemFlagsData, Value};

use super::conv::F;
use super::emit::{Class, Count, Emit, vector};
use super::half::Element;
use crate::ops::fused::chunks_for;
use crate::types::Shape;

/// `[outer, rows, columns] → [outer, columns, to]`, with zeros behind the rows; of f32, or of i32 if `to` is `rows`.
/// Arguments: the operand, the result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Transposition {
    outer: usize,
    rows: usize,
    columns: usize,
    to: usize,
    /// F32, or rounded to bf16 on the way.
    element: Element,
    pub(super) chunks: usize,
}

/// Columns that a chunk takes at least: a cache line.
const LINE: usize = 16;

impl Transposition {
    pub(super) fn new([outer, rows, columns]: [usize; 3], to: usize, element: Element) -> Transposition {
        const SMALL: usize = 1 << 13;
        let items = outer * columns.div_ceil(LINE);
        let chunks = if outer * rows * columns < SMALL { 1 } else { chunks_for(items) };
        Transposition { outer, rows, columns, to, element, chunks }
    }

    /// A permutation of the axes of `shape`, if it swaps two groups of neighbours: the first axes stay where they are.
    pub(super) fn of_axes(permutation: &[usize], shape: &Shape) -> Option<Transposition> {
        let fixed = permutation.iter().enumerate().take_while(|&(to, &from)| to == from).count();
        let moved = &permutation[fixed..];
        let first = *moved.first()?;
        let swaps = moved.iter().enumerate().all(|(at, &from)| from - fixed == (first - fixed + at) % moved.len());
        let product = |axes: std::ops::Range<usize>| shape.0[axes].iter().product::<usize>();
        let (rows, columns) = (product(fixed..first), product(first..permutation.len()));
        swaps.then(|| Transposition::new([product(0..fixed), rows, columns], rows, Element::F32))
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let (from, to) = (e.argument(0), e.argument(1));
        let blocks = self.columns.div_ceil(LINE);
        let (first, count) = e.chunk_range(self.outer * blocks, self.chunks);
        let [from_row, to_row] = [self.columns, self.to].map(|numbers| numbers as i64 * F);
        let zeros = self.to - self.rows;
        let block = Block { rows: self.rows, from: from_row, to: to_row, zeros, element: self.element };
        e.repeat(count, &[(first, 1)], &[], |e, at, _| {
            let all = e.int(blocks as i64);
            let matrix = e.b.ins().udiv(at[0], all);
            let before = e.b.ins().imul(matrix, all);
            let index = e.b.ins().isub(at[0], before);
            let from = e.at(from, matrix, self.rows as i64 * block.from);
            let from = e.at(from, index, LINE as i64 * F);
            let to = e.at(to, matrix, self.columns as i64 * block.to);
            let to = e.at(to, index, LINE as i64 * block.to);
            let ragged = self.columns % LINE;
            if ragged == 0 {
                block.emit(e, from, to, LINE);
                return Vec::new();
            }
            // exactly one of two loops of zero or one turn runs
            let whole = e.int((self.columns / LINE) as i64);
            let left = e.b.ins().isub(whole, index);
            let (zero, one) = (e.int(0), e.int(1));
            let is_whole = e.min(left, one);
            let is_whole = e.max(is_whole, zero);
            let is_ragged = e.b.ins().isub(one, is_whole);
            for (turns, columns) in [(is_whole, LINE), (is_ragged, ragged)] {
                e.repeat(Count::Dynamic(turns), &[], &[], |e, _, _| {
                    block.emit(e, from, to, columns);
                    Vec::new()
                });
            }
            Vec::new()
        });
    }
}

/// Rows that become columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) rows: usize,
    /// Bytes from one row to the next in what is read.
    pub(super) from: i64,
    /// Bytes from one row to the next in what is written.
    pub(super) to: i64,
    /// Zeros to be written behind a row.
    pub(super) zeros: usize,
    pub(super) element: Element,
}

impl Block {
    /// Transposes `columns` columns.
    pub(super) fn emit(&self, e: &mut Emit<'_>, from: Value, to: Value, columns: usize) {
        let (quads, rest) = (self.rows / 4, self.rows % 4);
        e.repeat(Count::Static(quads), &[(from, 4 * self.from), (to, 4 * F)], &[], |e, at, _| {
            let turns = [(at[0], 16), (at[1], 4 * self.to)];
            e.repeat(Count::Static(columns / 4), &turns, &[], |e, at, _| {
                self.quad(e, at[0], at[1]);
                Vec::new()
            });
            let done = (columns / 4 * 4) as i64;
            let (from, to) = (e.offset(at[0], done * F), e.offset(at[1], done * self.to));
            self.single(e, from, to, [4, columns % 4]);
            Vec::new()
        });
        let done = (quads * 4) as i64;
        let (from, behind) = (e.offset(from, done * self.from), e.offset(to, done * F));
        self.single(e, from, behind, [rest, columns]);
        if self.zeros > 0 {
            let behind = e.offset(to, self.rows as i64 * F);
            e.repeat(Count::Static(columns), &[(behind, self.to)], &[], |e, at, _| {
                e.clear(at[0], self.zeros * 4);
                Vec::new()
            });
        }
    }

    /// Number by number.
    fn single(&self, e: &mut Emit<'_>, from: Value, to: Value, [rows, columns]: [usize; 2]) {
        e.repeat(Count::Static(columns), &[(from, F), (to, self.to)], &[], |e, at, _| {
            for row in 0..rows as i64 {
                let value = e.load(vector(Class::Float, 1), at[0], row * self.from);
                e.store_floats(self.element, value, at[1], row * F);
            }
            Vec::new()
        });
    }

    fn quad(&self, e: &mut Emit<'_>, from: Value, to: Value) {
        /// Bytes of the lower, or upper, halves of two vectors in turn: `size` bytes of each.
        fn unpack(size: u8, upper: bool) -> Vec<u8> {
            let half = if upper { 8 } else { 0 };
            let pieces = (0..8 / size).flat_map(|piece| [0, 16].map(|of| of + half + piece * size));
            pieces.flat_map(|first| first..first + size).collect()
        }
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        let shuffle = |e: &mut Emit<'_>, a: Value, b: Value, (size, upper): (u8, bool)| {
            let mask = e.b.func.dfg.immediates.push(ConstantData::from(unpack(size, upper).as_slice()));
            e.b.ins().shuffle(a, b, mask)
        };
        let rows: Vec<Value> = (0..4)
            .map(|row| {
                let row = e.load(vector(Class::Float, 4), from, row * self.from);
                e.b.ins().bitcast(I8X16, flags, row)
            })
            .collect();
        let mut halves = Vec::with_capacity(4);
        for upper in [false, true] {
            let pairs = [[0, 1], [2, 3]].map(|[a, b]| shuffle(e, rows[a], rows[b], (4, upper)));
            halves.push(pairs);
        }
        for (index, [first, second]) in halves.into_iter().enumerate() {
            for (column, upper) in [false, true].into_iter().enumerate() {
                let column = (2 * index + column) as i64;
                let value = shuffle(e, first, second, (8, upper));
                let value = e.b.ins().bitcast(vector(Class::Float, 4), flags, value);
                e.store_floats(self.element, value, to, column * self.to);
            }
        }
    }
}
