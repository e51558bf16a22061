//! Vector code in loops that touches memory by pointers: a leaf function as plain data.
//!
//! ```text
//!   table: pointer 0 … pointer n-1 │ counts known at run time │ loop counters
//!
//!   Loop 4×, pointers step by their strides
//!     %0 = Load p0+0     %1 = Load p1+0     %2 = Mul %0 %1     Store p2+0 %2
//!   End                                     (pointers are back where they were)
//! ```
//!
//! The line is in SSA form; a value may be used in its own loop and in the loops inside, sums are the only ones
//! that change. Vectors have the lanes of the instruction set; a [`Place`] of fewer lanes reads zeros and
//! writes nothing beyond them. [`Builder`] makes a line, [`super::strip_registers`] gives its values
//! registers, and [`super::strip_wide`] assembles it. Nothing here knows what the line computes: that is the
//! builder's user ([`super::region_wide`] for the programs of fused kernels).

use std::collections::BTreeSet;

use super::half::Element;
use super::isa::Isa;
use super::strip_registers;

/// A vector or a mask: a constant, or the result of the operation at a position of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Vector {
    Constant(usize),
    Result(usize),
}

/// Elements in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Position of the pointer in the table.
    pub(super) pointer: usize,
    /// Bytes behind the pointer.
    pub(super) offset: i64,
    /// How many, at most the vector's lanes.
    pub(super) lanes: usize,
    /// Bf16 is widened when it is loaded; see [`Builder::store_rounded`].
    pub(super) element: Element,
}

impl Place {
    /// Of f32.
    pub(super) fn new(pointer: usize, offset: i64, lanes: usize) -> Place {
        Place { pointer, offset, lanes, element: Element::F32 }
    }
}

/// Instructions of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    /// `a > b ? a : b`
    Max,
    /// `a < b ? a : b`
    Min,
    /// Of the bits as integers.
    AddBits,
    /// Of the bits.
    And,
    /// Of the bits.
    Xor,
}

/// Comparisons; false for NaN but for the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    Equal,
    Less,
    Greater,
    GreaterEqual,
    /// Or not ordered.
    NotEqual,
    /// One of them is NaN.
    Unordered,
}

/// How often a loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Times {
    Static(usize),
    /// What the table says: the position among its counts.
    Argument(usize),
}

/// An element of the line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    Load(Place),
    /// The number at byte `offset` behind `pointer` in every lane.
    Broadcast {
        pointer: usize,
        offset: i64,
    },
    Arithmetic(Arithmetic, Vector, Vector),
    /// `a · b + c`, rounded once.
    MulAdd(Vector, Vector, Vector),
    Sqrt(Vector),
    /// The upper halves of the lanes, moved to the lower end.
    Top(Vector),
    /// Half as wide lanes in the lower half of the vector: rounded to bf16 where that is an instruction, in AVX2 the
    /// lower halves of the lanes.
    Narrow(Vector),
    /// A mask.
    Compare(Comparison, Vector, Vector),
    /// `mask ? yes : no`
    Blend {
        mask: Vector,
        yes: Vector,
        no: Vector,
    },
    /// A vector of zeros that [`Op::Accumulate`] and [`Op::MultiplyAdd`] add to.
    Sum,
    Accumulate {
        sum: Vector,
        value: Vector,
    },
    /// `sum += a·b` with one rounding.
    MultiplyAdd {
        sum: Vector,
        a: Vector,
        b: Vector,
    },
    Store(Place, Vector),
    /// The same past the caches; a whole vector at a multiple of its size.
    Stream(Place, Vector),
    /// Runs what follows, up to its [`Op::End`]; each turn pointers step by these bytes.
    Loop {
        times: Times,
        strides: Vec<(usize, i64)>,
    },
    End,
}

