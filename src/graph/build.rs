//! Building a graph: one method an operation, checked as it is called.
//!
//! Names are automatic (`layer1.relu`, `layer1.relu_1`) unless an operation takes one. All methods give
//! [`Error::Operands`] when the operands do not fit, naming the path, the types and what would fit.

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::{Binary, Init, MatMul, Op, Pad, Reduce, ReduceKind, Slice, Unary};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// [`Error::Operands`].
        pub fn $name(&mut self, x: Value) -> Result<Value, Error> {
            self.unary($op, x)
        })*
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// [`Error::Operands`] when the shapes do not broadcast or the element types differ.
        pub fn $name(&mut self, a: Value, b: Value) -> Result<Value, Error> {
            self.binary($op, a, b)
        })*
    };
}

impl Graph {
    /// Adds an operation with one result under an automatic name.
    ///
    /// # Errors
    /// [`Error::Operands`], [`Error::UnknownValue`].
    pub fn op(&mut self, op: Op, operands: &[Value]) -> Result<Value, Error> {
        self.add(op, operands, "").map(|id| id.result(0))
    }

    /// A tensor given at each run.
    ///
    /// # Errors
    /// [`Error::DuplicateName`].
    pub fn input(&mut self, name: &str, dtype: DType, shape: impl Into<Shape>) -> Result<Value, Error> {
        self.add(Op::Input(TensorType::new(dtype, shape)), &[], name).map(|id| id.result(0))
    }
    /// A trainable f32 tensor.
    ///
    /// # Errors
    /// [`Error::DuplicateName`].
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Value, Error> {
        self.add(Op::Parameter(TensorType::f32(shape), init), &[], name).map(|id| id.result(0))
    }
    /// A tensor that outlives a run and is not trained.
    ///
    /// # Errors
    /// [`Error::DuplicateName`].
    pub fn buffer(&mut self, name: &str, dtype: DType, shape: impl Into<Shape>, init: Init) -> Result<Value, Error> {
        self.add(Op::Buffer(TensorType::new(dtype, shape), init), &[], name).map(|id| id.result(0))
    }
    /// A value known now.
    ///
    /// # Errors
    /// None in practice; the signature is that of every operation.
    pub fn constant(&mut self, tensor: Tensor) -> Result<Value, Error> {
        self.op(Op::Constant(tensor), &[])
    }
    /// An f32 scalar known now.
    ///
    /// # Errors
    /// As [`Graph::constant`].
    pub fn scalar(&mut self, value: f32) -> Result<Value, Error> {
        self.constant(Tensor::scalar(value))
    }

