//! The register tile: the inner product under every convolution and matrix product.
//!
//! ```text
//!   acc[m][v] += Σ over loops, k   A[m·a_row + …] (one number, broadcast) · B[… + v·lanes] (a vector)
//!   C[m·c_row + v·lanes] = acc      (or += with `accumulate`)
//! ```
//!
//! and all of that for each turn of the loops around.
//!
//! One description serves two emitters: [`super::tile_clif`] (Cranelift, 128-bit) and
//! [`super::tile_wide`] (x86 machine code, 256- and 512-bit). Both emit [`Tile::step`], the ordered list of
//! micro-operations of one k-step; only the lanes and the tile's size depend on the target. A tile always
//! computes whole vectors: ragged channel counts are padded in the operands' scratch copies.

use super::amx;
use super::isa::Isa;

/// A loop over products; strides in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Loop {
    pub(super) count: usize,
    /// Distance in A from one turn to the next.
    pub(super) a: i64,
    /// Distance in B from one turn to the next.
    pub(super) b: i64,
}

/// A loop around whole tiles: each turn is a product of its own; strides in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Turn {
    pub(super) count: usize,
    pub(super) a: i64,
    pub(super) b: i64,
    pub(super) c: i64,
}

/// A register tile with its loops; all sizes are known when it is emitted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Where it multiplies pairs ([`Isa::multiplies_pairs`]), an element of A is two bf16 of one row, and one of B two bf16
    /// of one column: what one k-step multiplies and adds.
    pub(super) isa: Isa,
    /// Rows: numbers of A in one step.
    pub(super) rows: usize,
    /// Vectors of B in one step.
    pub(super) vectors: usize,
    /// Around all of it, outermost first: many products in one call, where each is short.
    pub(super) around: Vec<Turn>,
    /// Outermost first; the last is the k loop.
    pub(super) loops: Vec<Loop>,
    /// Bytes from one row's number to the next in A.
    pub(super) a_row: i64,
    /// Bytes from one row to the next in C.
    pub(super) c_row: i64,
    /// Add the finished sums to C instead of replacing it. They are summed apart from C first, so that
    /// rounding errors grow with the length of one call, not of all of them.
    pub(super) accumulate: bool,
}

/// Finds the compiled function of a tile: its position in the program and its calling convention.
pub(super) type Calls<'c> = dyn Fn(&Tile) -> (u32, cranelift_codegen::isa::CallConv) + 'c;

/// What one k-step does, over accumulators and vectors of B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MicroOp {
    /// Loads vector `vector` of B at byte `offset`.
    LoadB { vector: usize, offset: i64 },
    /// Accumulators of `row` += the number at byte `offset` of A times every vector of B.
    FmaBroadcast { row: usize, offset: i64 },
}

impl Tile {
    /// Columns of C: what one call covers.
    pub(super) fn columns(&self) -> usize {
        self.vectors * self.isa.lanes()
    }
    /// The micro-operations of k-step `k`, relative to the first step's addresses.
    pub(super) fn step(&self, k: usize) -> Vec<MicroOp> {
        let Some(inner) = self.loops.last() else { return Vec::new() };
        let k = k as i64;
        let mut ops: Vec<MicroOp> = (0..self.vectors)
            .map(|vector| MicroOp::LoadB { vector, offset: k * inner.b + (vector * self.isa.lanes() * 4) as i64 })
            .collect();
        ops.extend(
            (0..self.rows).map(|row| MicroOp::FmaBroadcast { row, offset: k * inner.a + row as i64 * self.a_row }),
        );
        ops
    }
    /// Removes loops of one turn and joins a loop with its inner one where the addresses run on.
    pub(super) fn simplified(mut self) -> Tile {
        let mut loops: Vec<Loop> = Vec::new();
        for outer in self.loops.iter().rev() {
            match loops.last_mut() {
                _ if outer.count == 1 && self.loops.len() > 1 => {}
                Some(inner) if outer.a == inner.a * inner.count as i64 && outer.b == inner.b * inner.count as i64 => {
                    inner.count *= outer.count;
                }
                _ => loops.push(*outer),
            }
        }
        if loops.is_empty() {
            loops.push(Loop { count: 1, a: 0, b: 0 });
        }
        loops.reverse();
        self.loops = loops;
        self
    }
}

/// The widest tile for `columns` (a multiple of 16) and up to `rows` rows: (rows, vectors).
///
/// Accumulators, the vectors of B and one broadcast must fit into the registers; the rows are balanced
/// over the tiles that are needed, so that the last one is not much smaller.
pub(super) fn tile_size(isa: Isa, rows: usize, columns: usize) -> (usize, usize) {
    if isa == Isa::Amx {
        return amx::tile_size(rows, columns);
    }
    let (vectors, most) = match isa {
        // 2×4 of sixteen 128-bit registers: more accumulators spill
        Isa::Clif => (4, 2),
        Isa::Avx2 => (2, 6),
        // embedded broadcasts need no register for A
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => match columns / 16 {
            1 => (1, 16),
            n if n % 4 == 0 && rows < 8 => (4, 6),
            n if n % 2 == 0 => (2, 12),
            n if n % 3 == 0 => (3, 8),
            _ => (1, 16),
        },
    };
    let tiles = rows.div_ceil(most).max(1);
    (rows.div_ceil(tiles).max(1), vectors)
}
