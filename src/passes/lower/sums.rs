//! Sums of many elements, in stages: one f32 accumulator forgets what is small against it (it counts ones
//! no further than 2²⁴), and one thread would do the work.
//!
//! ```text
//!  rows [n, C] ──▶ map with per-chunk channel sums [chunks, C] ──▶ sum of the chunks [C]
//!  everything, few rows     ──▶ reshape [n/64, 64] ──▶ as above, all channels
//!  other axes, long in all  ──▶ one axis after the other; a long one as [a, b]: over b, then over a
//! ```

use super::{Emit, Op, Reduce, ReduceKind, Slice, Step, join};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::Binary;
use crate::types::Shape;

/// Rows from which a sum over all of them is cut into chunks that run in parallel.
const LONG: usize = 256;

/// Most elements that one accumulator adds up outside of chunks.
const STAGE: usize = 4096;

/// The factor of a long extent that is made the last axis, or none where all are too small.
fn inner(extent: usize, candidates: impl DoubleEndedIterator<Item = usize>) -> Option<usize> {
    candidates.rev().find(|b| extent.is_multiple_of(*b))
}

/// Whether `axes` are all but the last. They are ascending and distinct, so their number tells which they are.
fn rows_only(shape: &Shape, axes: &[usize]) -> bool {
    axes.len() + 1 == shape.rank() && !axes.is_empty() && axes.last() != Some(&(shape.rank() - 1))
}

impl Emit<'_> {
    /// Divides the sum: the count is exact in f32 where its reciprocal is not.
    pub(super) fn long_mean(&mut self, x: Value, axes: &[usize], keep_dims: bool) -> Result<Option<Value>, Error> {
        let count: usize = axes.iter().map(|&a| self.shape(x).0[a]).product();
        let Some(sum) = self.long_sum(x, axes, keep_dims, "sum")? else { return Ok(None) };
        let count = self.scalar(count as f32, "count")?;
        self.binary(Binary::Div, sum, count, "").map(Some)
    }

    /// A long sum in stages, or `None` for one that is short enough for a single one.
    pub(super) fn long_sum(
        &mut self,
        x: Value,
        axes: &[usize],
        keep_dims: bool,
        part: &str,
    ) -> Result<Option<Value>, Error> {
        let shape = self.shape(x);
        let rank = shape.rank();
        let count: usize = axes.iter().map(|&a| shape.0[a]).product();
        let whole = axes.len() == rank;
        let sum = if rank >= 2 && (rows_only(&shape, axes) || whole) && shape.elements() / shape.last() >= LONG {
            self.sum_of_rows(x, whole, part)?
        } else if count <= STAGE {
            return Ok(None);
        } else if whole {
            let flat = self.value(Op::Reshape(Shape(vec![count])), &[x], &join(part, "flat"))?;
            self.sum_of_all(flat, part)?
        } else {
            self.sum_in_stages(x, axes, part)?
        };
        if !keep_dims {
            return Ok(Some(sum));
        }
        let kept = shape.0.iter().enumerate().map(|(at, &n)| if axes.contains(&at) { 1 } else { n }).collect();
        self.value(Op::Reshape(Shape(kept)), &[sum], part).map(Some)
    }

    /// The sum over all rows (all axes but the last), or over all elements, in two stages: per-chunk
    /// channel sums, which a neighbouring kernel can take over, and their sum.
    fn sum_of_rows(&mut self, x: Value, whole: bool, part: &str) -> Result<Value, Error> {
        let shape = self.shape(x);
        let partial = self.sums(&shape, vec![Step::Operand(0)], &[0], &[x], &join(part, "partial"))?[0];
        let axes: &[usize] = if whole { &[0, 1] } else { &[0] };
        self.sum_in_stages(partial, axes, part)
    }

    /// The sum of all elements of a vector.
    fn sum_of_all(&mut self, x: Value, part: &str) -> Result<Value, Error> {
        let count = self.shape(x).elements();
        // 64 lanes where possible, then what is nearest below or above
        let lanes = inner(count, 16..=64).or_else(|| inner(count, 65..=128));
        match lanes {
            Some(lanes) if count / lanes >= LONG => {
                let rows = Op::Reshape(Shape(vec![count / lanes, lanes]));
                let rows = self.value(rows, &[x], &join(part, "rows"))?;
                self.sum_of_rows(rows, true, part)
            }
            None if count / 64 >= LONG => {
                let [head, tail] = self.cut(x, 0, part)?;
                let head = self.sum_of_all(head, &join(part, "head"))?;
                let tail = self.sum_axes(tail, vec![0], &join(part, "tail"))?;
                self.binary(Binary::Add, head, tail, part)
            }
            Some(_) | None => self.sum_in_stages(x, &[0], part),
        }
    }

    /// The sum over some axes with at most [`STAGE`] elements to an accumulator outside of chunks.
    fn sum_in_stages(&mut self, x: Value, axes: &[usize], part: &str) -> Result<Value, Error> {
        let shape = self.shape(x);
        let count: usize = axes.iter().map(|&a| shape.0[a]).product();
        if rows_only(&shape, axes) && count >= LONG {
            return self.sum_of_rows(x, false, part);
        }
        if count <= STAGE {
            return self.sum_axes(x, axes.to_vec(), part);
        }
        if let [rest @ .., last] = axes
            && !rest.is_empty()
        {
            let x = self.sum_in_stages(x, &[*last], &join(part, "stage"))?;
            return self.sum_in_stages(x, rest, part);
        }
        let axis = axes[0];
        if let Some(b) = inner(count, 16..=count.isqrt().min(STAGE)) {
            let mut split = shape.0;
            split[axis] = count / b;
            split.insert(axis + 1, b);
            let x = self.value(Op::Reshape(Shape(split)), &[x], &join(part, "split"))?;
            let x = self.sum_axes(x, vec![axis + 1], &join(part, "stage"))?;
            return self.sum_in_stages(x, &[axis], part);
        }
        let [head, tail] = self.cut(x, axis, part)?;
        let head = self.sum_in_stages(head, axes, &join(part, "head"))?;
        let tail = self.sum_axes(tail, vec![axis], &join(part, "tail"))?;
        self.binary(Binary::Add, head, tail, part)
    }

    /// The part of an axis that is a multiple of 64 long, and the rest of one that is not.
    fn cut(&mut self, x: Value, axis: usize, part: &str) -> Result<[Value; 2], Error> {
        let shape = self.shape(x);
        let extent = shape.0[axis];
        let at = extent - extent % 64;
        let mut piece = |from: usize, to: usize, name: &str| {
            let (mut start, mut stop) = (vec![0; shape.rank()], shape.0.clone());
            (start[axis], stop[axis]) = (from, to);
            let slice = Slice { start, stop, step: vec![1; shape.rank()] };
            self.value(Op::Slice(slice), &[x], &join(part, name))
        };
        Ok([piece(0, at, "cut")?, piece(at, extent, "rest")?])
    }

    fn sum_axes(&mut self, x: Value, axes: Vec<usize>, part: &str) -> Result<Value, Error> {
        self.value(Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep_dims: false }), &[x], part)
    }
}
