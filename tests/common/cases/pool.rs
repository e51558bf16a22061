//! Pooling and its gradients.

use outrigger::graph::{Pool1dOptions, PoolOptions};
use outrigger::ops::{Op, Pool};
use outrigger::types::{Padding1d, Shape};
use outrigger::{Error, Padding, Tensor};

use super::Case;
use crate::common::build::{Build, Fill};

const SETTINGS: [(&str, PoolOptions); 9] = [
    ("2x2", options([2, 2], None, Padding::Valid, true)),
    ("overlapping", options([3, 3], Some([2, 2]), Padding::Explicit([[1, 1], [1, 1]]), true)),
    ("inside", options([3, 3], Some([2, 2]), Padding::Explicit([[1, 1], [1, 1]]), false)),
    ("same", options([3, 2], Some([2, 1]), Padding::Same, false)),
    ("lopsided", options([2, 3], Some([1, 2]), Padding::Explicit([[0, 1], [2, 0]]), false)),
    ("skipping", options([1, 2], Some([2, 3]), Padding::Valid, true)),
    ("dense", options([2, 2], Some([1, 1]), Padding::Valid, true)),
    ("ceil", ceil(options([2, 3], Some([3, 2]), Padding::Valid, true))),
    ("ceil_inside", ceil(options([3, 3], Some([2, 2]), Padding::Explicit([[1, 1], [0, 1]]), false))),
];

const fn options(size: [usize; 2], stride: Option<[usize; 2]>, padding: Padding, count_padding: bool) -> PoolOptions {
    PoolOptions { size, stride, padding, count_padding, ceil_mode: false }
}

const fn ceil(options: PoolOptions) -> PoolOptions {
    PoolOptions { ceil_mode: true, ..options }
}

fn image(b: &mut Build) -> [usize; 4] {
    [b.rng.within(1, 3), b.rng.within(3, 9), b.rng.within(3, 9), b.channels()]
}

/// The attributes of options on an image, and the shape of the result.
fn resolved(x: [usize; 4], options: PoolOptions) -> Result<(Pool, Shape), Error> {
    let mut graph = outrigger::Graph::new("shapes");
    let input = graph.input("x", outrigger::DType::F32, x)?;
    let y = graph.avg_pool(input, options)?;
    let shape = graph.value_type(y).map(|ty| ty.shape.clone()).unwrap_or_default();
    match graph.get(y.node).map(|node| &node.op) {
        Some(Op::AvgPool(pool)) => Ok((*pool, shape)),
        other => panic!("avg_pool built {other:?}"),
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, options) in SETTINGS {
        let window = options.size[0] * options.size[1];
        cases.push(Case::new(format!("max_pool/{name}"), move |b| {
            let dims = image(b);
            let x = b.x(dims, Fill::Distinct);
            let y = b.g.max_pool(x, options)?;
            b.out(y);
            Ok(())
        }));
        cases.push(
            Case::new(format!("max_pool/{name}_ties"), move |b| {
                // all below zero: padding must not win
                let dims = image(b);
                let x = b.plain(dims, Fill::Whole);
                let low = b.g.scalar(-5.0)?;
                let x = b.g.add_values(x, low)?;
                let (pool, _) = resolved(dims, options)?;
                let y = b.g.op(Op::MaxPool(pool), &[x])?;
                let index = b.g.op(Op::MaxPoolIndex(pool), &[x, y])?;
                let dy = b.shape(y);
                let dy = b.plain(dy, Fill::Whole);
                let dx = b.g.op(Op::MaxPoolGrad(pool, Shape::from(dims)), &[dy, index])?;
                for value in [y, index, dx] {
                    b.also(value);
                }
                Ok(())
            })
            .flat()
            .exact(),
        );
        cases.push(
            Case::new(format!("max_pool/{name}_nan"), move |b| {
                // a NaN wins; the first of several, and never one of the padding
                let dims = image(b);
                let elements = dims.iter().product();
                let values = (0..elements).map(|_| if b.rng.once_in(5) { f32::NAN } else { b.rng.below(5) as f32 });
                let values = values.collect();
                let x = b.given(Tensor::f32(dims, values)?);
                let (pool, _) = resolved(dims, options)?;
                let y = b.g.op(Op::MaxPool(pool), &[x])?;
                let index = b.g.op(Op::MaxPoolIndex(pool), &[x, y])?;
                b.also(y);
                b.also(index);
                Ok(())
            })
            .flat()
            .exact(),
        );
        cases.push(Case::new(format!("avg_pool/{name}"), move |b| {
            let dims = image(b);
            b.sums(window);
            let x = b.x(dims, Fill::Signed);
            let y = b.g.avg_pool(x, options)?;
            b.out(y);
            Ok(())
        }));
        cases.push(Case::new(format!("avg_pool_grad/{name}"), move |b| {
            let dims = image(b);
            b.sums(window);
            let (pool, shape) = resolved(dims, options)?;
            let dy = b.x(shape, Fill::Signed);
            let dx = b.g.op(Op::AvgPoolGrad(pool, Shape::from(dims)), &[dy])?;
            b.out(dx);
            Ok(())
        }));
    }
    cases.push(Case::new("pool/global", |b| {
        let dims = image(b);
        b.sums(dims[1] * dims[2]);
        let x = b.x(dims, Fill::Signed);
        let y = b.g.global_avg_pool(x)?;
        b.out(y);
        Ok(())
    }));
    cases.push(Case::new("pool/global_max", |b| {
        let dims = image(b);
        let x = b.x(dims, Fill::Distinct);
        let y = b.g.global_max_pool(x)?;
        b.out(y);
        Ok(())
    }));
    for even in [false, true] {
        cases.push(Case::new(if even { "pool/adaptive_even" } else { "pool/adaptive" }, move |b| {
            let size = [b.rng.within(1, 3), b.rng.within(2, 4)];
            let mut dims = image(b);
            if even {
                dims[1] = 2 * size[0];
                dims[2] = 3 * size[1];
            }
            b.sums(9 * 9);
            let x = b.x(dims, Fill::Distinct);
            let (mean, max) = (b.g.adaptive_avg_pool(x, size)?, b.g.adaptive_max_pool(x, size)?);
            b.out(mean);
            b.out(max);
            Ok(())
        }));
    }
    cases.push(Case::new("pool/one_axis", |b| {
        let [n, length, _, channels] = image(b);
        b.sums(3);
        let x = b.x([n, length, channels], Fill::Distinct);
        let size = b.rng.within(1, 3);
        let stride = b.rng.pick(&[None, Some(1), Some(2)]);
        let padding = b.rng.pick(&[Padding1d::Valid, Padding1d::Same, Padding1d::Causal]);
        let ceil_mode = b.rng.once_in(2);
        let options = Pool1dOptions { size, stride, padding, count_padding: false, ceil_mode };
        let (max, mean) = (b.g.max_pool1d(x, options)?, b.g.avg_pool1d(x, options)?);
        b.out(max);
        b.out(mean);
        Ok(())
    }));
    cases
}
