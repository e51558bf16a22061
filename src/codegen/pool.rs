//! Pooling and its gradients, vectors of channels at a time.
//!
//! ```text
//!   rows, and columns likewise, in runs that meet the same taps      a window 3, stride 2, padding 1, over 5 pixels:
//!
//!   forward    output  0 │ 1 │ 2        gradient   input of phase 0   0  2 │ 4        of phase 1   1  3
//!              taps   12 │012│01                   windows with taps  0₁ 1₁│2₁                    0₂1₀ 1₂2₀
//! ```
//!
//! Where a run of rows crosses a run of columns, every pixel is made of the same taps, whose numbers lie equally far apart
//! from one pixel to the next: an element-wise program over as many operands, one for each tap. So nothing is asked
//! about borders in the inner loops, and each pixel is written once, those that no window covers too.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{F, PANEL};
use super::emit::{Count, Emit};
use super::region::{Access, Extent, Region, Sink, Source};
use crate::ops::fused::chunks_for;
use crate::ops::{Binary, Op, Pool, Program, Step};
use crate::types::{Shape, TensorType};

/// What a pixel is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `y` of `x`.
    Max,
    /// The tap of the first maximum, of `x` and `y`.
    MaxIndex,
    /// `dx` of `dy` and those taps.
    MaxGrad,
    /// `y` of `x`.
    Average,
    /// `dx` of `dy`.
    AverageGrad,
}

/// A pooling kernel. Arguments: operands, then the result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pooling {
    pool: Pool,
    kind: Kind,
    images: usize,
    channels: usize,
    /// Rows and columns of what pooling reads.
    input: [usize; 2],
    /// Rows and columns of what it makes.
    output: [usize; 2],
    /// Equal parts of the channels: with few images, chunks are parts of an image.
    parts: usize,
    pub(super) chunks: usize,
}

/// Most taps of a window: each is an operand of a program. Larger windows are left to the general nest.
const MOST_TAPS: usize = 25;

/// Pixels of one axis, `step` apart, that meet the same taps.
#[derive(Debug, PartialEq)]
struct Run {
    first: usize,
    count: usize,
    step: usize,
    meetings: Vec<Meeting>,
}

/// A position that the pixels of a run read, on one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Meeting {
    /// Where the run's first pixel reads.
    from: i64,
    tap: usize,
    /// Pixels of the window that are inside the image.
    inside: usize,
}

impl Kind {
    fn is_gradient(self) -> bool {
        matches!(self, Kind::MaxGrad | Kind::AverageGrad)
    }
    /// Operands.
    fn operands(self) -> usize {
        match self {
            Kind::Max | Kind::Average | Kind::AverageGrad => 1,
            Kind::MaxIndex | Kind::MaxGrad => 2,
        }
    }
}

impl Pooling {
    /// The kernel of a pooling operation with windows of moderate size.
    pub(super) fn new(op: &Op, operands: &[TensorType], result: &TensorType) -> Option<Pooling> {
        let (operand, result) = (&operands.first()?.shape, &result.shape);
        let (pool, kind, input, output): (_, _, &Shape, &Shape) = match op {
            Op::MaxPool(pool) => (pool, Kind::Max, operand, result),
            Op::MaxPoolIndex(pool) => (pool, Kind::MaxIndex, operand, result),
            Op::MaxPoolGrad(pool, input) => (pool, Kind::MaxGrad, input, operand),
            Op::AvgPool(pool) => (pool, Kind::Average, operand, result),
            Op::AvgPoolGrad(pool, input) => (pool, Kind::AverageGrad, input, operand),
            // no pooling
            _ => return None,
        };
        if pool.size[0] * pool.size[1] > MOST_TAPS {
            return None;
        }
        let (images, channels) = (input.0[0], input.0[3]);
        let [input, output] = [input, output].map(|shape| [shape.0[1], shape.0[2]]);
        let mut kernel = Pooling { pool: *pool, kind, images, channels, input, output, parts: 1, chunks: 1 };
        kernel.share();
        Some(kernel)
    }

    /// Cuts the work into chunks, unless it takes no longer than handing it out.
    fn share(&mut self) {
        const SMALL: usize = 1 << 14;
        const IMAGES: usize = 16;
        let points = self.images * self.input[0] * self.input[1] * self.channels;
        if points < SMALL {
            return;
        }
        if self.images > 0 && self.images < IMAGES {
            let most = 2 * IMAGES / self.images;
            let whole = |parts: &usize| self.channels.is_multiple_of(parts * PANEL);
            self.parts = (1..=most).rev().find(whole).unwrap_or(1);
        }
        self.chunks = chunks_for(self.images * self.parts);
    }

