//! A [`Region`] as a [`Strip`]: the same loops and, element for element, the same operations as
//! [`super::region`] has them, in wider vectors.
//!
//! ```text
//!  with per-channel operands or sums      without
//!    for each block of channels             for each row
//!      load per-channel operands              for each column (a few at a time)
//!      for each row                             for each vector: steps
//!        for each column (a few at a time)
//!          for each vector: steps, sums
//!        add the sums to memory
//! ```
//!
//! Each channel's sums are taken column by column and row by row as in `region`, so their bits are the same.
//! One difference: a subnormal number that a maximum or minimum passes on may come out as zero.

use cranelift_codegen::ir::Value;

use super::conv::LINE;
use super::emit::{Count, Target};
use super::half::Element;
use super::isa::Isa;
use super::region::{Access, Extent, Region, Sink, Source};
use super::strip::{Arithmetic, Builder, Comparison, Place, Strip, Times, Vector};
use crate::ops::{Binary, Step, Unary};

/// A strip with what its table starts with.
pub(super) struct Call {
    pub(super) strip: Strip,
    pub(super) pointers: Vec<Value>,
    pub(super) counts: Vec<Value>,
}

/// Vectors of one turn of the innermost loop, where registers allow.
const VECTORS: usize = 4;

/// The call that runs `region` over `extent`, or `None` where an operation has no single instruction or the
/// registers do not suffice.
pub(super) fn call(region: &Region<'_>, extent: Extent, target: Target) -> Option<Call> {
    let half = region.accesses().iter().any(|a| a.element == Element::Bf16);
    let isa = if half { target.of_bf16 } else { target.isa };
    if isa == Isa::Clif || !region.program.steps.iter().all(plain) {
        return None;
    }
    // AVX2 cannot mask lanes of 16 bits
    if half && !extent.channels.is_multiple_of(isa.lanes()) && isa == Isa::Avx2 {
        return None;
    }
    let mut counts = Vec::new();
    let mut times = |count: Count| match count {
        Count::Static(n) => Times::Static(n),
        Count::Dynamic(value) => {
            counts.push(value);
            Times::Argument(counts.len() - 1)
        }
    };
    let (rows, columns) = (times(extent.rows), times(extent.columns));
    let accesses = region.accesses();
    let mut pointers: Vec<Value> = accesses.iter().map(|a| a.base).collect();
    let mut point = |base: Value| {
        pointers.push(base);
        pointers.len() - 1
    };
    let (mut channel, mut scalar, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for &(index, source) in &region.operands {
        match source {
            Source::Full(_) => {}
            Source::Channel(base) => channel.push((index, point(base))),
            Source::Scalar(base) => scalar.push((index, point(base))),
        }
    }
    for sink in &region.sinks {
        match *sink {
            Sink::Full(..) => {}
            Sink::Sums(step, base) => sums.push((step, point(base))),
        }
    }
    let (lanes, channels) = (isa.lanes(), extent.channels);
    let lowering = Lowering { region, accesses, channel, scalar, sums, rows, columns, channels, lanes };
    let strip = (1..=channels.div_ceil(lanes).min(VECTORS)).rev().find_map(|vectors| {
        let mut b = Builder::new(isa, pointers.len(), counts.len());
        lowering.strip(&mut b, vectors);
        b.finish()
    })?;
    Some(Call { strip, pointers, counts })
}

/// Whether a step is a few plain instructions.
fn plain(step: &Step) -> bool {
    match step {
        Step::Anchor | Step::Operand(_) | Step::Constant(_) | Step::Binary(..) | Step::Select(..) => true,
        Step::Unary(op, _) => match op {
            Unary::Neg
            | Unary::Abs
            | Unary::Sign
            | Unary::Sqrt
            | Unary::Rsqrt
            | Unary::Relu
            | Unary::LeakyRelu(_)
            | Unary::Clamp(..) => true,
            Unary::Exp
            | Unary::Log
            | Unary::Sigmoid
            | Unary::Tanh
            | Unary::Erf
            | Unary::Gelu
            | Unary::Silu
            | Unary::Softplus => false,
        },
    }
}

struct Lowering<'r> {
    region: &'r Region<'r>,
    /// The first pointers.
    accesses: Vec<Access>,
    /// Per-channel operands and their pointers.
    channel: Vec<(usize, usize)>,
    /// Scalar operands and their pointers.
    scalar: Vec<(usize, usize)>,
    /// Summed steps and the pointers of their sums.
    sums: Vec<(usize, usize)>,
    rows: Times,
    columns: Times,
    channels: usize,
    lanes: usize,
}

