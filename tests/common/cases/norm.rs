//! Batch norm in one piece and in pieces.

use outrigger::graph::Value;
use outrigger::ops::{BatchNorm, Coefficients, GradCoefficients, Op};
use outrigger::{Error, Tensor};

use super::Case;
use crate::common::build::{Build, Fill};

const PYTORCH: BatchNorm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
const KERAS: BatchNorm = BatchNorm { epsilon: 1e-3, momentum: 0.01, unbiased: false };

/// A matrix or images, with at least four rows, so that no variance vanishes.
fn dims(b: &mut Build) -> Vec<usize> {
    let channels = b.channels();
    let dims = if b.rng.once_in(3) {
        vec![b.rng.within(4, 9), channels]
    } else {
        vec![b.rng.within(1, 3), b.rng.within(2, 7), b.rng.within(2, 7), channels]
    };
    b.sums(dims[..dims.len() - 1].iter().product());
    dims
}

fn running(b: &mut Build, channels: usize) -> [Value; 2] {
    [Fill::Signed, Fill::Positive].map(|fill| {
        let tensor = b.values(&[channels].into(), fill);
        b.buffer(tensor)
    })
}

fn train(b: &mut Build, attributes: BatchNorm) -> Result<(), Error> {
    let dims = dims(b);
    let channels = dims[dims.len() - 1];
    let x = b.x(dims, Fill::Signed);
    let (gamma, beta) = (b.w([channels], Fill::Positive), b.w([channels], Fill::Signed));
    let running = running(b, channels);
    let result = b.g.batch_norm(x, gamma, beta, running, attributes)?;
    b.out(result.y);
    b.also(result.mean);
    b.also(result.rstd);
    Ok(())
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("batch_norm/pytorch", |b| train(b, PYTORCH)),
        Case::new("batch_norm/keras", |b| train(b, KERAS)),
        Case::new("batch_norm/eval", |b| {
            let dims = dims(b);
            let channels = [dims[dims.len() - 1]];
            let x = b.x(dims, Fill::Signed);
            let (gamma, beta) = (b.w(channels, Fill::Positive), b.w(channels, Fill::Signed));
            let (mean, var) = (b.x(channels, Fill::Signed), b.x(channels, Fill::Positive));
            let y = b.g.batch_norm_eval(x, gamma, beta, [mean, var], 1e-3)?;
            b.out(y);
            Ok(())
        }),
        Case::new("batch_norm/grad", |b| {
            let dims = dims(b);
            let channels = [dims[dims.len() - 1]];
            let (dy, x) = (b.plain(dims.clone(), Fill::Signed), b.plain(dims, Fill::Signed));
            let gamma = b.plain(channels, Fill::Positive);
            let (mean, rstd) = (b.plain(channels, Fill::Signed), b.plain(channels, Fill::Positive));
            let id = b.g.add(Op::BatchNormGrad, &[dy, x, gamma, mean, rstd], "")?;
            (0..3).for_each(|port| b.also(id.result(port)));
            Ok(())
        })
        .flat(),
        Case::new("batch_norm/coefficients", |b| {
            let (chunks, channels) = (b.rng.within(1, 32), b.channels());
            b.sums(chunks);
            let norm = b.rng.pick(&[PYTORCH, KERAS]);
            // with 40 values a chunk of Σx in [-2, 2) and Σx² in [0.5, 2) the variance is well above zero
            let count = 40 * chunks;
            let sums = b.plain([chunks, channels], Fill::Signed);
            let squares = b.plain([chunks, channels], Fill::Positive);
            let (gamma, beta) = (b.plain([channels], Fill::Positive), b.plain([channels], Fill::Signed));
            let [mean, var] = running(b, channels);
            let op = Op::Coefficients(Coefficients { norm, count });
            let id = b.g.add(op, &[sums, squares, gamma, beta, mean, var], "")?;
            (0..6).for_each(|port| b.also(id.result(port)));
            b.g.set_update(mean, id.result(4))?;
            b.g.set_update(var, id.result(5))
        })
        .flat(),
        Case::new("batch_norm/constant_channel", |b| {
            // Σx²/n - mean² is zero but for rounding, which must not make it negative
            let sums = b.given(Tensor::full([4, 3], 25.0 * 1.1));
            let squares = b.given(Tensor::full([4, 3], 25.0 * 1.1 * 1.1));
            let (gamma, beta) = (b.plain([3], Fill::Positive), b.plain([3], Fill::Signed));
            let [mean, var] = running(b, 3);
            let norm = BatchNorm { epsilon: 0.5, ..PYTORCH };
            let op = Op::Coefficients(Coefficients { norm, count: 100 });
            let id = b.g.add(op, &[sums, squares, gamma, beta, mean, var], "")?;
            (0..6).for_each(|port| b.also(id.result(port)));
            Ok(())
        })
        .flat(),
        Case::new("batch_norm/grad_coefficients", |b| {
            let (chunks, channels) = (b.rng.within(1, 32), b.channels());
            b.sums(chunks);
            let sums = [0, 1].map(|_| b.plain([chunks, channels], Fill::Signed));
            let gamma = b.plain([channels], Fill::Positive);
            let (mean, rstd) = (b.plain([channels], Fill::Signed), b.plain([channels], Fill::Positive));
            let op = Op::GradCoefficients(GradCoefficients { count: 25 * chunks });
            let id = b.g.add(op, &[sums[0], sums[1], gamma, mean, rstd], "")?;
            (0..5).for_each(|port| b.also(id.result(port)));
            Ok(())
        })
        .flat(),
    ]
}
