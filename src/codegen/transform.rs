//! A matrix applied to both sides of many small tiles, vector by vector: Winograd's transforms.
//!
//! ```text
//!   for each turn of the loops (tile rows, tiles, vectors of channels): both pointers step by their strides
//!     for each group of rows i of the matrix            z = M x Mᵀ
//!       for each column j of the tile: y[i][j] = (M x[·][j])[i]
//!       for each i of the group: z[i] = M y[i], stored
//! ```
//!
//! A tile's columns are loaded again for each group: a group is what fits into the registers, and loads cost less than
//! storing and loading what lies between.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::{Class, Count, Emit, vector};
use super::isa::Isa;
use super::strip::{Arithmetic, Builder, Place, Strip, Times, Vector};
use super::winograd::{Line, LineStep};

/// One operation over vectors; operands are positions of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum VectorStep {
    /// Element (row, column) of the tile that is read.
    Load(usize, usize),
    Add(usize, usize),
    Sub(usize, usize),
    /// `factor · a`
    Scale(f32, usize),
    /// `factor · a + b`, rounded once.
    MulAdd(f32, usize, usize),
    /// Element (row, column) of the tile that is written.
    Store(usize, usize, usize),
}

/// Where a tile's elements are: bytes from row to row and from column to column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cells {
    pub(super) row: i64,
    pub(super) column: i64,
}

impl Cells {
    fn at(&self, row: usize, column: usize) -> i64 {
        row as i64 * self.row + column as i64 * self.column
    }
}

/// A loop over tiles or over vectors of a tile; strides in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Walk {
    pub(super) count: usize,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// A line applied to tiles.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Transform {
    pub(super) line: Line,
    pub(super) from: Cells,
    pub(super) to: Cells,
    /// Around the tile, outermost first.
    pub(super) loops: Vec<Walk>,
    /// Channels of a tile, contiguous on both sides, a multiple of 16.
    pub(super) channels: usize,
}

/// Writes steps; a result is looked up before it is computed again.
struct Writer<'l> {
    line: &'l Line,
    steps: Vec<VectorStep>,
}

impl Writer<'_> {
    fn push(&mut self, step: VectorStep) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }
    /// Result `output` of the line; `known` holds the positions of the line's inputs and steps so far, `input` makes an
    /// input.
    fn result(
        &mut self,
        output: usize,
        known: &mut Vec<Option<usize>>,
        input: &mut impl FnMut(&mut Self, usize) -> usize,
    ) -> usize {
        known.resize(self.line.inputs + self.line.steps.len(), None);
        self.value(self.line.outputs[output], known, input)
    }
    fn value(
        &mut self,
        at: usize,
        known: &mut [Option<usize>],
        input: &mut impl FnMut(&mut Self, usize) -> usize,
    ) -> usize {
        if let Some(position) = known[at] {
            return position;
        }
        let position = match at.checked_sub(self.line.inputs).map(|step| self.line.steps[step]) {
            None => input(self, at),
            Some(LineStep::Scale(factor, a)) => {
                let a = self.value(a, known, input);
                self.push(VectorStep::Scale(factor, a))
            }
            Some(LineStep::Add(a, b)) => {
                let (a, b) = (self.value(a, known, input), self.value(b, known, input));
                self.push(VectorStep::Add(a, b))
            }
            Some(LineStep::Sub(a, b)) => {
                let (a, b) = (self.value(a, known, input), self.value(b, known, input));
                self.push(VectorStep::Sub(a, b))
            }
            Some(LineStep::MulAdd(factor, a, b)) => {
                let (a, b) = (self.value(a, known, input), self.value(b, known, input));
                self.push(VectorStep::MulAdd(factor, a, b))
            }
        };
        known[at] = Some(position);
        position
    }
}

/// The steps of `M x Mᵀ`, a group of rows of M at a time; with `alone` each row is a group.
pub(super) fn steps(line: &Line, alone: bool) -> Vec<VectorStep> {
    let mut writer = Writer { line, steps: Vec::new() };
    let all: Vec<&[usize]> = line.groups.to_vec();
    let groups = if alone {
        all.concat().into_iter().map(|row| vec![row]).collect()
    } else {
        all.iter().map(|g| g.to_vec()).collect::<Vec<_>>()
    };
    for group in groups {
        // the group's rows of M x, column by column
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); group.len()];
        for column in 0..line.inputs {
            let mut known = Vec::new();
            for (row, &output) in rows.iter_mut().zip(&group) {
                row.push(writer.result(output, &mut known, &mut |w, at| w.push(VectorStep::Load(at, column))));
            }
        }
        for (row, &i) in rows.iter().zip(&group) {
            let mut known = Vec::new();
            for j in line.groups.iter().copied().flatten().copied() {
                let value = writer.result(j, &mut known, &mut |_, at| row[at]);
                writer.push(VectorStep::Store(i, j, value));
            }
        }
    }
    writer.steps
}

