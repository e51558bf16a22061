//! Runs an element-wise program over a block of pixels: the prologues and epilogues of convolutions and
//! the element-wise kernels themselves.
//!
//! ```text
//!  for each block of channels (nv vectors; per-channel operands and sums stay in registers)
//!    for each row          pointers of full tensors step by their row strides
//!      for each column     … by their column strides
//!        for each vector: load operands, run the steps, store results, add to sums
//! ```

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::LINE;
use super::emit::{Class, Count, Emit, vector};
use super::half::Element;
use super::region_wide;
use crate::ops::{Program, Step};

/// A tensor walked with the region; strides in bytes, channels are contiguous.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) base: Value,
    pub(super) element: Element,
    pub(super) row: i64,
    pub(super) column: i64,
    /// Whether what is stored goes past the caches: whole cache lines of a result that is too large for them.
    pub(super) past_caches: bool,
}

impl Access {
    /// A tensor of f32.
    pub(super) fn new(base: Value, row: i64, column: i64) -> Access {
        Access { base, element: Element::F32, row, column, past_caches: false }
    }
}

/// How a program's operand is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// At the same pixel and channel.
    Full(Access),
    /// At the same channel of a vector.
    Channel(Value),
    /// One number.
    Scalar(Value),
}

/// Where a program's output goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sink {
    /// The same pixel and channel of a tensor.
    Full(usize, Access),
    /// Added to the same channel of a vector in memory.
    Sums(usize, Value),
}

/// The pixels that are covered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) rows: Count,
    pub(super) columns: Count,
    pub(super) channels: usize,
}

/// A program with everything it touches.
pub(super) struct Region<'p> {
    pub(super) program: &'p Program,
    pub(super) extent: Extent,
    /// Per operand index of the node; only those that the program reads are present.
    pub(super) operands: Vec<(usize, Source)>,
    /// Where the anchor's result is.
    pub(super) anchor: Option<Access>,
    pub(super) sinks: Vec<Sink>,
}

