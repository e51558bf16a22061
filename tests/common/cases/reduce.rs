//! Reductions over any axes, softmax along any axis.

use outrigger::Error;
use outrigger::ops::ReduceKind;

use super::Case;
use crate::common::build::{Build, Fill};

const KINDS: [ReduceKind; 4] = [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min];

fn reduced(b: &mut Build, kind: ReduceKind, dims: Vec<usize>, axes: &[usize], keep: bool) -> Result<(), Error> {
    let fill = match kind {
        ReduceKind::Sum | ReduceKind::Mean => Fill::Signed,
        ReduceKind::Max | ReduceKind::Min => Fill::Distinct,
    };
    let count: usize = axes.iter().map(|&axis| dims[axis]).product();
    match kind {
        ReduceKind::Sum => b.is_sum_of(count),
        ReduceKind::Mean => {
            b.is_sum_of(count);
            b.magnitude /= count as f64;
        }
        ReduceKind::Max | ReduceKind::Min => {}
    }
    let x = b.x(dims, fill);
    let y = b.g.reduce(kind, x, axes, keep)?;
    b.out(y);
    Ok(())
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        let name = kind.name();
        cases.push(Case::new(format!("{name}/any_axes"), move |b| {
            let dims = b.any_dims();
            let axes: Vec<usize> = (0..dims.len()).filter(|_| b.rng.once_in(2)).collect();
            let keep = b.rng.once_in(2);
            reduced(b, kind, dims, &axes, keep)
        }));
        cases.push(Case::new(format!("{name}/all_but_channels"), move |b| {
            let dims = vec![b.rng.within(1, 3), b.rng.within(1, 9), b.rng.within(1, 9), b.channels()];
            reduced(b, kind, dims, &[0, 1, 2], false)
        }));
        cases.push(Case::new(format!("{name}/pixels"), move |b| {
            let dims = vec![b.rng.within(1, 3), b.rng.within(1, 9), b.rng.within(1, 9), b.channels()];
            reduced(b, kind, dims, &[1, 2], false)
        }));
        // as partial weight gradients are added up: few rows, many columns
        cases.push(Case::new(format!("{name}/rows"), move |b| {
            let dims = vec![b.rng.within(1, 20), 9, b.rng.within(1, 60), b.channels()];
            reduced(b, kind, dims, &[0], false)
        }));
        cases.push(Case::new(format!("{name}/everything"), move |b| {
            let dims = vec![b.rng.within(1, 40), b.rng.within(1, 70)];
            reduced(b, kind, dims, &[0, 1], false)
        }));
        cases.push(
            Case::new(format!("{name}/ties"), move |b| {
                let x = b.plain([3, 4, 5], Fill::Whole);
                let y = b.g.reduce(kind, x, &[0, 1], false)?;
                b.also(y);
                Ok(())
            })
            .flat(),
        );
    }
    for (name, log) in [("softmax", false), ("log_softmax", true)] {
        for (range, fill) in [("", Fill::Signed), ("_wide", Fill::Wide)] {
            cases.push(Case::new(format!("{name}/any_axis{range}"), move |b| {
                let rank = b.rng.within(1, 4);
                let dims = b.dims(rank);
                let axis = if b.rng.once_in(2) { rank - 1 } else { b.rng.below(rank) };
                b.sums(dims[axis]);
                let x = b.x(dims, fill);
                let y = if log { b.g.log_softmax(x, axis)? } else { b.g.softmax(x, axis)? };
                b.out(y);
                Ok(())
            }));
        }
        cases.push(
            Case::new(format!("{name}/far_apart"), move |b| {
                let x = b.floats(&[1000.0, 999.0, -1000.0, 0.0, 1000.5]);
                let y = if log { b.g.log_softmax(x, 0)? } else { b.g.softmax(x, 0)? };
                b.also(y);
                Ok(())
            })
            .flat(),
        );
    }
    cases
}