    /// A function of one number.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn unary(&mut self, op: Unary, x: Value) -> Result<Value, Error> {
        self.op(Op::Unary(op), &[x])
    }
    /// A function of two numbers, with broadcasting.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn binary(&mut self, op: Binary, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(op), &[a, b])
    }

    unary! {
        /// `-x`
        neg => Unary::Neg;
        /// `|x|`
        abs => Unary::Abs;
        /// `eˣ`
        exp => Unary::Exp;
        /// `ln x`
        log => Unary::Log;
        /// `√x`
        sqrt => Unary::Sqrt;
        /// `1/√x`
        rsqrt => Unary::Rsqrt;
        /// `max(x, 0)`
        relu => Unary::Relu;
        /// `1/(1 + e⁻ˣ)`
        sigmoid => Unary::Sigmoid;
        /// Hyperbolic tangent.
        tanh => Unary::Tanh;
        /// Exact GELU, `x·Φ(x)`.
        gelu => Unary::Gelu;
        /// `x·sigmoid(x)`
        silu => Unary::Silu;
        /// `ln(1 + eˣ)`
        softplus => Unary::Softplus;
    }
    binary! {
        /// `a + b`
        add_values => Binary::Add;
        /// `a - b`
        sub => Binary::Sub;
        /// `a · b`
        mul => Binary::Mul;
        /// `a / b`
        div => Binary::Div;
        /// The larger of both.
        maximum => Binary::Max;
        /// The smaller of both.
        minimum => Binary::Min;
        /// `a > b` as 1 or 0.
        greater => Binary::Greater;
        /// `a >= b` as 1 or 0.
        greater_equal => Binary::GreaterEqual;
        /// `a == b` as 1 or 0.
        equal => Binary::Equal;
    }

    /// `x > 0 ? x : slope·x`
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn leaky_relu(&mut self, x: Value, slope: f32) -> Result<Value, Error> {
        self.unary(Unary::LeakyRelu(slope), x)
    }
    /// Limits to `[low, high]`.
    ///
    /// # Errors
    /// [`Error::Operands`], also when `low > high`.
    pub fn clamp(&mut self, x: Value, low: f32, high: f32) -> Result<Value, Error> {
        self.unary(Unary::Clamp(low, high), x)
    }
    /// `condition != 0 ? a : b` with broadcasting.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn select(&mut self, condition: Value, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Select, &[condition, a, b])
    }
    /// Converts the element type.
    ///
    /// # Errors
    /// [`Error::UnknownValue`].
    pub fn cast(&mut self, x: Value, to: DType) -> Result<Value, Error> {
        self.op(Op::Cast(to), &[x])
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`Error::Operands`] when the numbers of elements differ.
    pub fn reshape(&mut self, x: Value, shape: impl Into<Shape>) -> Result<Value, Error> {
        self.op(Op::Reshape(shape.into()), &[x])
    }
    /// `[n, …] → [n, product]`; a scalar becomes `[1, 1]`.
    ///
    /// # Errors
    /// [`Error::UnknownValue`].
    pub fn flatten(&mut self, x: Value) -> Result<Value, Error> {
        let shape = self.expect_type(x, "flatten")?.shape;
        let first = shape.0.first().copied().unwrap_or(1);
        self.reshape(x, [first, shape.elements() / first.max(1)])
    }
    /// Permutes axes: axis `i` of the result is axis `permutation[i]` of `x`.
    ///
    /// # Errors
    /// [`Error::Operands`] for no permutation.
    pub fn transpose(&mut self, x: Value, permutation: &[usize]) -> Result<Value, Error> {
        self.op(Op::Transpose(permutation.to_vec()), &[x])
    }
    /// Stretches `x` to `shape`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn broadcast(&mut self, x: Value, shape: impl Into<Shape>) -> Result<Value, Error> {
        self.op(Op::Broadcast(shape.into()), &[x])
    }
    /// Adds a border of `value`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn pad(&mut self, x: Value, low: &[usize], high: &[usize], value: f32) -> Result<Value, Error> {
        self.op(Op::Pad(Pad { low: low.to_vec(), high: high.to_vec(), value }), &[x])
    }
    /// The box `start..stop`, every `step`-th element.
    ///
    /// # Errors
    /// [`Error::Operands`] when it is empty or leaves `x`.
    pub fn slice(&mut self, x: Value, start: &[usize], stop: &[usize], step: &[usize]) -> Result<Value, Error> {
        let extents = self.expect_type(x, "slice")?.shape.0;
        // a step beyond the end takes one element, whatever its length
        let step = step.iter().enumerate().map(|(axis, &s)| extents.get(axis).map_or(s, |&extent| s.min(extent)));
        let step = step.collect();
        self.op(Op::Slice(Slice { start: start.to_vec(), stop: stop.to_vec(), step }), &[x])
    }
    /// Joins tensors along `axis`.
    ///
    /// # Errors
    /// [`Error::Operands`] when they differ on another axis.
    pub fn concat(&mut self, values: &[Value], axis: usize) -> Result<Value, Error> {
        self.op(Op::Concat(axis), values)
    }
    /// Integer labels to rows of zeros with a one.
    ///
    /// # Errors
    /// [`Error::Operands`] unless labels are i32.
    pub fn one_hot(&mut self, labels: Value, classes: usize) -> Result<Value, Error> {
        self.op(Op::OneHot(classes), &[labels])
    }
    /// Rows of `table [n, d]` by their numbers: `ids i32[..] → [.., d]` (`torch.nn.Embedding`, Keras's `Embedding`).
    /// Ids of an input are checked when it is set; a computed one out of range gives a row of zeros.
    ///
    /// # Errors
    /// [`Error::Operands`] unless ids are i32 and the table has two axes.
    pub fn embedding(&mut self, ids: Value, table: Value) -> Result<Value, Error> {
        self.op(Op::Gather, &[table, ids])
    }

    /// Reduces over `axes` (any order).
    ///
    /// # Errors
    /// [`Error::Operands`] for axes out of range or named twice.
    pub fn reduce(&mut self, kind: ReduceKind, x: Value, axes: &[usize], keep_dims: bool) -> Result<Value, Error> {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.op(Op::Reduce(Reduce { kind, axes, keep_dims }), &[x])
    }
    /// Sum over `axes`, which disappear.
    ///
    /// # Errors
    /// As [`Graph::reduce`].
    pub fn sum(&mut self, x: Value, axes: &[usize]) -> Result<Value, Error> {
        self.reduce(ReduceKind::Sum, x, axes, false)
    }
    /// Mean over `axes`, which disappear.
    ///
    /// # Errors
    /// As [`Graph::reduce`].
    pub fn mean(&mut self, x: Value, axes: &[usize]) -> Result<Value, Error> {
        self.reduce(ReduceKind::Mean, x, axes, false)
    }
    /// Maximum over `axes`, which disappear.
    ///
    /// # Errors
    /// As [`Graph::reduce`].
    pub fn max(&mut self, x: Value, axes: &[usize]) -> Result<Value, Error> {
        self.reduce(ReduceKind::Max, x, axes, false)
    }
    /// Softmax along `axis`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn softmax(&mut self, x: Value, axis: usize) -> Result<Value, Error> {
        self.op(Op::Softmax(axis), &[x])
    }
    /// Log-softmax along `axis`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn log_softmax(&mut self, x: Value, axis: usize) -> Result<Value, Error> {
        self.op(Op::LogSoftmax(axis), &[x])
    }

    /// Matrix product over the last two axes.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn matmul(&mut self, a: Value, b: Value, attributes: MatMul) -> Result<Value, Error> {
        self.op(Op::MatMul(attributes), &[a, b])
    }
    /// `x·w + bias` with `x [n, in]`, `w [in, out]` (Keras's layout), `bias [out]`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn linear(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value, Error> {
        let y = self.matmul(x, w, MatMul::default())?;
        bias.map_or(Ok(y), |b| self.add_values(y, b))
    }
    /// `x·factor`
    pub(super) fn times(&mut self, x: Value, factor: f32) -> Result<Value, Error> {
        let factor = self.scalar(factor)?;
        self.mul(x, factor)
    }
    /// The type of an operand, or the error that names it.
    pub(crate) fn expect_type(&self, value: Value, path: &str) -> Result<TensorType, Error> {
        self.expect_value(value, path).map(|()| self.ty(value).clone())
    }
    /// `value`, which must be f32 of `shape`; `what` names it in the error of the operation `op`.
    pub(super) fn expect_shape_of(&self, value: Value, shape: &Shape, op: &str, what: &str) -> Result<(), Error> {
        let expected = TensorType::f32(shape.clone());
        if self.expect_type(value, op)? == expected {
            return Ok(());
        }
        Err(self.refused(op, &[value], format!("{what} must be {expected}")))
    }
    /// The error of an operation that is composed of others and does not take these operands.
    pub(super) fn refused(&self, op: &str, operands: &[Value], reason: String) -> Error {
        let types: Vec<String> = operands.iter().filter_map(|&v| self.value_type(v)).map(|t| t.to_string()).collect();
        Error::Operands { path: self.scoped(op), op: op.to_string(), operands: types.join(", "), reason }
    }
}
