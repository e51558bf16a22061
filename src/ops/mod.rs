//! The closed set of operations: one file a family, each with its attributes and its shape rule.
//!
//! An operation is a value without identity; the graph gives it operands, a name and result types.
//! Matches on [`Op`] are exhaustive on purpose: a new operation does not compile until its
//! reference meaning, its derivative and its lowering exist.
//!
//! ```text
//!  portable                                   machine level (made by passes/lower.rs and fusion)
//!  source · elementwise · movement · reduce   bn coefficients · random · Fused { anchor + programs }
//!  matmul · conv · pool · norm · softmax
//! ```

use serde::{Deserialize, Serialize};

use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

pub mod conv;
pub mod elementwise;
pub mod fused;
pub mod init;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod pool;
pub mod reduce;
pub mod source;

pub use conv::Conv2d;
pub use elementwise::{Binary, Unary};
pub use fused::{Anchor, Fused, Output, Program, Step};
pub use init::{Distribution, FanMode, Init, Initializer, Nonlinearity};
pub use matmul::MatMul;
pub use movement::{Pad, Slice};
pub use norm::{BatchNorm, Coefficients, GradCoefficients};
pub use pool::Pool;
pub use reduce::{Reduce, ReduceKind};
pub use source::Random;

/// Why an operation does not accept its operands: what was wrong and what would fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch(pub String);

impl Mismatch {
    fn new(what: impl Into<String>) -> Self {
        Mismatch(what.into())
    }
}

/// An operation. Operand order is given for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// A tensor given at each run.
    Input(TensorType),
    /// A trainable tensor that outlives a run; the initialiser makes its first value.
    Parameter(TensorType, Init),
    /// A tensor that outlives a run and is not trained: running statistics, moments, counters.
    Buffer(TensorType, Init),
    /// A value known at compile time.
    Constant(Tensor),
    /// Uniform numbers in [0, 1) from a counter: `(seed i32[], step i32[])`.
    Random(Random),

    /// `f(x)`.
    Unary(Unary),
    /// `f(a, b)` with broadcasting.
    Binary(Binary),
    /// `condition != 0 ? a : b` with broadcasting: `(condition, a, b)`.
    Select,
    /// Conversion of element type; floats are truncated towards zero and saturate.
    Cast(DType),

    /// The same elements under another shape.
    Reshape(Shape),
    /// Axis `i` of the result is axis `permutation[i]` of the operand.
    Transpose(Vec<usize>),
    /// Stretches axes of extent 1 and prepends axes (NumPy's rule).
    Broadcast(Shape),
    /// Adds a border of one value.
    Pad(Pad),
    /// A box of the operand, with steps.
    Slice(Slice),
    /// Joins operands along an axis.
    Concat(usize),
    /// `i32[..] → f32[.., classes]`: 1 at the label, else 0.
    OneHot(usize),
    /// `(table f32[n, d], ids i32[..]) → f32[.., d]`: rows of the table.
    Gather,
    /// `(rows f32[.., d], ids i32[..]) → f32[n, d]`: each row of the result is the sum of the rows with its number, the
    /// gradient of [`Op::Gather`]; the attribute is `n`.
    ScatterAdd(usize),

    /// Sum, mean, maximum or minimum over axes.
    Reduce(Reduce),
    /// `exp(x) / Σ exp(x)` along an axis.
    Softmax(usize),
    /// `x - log Σ exp(x)` along an axis.
    LogSoftmax(usize),

    /// `(a, b)`: matrix product over the last two axes.
    MatMul(MatMul),
    /// `(x NHWC, w HWIO)`.
    Conv2d(Conv2d),
    /// Gradient of a convolution with respect to its input: `(dy, w)`.
    Conv2dGradInput(Conv2d, Shape),
    /// Gradient of a convolution with respect to its weight: `(x, dy)`.
    Conv2dGradWeight(Conv2d, Shape),
    /// Maximum over a window; padding never wins: `(x)`.
    MaxPool(Pool),
    /// Position (row-major in the window, f32) of the first maximum: `(x, y)` with `y = MaxPool(x)`.
    MaxPoolIndex(Pool),
    /// Gradient of `MaxPool`: `(dy, index)`.
    MaxPoolGrad(Pool, Shape),
    /// Mean over a window: `(x)`.
    AvgPool(Pool),
    /// Gradient of `AvgPool`: `(dy)`.
    AvgPoolGrad(Pool, Shape),

    /// Training batch norm over all axes but the last:
    /// `(x, gamma, beta, running_mean, running_var) → (y, mean, rstd, new_running_mean, new_running_var)`.
    BatchNorm(BatchNorm),
    /// Inference batch norm: `(x, gamma, beta, mean, var)`; the attribute is epsilon.
    BatchNormEval(f32),
    /// Gradient of training batch norm: `(dy, x, gamma, mean, rstd) → (dx, dgamma, dbeta)`.
    BatchNormGrad,

    /// Per-channel coefficients of a training batch norm from partial sums:
    /// `(sums[p,c], squares[p,c], gamma, beta, running_mean, running_var)
    ///  → (scale, shift, mean, rstd, new_running_mean, new_running_var)`.
    Coefficients(Coefficients),
    /// Per-channel coefficients of batch norm's backward from partial sums:
    /// `(sum_dy[p,c], sum_dy_xhat[p,c], gamma, mean, rstd) → (a, b, c, dgamma, dbeta)`, such that
    /// `dx = a·dy + b·x + c`.
    GradCoefficients(GradCoefficients),
    /// An anchor kernel with element-wise programs on its operands and results.
    Fused(Box<Fused>),
}

