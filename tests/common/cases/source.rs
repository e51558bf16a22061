//! Inputs, state, constants and random numbers.

use outrigger::Tensor;
use outrigger::ops::{Op, Random};
use outrigger::tensor::Data;
use outrigger::types::Shape;

use super::Case;
use crate::common::build::Fill;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("source/passed_on", |b| {
            let dims = b.any_dims();
            let (x, w) = (b.x(dims.clone(), Fill::Signed), b.w(dims, Fill::Signed));
            b.out(x);
            b.out(w);
            let tensor = b.values(&Shape::from([3, 5]), Fill::Signed);
            let s = b.buffer(tensor);
            b.also(s);
            let bytes = b.bytes([7]);
            b.also(bytes);
            Ok(())
        })
        .exact(),
        Case::new("source/constants", |b| {
            let dims = Shape(b.any_dims());
            let tensor = b.values(&dims, Fill::Signed);
            let bytes = Tensor::new([3], Data::U8(vec![0, 7, 255])).unwrap();
            let integers = Tensor::i32([2, 1], vec![i32::MIN, i32::MAX]).unwrap();
            for tensor in [tensor, bytes, integers, Tensor::scalar(f32::NEG_INFINITY)] {
                let value = b.g.constant(tensor)?;
                b.also(value);
            }
            Ok(())
        })
        .flat()
        .exact(),
        Case::new("source/updates", |b| {
            // a counter, a moving average, and two states that change places
            let count = b.buffer(Tensor::i32([], vec![41]).unwrap());
            let one = b.g.constant(Tensor::i32([], vec![1]).unwrap())?;
            let next = b.g.add_values(count, one)?;
            b.g.set_update(count, next)?;
            let dims = Shape(b.any_dims());
            let [a, c] = [0, 1].map(|_| {
                let tensor = b.values(&dims, Fill::Signed);
                b.buffer(tensor)
            });
            b.g.set_update(a, c)?;
            b.g.set_update(c, a)?;
            let (x, w) = (b.plain(dims.clone(), Fill::Signed), b.w(dims, Fill::Signed));
            let half = b.g.scalar(0.5)?;
            let sum = b.g.add_values(x, w)?;
            let average = b.g.mul(sum, half)?;
            b.g.set_update(w, average)?;
            b.also(w);
            Ok(())
        })
        .flat(),
        Case::new("source/random", |b| {
            let (seed, step) = (b.integers([], i32::MIN / 2, i32::MAX / 2), b.integers([], 0, 1000));
            for stream in [0, 1, u32::MAX] {
                let shape = Shape(b.any_dims());
                let value = b.g.op(Op::Random(Random { shape, stream }), &[seed, step])?;
                b.also(value);
            }
            Ok(())
        })
        .flat()
        .exact(),
    ]
}
