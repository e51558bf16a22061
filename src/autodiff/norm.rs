//! Derivatives of batch norm.

use super::emit::{Emit, Site};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Binary, Op, Unary};

/// Results of a batch norm after `y`.
const STATISTICS: [&str; 4] = ["mean", "rstd", "new running mean", "new running variance"];

/// Training batch norm `(x, gamma, beta, …)`: only `y` has a derivative. A loss that depends on the
/// statistics themselves is refused rather than differentiated in part.
pub(super) fn batch_norm(e: &mut Emit, site: &Site, arriving: &[Option<Value>]) -> Result<Vec<Option<Value>>, Error> {
    if let Some((name, _)) = STATISTICS.iter().zip(&arriving[1..]).find(|(_, gradient)| gradient.is_some()) {
        let hint = format!("the loss depends on its {name}, and only its normalised result has a gradient");
        return Err(e.no_derivative(site, &hint));
    }
    let Some(dy) = arriving[0] else {
        return Err(e.no_derivative(site, "no gradient arrives"));
    };
    let (x, gamma) = (site.operands[0], site.operands[1]);
    let gradients = e.node(Op::BatchNormGrad, &[dy, x, gamma, site.id.result(1), site.id.result(2)])?;
    Ok((0..5).map(|at| (at < 3).then(|| gradients.result(at))).collect())
}

/// Inference batch norm `(x, gamma, beta, mean, var)`: `y = (x - mean)·gamma·r + beta` with
/// `r = 1/√(var + epsilon)`.
pub(super) fn batch_norm_eval(e: &mut Emit, epsilon: f32, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    let &[x, gamma, beta, mean, var] = site.operands.as_slice() else {
        return Err(e.no_derivative(site, "it takes five operands"));
    };
    let vector = e.shape(beta);
    let epsilon = e.scalar(epsilon)?;
    let variance = e.binary(Binary::Add, var, epsilon)?;
    let r = e.unary(Unary::Rsqrt, variance)?;
    let scale = e.mul(gamma, r)?;
    let mut parts = vec![None; 5];
    if site.wanted[0] {
        parts[0] = Some(e.mul(dy, scale)?);
    }
    if site.wanted[2] || site.wanted[3] {
        let sum = e.unbroadcast(dy, &vector)?;
        parts[2] = Some(sum);
        if site.wanted[3] {
            let product = e.mul(sum, scale)?;
            parts[3] = Some(e.unary(Unary::Neg, product)?);
        }
    }
    if site.wanted[1] || site.wanted[4] {
        let centred = e.binary(Binary::Sub, x, mean)?;
        let normal = e.mul(centred, r)?;
        let product = e.mul(dy, normal)?;
        // dgamma = Σ dy·x̂; ∂y/∂var = -½·gamma·x̂·r²
        let dgamma = e.unbroadcast(product, &vector)?;
        parts[1] = Some(dgamma);
        if site.wanted[4] {
            let product = e.mul(dgamma, scale)?;
            let product = e.mul(product, r)?;
            parts[4] = Some(e.scale(product, -0.5)?);
        }
    }
    Ok(parts)
}
