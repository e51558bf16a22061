//! Depthwise convolutions: each channel by itself, so channels are the lanes and no product needs a broadcast.
//!
//! ```text
//!   row:     c[pixel] = Σ over taps  a[pixel + tap] · w[tap]          a few pixels at a time, for each a sum in
//!                                                                     a register; w is loaded once for them
//!   filter:  w[tap] += Σ over pixels x[pixel + tap] · y[pixel]        a few taps at a time, for each a sum
//! ```
//!
//! Both directions of the data are rows: the gradient reads dy with the taps that reach its pixels. As in a
//! tile, the products of one result are added in the same order whatever the width of the vectors.

use cranelift_codegen::ir::{InstBuilder, Value};

use super::conv::F;
use super::emit::{Class, Count, Emit, vector};
use super::isa::Isa;
use super::strip::{Arithmetic, Builder, Place, Strip, Times};

/// A run of `count` equal steps of `size` items from item `first` on.
struct Run {
    first: usize,
    count: usize,
    size: usize,
}

/// Cuts `items` into steps of at most `most`, nearly equal ones, and what is left.
fn runs(items: usize, most: usize) -> Vec<Run> {
    let size = items.div_ceil(items.div_ceil(most).max(1)).max(1);
    let (count, rest) = (items / size, items % size);
    let all = [Run { first: 0, count, size }, Run { first: count * size, count: 1, size: rest }];
    all.into_iter().filter(|run| run.count > 0 && run.size > 0).collect()
}

/// The channels as steps of one vector: whole ones of `lanes`, then the rest in one of fewer lanes.
fn vectors(channels: usize, lanes: usize) -> Vec<Run> {
    let whole = channels / lanes * lanes;
    let all = [
        Run { first: 0, count: channels / lanes, size: lanes },
        Run { first: whole, count: 1, size: channels - whole },
    ];
    all.into_iter().filter(|run| run.count > 0 && run.size > 0).collect()
}

/// The same without vectors of fewer lanes.
fn narrow_vectors(channels: usize) -> Vec<Run> {
    let whole = channels / 4 * 4;
    let all = [Run { first: 0, count: channels / 4, size: 4 }, Run { first: whole, count: channels - whole, size: 1 }];
    all.into_iter().filter(|run| run.count > 0).collect()
}

/// A row of results, each a sum over taps.
pub(super) struct Row {
    /// Bytes to a tap in A and in the weight.
    pub(super) taps: Vec<[i64; 2]>,
    pub(super) pixels: usize,
    /// Bytes from one pixel to the next in A and in C.
    pub(super) step: [i64; 2],
    pub(super) channels: usize,
}

impl Row {
    /// Pixels at a time: sums, a vector of A and one of the weight fit into the registers.
    fn most(isa: Isa) -> usize {
        match isa {
            Isa::Clif | Isa::Avx2 => 8,
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => 14,
        }
    }

    /// `pointers` are A, the weight and C.
    pub(super) fn emit(&self, e: &mut Emit<'_>, pointers: [Value; 3]) {
        match self.strip(e.target.isa) {
            Some(strip) => e.call_strip(strip, &pointers, &[]),
            None => self.narrow(e, pointers),
        }
    }

    fn strip(&self, isa: Isa) -> Option<Strip> {
        if isa == Isa::Clif {
            return None;
        }
        let mut b = Builder::new(isa, 3, 0);
        let [step_a, step_c] = self.step;
        for run in runs(self.pixels, Row::most(isa)) {
            let size = run.size as i64;
            b.repeat(Times::Static(run.count), &[(0, size * step_a), (2, size * step_c)], |b| {
                for lanes in vectors(self.channels, isa.lanes()) {
                    let bytes = lanes.size as i64 * F;
                    b.repeat(Times::Static(lanes.count), &[(0, bytes), (1, bytes), (2, bytes)], |b| {
                        self.wide(b, &run, &lanes);
                    });
                }
            });
        }
        b.finish()
    }

    fn wide(&self, b: &mut Builder, pixels: &Run, lanes: &Run) {
        let place = |pointer, offset: i64| Place::new(pointer, offset + lanes.first as i64 * F, lanes.size);
        let [step_a, step_c] = self.step;
        let at = |pixel: usize| (pixels.first + pixel) as i64;
        let sums: Vec<_> = (0..pixels.size).map(|_| b.sum()).collect();
        for &[a, w] in &self.taps {
            let weight = b.load(place(1, w));
            for (pixel, &sum) in sums.iter().enumerate() {
                let value = b.load(place(0, a + at(pixel) * step_a));
                b.multiply_add(sum, value, weight);
            }
        }
        for (pixel, sum) in sums.into_iter().enumerate() {
            b.store(place(2, at(pixel) * step_c), sum);
        }
    }

    fn narrow(&self, e: &mut Emit<'_>, [a, w, c]: [Value; 3]) {
        let [step_a, step_c] = self.step;
        for run in runs(self.pixels, Row::most(Isa::Clif)) {
            let (first, size) = (run.first as i64, run.size as i64);
            let walked = [(e.offset(a, first * step_a), size * step_a), (e.offset(c, first * step_c), size * step_c)];
            e.repeat(Count::Static(run.count), &walked, &[], |e, at, _| {
                for lanes in narrow_vectors(self.channels) {
                    let (shift, bytes) = (lanes.first as i64 * F, lanes.size as i64 * F);
                    let walked = [at[0], w, at[1]].map(|pointer| (e.offset(pointer, shift), bytes));
                    e.repeat(Count::Static(lanes.count), &walked, &[], |e, at, _| {
                        self.pixels(e, at, run.size, lanes.size);
                        Vec::new()
                    });
                }
                Vec::new()
            });
        }
    }

