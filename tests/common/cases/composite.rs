//! What the builder composes from operations, and small networks.

use outrigger::graph::{ConvOptions, PoolOptions, Value};
use outrigger::ops::BatchNorm;
use outrigger::{Error, Padding};

use super::Case;
use crate::common::build::{Build, Fill};

const BN: BatchNorm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };

fn conv_bn(b: &mut Build, x: Value, channels: [usize; 2], stride: usize) -> Result<Value, Error> {
    let w = b.w([3, 3, channels[0], channels[1]], Fill::Signed);
    let options = ConvOptions { padding: Padding::all(1), stride: [stride; 2], ..ConvOptions::default() };
    let y = b.g.conv2d(x, w, None, options)?;
    let shape = b.shape(y);
    b.sums((9 * channels[0]).max(shape.elements() / shape.last()));
    let (gamma, beta) = (b.w([channels[1]], Fill::Positive), b.w([channels[1]], Fill::Signed));
    let [mean, var] = [Fill::Signed, Fill::Positive].map(|fill| {
        let tensor = b.values(&[channels[1]].into(), fill);
        b.buffer(tensor)
    });
    b.g.batch_norm(y, gamma, beta, [mean, var], BN).map(|bn| bn.y)
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("loss/cross_entropy", |b| {
            let (n, classes) = (b.rng.within(1, 9), b.channels());
            b.sums(n * classes);
            let (logits, labels) = (b.x([n, classes], Fill::Signed), b.integers([n], 0, classes as i32 - 1));
            let loss = b.g.cross_entropy(logits, labels)?;
            b.out(loss);
            Ok(())
        }),
        Case::new("loss/soft_cross_entropy", |b| {
            let (n, classes) = (b.rng.within(1, 9), b.channels());
            b.sums(n * classes);
            let logits = b.x([n, classes], Fill::Signed);
            let scores = b.x([n, classes], Fill::Signed);
            let target = b.g.softmax(scores, 1)?;
            let loss = b.g.soft_cross_entropy(logits, target)?;
            b.out(loss);
            Ok(())
        }),
        Case::new("loss/binary_cross_entropy_with_logits", |b| {
            let dims = b.dims(2);
            b.sums(dims.iter().product());
            let (x, scores) = (b.x(dims.clone(), Fill::Wide), b.x(dims, Fill::Signed));
            let target = b.g.sigmoid(scores)?;
            let loss = b.g.binary_cross_entropy_with_logits(x, target)?;
            b.out(loss);
            Ok(())
        }),
        Case::new("loss/mean_squared_error", |b| {
            let dims = b.any_dims();
            b.sums(dims.iter().product());
            let (x, y) = (b.x(dims.clone(), Fill::Signed), b.x(dims, Fill::Signed));
            let loss = b.g.mean_squared_error(x, y)?;
            b.out(loss);
            Ok(())
        }),
        Case::new("loss/penalties", |b| {
            let [first, second] = [b.any_dims(), b.dims(2)];
            let total: usize = [&first, &second].map(|dims| dims.iter().product::<usize>()).iter().sum();
            b.sums(total);
            let both = [b.w(first, Fill::Away(&[0.0])), b.w(second, Fill::Away(&[0.0]))];
            let (l2, l1) = (b.g.l2_penalty(&both, 0.5)?, b.g.l1_penalty(&both, 0.25)?);
            b.out(l2);
            b.out(l1);
            Ok(())
        }),
        Case::new("composite/dropout", |b| {
            let dims = b.any_dims();
            let x = b.x(dims, Fill::Signed);
            let (seed, step) = (b.integers([], -99, 99), b.integers([], 0, 99));
            for rate in [0.0, 0.3, 0.9] {
                let y = b.g.dropout(x, rate, seed, step)?;
                b.out(y);
            }
            Ok(())
        }),
        Case::new("composite/chain", |b| {
            // one long element-wise chain with values used again
            let dims = b.dims(4);
            let x = b.x(dims.clone(), Fill::Signed);
            let scale = b.w([dims[3]], Fill::Positive);
            let shift = b.w([dims[3]], Fill::Signed);
            let y = b.g.mul(x, scale)?;
            let y = b.g.add_values(y, shift)?;
            let gate = b.g.sigmoid(y)?;
            let y = b.g.tanh(y)?;
            let y = b.g.mul(y, gate)?;
            let y = b.g.add_values(y, x)?;
            b.out(y);
            b.out(gate);
            Ok(())
        }),
        Case::new("composite/diamond", |b| {
            // a value used by everything, also twice by one operation
            let rows = b.rng.within(1, 5);
            let x = b.x([rows, 5], Fill::Signed);
            let w = b.w([5, 5], Fill::Signed);
            b.sums(25);
            let y = b.g.linear(x, w, None)?;
            let square = b.g.mul(y, y)?;
            let twice = b.g.add_values(y, y)?;
            let soft = b.g.softmax(y, 1)?;
            let sum = b.g.add_values(square, twice)?;
            let sum = b.g.mul(sum, soft)?;
            let joined = b.g.concat(&[sum, y, sum], 1)?;
            b.out(joined);
            Ok(())
        }),
        Case::new("composite/bn_tanh", |b| {
            let (channels, pixels) = (b.channels(), b.rng.within(3, 6));
            let x = b.x([2, pixels, 5, 3], Fill::Signed);
            let y = conv_bn(b, x, [3, channels], 1)?;
            let y = b.g.tanh(y)?;
            b.out(y);
            Ok(())
        }),
        Case::new("composite/residual", |b| {
            // smooth in place of ReLU, so that differences make sense
            let channels = b.rng.pick(&[3, 5, 16, 17]);
            let x = b.x([2, 6, 5, channels], Fill::Signed);
            let inner = conv_bn(b, x, [channels, channels], 1)?;
            let inner = b.g.silu(inner)?;
            let inner = conv_bn(b, inner, [channels, channels], 1)?;
            let y = b.g.add_values(inner, x)?;
            let y = b.g.silu(y)?;
            b.out(y);
            Ok(())
        }),
        Case::new("composite/network", |b| {
            let x = b.x([3, 7, 7, 3], Fill::Signed);
            let labels = b.integers([3], 0, 9);
            let y = conv_bn(b, x, [3, 8], 2)?;
            let y = b.g.gelu(y)?;
            let y = b.g.avg_pool(y, PoolOptions { stride: Some([1, 1]), ..PoolOptions::square(2) })?;
            let y = conv_bn(b, y, [8, 5], 1)?;
            let y = b.g.softplus(y)?;
            let y = b.g.global_avg_pool(y)?;
            let (w, bias) = (b.w([5, 10], Fill::Signed), b.w([10], Fill::Signed));
            let logits = b.g.linear(y, w, Some(bias))?;
            let loss = b.g.cross_entropy(logits, labels)?;
            b.out(loss);
            b.also(logits);
            Ok(())
        }),
        Case::new("composite/relu_network", |b| {
            let channels = b.rng.pick(&[4, 5, 16, 17]);
            let x = b.plain([2, 8, 7, 3], Fill::Signed);
            let y = conv_bn(b, x, [3, channels], 1)?;
            let first = b.g.relu(y)?;
            let y = conv_bn(b, first, [channels, channels], 1)?;
            let y = b.g.add_values(y, first)?;
            let y = b.g.relu(y)?;
            let y = b.g.max_pool(y, PoolOptions::square(2))?;
            let y = b.g.global_avg_pool(y)?;
            b.also(y);
            Ok(())
        })
        .flat(),
    ]
}