/// The vectors of a block of channels: first byte and lanes of each.
type Block = Vec<(i64, usize)>;

/// Values that a block's pixels share.
#[derive(Default)]
struct Held {
    /// Operands in each of the block's vectors.
    operands: Vec<(usize, Vec<Vector>)>,
    /// Sums in each of the block's vectors.
    sums: Vec<Vec<Vector>>,
}

impl Lowering<'_> {
    fn bytes(&self) -> i64 {
        self.lanes as i64 * 4
    }
    /// How often a block of `vectors` comes, and the vectors behind the last.
    fn blocks(&self, vectors: usize) -> (usize, Block) {
        let (whole, ragged) = (self.channels / self.lanes, self.channels % self.lanes);
        let blocks = whole / vectors;
        let mut rest: Block = (blocks * vectors..whole).map(|v| (v as i64 * self.bytes(), self.lanes)).collect();
        if ragged > 0 {
            rest.push((whole as i64 * self.bytes(), ragged));
        }
        (blocks, rest)
    }
    /// Every pointer steps by what `stride` says.
    fn strides(&self, stride: impl Fn(&Access) -> i64) -> Vec<(usize, i64)> {
        self.accesses.iter().enumerate().map(|(pointer, access)| (pointer, stride(access))).collect()
    }

    fn strip(&self, b: &mut Builder, vectors: usize) {
        let scalars: Vec<(usize, Vector)> = self.scalar.iter().map(|&(i, p)| (i, b.broadcast(p, 0))).collect();
        let (blocks, rest) = self.blocks(vectors);
        let block: Block = (0..vectors).map(|v| (v as i64 * self.bytes(), self.lanes)).collect();
        let step = vectors as i64 * self.bytes();
        let spread = |block: &Block| Held {
            operands: scalars.iter().map(|&(i, value)| (i, vec![value; block.len()])).collect(),
            sums: Vec::new(),
        };
        if self.channel.is_empty() && self.sums.is_empty() {
            // all channels of a pixel before the next one
            let together = if blocks > 1 { VECTORS } else { blocks * vectors + rest.len() };
            b.repeat(self.rows, &self.strides(|a| a.row), |b| {
                self.columns(b, together, |b, column| {
                    b.repeat(Times::Static(blocks), &self.strides(|a| a.element.of(step)), |b| {
                        self.pixel(b, column, &block, &spread(&block));
                    });
                    self.pixel(b, column, &rest, &spread(&rest));
                });
            });
            return;
        }
        let mut along = self.strides(|a| a.element.of(step));
        along.extend(self.channel.iter().chain(&self.sums).map(|&(_, pointer)| (pointer, step)));
        b.repeat(Times::Static(blocks), &along, |b| self.block(b, &block, spread(&block)));
        if !rest.is_empty() {
            self.block(b, &rest, spread(&rest));
        }
    }

    /// All pixels of a block of channels.
    fn block(&self, b: &mut Builder, block: &Block, mut held: Held) {
        for &(index, pointer) in &self.channel {
            let vectors = block.iter().map(|&(offset, lanes)| b.load(Place::new(pointer, offset, lanes))).collect();
            held.operands.push((index, vectors));
        }
        b.repeat(self.rows, &self.strides(|a| a.row), |b| {
            held.sums = self.sums.iter().map(|_| block.iter().map(|_| b.sum()).collect()).collect();
            self.columns(b, block.len(), |b, column| self.pixel(b, column, block, &held));
            // a row at a time, so that rounding errors grow with the length of a row
            for (&(_, pointer), totals) in self.sums.iter().zip(&held.sums) {
                for (&(offset, lanes), &total) in block.iter().zip(totals) {
                    let place = Place::new(pointer, offset, lanes);
                    let old = b.load(place);
                    let new = b.arithmetic(Arithmetic::Add, old, total);
                    b.store(place, new);
                }
            }
        });
    }

    /// Runs `body` for every column of a row, in turns of several columns if one has few `vectors`.
    fn columns(&self, b: &mut Builder, vectors: usize, body: impl Fn(&mut Builder, i64)) {
        let several = (VECTORS / vectors).max(1);
        match self.columns {
            Times::Static(columns) => {
                let turns = columns / several;
                b.repeat(Times::Static(turns), &self.strides(|a| several as i64 * a.column), |b| {
                    (0..several as i64).for_each(|column| body(b, column));
                });
                (turns * several..columns).for_each(|column| body(b, column as i64));
            }
            Times::Argument(_) => b.repeat(self.columns, &self.strides(|a| a.column), |b| body(b, 0)),
        }
    }

    /// Runs the steps on the block's vectors, `column` columns behind the pointers.
    fn pixel(&self, b: &mut Builder, column: i64, block: &Block, held: &Held) {
        let is_full = |(_, source): &&(usize, Source)| matches!(source, Source::Full(_));
        let full: Vec<usize> = self.region.operands.iter().filter(is_full).map(|&(index, _)| index).collect();
        let anchors = usize::from(self.region.anchor.is_some());
        let needed = self.needed();
        for (v, &(byte, lanes)) in block.iter().enumerate() {
            let place = |pointer: usize| {
                let Access { column: stride, element, .. } = self.accesses[pointer];
                Place { pointer, offset: column * stride + element.of(byte), lanes, element }
            };
            let mut made: Vec<Made> = Vec::with_capacity(needed.len());
            for (step, needed) in self.region.program.steps.iter().zip(&needed) {
                made.push(match *step {
                    _ if !needed => Made::Nothing,
                    Step::Anchor => Made::Number(b.load(place(0))),
                    Step::Operand(index) => Made::Number(match full.iter().position(|&f| f == index) {
                        Some(position) => b.load(place(anchors + position)),
                        None => {
                            let values = held.operands.iter().find(|(h, _)| *h == index);
                            values.map_or_else(|| b.constant(0.0), |(_, vectors)| vectors[v])
                        }
                    }),
                    Step::Constant(value) => Made::Number(b.constant(value)),
                    Step::Unary(op, x) => {
                        let x = made[x].number(b);
                        Made::Number(unary(b, op, x))
                    }
                    Step::Binary(op, x, y) => {
                        let (x, y) = (made[x].number(b), made[y].number(b));
                        binary(b, op, x, y)
                    }
                    Step::Select(condition, x, y) => {
                        let mask = made[condition].mask(b);
                        let (x, y) = (made[x].number(b), made[y].number(b));
                        Made::Number(b.blend(mask, x, y))
                    }
                });
            }
            let mut stores = anchors + full.len()..;
            let mut sums = held.sums.iter();
            for sink in &self.region.sinks {
                match *sink {
                    Sink::Full(step, _) => {
                        let value = made[step].number(b);
                        let Some(pointer) = stores.next() else { continue };
                        let Access { element, past_caches, .. } = self.accesses[pointer];
                        // a line in two parts may go to memory as two lines
                        let lines = (block.len() * self.lanes).is_multiple_of(LINE) && lanes == self.lanes;
                        if past_caches && lines && element == Element::F32 {
                            b.stream(place(pointer), value);
                        } else {
                            b.store_rounded(place(pointer), value);
                        }
                    }
                    Sink::Sums(step, _) => {
                        let value = made[step].number(b);
                        if let Some(totals) = sums.next() {
                            b.accumulate(totals[v], value);
                        }
                    }
                }
            }
        }
    }

    /// The steps that an output depends on.
    fn needed(&self) -> Vec<bool> {
        let steps = &self.region.program.steps;
        let mut needed = vec![false; steps.len()];
        for sink in &self.region.sinks {
            match *sink {
                Sink::Full(step, _) | Sink::Sums(step, _) => needed[step] = true,
            }
        }
        for (at, step) in steps.iter().enumerate().rev() {
            let operands = match *step {
                Step::Anchor | Step::Operand(_) | Step::Constant(_) => vec![],
                Step::Unary(_, a) => vec![a],
                Step::Binary(_, a, b) => vec![a, b],
                Step::Select(a, b, c) => vec![a, b, c],
            };
            if needed[at] {
                operands.into_iter().for_each(|operand| needed[operand] = true);
            }
        }
        needed
    }
}