impl Op {
    /// The values that it reads.
    pub(super) fn operands(&self) -> Vec<Vector> {
        match *self {
            Op::Load(_) | Op::Broadcast { .. } | Op::Sum | Op::Loop { .. } | Op::End => Vec::new(),
            Op::Sqrt(a) | Op::Top(a) | Op::Narrow(a) | Op::Store(_, a) | Op::Stream(_, a) => vec![a],
            Op::Arithmetic(_, a, b) | Op::Compare(_, a, b) => vec![a, b],
            Op::Accumulate { sum, value } => vec![sum, value],
            Op::MultiplyAdd { sum, a, b } => vec![sum, a, b],
            Op::Blend { mask, yes, no } => vec![mask, yes, no],
            Op::MulAdd(a, b, c) => vec![a, b, c],
        }
    }
    /// The memory that it touches; a broadcast's is one lane.
    pub(super) fn place(&self) -> Option<Place> {
        match *self {
            Op::Load(place) | Op::Store(place, _) | Op::Stream(place, _) => Some(place),
            Op::Broadcast { pointer, offset } => Some(Place::new(pointer, offset, 1)),
            Op::Arithmetic(..)
            | Op::MulAdd(..)
            | Op::Sqrt(_)
            | Op::Top(_)
            | Op::Narrow(_)
            | Op::Compare(..)
            | Op::Blend { .. }
            | Op::Sum
            | Op::Accumulate { .. }
            | Op::MultiplyAdd { .. }
            | Op::Loop { .. }
            | Op::End => None,
        }
    }
}

/// A leaf function `fn(table)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Strip {
    /// AVX2 or AVX-512.
    pub(super) isa: Isa,
    /// Pointers at the start of the table.
    pub(super) pointers: usize,
    /// Counts behind them.
    pub(super) counts: usize,
    /// Bits of the constants.
    pub(super) constants: Vec<u32>,
    pub(super) line: Vec<Op>,
}

impl Strip {
    /// Fills `bytes` (a multiple of 4) behind its pointer with zeros.
    pub(super) fn zeros(isa: Isa, bytes: usize) -> Option<Strip> {
        /// Vectors of one turn.
        const VECTORS: usize = 4;
        let (lanes, vector) = (isa.lanes(), isa.lanes() as i64 * 4);
        let mut b = Builder::new(isa, 1, 0);
        let zero = b.constant(0.0);
        let store = |b: &mut Builder, v: usize, lanes: usize| {
            b.store(Place::new(0, v as i64 * vector, lanes), zero);
        };
        let (whole, ragged) = (bytes / 4 / lanes, bytes / 4 % lanes);
        let turns = whole / VECTORS;
        b.repeat(Times::Static(turns), &[(0, VECTORS as i64 * vector)], |b| {
            (0..VECTORS).for_each(|v| store(b, v, lanes))
        });
        (turns * VECTORS..whole).for_each(|v| store(&mut b, v, lanes));
        if ragged > 0 {
            store(&mut b, whole, ragged);
        }
        b.finish()
    }
    /// Eight-byte entries of the table.
    pub(super) fn table(&self) -> usize {
        self.pointers + self.counts + self.depths().into_iter().max().unwrap_or(0)
    }
    /// The number of loops around each position of the line.
    pub(super) fn depths(&self) -> Vec<usize> {
        let mut depth = 0usize;
        let mut depths = Vec::with_capacity(self.line.len());
        for op in &self.line {
            if matches!(op, Op::End) {
                depth = depth.saturating_sub(1);
            }
            depths.push(depth);
            if matches!(op, Op::Loop { .. }) {
                depth += 1;
            }
        }
        depths
    }
    /// Numbers of lanes below a whole vector that places have.
    pub(super) fn ragged(&self) -> BTreeSet<usize> {
        let vectors = self.line.iter().filter(|op| matches!(op, Op::Load(_) | Op::Store(..)));
        vectors.filter_map(|op| op.place()).map(|p| p.lanes).filter(|&lanes| lanes < self.isa.lanes()).collect()
    }
}

/// Writes a [`Strip`].
pub(super) struct Builder {
    strip: Strip,
}

impl Builder {
    pub(super) fn new(isa: Isa, pointers: usize, counts: usize) -> Builder {
        Builder { strip: Strip { isa, pointers, counts, constants: Vec::new(), line: Vec::new() } }
    }
    /// The finished strip, or `None` where its values do not fit into the registers.
    pub(super) fn finish(self) -> Option<Strip> {
        strip_registers::allocate(&self.strip).map(|_| self.strip)
    }