    /// Makes each chunk one of `images` images; `false` if there are not as many.
    pub(super) fn cut(&mut self, images: usize) -> bool {
        (self.parts, self.chunks) = (1, images);
        self.images == images
    }

    /// The runs of an axis of what is written.
    fn runs(&self, axis: usize) -> Vec<Run> {
        let (size, stride, low) = (self.pool.size[axis], self.pool.stride[axis], self.pool.padding[axis][0]);
        let (input, output) = (self.input[axis] as i64, self.output[axis]);
        // the position that tap `tap` of window `o` falls on
        let position = |o: usize, tap: usize| (o * stride + tap) as i64 - low as i64;
        let inside = |o: usize| (0..size).filter(|&tap| (0..input).contains(&position(o, tap))).count();
        let meetings = |at: usize| -> Vec<Meeting> {
            if self.kind.is_gradient() {
                // the windows that cover the pixel, the first first
                let first = (at + low + 1).saturating_sub(size).div_ceil(stride);
                let windows = first..((at + low) / stride + 1).min(output);
                windows.map(|o| Meeting { from: o as i64, tap: at + low - o * stride, inside: inside(o) }).collect()
            } else {
                (0..size)
                    .map(|tap| Meeting { from: position(at, tap), tap, inside: inside(at) })
                    .filter(|m| (0..input).contains(&m.from))
                    .collect()
            }
        };
        let (extent, step, read) =
            if self.kind.is_gradient() { (self.input[axis], stride, 1) } else { (output, 1, stride) };
        let mut runs: Vec<Run> = Vec::new();
        for phase in 0..step.min(extent) {
            let mut open: Option<Run> = None;
            for at in (phase..extent).step_by(step) {
                let meetings = meetings(at);
                let moved = |run: &Run| -> Vec<Meeting> {
                    let by = (run.count * read) as i64;
                    run.meetings.iter().map(|m| Meeting { from: m.from + by, ..*m }).collect()
                };
                match &mut open {
                    Some(run) if moved(run) == meetings => run.count += 1,
                    _ => runs.extend(open.replace(Run { first: at, count: 1, step, meetings })),
                }
            }
            runs.extend(open);
        }
        runs
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let (read, written) =
            if self.kind.is_gradient() { (self.output, self.input) } else { (self.input, self.output) };
        let [rows, columns] = [0, 1].map(|axis| self.runs(axis));
        let (first, count) = e.chunk_range(self.images * self.parts, self.chunks);
        e.repeat(count, &[(first, 1)], &[], |e, at, _| {
            let parts = e.int(self.parts as i64);
            let image = if self.parts == 1 { at[0] } else { e.b.ins().udiv(at[0], parts) };
            let before = e.b.ins().imul(image, parts);
            let part = e.b.ins().isub(at[0], before);
            let mut tensor = |argument: usize, [rows, columns]: [usize; 2]| {
                let base = e.argument(argument);
                let base = e.at(base, image, (rows * columns * self.channels) as i64 * F);
                e.at(base, part, (self.channels / self.parts) as i64 * F)
            };
            let operands = self.kind.operands();
            let result = tensor(operands, written);
            let mut bases = vec![tensor(0, read)];
            if operands == 2 {
                // the maxima lie like the result, the taps of the maxima like the gradient
                bases.push(tensor(1, self.output));
            }
            for rows in &rows {
                for columns in &columns {
                    self.crossing(e, [rows, columns], &bases, result);
                }
            }
            Vec::new()
        });
    }