impl Region<'_> {
    /// The tensors that are walked: the anchor's result, full operands, full sinks.
    pub(super) fn accesses(&self) -> Vec<Access> {
        let mut all: Vec<Access> = self.anchor.into_iter().collect();
        all.extend(self.operands.iter().filter_map(|(_, s)| match s {
            Source::Full(a) => Some(*a),
            Source::Channel(_) | Source::Scalar(_) => None,
        }));
        all.extend(self.sinks.iter().filter_map(|s| match s {
            Sink::Full(_, a) => Some(*a),
            Sink::Sums(..) => None,
        }));
        all
    }

    /// The same over `count` of the channels, from the one at byte `first` of f32 on; the anchor has these channels alone.
    pub(super) fn of_channels(mut self, e: &mut Emit<'_>, first: Value, count: usize) -> Self {
        // other channels may begin in the middle of a line
        let lines = count.is_multiple_of(LINE);
        let mut moved = |base: &mut Value, element: Element| {
            let by = if element == Element::Bf16 { e.b.ins().ushr_imm_u(first, 1) } else { first };
            *base = e.b.ins().iadd(*base, by);
        };
        for (_, source) in &mut self.operands {
            match source {
                Source::Full(access) => moved(&mut access.base, access.element),
                Source::Channel(base) => moved(base, Element::F32),
                Source::Scalar(_) => {}
            }
        }
        for sink in &mut self.sinks {
            match sink {
                Sink::Full(_, access) => {
                    moved(&mut access.base, access.element);
                    access.past_caches &= lines;
                }
                Sink::Sums(_, base) => moved(base, Element::F32),
            }
        }
        self.extent.channels = count;
        self
    }

    /// Without per-channel operands, columns that lie side by side are one long run of channels.
    fn flattened(&self) -> Extent {
        let per_channel = self.operands.iter().any(|(_, s)| matches!(s, Source::Channel(_)))
            || self.sinks.iter().any(|s| matches!(s, Sink::Sums(..)));
        let dense = self.accesses().iter().all(|a| a.column == a.element.bytes() * self.extent.channels as i64);
        match self.extent.columns {
            Count::Static(columns) if dense && !per_channel => {
                Extent { columns: Count::Static(1), channels: columns * self.extent.channels, ..self.extent }
            }
            Count::Static(_) | Count::Dynamic(_) => self.extent,
        }
    }

    /// Emits the loops: in wide vectors where the target has them, else in Cranelift's.
    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let extent = self.flattened();
        match region_wide::call(self, extent, e.target) {
            Some(call) => e.call_strip(call.strip, &call.pointers, &call.counts),
            None => self.narrow(e, extent),
        }
    }

    fn narrow(&self, e: &mut Emit<'_>, extent: Extent) {
        let per_channel = self.operands.iter().filter(|(_, s)| matches!(s, Source::Channel(_))).count()
            + self.sinks.iter().filter(|s| matches!(s, Sink::Sums(..))).count();
        // sixteen registers hold the per-channel vectors and the values in flight
        let vectors = if per_channel > 2 { 2 } else { 4 };
        let block = vectors * 4;
        let blocks = extent.channels / block;
        if blocks > 0 {
            let index = e.int(0);
            e.repeat(Count::Static(blocks), &[(index, block as i64 * 4)], &[], |e, at, _| {
                self.block(e, extent, Some(at[0]), 0, vectors, 4);
                Vec::new()
            });
        }
        let mut done = blocks * block;
        let tail = (extent.channels - done) / 4;
        if tail > 0 {
            self.block(e, extent, None, done as i64 * 4, tail, 4);
            done += tail * 4;
        }
        if extent.channels > done {
            self.block(e, extent, None, done as i64 * 4, extent.channels - done, 1);
        }
    }

    /// One block of `vectors` × `lanes` channels at byte `channel` + `shift` of each pixel.
    fn block(
        &self,
        e: &mut Emit<'_>,
        extent: Extent,
        channel: Option<Value>,
        shift: i64,
        vectors: usize,
        lanes: usize,
    ) {
        // `channel` and `shift` count bytes of f32
        let start_of = |e: &mut Emit<'_>, base: Value, element: Element| match (channel, element) {
            (Some(channel), Element::F32 | Element::Rounded) => e.b.ins().iadd(base, channel),
            (Some(channel), Element::Bf16) => {
                let half = e.b.ins().ushr_imm_u(channel, 1);
                e.b.ins().iadd(base, half)
            }
            (None, element) => e.offset(base, element.of(shift)),
        };
        let start = |e: &mut Emit<'_>, base: Value| start_of(e, base, Element::F32);
        let ty = vector(Class::Float, lanes);
        let size = lanes as i64 * 4;
        // per-channel operands and scalars are loaded once for the block
        let mut held: Vec<(usize, Vec<Value>)> = Vec::new();
        for &(index, source) in &self.operands {
            match source {
                Source::Full(_) => {}
                Source::Channel(base) => {
                    let base = start(e, base);
                    held.push((index, (0..vectors).map(|v| e.load(ty, base, v as i64 * size)).collect()));
                }
                Source::Scalar(base) => {
                    let scalar = e.load(vector(Class::Float, 1), base, 0);
                    let value = e.splat(Class::Float, scalar, lanes);
                    held.push((index, vec![value; vectors]));
                }
            }
        }
        let accesses = self.accesses();
        let zero = e.float(0.0, lanes);
        let sums: Vec<Value> =
            self.sinks.iter().filter(|s| matches!(s, Sink::Sums(..))).flat_map(|_| vec![zero; vectors]).collect();
        let rows: Vec<(Value, i64)> = accesses.iter().map(|a| (start_of(e, a.base, a.element), a.row)).collect();
        e.repeat(extent.rows, &rows, &[], |e, at, _| {
            let columns: Vec<(Value, i64)> = at.iter().zip(&accesses).map(|(&p, a)| (p, a.column)).collect();
            let totals = e.repeat(extent.columns, &columns, &sums, |e, at, sums| {
                let mut sums = sums.to_vec();
                for v in 0..vectors {
                    self.pixel(e, at, &held, &mut sums, v, vectors, lanes);
                }
                sums
            });
            // a row at a time, so that rounding errors grow with the length of a row
            let mut totals = totals.into_iter();
            for sink in &self.sinks {
                if let Sink::Sums(_, base) = *sink {
                    let base = start(e, base);
                    for (v, total) in totals.by_ref().take(vectors).enumerate() {
                        let old = e.load(ty, base, v as i64 * size);
                        let new = e.b.ins().fadd(old, total);
                        e.store(new, base, v as i64 * size);
                    }
                }
            }
            Vec::new()
        });
    }

    /// Runs the steps on vector `v` of the block at the pointers `at`.
    #[allow(clippy::too_many_arguments)]
    fn pixel(
        &self,
        e: &mut Emit<'_>,
        at: &[Value],
        held: &[(usize, Vec<Value>)],
        sums: &mut [Value],
        v: usize,
        vectors: usize,
        lanes: usize,
    ) {
        let byte = (v * lanes * 4) as i64;
        let accesses = self.accesses();
        let load = |e: &mut Emit<'_>, position: usize| {
            let element = accesses[position].element;
            e.load_floats(element, lanes, at[position], element.of(byte))
        };
        let anchors = usize::from(self.anchor.is_some());
        // the position of each full operand among the pointers
        let full: Vec<usize> =
            self.operands.iter().filter(|(_, s)| matches!(s, Source::Full(_))).map(|&(i, _)| i).collect();
        let mut values: Vec<Value> = Vec::with_capacity(self.program.steps.len());
        for step in &self.program.steps {
            let value = match *step {
                Step::Anchor => load(e, 0),
                Step::Operand(i) => match full.iter().position(|&f| f == i) {
                    Some(position) => load(e, anchors + position),
                    None => held.iter().find(|(h, _)| *h == i).map_or(at[0], |(_, values)| values[v]),
                },
                Step::Constant(c) => e.float(c, lanes),
                Step::Unary(op, a) => e.unary(op, Class::Float, values[a]),
                Step::Binary(op, a, b) => e.binary(op, Class::Float, values[a], values[b]),
                Step::Select(c, a, b) => e.select_nonzero(Class::Float, values[c], values[a], values[b]),
            };
            values.push(value);
        }
        let mut pointer = anchors + full.len();
        let mut sum = 0;
        for sink in &self.sinks {
            match *sink {
                Sink::Full(step, Access { element, .. }) => {
                    e.store_floats(element, values[step], at[pointer], element.of(byte));
                    pointer += 1;
                }
                Sink::Sums(step, _) => {
                    let slot = &mut sums[sum * vectors + v];
                    *slot = e.b.ins().fadd(*slot, values[step]);
                    sum += 1;
                }
            }
        }
    }
}

/// The operand indices that a program reads.
pub(super) fn operands_of(program: &Program) -> Vec<usize> {
    let mut used: Vec<usize> = program
        .steps
        .iter()
        .filter_map(|s| match s {
            Step::Operand(i) => Some(*i),
            Step::Anchor | Step::Constant(_) | Step::Unary(..) | Step::Binary(..) | Step::Select(..) => None,
        })
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}