    fn pixels(&self, e: &mut Emit<'_>, at: &[Value], pixels: usize, lanes: usize) {
        let ty = vector(Class::Float, lanes);
        let mut sums = vec![e.float(0.0, lanes); pixels];
        for &[a, w] in &self.taps {
            let weight = e.load(ty, at[1], w);
            for (pixel, sum) in sums.iter_mut().enumerate() {
                let value = e.load(ty, at[0], a + pixel as i64 * self.step[0]);
                *sum = e.fma(value, weight, *sum);
            }
        }
        for (pixel, sum) in sums.into_iter().enumerate() {
            e.store(sum, at[2], pixel as i64 * self.step[1]);
        }
    }
}

/// Sums over pixels for each tap, added to those in memory.
pub(super) struct Filter {
    /// Bytes to a tap in x; sums lie side by side, `channels` each.
    pub(super) taps: Vec<i64>,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Bytes from one row and one column to the next in x and in y.
    pub(super) row: [i64; 2],
    pub(super) column: [i64; 2],
    pub(super) channels: usize,
}

/// Taps at a time: as many sums hide the latency of additions and leave registers for x and y.
const TAPS: usize = 9;

impl Filter {
    /// `pointers` are x, y and the sums.
    pub(super) fn emit(&self, e: &mut Emit<'_>, pointers: [Value; 3]) {
        match self.strip(e.target.isa) {
            Some(strip) => e.call_strip(strip, &pointers, &[]),
            None => self.narrow(e, pointers),
        }
    }

    /// The taps in groups, with the byte offset of each group's first sum.
    fn groups(&self) -> impl Iterator<Item = (i64, &[i64])> {
        let group = (TAPS * self.channels) as i64 * F;
        self.taps.chunks(TAPS).enumerate().map(move |(index, taps)| (index as i64 * group, taps))
    }

    fn strip(&self, isa: Isa) -> Option<Strip> {
        if isa == Isa::Clif {
            return None;
        }
        let mut b = Builder::new(isa, 3, 0);
        for lanes in vectors(self.channels, isa.lanes()) {
            let bytes = lanes.size as i64 * F;
            b.repeat(Times::Static(lanes.count), &[(0, bytes), (1, bytes), (2, bytes)], |b| {
                for (first, taps) in self.groups() {
                    self.wide(b, first, taps, &lanes);
                }
            });
        }
        b.finish()
    }

    fn wide(&self, b: &mut Builder, first: i64, taps: &[i64], lanes: &Run) {
        let place = |pointer, offset: i64| Place::new(pointer, offset + lanes.first as i64 * F, lanes.size);
        let sums: Vec<_> = taps.iter().map(|_| b.sum()).collect();
        let along = |[x, y]: [i64; 2]| [(0, x), (1, y)];
        b.repeat(Times::Static(self.rows), &along(self.row), |b| {
            b.repeat(Times::Static(self.columns), &along(self.column), |b| {
                let y = b.load(place(1, 0));
                for (&sum, &tap) in sums.iter().zip(taps) {
                    let x = b.load(place(0, tap));
                    b.multiply_add(sum, x, y);
                }
            });
        });
        for (index, sum) in sums.into_iter().enumerate() {
            let to = place(2, first + (index * self.channels) as i64 * F);
            let old = b.load(to);
            let new = b.arithmetic(Arithmetic::Add, old, sum);
            b.store(to, new);
        }
    }

    fn narrow(&self, e: &mut Emit<'_>, pointers: [Value; 3]) {
        for lanes in narrow_vectors(self.channels) {
            let (shift, bytes) = (lanes.first as i64 * F, lanes.size as i64 * F);
            let walked = pointers.map(|pointer| (e.offset(pointer, shift), bytes));
            e.repeat(Count::Static(lanes.count), &walked, &[], |e, at, _| {
                for (first, taps) in self.groups() {
                    self.sum(e, at, first, taps, lanes.size);
                }
                Vec::new()
            });
        }
    }

    fn sum(&self, e: &mut Emit<'_>, at: &[Value], first: i64, taps: &[i64], lanes: usize) {
        let ty = vector(Class::Float, lanes);
        let zero = vec![e.float(0.0, lanes); taps.len()];
        let along = |at: &[Value], step: [i64; 2]| [(at[0], step[0]), (at[1], step[1])];
        let sums = e.repeat(Count::Static(self.rows), &along(at, self.row), &zero, |e, at, sums| {
            e.repeat(Count::Static(self.columns), &along(at, self.column), sums, |e, at, sums| {
                let y = e.load(ty, at[1], 0);
                let add = |(&sum, &tap): (&Value, &i64)| {
                    let x = e.load(ty, at[0], tap);
                    e.fma(x, y, sum)
                };
                sums.iter().zip(taps).map(add).collect()
            })
        });
        for (index, sum) in sums.into_iter().enumerate() {
            let offset = first + (index * self.channels) as i64 * F;
            let old = e.load(ty, at[2], offset);
            let new = e.b.ins().fadd(old, sum);
            e.store(new, at[2], offset);
        }
    }
}
