//! Operations that move elements: nothing may be rounded.

use outrigger::graph::Value;
use outrigger::ops::{Op, Slice};

use super::Case;
use crate::common::build::{Build, Fill};

/// Start, stop and step within an extent.
fn part(b: &mut Build, extent: usize) -> [usize; 3] {
    let start = b.rng.below(extent);
    [start, b.rng.within(start + 1, extent), b.rng.within(1, 3)]
}

fn sliced(b: &mut Build, x: Value) -> Result<Value, outrigger::Error> {
    let dims = b.shape(x).0;
    let parts: Vec<_> = dims.iter().map(|&extent| part(b, extent)).collect();
    let column = |i: usize| parts.iter().map(|p| p[i]).collect::<Vec<_>>();
    b.g.slice(x, &column(0), &column(1), &column(2))
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("movement/reshape", |b| {
            let dims = b.any_dims();
            let x = b.x(dims.clone(), Fill::Signed);
            let elements = dims.iter().product::<usize>();
            let divisor = (1..=elements).rev().find(|d| elements.is_multiple_of(*d) && *d <= 7).unwrap_or(1);
            let flat = b.g.flatten(x)?;
            let y = b.g.reshape(flat, [elements / divisor, 1, divisor])?;
            b.out(flat);
            b.out(y);
            Ok(())
        }),
        Case::new("movement/broadcast", |b| {
            let full = b.any_dims();
            let missing = b.rng.below(full.len() + 1);
            let own: Vec<usize> = full[missing..].iter().map(|&e| if b.rng.once_in(2) { 1 } else { e }).collect();
            let x = b.x(own, Fill::Signed);
            b.stretches = true;
            let y = b.g.broadcast(x, full)?;
            b.out(y);
            Ok(())
        }),
        Case::new("movement/pad", |b| {
            let dims = b.any_dims();
            let border = |b: &mut Build| dims.iter().map(|_| b.rng.below(3)).collect::<Vec<_>>();
            let (low, high) = (border(b), border(b));
            let x = b.x(dims.clone(), Fill::Signed);
            let value = b.rng.pick(&[0.0, 1.5, -2.0]);
            let y = b.g.pad(x, &low, &high, value)?;
            b.out(y);
            Ok(())
        }),
        Case::new("movement/slice", |b| {
            let dims = b.any_dims();
            let x = b.x(dims, Fill::Signed);
            let y = sliced(b, x)?;
            b.out(y);
            Ok(())
        }),
        Case::new("movement/slice_of_long_steps", |b| {
            let x = b.x([2, 5, 3], Fill::Signed);
            let start = [b.rng.below(2), b.rng.below(5), b.rng.below(3)];
            // the builder takes any step, an operation 31 bits
            let built = b.g.slice(x, &start, &[2, 5, 3], &[1 << 62, usize::MAX, 1])?;
            let step = vec![i32::MAX as usize; 3];
            let made = b.g.op(Op::Slice(Slice { start: start.to_vec(), stop: vec![2, 5, 3], step }), &[x])?;
            b.out(built);
            b.out(made);
            Ok(())
        }),
        Case::new("movement/concat", |b| {
            let rank = b.rng.within(1, 5);
            let dims = b.dims(rank);
            let axis = b.rng.below(rank);
            let mut operands = Vec::new();
            for _ in 0..b.rng.within(1, 7) {
                let mut dims = dims.clone();
                dims[axis] = b.rng.within(1, 6);
                operands.push(b.x(dims, Fill::Signed));
            }
            if b.rng.once_in(2) {
                operands.push(operands[0]);
            }
            let y = b.g.concat(&operands, axis)?;
            b.out(y);
            Ok(())
        }),
        Case::new("movement/one_hot", |b| {
            let rank = b.rng.below(3);
            let (dims, classes) = (b.dims(rank), b.channels());
            let labels = b.integers(dims, 0, classes as i32 - 1);
            let y = b.g.one_hot(labels, classes)?;
            b.also(y);
            Ok(())
        })
        .flat(),
        Case::new("movement/integers", |b| {
            let dims = [2, 3, 5];
            for x in [b.integers(dims, -99, 99), b.bytes(dims)] {
                let transposed = b.g.transpose(x, &[2, 0, 1])?;
                let part = sliced(b, x)?;
                let joined = b.g.concat(&[x, x], 1)?;
                let stretched = b.g.broadcast(x, [2, 2, 3, 5])?;
                let padded = b.g.pad(x, &[1, 0, 2], &[0, 1, 0], 7.0)?;
                // a border that does not fit into a byte saturates
                let above = b.g.pad(x, &[1, 0, 2], &[0, 1, 0], 300.0)?;
                let below = b.g.pad(x, &[0, 1, 0], &[1, 0, 1], -5.0)?;
                let flat = b.g.flatten(x)?;
                for y in [transposed, part, joined, stretched, padded, above, below, flat] {
                    b.also(y);
                }
            }
            Ok(())
        })
        .flat(),
    ];
    cases.push(Case::new("movement/embedding", |b| {
        let (rows, d, rank) = (b.rng.within(1, 9), b.channels(), b.rng.below(3));
        let dims = b.dims(rank);
        b.sums(dims.iter().product());
        let (ids, table) = (b.integers(dims, 0, rows as i32 - 1), b.w([rows, d], Fill::Signed));
        b.stretches = true;
        let y = b.g.embedding(ids, table)?;
        b.out(y);
        Ok(())
    }));
    for rank in 1..=5 {
        cases.push(Case::new(format!("movement/transpose_{rank}"), move |b| {
            let dims = b.dims(rank);
            let x = b.x(dims, Fill::Signed);
            let permutation = b.rng.permutation(rank);
            let y = b.g.transpose(x, &permutation)?;
            b.out(y);
            Ok(())
        }));
    }
    for (name, permutation) in [("nchw_to_nhwc", [0, 2, 3, 1]), ("nhwc_to_nchw", [0, 3, 1, 2])] {
        cases.push(Case::new(format!("movement/{name}"), move |b| {
            let dims = b.dims(4);
            let x = b.x(dims, Fill::Signed);
            let y = b.g.transpose(x, &permutation)?;
            b.out(y);
            Ok(())
        }));
    }
    let mut cases: Vec<Case> = cases.into_iter().map(Case::exact).collect();
    cases.push(Case::new("movement/scatter_add", |b| {
        // so much that threads share it, in ranges of rows of unequal size
        let (rows, d, n) = (b.rng.pick(&[1, 50, 97, 1001]), b.channels(), 700);
        b.sums(n / rows + 1);
        let (ids, x) = (b.integers([n], 0, rows as i32 - 1), b.x([n, d], Fill::Signed));
        b.magnitude = 2.0 * ((n / rows + 1) as f64).sqrt();
        let y = b.g.op(Op::ScatterAdd(rows), &[x, ids])?;
        b.out(y);
        Ok(())
    }));
    cases
}