impl Op {
    /// Result types for operands of `inputs`' types.
    ///
    /// # Errors
    /// [`Mismatch`] says what does not fit.
    pub fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, Mismatch> {
        let results = self.infer_family(inputs)?;
        let half = |ty: &TensorType| ty.dtype == DType::Bf16;
        if !matches!(self, Op::Fused(_)) && (results.iter().any(half) || inputs.iter().any(|ty| half(ty))) {
            return Err(Mismatch::new("only fused kernels hold bf16; compile in that precision instead"));
        }
        results.iter().try_for_each(source::check_type).map(|()| results)
    }

    fn infer_family(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, Mismatch> {
        let arity = |n: usize| {
            if inputs.len() == n {
                Ok(())
            } else {
                Err(Mismatch::new(format!("takes {n} operands, got {}", inputs.len())))
            }
        };
        let one = |r: Result<TensorType, Mismatch>| r.map(|t| vec![t]);
        match self {
            Op::Input(ty) | Op::Parameter(ty, _) | Op::Buffer(ty, _) => arity(0).map(|()| vec![ty.clone()]),
            Op::Constant(t) => arity(0).map(|()| vec![t.ty()]),
            Op::Random(r) => arity(2).and_then(|()| one(r.infer(inputs[0], inputs[1]))),
            Op::Unary(u) => arity(1).and_then(|()| one(u.infer(inputs[0]))),
            Op::Binary(_) => arity(2).and_then(|()| one(elementwise::infer_binary(inputs[0], inputs[1]))),
            Op::Select => arity(3).and_then(|()| one(elementwise::infer_select(inputs[0], inputs[1], inputs[2]))),
            Op::Cast(to) => arity(1).map(|()| vec![TensorType::new(*to, inputs[0].shape.clone())]),
            Op::Reshape(s) => arity(1).and_then(|()| one(movement::infer_reshape(inputs[0], s))),
            Op::Transpose(p) => arity(1).and_then(|()| one(movement::infer_transpose(inputs[0], p))),
            Op::Broadcast(s) => arity(1).and_then(|()| one(movement::infer_broadcast(inputs[0], s))),
            Op::Pad(p) => arity(1).and_then(|()| one(p.infer(inputs[0]))),
            Op::Slice(s) => arity(1).and_then(|()| one(s.infer(inputs[0]))),
            Op::Concat(axis) => one(movement::infer_concat(inputs, *axis)),
            Op::OneHot(classes) => arity(1).and_then(|()| one(movement::infer_one_hot(inputs[0], *classes))),
            Op::Gather => arity(2).and_then(|()| one(movement::infer_gather(inputs[0], inputs[1]))),
            Op::ScatterAdd(n) => arity(2).and_then(|()| one(movement::infer_scatter_add(inputs[0], inputs[1], *n))),
            Op::Reduce(r) => arity(1).and_then(|()| one(r.infer(inputs[0]))),
            Op::Softmax(axis) | Op::LogSoftmax(axis) => {
                arity(1).and_then(|()| one(reduce::infer_softmax(inputs[0], *axis)))
            }
            Op::MatMul(m) => arity(2).and_then(|()| one(m.infer(inputs[0], inputs[1]))),
            Op::Conv2d(c) => arity(2).and_then(|()| one(c.infer(inputs[0], inputs[1]))),
            Op::Conv2dGradInput(c, x) => arity(2).and_then(|()| one(c.infer_grad_input(inputs[0], inputs[1], x))),
            Op::Conv2dGradWeight(c, w) => arity(2).and_then(|()| one(c.infer_grad_weight(inputs[0], inputs[1], w))),
            Op::MaxPool(p) | Op::AvgPool(p) => arity(1).and_then(|()| one(p.infer(inputs[0]))),
            Op::MaxPoolIndex(p) => arity(2).and_then(|()| one(p.infer_index(inputs[0], inputs[1]))),
            Op::MaxPoolGrad(p, x) => arity(2).and_then(|()| one(p.infer_grad(inputs, x))),
            Op::AvgPoolGrad(p, x) => arity(1).and_then(|()| one(p.infer_grad(inputs, x))),
            Op::BatchNorm(_) => arity(5).and_then(|()| norm::infer_train(inputs)),
            Op::BatchNormEval(_) => arity(5).and_then(|()| one(norm::infer_eval(inputs))),
            Op::BatchNormGrad => arity(5).and_then(|()| norm::infer_grad(inputs)),
            Op::Coefficients(c) => arity(6).and_then(|()| norm::infer_coefficients(inputs, 2, 6, c.count)),
            Op::GradCoefficients(c) => arity(5).and_then(|()| norm::infer_coefficients(inputs, 2, 5, c.count)),
            Op::Fused(f) => f.infer(inputs),
        }
    }

    /// The operation's name in texts and reports, without attributes.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Parameter(..) => "parameter",
            Op::Buffer(..) => "buffer",
            Op::Constant(_) => "constant",
            Op::Random(_) => "random",
            Op::Unary(u) => u.name(),
            Op::Binary(b) => b.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::Reshape(_) => "reshape",
            Op::Transpose(_) => "transpose",
            Op::Broadcast(_) => "broadcast",
            Op::Pad(_) => "pad",
            Op::Slice(_) => "slice",
            Op::Concat(_) => "concat",
            Op::OneHot(_) => "one_hot",
            Op::Gather => "gather",
            Op::ScatterAdd(_) => "scatter_add",
            Op::Reduce(r) => r.kind.name(),
            Op::Softmax(_) => "softmax",
            Op::LogSoftmax(_) => "log_softmax",
            Op::MatMul(_) => "matmul",
            Op::Conv2d(_) => "conv2d",
            Op::Conv2dGradInput(..) => "conv2d_grad_input",
            Op::Conv2dGradWeight(..) => "conv2d_grad_weight",
            Op::MaxPool(_) => "max_pool",
            Op::MaxPoolIndex(_) => "max_pool_index",
            Op::MaxPoolGrad(..) => "max_pool_grad",
            Op::AvgPool(_) => "avg_pool",
            Op::AvgPoolGrad(..) => "avg_pool_grad",
            Op::BatchNorm(_) => "batch_norm",
            Op::BatchNormEval(_) => "batch_norm_eval",
            Op::BatchNormGrad => "batch_norm_grad",
            Op::Coefficients(_) => "bn_coefficients",
            Op::GradCoefficients(_) => "bn_grad_coefficients",
            Op::Fused(f) => f.anchor.name(),
        }
    }

    /// Whether the node holds memory that outlives a run.
    pub fn is_state(&self) -> bool {
        matches!(self, Op::Parameter(..) | Op::Buffer(..))
    }
    /// Whether the node's name is how a program is told its value: no other input or state may have it.
    pub fn has_unique_name(&self) -> bool {
        matches!(self, Op::Input(_)) || self.is_state()
    }
    /// Whether the node has no operands.
    pub fn is_source(&self) -> bool {
        matches!(self, Op::Input(_) | Op::Parameter(..) | Op::Buffer(..) | Op::Constant(_))
    }
}

