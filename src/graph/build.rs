//! Building a graph: one method an operation, checked as it is called.
//!
//! Names are automatic (`layer1.relu`, `layer1.relu_1`) unless an operation takes one. All methods give
//! [`Error::Operands`] when the operands do not fit, naming the path, the types and what would fit.

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::{BatchNorm, Binary, Conv2d, Init, MatMul, Op, Pad, Pool, Random, Reduce, ReduceKind, Slice, Unary};
use crate::tensor::Tensor;
use crate::types::{DType, Padding, Shape, TensorType, Window};

/// How a convolution is placed; the default is stride 1, no padding, no dilation, one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Rows, columns.
    pub stride: [usize; 2],
    /// Border handling.
    pub padding: Padding,
    /// Rows, columns.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for ConvOptions {
    fn default() -> Self {
        ConvOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 }
    }
}

/// How a pooling window is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Window, rows and columns.
    pub size: [usize; 2],
    /// Distance of windows; `None` is the window's size, as in PyTorch and Keras.
    pub stride: Option<[usize; 2]>,
    /// Border handling.
    pub padding: Padding,
    /// Whether an average counts padded zeros (see [`Pool::count_padding`]).
    pub count_padding: bool,
}

impl PoolOptions {
    /// A square window that steps by its size, without padding.
    pub fn square(size: usize) -> Self {
        PoolOptions { size: [size; 2], stride: None, padding: Padding::Valid, count_padding: true }
    }
}