impl Transform {
    /// Emits the loops: in wide vectors where the target has them and registers suffice, else in Cranelift's.
    pub(super) fn emit(&self, e: &mut Emit<'_>, from: Value, to: Value) {
        let isa = e.target.isa;
        let wide = [false, true].into_iter().filter(|_| isa != Isa::Clif).find_map(|alone| self.strip(isa, alone));
        match wide {
            Some(strip) => e.call_strip(strip, &[from, to], &[]),
            None => self.narrow(e, from, to),
        }
    }

    fn strip(&self, isa: Isa, alone: bool) -> Option<Strip> {
        let steps = steps(&self.line, alone);
        let mut builder = Builder::new(isa, 2, 0);
        self.strip_loops(&mut builder, 0, &steps);
        builder.finish()
    }

    fn strip_loops(&self, b: &mut Builder, depth: usize, steps: &[VectorStep]) {
        let lanes = b.lanes();
        let bytes = lanes as i64 * 4;
        let vectors = Walk { count: self.channels / lanes, from: bytes, to: bytes };
        let walk = self.loops.get(depth).copied().unwrap_or(vectors);
        b.repeat(Times::Static(walk.count), &[(0, walk.from), (1, walk.to)], |b| {
            if depth < self.loops.len() {
                return self.strip_loops(b, depth + 1, steps);
            }
            let mut values: Vec<Vector> = Vec::with_capacity(steps.len());
            for step in steps {
                let value = match *step {
                    VectorStep::Load(row, column) => b.load(Place::new(0, self.from.at(row, column), lanes)),
                    VectorStep::Add(x, y) => b.arithmetic(Arithmetic::Add, values[x], values[y]),
                    VectorStep::Sub(x, y) => b.arithmetic(Arithmetic::Sub, values[x], values[y]),
                    VectorStep::Scale(factor, x) => {
                        let factor = b.constant(factor);
                        b.arithmetic(Arithmetic::Mul, values[x], factor)
                    }
                    VectorStep::MulAdd(factor, x, y) => {
                        let factor = b.constant(factor);
                        b.mul_add(values[x], factor, values[y])
                    }
                    VectorStep::Store(row, column, value) => {
                        b.store(Place::new(1, self.to.at(row, column), lanes), values[value]);
                        values[value]
                    }
                };
                values.push(value);
            }
        });
    }

    fn narrow(&self, e: &mut Emit<'_>, from: Value, to: Value) {
        let steps = steps(&self.line, false);
        let mut constants: Vec<(u32, Value)> = Vec::new();
        for step in &steps {
            if let VectorStep::Scale(factor, _) | VectorStep::MulAdd(factor, ..) = *step
                && constants.iter().all(|c| c.0 != factor.to_bits())
            {
                let value = e.float(factor, 4);
                constants.push((factor.to_bits(), value));
            }
        }
        self.nest(e, 0, from, to, &|e, from, to| {
            let constant = |factor: f32| constants.iter().find(|c| c.0 == factor.to_bits()).map_or(from, |c| c.1);
            let ty = vector(Class::Float, 4);
            let mut values: Vec<Value> = Vec::with_capacity(steps.len());
            for step in &steps {
                let value = match *step {
                    VectorStep::Load(row, column) => e.load(ty, from, self.from.at(row, column)),
                    VectorStep::Add(a, b) => e.b.ins().fadd(values[a], values[b]),
                    VectorStep::Sub(a, b) => e.b.ins().fsub(values[a], values[b]),
                    VectorStep::Scale(factor, a) => e.b.ins().fmul(values[a], constant(factor)),
                    VectorStep::MulAdd(factor, a, b) => e.fma(values[a], constant(factor), values[b]),
                    VectorStep::Store(row, column, value) => {
                        e.store(values[value], to, self.to.at(row, column));
                        values[value]
                    }
                };
                values.push(value);
            }
        });
    }

    fn nest(&self, e: &mut Emit<'_>, depth: usize, from: Value, to: Value, body: &dyn Fn(&mut Emit<'_>, Value, Value)) {
        let vectors = Walk { count: self.channels / 4, from: 16, to: 16 };
        let walk = self.loops.get(depth).copied().unwrap_or(vectors);
        e.repeat(Count::Static(walk.count), &[(from, walk.from), (to, walk.to)], &[], |e, at, _| {
            if depth == self.loops.len() {
                body(e, at[0], at[1]);
            } else {
                self.nest(e, depth + 1, at[0], at[1], body);
            }
            Vec::new()
        });
    }
}
