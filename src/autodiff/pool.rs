//! Derivatives of pooling.

use super::emit::{Emit, Site};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Op, Pool};

/// The whole gradient goes to the first maximum of a window.
pub(super) fn max_pool(e: &mut Emit, p: Pool, site: &Site, dy: Value) -> Result<Value, Error> {
    let x = site.operands[0];
    let index = e.op(Op::MaxPoolIndex(p), &[x, site.y()])?;
    let shape = e.shape(x);
    e.op(Op::MaxPoolGrad(p, shape), &[dy, index])
}

pub(super) fn avg_pool(e: &mut Emit, p: Pool, site: &Site, dy: Value) -> Result<Value, Error> {
    let shape = e.shape(site.operands[0]);
    e.op(Op::AvgPoolGrad(p, shape), &[dy])
}

/// The adjoint of the adjoint.
pub(super) fn avg_pool_grad(e: &mut Emit, p: Pool, g: Value) -> Result<Value, Error> {
    e.op(Op::AvgPool(p), &[g])
}
