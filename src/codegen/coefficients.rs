//! Per-channel coefficients of batch norm: partial sums are added in f64 in a fixed order, since the
//! variance is a difference of two large numbers. Formulas: [`crate::ops::norm`].

use cranelift_codegen::ir::types::{F32, F64};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::{Count, Emit};
use crate::ops::Coefficients;

/// Which coefficients, for `channels` channels from `partial` rows of partial sums.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ChannelKernel {
    /// See [`crate::ops::Op::Coefficients`].
    Forward { attributes: Coefficients, partial: usize, channels: usize },
    /// See [`crate::ops::Op::GradCoefficients`].
    Backward { count: usize, partial: usize, channels: usize },
}

struct Double<'e, 'a>(&'e mut Emit<'a>);

impl Double<'_, '_> {
    fn constant(&mut self, value: f64) -> Value {
        self.0.b.ins().f64const(value)
    }
    fn load(&mut self, base: Value) -> Value {
        let single = self.0.load(F32, base, 0);
        self.0.b.ins().fpromote(F64, single)
    }
    fn store(&mut self, value: Value, base: Value) {
        let single = self.0.b.ins().fdemote(F32, value);
        self.0.store(single, base, 0);
    }
    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.0.b.ins().fmul(a, b)
    }
    fn add(&mut self, a: Value, b: Value) -> Value {
        self.0.b.ins().fadd(a, b)
    }
    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.0.b.ins().fsub(a, b)
    }
    /// Σ over the rows of a column.
    fn column(&mut self, base: Value, rows: usize, stride: i64) -> Value {
        let zero = self.constant(0.0);
        self.0.repeat(Count::Static(rows), &[(base, stride)], &[zero], |e, at, sum| {
            let value = Double(e).load(at[0]);
            vec![e.b.ins().fadd(sum[0], value)]
        })[0]
    }
}

impl ChannelKernel {
    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        let (arguments, channels) = match self {
            ChannelKernel::Forward { channels, .. } => (12, *channels),
            ChannelKernel::Backward { channels, .. } => (10, *channels),
        };
        let pointers: Vec<(Value, i64)> = (0..arguments).map(|i| (e.argument(i), 4)).collect();
        e.repeat(Count::Static(channels), &pointers, &[], |e, at, _| {
            match self {
                ChannelKernel::Forward { attributes, partial, .. } => {
                    forward(&mut Double(e), at, attributes, *partial, channels as i64 * 4);
                }
                ChannelKernel::Backward { count, partial, .. } => {
                    backward(&mut Double(e), at, *count, *partial, channels as i64 * 4);
                }
            }
            Vec::new()
        });
    }
}

fn forward(d: &mut Double<'_, '_>, at: &[Value], attributes: &Coefficients, partial: usize, stride: i64) {
    let n = attributes.count as f64;
    let per = d.constant(1.0 / n);
    let sum = d.column(at[0], partial, stride);
    let squares = d.column(at[1], partial, stride);
    let mean = d.mul(sum, per);
    let mean_square = d.mul(squares, per);
    let square_mean = d.mul(mean, mean);
    let variance = d.sub(mean_square, square_mean);
    // rounding may leave a constant channel slightly below zero
    let zero = d.constant(0.0);
    let variance = d.0.b.ins().fmax(variance, zero);
    let epsilon = d.constant(f64::from(attributes.norm.epsilon));
    let shifted = d.add(variance, epsilon);
    let root = d.0.b.ins().sqrt(shifted);
    let one = d.constant(1.0);
    let rstd = d.0.b.ins().fdiv(one, root);
    let (gamma, beta) = (d.load(at[2]), d.load(at[3]));
    let scale = d.mul(gamma, rstd);
    let moved = d.mul(mean, scale);
    let shift = d.sub(beta, moved);
    let momentum = f64::from(attributes.norm.momentum);
    let running = |d: &mut Double<'_, '_>, old: Value, new: Value, correction: f64| {
        let (keep, take) = (d.constant(1.0 - momentum), d.constant(momentum * correction));
        let old = d.load(old);
        let (kept, taken) = (d.mul(old, keep), d.mul(new, take));
        d.add(kept, taken)
    };
    let unbiased = attributes.norm.unbiased && attributes.count > 1;
    let correction = if unbiased { n / (n - 1.0) } else { 1.0 };
    let new_mean = running(d, at[4], mean, 1.0);
    let new_variance = running(d, at[5], variance, correction);
    for (value, &to) in [scale, shift, mean, rstd, new_mean, new_variance].into_iter().zip(&at[6..]) {
        d.store(value, to);
    }
}

fn backward(d: &mut Double<'_, '_>, at: &[Value], count: usize, partial: usize, stride: i64) {
    let dbeta = d.column(at[0], partial, stride);
    let dgamma = d.column(at[1], partial, stride);
    let (gamma, mean, rstd) = (d.load(at[2]), d.load(at[3]), d.load(at[4]));
    let per = d.constant(-1.0 / count as f64);
    let a = d.mul(gamma, rstd);
    let b = d.mul(a, rstd);
    let b = d.mul(b, dgamma);
    let b = d.mul(b, per);
    let c = d.mul(a, dbeta);
    let c = d.mul(c, per);
    let moved = d.mul(b, mean);
    let c = d.sub(c, moved);
    for (value, &to) in [a, b, c, dgamma, dbeta].into_iter().zip(&at[5..]) {
        d.store(value, to);
    }
}
