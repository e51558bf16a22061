//! Element-wise kernels: a program over a dense tensor, with per-channel operands and sums, and a program over
//! several tensors in turn.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::{Bound, Cursor, F, Tensor, walk};
use super::emit::{Count, Emit};
use super::half::Element;
use super::lower_map::map_chunks;
use super::region::Extent;
use crate::ops::Program;
use crate::types::Shape;

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

/// Elements that a thread takes at least: a cache line.
const LINE: usize = 16;

/// A program over several segments, each with tensors of its own. The chunks cut the row of all segments' lines:
///
/// ```text
///   segment 0        │ 1 │ 2          │ 3        ▒: a segment's last line may be short
///   ████████████████▒│██▒│███████████▒│████
///   chunk 0   │ chunk 1   │ chunk 2   │ chunk 3
/// ```
///
/// Arguments: shared scalars, each segment's operands, each segment's results.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Maps {
    /// Elements of each segment.
    segments: Vec<usize>,
    /// Scalars that all segments read.
    shared: usize,
    pub(super) chunks: usize,
    /// Over a segment's own numbering: scalars, operands, results.
    program: Bound,
}

impl Maps {
    /// The kernel of `program` over `segments` of a node with `operands` operands.
    pub(super) fn new(segments: &[Shape], shared: usize, program: &Program, operands: usize) -> Maps {
        let segments: Vec<usize> = segments.iter().map(Shape::elements).collect();
        let own = (operands - shared) / segments.len();
        let lines = segments.iter().map(|n| n.div_ceil(LINE)).sum();
        let flags = |scalar: bool| (0..shared + own).map(|i| (i < shared) == scalar).collect();
        let outputs = (shared + own..shared + own + program.outputs.len()).collect();
        let elements = vec![Element::F32; shared + own];
        let (full, scalar) = (flags(false), flags(true));
        let program = Bound { program: program.clone(), full, scalar, elements, outputs, past_caches: false };
        Maps { chunks: map_chunks(lines, LINE), segments, shared, program }
    }

    /// Operands of a segment that are its own.
    fn own(&self) -> usize {
        self.program.full.len() - self.shared
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let mut starts = vec![0];
        for n in &self.segments {
            starts.push(starts[starts.len() - 1] + n.div_ceil(LINE) as i64);
        }
        let (first, count) = e.chunk_range(starts[self.segments.len()] as usize, self.chunks);
        let count = match count {
            Count::Static(n) => e.int(n as i64),
            Count::Dynamic(n) => n,
        };
        let end = e.b.ins().iadd(first, count);
        let zero = e.int(0);
        let elements: Vec<i64> = self.segments.iter().map(|&n| n as i64).collect();
        e.repeat(Count::Static(self.segments.len()), &[(zero, 1)], &[], |e, at, _| {
            // the chunk's lines of this segment
            let start = e.pick(at[0], &starts[..self.segments.len()]);
            let n = e.pick(at[0], &elements);
            let from = e.b.ins().isub(first, start);
            let from = e.max(from, zero);
            let to = e.b.ins().isub(end, start);
            let from = e.b.ins().ishl_imm_u(from, i64::from(LINE.trailing_zeros()));
            let to = e.b.ins().ishl_imm_u(to, i64::from(LINE.trailing_zeros()));
            let to = e.min(to, n);
            let left = e.b.ins().isub(to, from);
            let left = e.max(left, zero);
            self.segment(e, at[0], from, left);
            Vec::new()
        });
    }

    /// Runs the program over `count` elements of segment `index` from element `from` on.
    fn segment(&self, e: &mut Emit<'_>, index: Value, from: Value, count: Value) {
        let (own, outputs) = (self.own(), self.program.outputs.len());
        let results = self.shared + own * self.segments.len();
        let mut pointers = Vec::with_capacity(own + outputs);
        for (first, many) in [(self.shared, own), (results, outputs)] {
            for slot in 0..many {
                let base = e.argument_of(first + slot, index, many);
                pointers.push(e.at(base, from, F));
            }
        }
        let tensors = self.shared..self.shared + own + outputs;
        let tensors: Vec<Tensor> = tensors.map(|argument| Tensor { argument, element: Element::F32 }).collect();
        let cursor = Cursor::new(&tensors, &pointers);
        let lines = e.b.ins().ushr_imm_u(count, i64::from(LINE.trailing_zeros()));
        let extent = |columns, channels| Extent { rows: Count::Static(1), columns, channels };
        self.program.region(e, &cursor, extent(Count::Dynamic(lines), LINE), 0, None).emit(e);
        if self.segments.iter().any(|n| !n.is_multiple_of(LINE)) {
            let whole = e.b.ins().ishl_imm_u(lines, i64::from(LINE.trailing_zeros()));
            let behind: Vec<Value> = pointers.iter().map(|&pointer| e.at(pointer, whole, F)).collect();
            let rest = e.b.ins().isub(count, whole);
            let cursor = Cursor::new(&tensors, &behind);
            self.program.region(e, &cursor, extent(Count::Dynamic(rest), 1), 0, None).emit(e);
        }
    }
}