/// Results of a training batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// The normalised tensor.
    pub y: Value,
    /// The batch's mean, per channel.
    pub mean: Value,
    /// `1/√(variance + epsilon)` of the batch, per channel.
    pub rstd: Value,
    /// The running mean after this batch.
    pub running_mean: Value,
    /// The running variance after this batch.
    pub running_var: Value,
}

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
        self.op(Op::Slice(Slice { start: start.to_vec(), stop: stop.to_vec(), step: step.to_vec() }), &[x])
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
    /// Convolution of `x` (NHWC) with `w` (HWIO), plus `bias [out]`.
    ///
    /// # Errors
    /// [`Error::Operands`] when channels, groups or the window do not fit.
    pub fn conv2d(&mut self, x: Value, w: Value, bias: Option<Value>, options: ConvOptions) -> Result<Value, Error> {
        let (xs, ws) = (self.expect_type(x, "conv2d")?.shape, self.expect_type(w, "conv2d")?.shape);
        let padding = [0, 1].map(|axis| {
            let window = Window {
                size: ws.0.get(axis).copied().unwrap_or(1),
                stride: options.stride[axis],
                dilation: options.dilation[axis],
            };
            options.padding.resolve(axis, xs.0.get(axis + 1).copied().unwrap_or(1), window)
        });
        let attributes = Conv2d { stride: options.stride, padding, dilation: options.dilation, groups: options.groups };
        let y = self.op(Op::Conv2d(attributes), &[x, w])?;
        bias.map_or(Ok(y), |b| self.add_values(y, b))
    }

    fn pool(&self, x: Value, options: PoolOptions) -> Result<Pool, Error> {
        let shape = self.expect_type(x, "pool")?.shape;
        let stride = options.stride.unwrap_or(options.size);
        let padding = [0, 1].map(|axis| {
            let window = Window { size: options.size[axis], stride: stride[axis], dilation: 1 };
            options.padding.resolve(axis, shape.0.get(axis + 1).copied().unwrap_or(1), window)
        });
        Ok(Pool { size: options.size, stride, padding, count_padding: options.count_padding })
    }
    /// Maximum over windows of an NHWC tensor.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn max_pool(&mut self, x: Value, options: PoolOptions) -> Result<Value, Error> {
        let pool = self.pool(x, options)?;
        self.op(Op::MaxPool(pool), &[x])
    }
    /// Mean over windows of an NHWC tensor.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn avg_pool(&mut self, x: Value, options: PoolOptions) -> Result<Value, Error> {
        let pool = self.pool(x, options)?;
        self.op(Op::AvgPool(pool), &[x])
    }
    /// Mean over all pixels: `[n, h, w, c] → [n, c]`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn global_avg_pool(&mut self, x: Value) -> Result<Value, Error> {
        self.mean(x, &[1, 2])
    }

    /// Training batch norm over all axes but the last; updates the two running buffers at the end of
    /// a run.
    ///
    /// # Errors
    /// [`Error::Operands`]; [`Error::DuplicateName`] when the running statistics already have an update.
    pub fn batch_norm(
        &mut self,
        x: Value,
        gamma: Value,
        beta: Value,
        running: [Value; 2],
        attributes: BatchNorm,
    ) -> Result<Normalized, Error> {
        let id = self.add(Op::BatchNorm(attributes), &[x, gamma, beta, running[0], running[1]], "")?;
        self.set_update(running[0], id.result(3))?;
        self.set_update(running[1], id.result(4))?;
        Ok(Normalized {
            y: id.result(0),
            mean: id.result(1),
            rstd: id.result(2),
            running_mean: id.result(3),
            running_var: id.result(4),
        })
    }
    /// Inference batch norm with given statistics.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn batch_norm_eval(
        &mut self,
        x: Value,
        gamma: Value,
        beta: Value,
        statistics: [Value; 2],
        epsilon: f32,
    ) -> Result<Value, Error> {
        self.op(Op::BatchNormEval(epsilon), &[x, gamma, beta, statistics[0], statistics[1]])
    }

    /// Uniform numbers in [0, 1) from a seed and a step (both i32 scalars).
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn random(&mut self, seed: Value, step: Value, shape: impl Into<Shape>) -> Result<Value, Error> {
        let stream = self.nodes().filter(|&id| matches!(self.node(id).op, Op::Random(_))).count() as u32;
        self.op(Op::Random(Random { shape: shape.into(), stream }), &[seed, step])
    }
    /// The graph's step counter for [`Graph::random`] and [`Graph::dropout`]: the `i32[]` buffer named
    /// [`Random::STEP`], zero at first and made by the first call. A training graph adds 1 to it in
    /// every run, so that each step draws other numbers and a resumed training the same ones.
    ///
    /// # Errors
    /// [`Error::Type`] when the name is taken by something else.
    pub fn random_step(&mut self) -> Result<Value, Error> {
        let expected = TensorType::new(DType::I32, []);
        match self.source(Random::STEP) {
            Ok(step) if matches!(self.node(step.node).op, Op::Buffer(..)) && *self.ty(step) == expected => Ok(step),
            Ok(other) => Err(Error::Type { name: Random::STEP.to_string(), expected, got: self.ty(other).clone() }),
            Err(_) => {
                self.insert(Op::Buffer(expected, Init::ZEROS), &[], Random::STEP.to_string()).map(|id| id.result(0))
            }
        }
    }
    /// Training dropout: zeroes elements with probability `rate` and scales the others by
    /// `1/(1 - rate)`. The same seed and step give the same mask, whatever the number of threads.
    ///
    /// # Errors
    /// [`Error::Operands`], also for a rate outside [0, 1).
    pub fn dropout(&mut self, x: Value, rate: f32, seed: Value, step: Value) -> Result<Value, Error> {
        let ty = self.expect_type(x, "dropout")?;
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::Operands {
                path: self.scoped("dropout"),
                op: "dropout".to_string(),
                operands: ty.to_string(),
                reason: format!("the rate must be at least 0 and below 1, got {rate}"),
            });
        }
        let uniform = self.random(seed, step, ty.shape)?;
        let rate_value = self.scalar(rate)?;
        let keep = self.greater_equal(uniform, rate_value)?;
        let scale = self.scalar(1.0 / (1.0 - rate))?;
        let mask = self.mul(keep, scale)?;
        self.mul(x, mask)
    }

    /// Mean cross-entropy of logits `[n, classes]` with integer labels `[n]`: PyTorch's
    /// `CrossEntropyLoss`, Keras's `SparseCategoricalCrossentropy(from_logits=True)`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn cross_entropy(&mut self, logits: Value, labels: Value) -> Result<Value, Error> {
        let classes = self.expect_type(logits, "cross_entropy")?.shape.last();
        let target = self.one_hot(labels, classes)?;
        self.soft_cross_entropy(logits, target)
    }
    /// Mean cross-entropy of logits with one-hot or soft labels of the same shape.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn soft_cross_entropy(&mut self, logits: Value, target: Value) -> Result<Value, Error> {
        let ty = self.expect_type(logits, "cross_entropy")?;
        let axes: Vec<usize> = (0..ty.shape.rank()).collect();
        let log_p = self.log_softmax(logits, axes.len().saturating_sub(1))?;
        if self.expect_type(target, "cross_entropy")? != ty {
            return Err(Error::Operands {
                path: self.scoped("cross_entropy"),
                op: "cross_entropy".to_string(),
                operands: format!("{ty}, {}", self.ty(target)),
                reason: format!("the labels must be {ty} (one-hot or soft), or i32 without the last axis"),
            });
        }
        let product = self.mul(target, log_p)?;
        let sum = self.sum(product, &axes)?;
        let rows = ty.shape.elements() / ty.shape.last();
        let scale = self.scalar(-1.0 / rows as f32)?;
        self.mul(sum, scale)
    }
    /// Mean binary cross-entropy of logits with targets in [0, 1]: PyTorch's `BCEWithLogitsLoss`,
    /// `mean(softplus(x) - x·t)`.
    ///
    /// # Errors
    /// [`Error::Operands`], also when the shapes differ: nothing broadcasts here.
    pub fn binary_cross_entropy(&mut self, logits: Value, target: Value) -> Result<Value, Error> {
        self.expect_same("binary_cross_entropy", logits, target)?;
        let softplus = self.softplus(logits)?;
        let product = self.mul(logits, target)?;
        let each = self.sub(softplus, product)?;
        self.mean_all(each)
    }
    /// Mean squared error.
    ///
    /// # Errors
    /// [`Error::Operands`], also when the shapes differ: nothing broadcasts here.
    pub fn mean_squared_error(&mut self, prediction: Value, target: Value) -> Result<Value, Error> {
        self.expect_same("mean_squared_error", prediction, target)?;
        let difference = self.sub(prediction, target)?;
        let square = self.mul(difference, difference)?;
        self.mean_all(square)
    }
    /// Mean over all axes.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn mean_all(&mut self, x: Value) -> Result<Value, Error> {
        let axes: Vec<usize> = (0..self.expect_type(x, "mean")?.shape.rank()).collect();
        self.mean(x, &axes)
    }

    /// `[n, 1]` against `[n]` would broadcast to `[n, n]` and train on nonsense without a word.
    fn expect_same(&self, op: &str, a: Value, b: Value) -> Result<(), Error> {
        let (a, b) = (self.expect_type(a, op)?, self.expect_type(b, op)?);
        if a == b {
            return Ok(());
        }
        Err(Error::Operands {
            path: self.scoped(op),
            op: op.to_string(),
            operands: format!("{a}, {b}"),
            reason: format!("the target must be {a}, like the prediction; reshape one of them"),
        })
    }
    /// The type of an operand, or the error that names it.
    pub(crate) fn expect_type(&self, value: Value, path: &str) -> Result<TensorType, Error> {
        self.expect_value(value, path).map(|()| self.ty(value).clone())
    }
}