/// Strides, dilations and steps take 31 bits, as byte offsets do: products of two stay within 64.
fn expect_distance(what: &str, distance: usize) -> Result<(), Mismatch> {
    if distance <= i32::MAX as usize {
        Ok(())
    } else {
        Err(Mismatch::new(format!("the {what} must be less than 2³¹, got {distance}")))
    }
}

fn expect_f32(ty: &TensorType, what: &str) -> Result<(), Mismatch> {
    if ty.dtype == DType::F32 {
        Ok(())
    } else {
        Err(Mismatch::new(format!("{what} must be f32, got {ty}; cast it first")))
    }
}

fn expect_rank(ty: &TensorType, rank: usize, what: &str) -> Result<(), Mismatch> {
    if ty.shape.rank() == rank { Ok(()) } else { Err(Mismatch::new(format!("{what} must have {rank} axes, got {ty}"))) }
}

fn expect_shape(ty: &TensorType, shape: &Shape, what: &str) -> Result<(), Mismatch> {
    if &ty.shape == shape { Ok(()) } else { Err(Mismatch::new(format!("{what} must be {shape}, got {ty}"))) }
}

fn expect_f32_of(ty: &TensorType, shape: &Shape, what: &str) -> Result<(), Mismatch> {
    expect_f32(ty, what).and_then(|()| expect_shape(ty, shape, what))
}