/// The value of a step.
#[derive(Clone, Copy)]
enum Made {
    /// No output depends on it.
    Nothing,
    Number(Vector),
    /// A comparison's: 1 or 0.
    Mask(Vector),
}

impl Made {
    fn number(self, b: &mut Builder) -> Vector {
        match self {
            Made::Nothing => b.constant(0.0),
            Made::Number(value) => value,
            Made::Mask(mask) => {
                let (one, zero) = (b.constant(1.0), b.constant(0.0));
                b.blend(mask, one, zero)
            }
        }
    }
    /// Whether it is not zero.
    fn mask(self, b: &mut Builder) -> Vector {
        match self {
            Made::Mask(mask) => mask,
            Made::Nothing | Made::Number(_) => {
                let (value, zero) = (self.number(b), b.constant(0.0));
                b.compare(Comparison::NotEqual, value, zero)
            }
        }
    }
}

/// As [`super::math`] has it. Functions that are not [`plain`] do not get here.
fn unary(b: &mut Builder, op: Unary, x: Vector) -> Vector {
    match op {
        Unary::Neg => {
            let sign = b.bits(1 << 31);
            b.arithmetic(Arithmetic::Xor, x, sign)
        }
        Unary::Abs => {
            let magnitude = b.bits(u32::MAX >> 1);
            b.arithmetic(Arithmetic::And, x, magnitude)
        }
        Unary::Sign => {
            let (zero, one, minus) = (b.constant(0.0), b.constant(1.0), b.constant(-1.0));
            let positive = b.compare(Comparison::Greater, x, zero);
            let negative = b.compare(Comparison::Less, x, zero);
            // NaN and zeros pass
            let signed = b.blend(negative, minus, x);
            b.blend(positive, one, signed)
        }
        Unary::Sqrt => b.sqrt(x),
        Unary::Rsqrt => {
            let (root, one) = (b.sqrt(x), b.constant(1.0));
            b.arithmetic(Arithmetic::Div, one, root)
        }
        Unary::Relu => limit(b, Arithmetic::Max, 0.0, x),
        Unary::LeakyRelu(slope) => {
            let (zero, slope) = (b.constant(0.0), b.constant(slope));
            let negative = b.compare(Comparison::Less, x, zero);
            let scaled = b.arithmetic(Arithmetic::Mul, x, slope);
            b.blend(negative, scaled, x)
        }
        Unary::Clamp(low, high) => {
            let x = limit(b, Arithmetic::Max, low, x);
            limit(b, Arithmetic::Min, high, x)
        }
        Unary::Exp
        | Unary::Log
        | Unary::Sigmoid
        | Unary::Tanh
        | Unary::Erf
        | Unary::Gelu
        | Unary::Silu
        | Unary::Softplus => x,
    }
}