    /// The pixels where a run of rows crosses a run of columns.
    fn crossing(&self, e: &mut Emit<'_>, [rows, columns]: [&Run; 2], bases: &[Value], result: Value) {
        let pixel = self.channels as i64 * F;
        let (read, written) =
            if self.kind.is_gradient() { (self.output[1], self.input[1]) } else { (self.input[1], self.output[1]) };
        let [down, right] = if self.kind.is_gradient() { [1, 1] } else { self.pool.stride.map(|s| s as i64) };
        let mut operands = Vec::new();
        let mut line = Line::default();
        let mut operand =
            |e: &mut Emit<'_>, line: &mut Line, base: Value, [y, x]: [i64; 2], [down, right, width]: [i64; 3]| {
                let base = e.offset(base, (y * width + x) * pixel);
                operands.push((operands.len(), Source::Full(Access::new(base, down * width * pixel, right * pixel))));
                line.push(Step::Operand(operands.len() - 1))
            };
        let walked = [down, right, read as i64];
        // what a maximum is compared with is read where the result is written
        let maximum = (self.kind == Kind::MaxIndex).then(|| {
            operand(e, &mut line, bases[1], [rows.first as i64, columns.first as i64], [1, 1, written as i64])
        });
        // row by row, as a window's taps are counted
        let mut taps = Vec::new();
        for y in &rows.meetings {
            for x in &columns.meetings {
                let value = operand(e, &mut line, bases[0], [y.from, x.from], walked);
                let index =
                    (self.kind == Kind::MaxGrad).then(|| operand(e, &mut line, bases[1], [y.from, x.from], walked));
                let pixels =
                    if self.pool.count_padding { self.pool.size[0] * self.pool.size[1] } else { y.inside * x.inside };
                taps.push(Tap {
                    value,
                    index,
                    number: (y.tap * self.pool.size[1] + x.tap) as f32,
                    share: 1.0 / pixels as f32,
                });
            }
        }
        let value = line.pixel(self.kind, &taps, maximum);
        let place = ((rows.first * written + columns.first) as i64) * pixel;
        let to = e.offset(result, place);
        let to = Access::new(to, (rows.step * written) as i64 * pixel, columns.step as i64 * pixel);
        let program = Program { steps: line.steps, value, outputs: Vec::new() };
        Region {
            program: &program,
            extent: Extent {
                rows: Count::Static(rows.count),
                columns: Count::Static(columns.count),
                channels: self.channels / self.parts,
            },
            operands,
            anchor: None,
            sinks: vec![Sink::Full(value, to)],
        }
        .emit(e);
    }
}

/// A tap of a crossing; values are steps of its program.
struct Tap {
    /// The number that is read.
    value: usize,
    /// The tap that was the maximum of that window.
    index: Option<usize>,
    /// Its own position in the window.
    number: f32,
    /// One over the pixels of the window that count.
    share: f32,
}

/// A program's steps.
#[derive(Default)]
struct Line {
    steps: Vec<Step>,
}

impl Line {
    fn push(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// What a pixel becomes; `maximum` of its window, where the tap that made it is looked for.
    fn pixel(&mut self, kind: Kind, taps: &[Tap], maximum: Option<usize>) -> usize {
        match kind {
            Kind::Max => self.folded(taps, f32::NEG_INFINITY, Binary::Max, |_, tap| tap.value),
            Kind::MaxIndex => self.first_maximum(taps, maximum),
            Kind::MaxGrad => self.folded(taps, 0.0, Binary::Add, |line, tap| {
                let Some(index) = tap.index else { return tap.value };
                let (number, zero) = (line.push(Step::Constant(tap.number)), line.push(Step::Constant(0.0)));
                let here = line.push(Step::Binary(Binary::Equal, index, number));
                line.push(Step::Select(here, tap.value, zero))
            }),
            Kind::Average => {
                let sum = self.folded(taps, 0.0, Binary::Add, |_, tap| tap.value);
                let share = self.push(Step::Constant(taps.first().map_or(0.0, |tap| tap.share)));
                self.push(Step::Binary(Binary::Mul, sum, share))
            }
            Kind::AverageGrad => self.folded(taps, 0.0, Binary::Add, |line, tap| {
                let share = line.push(Step::Constant(tap.share));
                line.push(Step::Binary(Binary::Mul, tap.value, share))
            }),
        }
    }

    /// The values of the taps combined in order, `none` if there are none.
    fn folded(&mut self, taps: &[Tap], none: f32, op: Binary, value: impl Fn(&mut Line, &Tap) -> usize) -> usize {
        let mut all: Option<usize> = None;
        for tap in taps {
            let value = value(self, tap);
            all = Some(all.map_or(value, |all| self.push(Step::Binary(op, all, value))));
        }
        all.unwrap_or_else(|| self.push(Step::Constant(none)))
    }

    /// The number of the first tap that equals the maximum, or is NaN as it is.
    fn first_maximum(&mut self, taps: &[Tap], maximum: Option<usize>) -> usize {
        let mut found = self.push(Step::Constant(f32::INFINITY));
        let Some(maximum) = maximum else { return found };
        let number = self.push(Step::Binary(Binary::Equal, maximum, maximum));
        for tap in taps.iter().rev() {
            let here = self.push(Step::Constant(tap.number));
            let equal = self.push(Step::Binary(Binary::Equal, tap.value, maximum));
            let same = self.push(Step::Binary(Binary::Equal, tap.value, tap.value));
            let nan = self.push(Step::Select(same, found, here));
            let other = self.push(Step::Select(number, found, nan));
            found = self.push(Step::Select(equal, here, other));
        }
        found
    }
}
