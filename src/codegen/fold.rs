//! Reductions over the last axes: each run of contiguous elements becomes one number.
//!
//! ```text
//!  run   ░░░░ ▒▒▒▒ ▓▓▓▓ ████ ░░░░ …     eight vectors of four, one after the other to each of eight registers,
//!         │    │    │    │    │         then those into one, then its lanes; what is left over in the end, one by one
//!        r0   r1   r2   r3   r4  …
//! ```
//!
//! So a sum of n elements has chains of n/32 additions, always in the same order. Chunks cut the runs.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::F;
use super::emit::{Class, Count, Emit, vector};
use super::lower_map::map_chunks;
use crate::ops::{Binary, ReduceKind};

/// Registers of four that a long run is combined in.
const REGISTERS: usize = 8;

/// `[runs, length] → [runs]`. Arguments: the operand, the result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fold {
    kind: ReduceKind,
    pub(super) runs: usize,
    length: usize,
    pub(super) chunks: usize,
}

impl Fold {
    pub(super) fn new(kind: ReduceKind, runs: usize, length: usize) -> Fold {
        Fold { kind, runs, length, chunks: map_chunks(runs, length) }
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let (source, sink) = (e.argument(0), e.argument(1));
        let (first, count) = e.chunk_range(self.runs, self.chunks);
        let bytes = self.length as i64 * F;
        let (source, sink) = (e.at(source, first, bytes), e.at(sink, first, F));
        e.repeat(count, &[(source, bytes), (sink, F)], &[], |e, at, _| {
            let mut result = self.run(e, at[0]);
            if self.kind == ReduceKind::Mean {
                let factor = e.float(1.0 / self.length as f32, 1);
                result = e.b.ins().fmul(result, factor);
            }
            e.store(result, at[1], 0);
            Vec::new()
        });
    }

    fn combine(&self, e: &mut Emit<'_>, a: Value, b: Value) -> Value {
        let op = match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => Binary::Add,
            ReduceKind::Max => Binary::Max,
            ReduceKind::Min => Binary::Min,
        };
        e.binary(op, Class::Float, a, b)
    }

    fn run(&self, e: &mut Emit<'_>, start: Value) -> Value {
        let nothing = match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => 0.0,
            ReduceKind::Max => f32::NEG_INFINITY,
            ReduceKind::Min => f32::INFINITY,
        };
        let quad = vector(Class::Float, 4);
        let vectors = self.length / 4;
        let registers = vectors.clamp(1, REGISTERS);
        let turns = vectors / registers;
        let step = (registers * 4) as i64 * F;
        let initial = vec![e.float(nothing, 4); registers];
        let mut parts = e.repeat(Count::Static(turns), &[(start, step)], &initial, |e, at, parts| {
            let each = |(at_register, &part): (usize, &Value)| (at_register as i64 * 4 * F, part);
            let offsets: Vec<(i64, Value)> = parts.iter().enumerate().map(each).collect();
            offsets
                .into_iter()
                .map(|(offset, part)| {
                    let value = e.load(quad, at[0], offset);
                    self.combine(e, part, value)
                })
                .collect()
        });
        for (register, at) in (turns * registers..vectors).enumerate() {
            let value = e.load(quad, start, (at * 4) as i64 * F);
            parts[register] = self.combine(e, parts[register], value);
        }
        // halves onto halves
        while parts.len() > 1 {
            let upper = parts.split_off(parts.len().div_ceil(2));
            for (at, part) in upper.into_iter().enumerate() {
                parts[at] = self.combine(e, parts[at], part);
            }
        }
        let lanes = [0, 1, 2, 3].map(|lane| e.b.ins().extractlane(parts[0], lane));
        let (low, high) = (self.combine(e, lanes[0], lanes[2]), self.combine(e, lanes[1], lanes[3]));
        let mut result = self.combine(e, low, high);
        for at in vectors * 4..self.length {
            let value = e.load(vector(Class::Float, 1), start, at as i64 * F);
            result = self.combine(e, result, value);
        }
        result
    }
}
