//! Building a graph: random numbers, dropout and losses, composed of simpler operations.

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::{Binary, Init, Op, Random};
use crate::types::{DType, Shape, TensorType};

impl Graph {
    /// Uniform numbers in [0, 1) from a seed and a step (both i32 scalars).
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn random(&mut self, seed: Value, step: Value, shape: impl Into<Shape>) -> Result<Value, Error> {
        let next = |id| match &self.node(id).op {
            Op::Random(random) => random.stream.wrapping_add(1),
            _ => 0,
        };
        let stream = self.nodes().map(next).max().unwrap_or(0);
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
    /// `CrossEntropyLoss`, Keras's `SparseCategoricalCrossentropy(from_logits=True)`. A class whose logit
    /// is -∞ adds nothing unless it is the label.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn cross_entropy(&mut self, logits: Value, labels: Value) -> Result<Value, Error> {
        let classes = self.expect_type(logits, "cross_entropy")?.shape.last();
        let target = self.one_hot(labels, classes)?;
        let log_p = self.target_log_softmax(logits, target)?;
        // a select and no product: 0·(-∞) is NaN
        let zero = self.scalar(0.0)?;
        let each = self.select(target, log_p, zero)?;
        self.mean_of_rows(each)
    }
    /// Mean cross-entropy of logits with one-hot or soft labels of the same shape. A class whose logit is
    /// -∞ adds nothing where the label is 0.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn soft_cross_entropy(&mut self, logits: Value, target: Value) -> Result<Value, Error> {
        let log_p = self.target_log_softmax(logits, target)?;
        // 0·(-∞) is NaN. What a label of 0 is multiplied with is made finite, not left out, so that the
        // label's own gradient stays log p.
        let lowest = self.scalar(f32::MIN)?;
        let finite = self.binary(Binary::Max, log_p, lowest)?;
        let factor = self.select(target, log_p, finite)?;
        let each = self.mul(target, factor)?;
        self.mean_of_rows(each)
    }
    /// The log-softmax of logits over the last axis, for targets that must be of the same type.
    fn target_log_softmax(&mut self, logits: Value, target: Value) -> Result<Value, Error> {
        let ty = self.expect_type(logits, "cross_entropy")?;
        let log_p = self.log_softmax(logits, ty.shape.rank().saturating_sub(1))?;
        if self.expect_type(target, "cross_entropy")? != ty {
            return Err(Error::Operands {
                path: self.scoped("cross_entropy"),
                op: "cross_entropy".to_string(),
                operands: format!("{ty}, {}", self.ty(target)),
                reason: format!("the labels must be {ty} (one-hot or soft), or i32 without the last axis"),
            });
        }
        Ok(log_p)
    }
    /// Minus the sum of all elements, divided by the number of rows.
    fn mean_of_rows(&mut self, each: Value) -> Result<Value, Error> {
        let shape = self.expect_type(each, "cross_entropy")?.shape;
        let axes: Vec<usize> = (0..shape.rank()).collect();
        let sum = self.sum(each, &axes)?;
        let scale = self.scalar(-1.0 / (shape.elements() / shape.last()) as f32)?;
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
}