/// A maximum or minimum of which `x` comes second: it passes if it is NaN.
fn limit(b: &mut Builder, op: Arithmetic, limit: f32, x: Vector) -> Vector {
    let limit = b.constant(limit);
    b.arithmetic(op, limit, x)
}

fn binary(b: &mut Builder, op: Binary, x: Vector, y: Vector) -> Made {
    let extreme = |b: &mut Builder, op: Arithmetic| {
        let chosen = b.arithmetic(op, x, y);
        // a NaN on the left would lose every comparison
        let nan = b.compare(Comparison::Unordered, x, x);
        b.blend(nan, x, chosen)
    };
    match op {
        Binary::Add => Made::Number(b.arithmetic(Arithmetic::Add, x, y)),
        Binary::Sub => Made::Number(b.arithmetic(Arithmetic::Sub, x, y)),
        Binary::Mul => Made::Number(b.arithmetic(Arithmetic::Mul, x, y)),
        Binary::Div => Made::Number(b.arithmetic(Arithmetic::Div, x, y)),
        Binary::Max => Made::Number(extreme(b, Arithmetic::Max)),
        Binary::Min => Made::Number(extreme(b, Arithmetic::Min)),
        Binary::Greater => Made::Mask(b.compare(Comparison::Greater, x, y)),
        Binary::GreaterEqual => Made::Mask(b.compare(Comparison::GreaterEqual, x, y)),
        Binary::Equal => Made::Mask(b.compare(Comparison::Equal, x, y)),
    }
}