    pub(super) fn lanes(&self) -> usize {
        self.strip.isa.lanes()
    }
    pub(super) fn bits(&mut self, bits: u32) -> Vector {
        let constants = &mut self.strip.constants;
        let known = constants.iter().position(|&c| c == bits);
        Vector::Constant(known.unwrap_or_else(|| {
            constants.push(bits);
            constants.len() - 1
        }))
    }
    pub(super) fn constant(&mut self, value: f32) -> Vector {
        self.bits(value.to_bits())
    }
    fn push(&mut self, op: Op) -> Vector {
        self.strip.line.push(op);
        Vector::Result(self.strip.line.len() - 1)
    }
    pub(super) fn load(&mut self, place: Place) -> Vector {
        self.push(Op::Load(place))
    }
    pub(super) fn broadcast(&mut self, pointer: usize, offset: i64) -> Vector {
        self.push(Op::Broadcast { pointer, offset })
    }
    pub(super) fn store(&mut self, place: Place, value: Vector) {
        self.push(Op::Store(place, value));
    }
    pub(super) fn arithmetic(&mut self, op: Arithmetic, a: Vector, b: Vector) -> Vector {
        self.push(Op::Arithmetic(op, a, b))
    }
    pub(super) fn mul_add(&mut self, a: Vector, b: Vector, c: Vector) -> Vector {
        self.push(Op::MulAdd(a, b, c))
    }
    pub(super) fn sqrt(&mut self, a: Vector) -> Vector {
        self.push(Op::Sqrt(a))
    }
    pub(super) fn stream(&mut self, place: Place, value: Vector) {
        self.push(Op::Stream(place, value));
    }
    /// Stores `value` as the place's element says: rounded to bf16, to the nearest, ties to even.
    pub(super) fn store_rounded(&mut self, place: Place, value: Vector) {
        let narrow = match place.element {
            Element::F32 => value,
            Element::Rounded => self.round(value),
            Element::Bf16 if self.strip.isa.multiplies_pairs() => self.push(Op::Narrow(value)),
            Element::Bf16 => {
                let rounded = self.round(value);
                let top = self.push(Op::Top(rounded));
                // AVX-512 stores the lower halves of lanes
                if self.strip.isa == Isa::Avx512 { top } else { self.push(Op::Narrow(top)) }
            }
        };
        self.store(place, narrow);
    }
    /// The nearest bf16 as f32, see [`super::half`].
    fn round(&mut self, value: Vector) -> Vector {
        let (one, below, top, nan) = (self.bits(1), self.bits(0x7fff), self.bits(0xffff_0000), self.bits(0x7fc0_0000));
        let odd = self.push(Op::Top(value));
        let odd = self.arithmetic(Arithmetic::And, odd, one);
        let up = self.arithmetic(Arithmetic::AddBits, odd, below);
        let sum = self.arithmetic(Arithmetic::AddBits, value, up);
        let rounded = self.arithmetic(Arithmetic::And, sum, top);
        let unordered = self.compare(Comparison::Unordered, value, value);
        self.blend(unordered, nan, rounded)
    }
    pub(super) fn compare(&mut self, op: Comparison, a: Vector, b: Vector) -> Vector {
        self.push(Op::Compare(op, a, b))
    }
    pub(super) fn blend(&mut self, mask: Vector, yes: Vector, no: Vector) -> Vector {
        self.push(Op::Blend { mask, yes, no })
    }
    pub(super) fn sum(&mut self) -> Vector {
        self.push(Op::Sum)
    }
    pub(super) fn accumulate(&mut self, sum: Vector, value: Vector) {
        self.push(Op::Accumulate { sum, value });
    }
    pub(super) fn multiply_add(&mut self, sum: Vector, a: Vector, b: Vector) {
        self.push(Op::MultiplyAdd { sum, a, b });
    }
    /// Repeats what `body` writes.
    pub(super) fn repeat(&mut self, times: Times, strides: &[(usize, i64)], body: impl FnOnce(&mut Self)) {
        match times {
            Times::Static(0) => {}
            Times::Static(1) => body(self),
            Times::Static(_) | Times::Argument(_) => {
                self.push(Op::Loop { times, strides: strides.iter().copied().filter(|s| s.1 != 0).collect() });
                body(self);
                self.push(Op::End);
            }
        }
    }
}
