//! Batch norm in one piece and in pieces; the formulas are those of [`crate::ops::norm`].

use super::RefTensor;
use crate::ops::{BatchNorm, Coefficients, GradCoefficients};

/// `f` summed over all rows (all axes but the last), per channel. `f` gets the channel and the element's offset.
fn per_channel(rows: usize, channels: usize, f: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for row in 0..rows {
        for (c, sum) in sums.iter_mut().enumerate() {
            *sum += f(c, row * channels + c);
        }
    }
    sums
}

/// The sums over the rows of a `[chunks, channels]` tensor.
fn totals(partial: &RefTensor) -> Vec<f64> {
    let channels = partial.ty.shape.last();
    per_channel(partial.data.len() / channels, channels, |_, at| partial.data[at])
}

/// The running statistics after a batch of `n` values with this mean and (biased) variance. With one
/// value there is no unbiased variance; the batch's own, zero, is taken.
fn running(bn: &BatchNorm, n: f64, old: [&[f64]; 2], mean: &[f64], var: &[f64]) -> [Vec<f64>; 2] {
    let m = f64::from(bn.momentum);
    let correction = if bn.unbiased && n > 1.0 { n / (n - 1.0) } else { 1.0 };
    let blend = |old: &[f64], new: &[f64], factor: f64| {
        old.iter().zip(new).map(|(old, new)| (1.0 - m) * old + m * new * factor).collect()
    };
    [blend(old[0], mean, 1.0), blend(old[1], var, correction)]
}

/// `(x, gamma, beta, running_mean, running_var) → (y, mean, rstd, new_running_mean, new_running_var)`
pub(super) fn train(bn: &BatchNorm, operands: &[&RefTensor]) -> Vec<Vec<f64>> {
    let (x, gamma, beta) = (&operands[0].data, &operands[1].data, &operands[2].data);
    let channels = gamma.len();
    let rows = x.len() / channels;
    let n = rows as f64;
    let mean: Vec<f64> = per_channel(rows, channels, |_, at| x[at]).iter().map(|s| s / n).collect();
    let var: Vec<f64> = per_channel(rows, channels, |c, at| (x[at] - mean[c]).powi(2)).iter().map(|s| s / n).collect();
    let rstd: Vec<f64> = var.iter().map(|v| 1.0 / (v + f64::from(bn.epsilon)).sqrt()).collect();
    let y = x
        .iter()
        .enumerate()
        .map(|(at, v)| (at % channels, v))
        .map(|(c, v)| (v - mean[c]) * rstd[c] * gamma[c] + beta[c])
        .collect();
    let [running_mean, running_var] = running(bn, n, [&operands[3].data, &operands[4].data], &mean, &var);
    vec![y, mean, rstd, running_mean, running_var]
}

/// `(x, gamma, beta, mean, var)`
pub(super) fn eval(epsilon: f32, operands: &[&RefTensor]) -> Vec<f64> {
    let [gamma, beta, mean, var] = [1, 2, 3, 4].map(|i: usize| &operands[i].data);
    let channels = gamma.len();
    operands[0]
        .data
        .iter()
        .enumerate()
        .map(|(at, v)| (at % channels, v))
        .map(|(c, v)| (v - mean[c]) / (var[c] + f64::from(epsilon)).sqrt() * gamma[c] + beta[c])
        .collect()
}

/// `(dy, x, gamma, mean, rstd) → (dx, dgamma, dbeta)` (Ioffe & Szegedy 2015, §3):
/// `dx = gamma·rstd·(dy - mean(dy) - x̂·mean(dy·x̂))`.
pub(super) fn grad(operands: &[&RefTensor]) -> Vec<Vec<f64>> {
    let [dy, x, gamma, mean, rstd] = [0, 1, 2, 3, 4].map(|i: usize| &operands[i].data);
    let channels = gamma.len();
    let rows = x.len() / channels;
    let n = rows as f64;
    let normal = |c: usize, at: usize| (x[at] - mean[c]) * rstd[c];
    let dbeta = per_channel(rows, channels, |_, at| dy[at]);
    let dgamma = per_channel(rows, channels, |c, at| dy[at] * normal(c, at));
    let dx = (0..x.len())
        .map(|at| (at % channels, at))
        .map(|(c, at)| gamma[c] * rstd[c] * (dy[at] - dbeta[c] / n - normal(c, at) * dgamma[c] / n))
        .collect();
    vec![dx, dgamma, dbeta]
}

/// `(sums, squares, gamma, beta, running_mean, running_var) → (scale, shift, mean, rstd, new_mean, new_var)`
pub(super) fn coefficients(attributes: &Coefficients, operands: &[&RefTensor]) -> Vec<Vec<f64>> {
    let bn = &attributes.norm;
    let n = attributes.count as f64;
    let (gamma, beta) = (&operands[2].data, &operands[3].data);
    let mean: Vec<f64> = totals(operands[0]).iter().map(|s| s / n).collect();
    // rounding of the sums could leave a constant channel a little below zero
    let var: Vec<f64> = totals(operands[1]).iter().zip(&mean).map(|(s, mean)| (s / n - mean * mean).max(0.0)).collect();
    let rstd: Vec<f64> = var.iter().map(|v| 1.0 / (v + f64::from(bn.epsilon)).sqrt()).collect();
    let scale: Vec<f64> = gamma.iter().zip(&rstd).map(|(g, r)| g * r).collect();
    let shift = beta.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
    let [running_mean, running_var] = running(bn, n, [&operands[4].data, &operands[5].data], &mean, &var);
    vec![scale, shift, mean, rstd, running_mean, running_var]
}

/// `(sum_dy, sum_dy_xhat, gamma, mean, rstd) → (a, b, c, dgamma, dbeta)` with `dx = a·dy + b·x + c`
pub(super) fn grad_coefficients(attributes: &GradCoefficients, operands: &[&RefTensor]) -> Vec<Vec<f64>> {
    let n = attributes.count as f64;
    let [gamma, mean, rstd] = [2, 3, 4].map(|i: usize| &operands[i].data);
    let (dbeta, dgamma) = (totals(operands[0]), totals(operands[1]));
    let channels = 0..gamma.len();
    let a: Vec<f64> = channels.clone().map(|c| gamma[c] * rstd[c]).collect();
    let b: Vec<f64> = channels.clone().map(|c| -a[c] * rstd[c] * dgamma[c] / n).collect();
    let c = channels.map(|c| -a[c] * dbeta[c] / n - b[c] * mean[c]).collect();
    vec![a, b, c, dgamma, dbeta]
}
