//! Building a graph: losses, composed of simpler operations.
//!
//! ```text
//!   prediction [.., classes] ─▶ log p ─┐
//!   labels i32 [..] ─▶ one-hot rows ───┴─▶ Σ over classes ─▶ a number a row ─▶ mean, sum or none
//!   prediction, target of one shape ─────▶ a number an element ───────────────▶ mean, sum or none
//! ```

use serde::{Deserialize, Serialize};

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::{Binary, ReduceKind};
use crate::types::DType;

/// What training makes small. Whether a loss takes logits or probabilities, and labels as numbers or as rows, is
/// what other frameworks hide in names and options:
///
/// | here | the prediction is | the target is | PyTorch | Keras | TensorFlow |
/// |---|---|---|---|---|---|
/// | `CrossEntropy` | logits | i32 labels | `CrossEntropyLoss` | `SparseCategoricalCrossentropy(from_logits=True)` | `tf.nn.sparse_softmax_cross_entropy_with_logits` |
/// | `CrossEntropy` | logits | one-hot or soft rows | `CrossEntropyLoss` | `CategoricalCrossentropy(from_logits=True)` | `tf.nn.softmax_cross_entropy_with_logits` |
/// | `CategoricalCrossEntropy` | probabilities | one-hot or soft rows | `NLLLoss` of their logarithm | `CategoricalCrossentropy()` | |
/// | `CategoricalCrossEntropy` | probabilities | i32 labels | `NLLLoss` of their logarithm | `SparseCategoricalCrossentropy()` | |
/// | `Nll` | log-probabilities | i32 labels or rows | `NLLLoss` | | |
/// | `BinaryCrossEntropy` | probabilities | 0 to 1 | `BCELoss` | `BinaryCrossentropy()` | |
/// | `BinaryCrossEntropyWithLogits` | logits | 0 to 1 | `BCEWithLogitsLoss` | `BinaryCrossentropy(from_logits=True)` | `tf.nn.sigmoid_cross_entropy_with_logits` |
/// | `MeanSquaredError` | numbers | numbers | `MSELoss` | `MeanSquaredError` | `tf.compat.v1.losses.mean_squared_error` |
/// | `L1` | numbers | numbers | `L1Loss` | `MeanAbsoluteError` | `tf.compat.v1.losses.absolute_difference` |
/// | `Huber` | numbers | numbers | `HuberLoss` | `Huber` | `tf.compat.v1.losses.huber_loss` |
/// | `KlDivergence` | log-probabilities | probabilities | `KLDivLoss(reduction="batchmean")` | `KLDivergence`, of probabilities | |
///
/// So `CrossEntropyLoss` of PyTorch has the softmax in it, and `categorical_crossentropy` of Keras has not: a network
/// that ends in a softmax goes with the second, one that ends in a linear layer with the first.
///
/// Classes lie on the last axis. Labels outside of the classes are an error of the run that meets them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Loss {
    /// `-Σ target·log_softmax(x)`. A class whose logit is -∞ adds nothing where its target is 0.
    CrossEntropy {
        /// Share of the target that is spread over all classes, 0 to 1 (Szegedy et al. 2016).
        label_smoothing: f32,
    },
    /// `-Σ target·ln p`, with `p` divided by its sum and limited to `[1e-7, 1 - 1e-7]`, as Keras does.
    CategoricalCrossEntropy {
        /// As in [`Loss::CrossEntropy`].
        label_smoothing: f32,
    },
    /// `-Σ target·x` for log-probabilities `x`: minus that of the label.
    Nll,
    /// `-(t·ln p + (1 - t)·ln(1 - p))`, where the logarithm of 0 counts as -100, as in PyTorch. Its gradient there is
    /// 0, as in Keras: better train with [`Loss::BinaryCrossEntropyWithLogits`].
    BinaryCrossEntropy,
    /// The same for `p = sigmoid(x)`, as `softplus(x) - x·t`, which no logit overflows.
    BinaryCrossEntropyWithLogits,
    /// `(x - t)²`
    MeanSquaredError,
    /// `|x - t|`
    L1,
    /// `d²/2` for `d = |x - t|` up to delta, `delta·(d - delta/2)` beyond (Huber 1964).
    Huber {
        /// Where the parabola becomes a line; 1 in PyTorch and Keras.
        delta: f32,
    },
    /// `Σ t·(ln t - x)` for log-probabilities `x`; a target of 0 adds nothing.
    KlDivergence,
}

impl Loss {
    /// [`Loss::CrossEntropy`] without smoothing: of logits, PyTorch's `CrossEntropyLoss()`.
    pub fn cross_entropy() -> Loss {
        Loss::CrossEntropy { label_smoothing: 0.0 }
    }
    /// [`Loss::CategoricalCrossEntropy`] without smoothing: of probabilities, Keras's `categorical_crossentropy`.
    pub fn categorical_cross_entropy() -> Loss {
        Loss::CategoricalCrossEntropy { label_smoothing: 0.0 }
    }
}

/// What becomes of the losses of a batch. Losses over classes have one a row, the others one an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are: without the last axis for losses over classes, of the prediction's shape for others.
    None,
}

/// Rows over the classes.
struct Target {
    rows: Value,
    /// Each row is 0 but for a single 1.
    hard: bool,
}

impl Graph {
    /// A loss under its name, for a prediction and its target; see [`Loss`] for what they must be.
    ///
    /// ```
    /// use outrigger::graph::{Graph, Loss, Reduction};
    /// use outrigger::DType;
    ///
    /// # fn main() -> Result<(), outrigger::Error> {
    /// let mut g = Graph::new("classifier");
    /// let logits = g.input("logits", DType::F32, [32, 10])?;
    /// let labels = g.input("labels", DType::I32, [32])?;
    /// let loss = g.loss(Loss::CrossEntropy { label_smoothing: 0.1 }, logits, labels, Reduction::Mean)?;
    /// g.set_output("loss", loss)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Operands`] when the target does not fit the prediction: nothing broadcasts here. [`Error::Option`] for
    /// a label smoothing outside of 0 to 1 or a delta that is not positive.
    pub fn loss(&mut self, loss: Loss, prediction: Value, target: Value, reduction: Reduction) -> Result<Value, Error> {
        match loss {
            Loss::CrossEntropy { label_smoothing } => {
                let target = self.rows("cross_entropy", prediction, target)?;
                self.cross_entropy_of(prediction, target, label_smoothing, reduction)
            }
            Loss::CategoricalCrossEntropy { label_smoothing } => {
                let target = self.rows("categorical_cross_entropy", prediction, target)?;
                let target = self.smooth(target, prediction, label_smoothing)?;
                let last = self.ty(prediction).shape.rank().saturating_sub(1);
                let sum = self.reduce(ReduceKind::Sum, prediction, &[last], true)?;
                let p = self.div(prediction, sum)?;
                let p = self.clamp(p, 1e-7, 1.0 - 1e-7)?;
                let log_p = self.log(p)?;
                self.weighted(target, log_p, reduction)
            }
            Loss::Nll => {
                let target = self.rows("nll", prediction, target)?;
                self.weighted(target, prediction, reduction)
            }
            Loss::BinaryCrossEntropy => {
                self.expect_same("binary_cross_entropy", prediction, target)?;
                let one = self.scalar(1.0)?;
                let (no, rest) = (self.sub(one, prediction)?, self.sub(one, target)?);
                let (log_yes, log_no) = (self.log_or(prediction, -100.0)?, self.log_or(no, -100.0)?);
                let (yes, no) = (self.mul(target, log_yes)?, self.mul(rest, log_no)?);
                let sum = self.add_values(yes, no)?;
                let each = self.neg(sum)?;
                self.reduce_elements(each, reduction)
            }
            Loss::BinaryCrossEntropyWithLogits => {
                self.expect_same("binary_cross_entropy_with_logits", prediction, target)?;
                let softplus = self.softplus(prediction)?;
                let product = self.mul(prediction, target)?;
                let each = self.sub(softplus, product)?;
                self.reduce_elements(each, reduction)
            }
            Loss::MeanSquaredError => {
                self.expect_same("mean_squared_error", prediction, target)?;
                let difference = self.sub(prediction, target)?;
                let each = self.mul(difference, difference)?;
                self.reduce_elements(each, reduction)
            }
            Loss::L1 => {
                self.expect_same("l1", prediction, target)?;
                let difference = self.sub(prediction, target)?;
                let each = self.abs(difference)?;
                self.reduce_elements(each, reduction)
            }
            Loss::Huber { delta } => {
                self.expect_same("huber", prediction, target)?;
                if !(delta > 0.0 && delta < f32::INFINITY) {
                    let reason = format!("must be finite and above 0, got {delta}");
                    return Err(Error::Option { option: "delta".to_string(), reason });
                }
                // q·(d - q/2) with q = min(d, delta) is both branches
                let difference = self.sub(prediction, target)?;
                let d = self.abs(difference)?;
                let q = self.clamp(d, 0.0, delta)?;
                let half = self.scalar(0.5)?;
                let half_q = self.mul(q, half)?;
                let rest = self.sub(d, half_q)?;
                let each = self.mul(q, rest)?;
                self.reduce_elements(each, reduction)
            }
            Loss::KlDivergence => {
                self.expect_same("kl_divergence", prediction, target)?;
                let log_t = self.log_or(target, 0.0)?;
                let difference = self.sub(log_t, prediction)?;
                let each = self.mul(target, difference)?;
                self.reduce_rows(each, 1.0, reduction)
            }
        }
    }

    /// Mean cross-entropy of logits `[n, classes]` with integer labels `[n]`: [`Loss::CrossEntropy`], PyTorch's
    /// `CrossEntropyLoss`, Keras's `SparseCategoricalCrossentropy(from_logits=True)`. A class whose logit
    /// is -∞ adds nothing unless it is the label.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn cross_entropy(&mut self, logits: Value, labels: Value) -> Result<Value, Error> {
        let target = self.one_hot_rows("cross_entropy", logits, labels)?;
        self.cross_entropy_of(logits, target, 0.0, Reduction::Mean)
    }
    /// Mean cross-entropy of logits with one-hot or soft labels of the same shape. A class whose logit is
    /// -∞ adds nothing where the label is 0.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn soft_cross_entropy(&mut self, logits: Value, target: Value) -> Result<Value, Error> {
        self.expect_rows("cross_entropy", logits, target)?;
        self.cross_entropy_of(logits, Target { rows: target, hard: false }, 0.0, Reduction::Mean)
    }
    /// Mean binary cross-entropy of logits with targets in [0, 1]: [`Loss::BinaryCrossEntropyWithLogits`].
    ///
    /// # Errors
    /// [`Error::Operands`], also when the shapes differ: nothing broadcasts here.
    pub fn binary_cross_entropy_with_logits(&mut self, logits: Value, target: Value) -> Result<Value, Error> {
        self.loss(Loss::BinaryCrossEntropyWithLogits, logits, target, Reduction::Mean)
    }
    /// Mean squared error: [`Loss::MeanSquaredError`].
    ///
    /// # Errors
    /// [`Error::Operands`], also when the shapes differ: nothing broadcasts here.
    pub fn mean_squared_error(&mut self, prediction: Value, target: Value) -> Result<Value, Error> {
        self.loss(Loss::MeanSquaredError, prediction, target, Reduction::Mean)
    }
    /// Mean over all axes.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn mean_all(&mut self, x: Value) -> Result<Value, Error> {
        self.reduce_elements(x, Reduction::Mean)
    }

    /// `factor·Σ w²` over all elements of some parameters, to be added to a loss: Keras's `regularizers.L2(factor)` on
    /// each. PyTorch's `weight_decay` adds `weight_decay·w` to a gradient, which is a factor of half of it here.
    ///
    /// # Errors
    /// [`Error::UnknownValue`]; [`Error::Operands`] for values that are not f32.
    pub fn l2_penalty(&mut self, parameters: &[Value], factor: f32) -> Result<Value, Error> {
        self.penalty(parameters, factor, |g, w| g.mul(w, w))
    }
    /// `factor·Σ |w|` over all elements of some parameters: Keras's `regularizers.L1(factor)` on each.
    ///
    /// # Errors
    /// As [`Graph::l2_penalty`].
    pub fn l1_penalty(&mut self, parameters: &[Value], factor: f32) -> Result<Value, Error> {
        self.penalty(parameters, factor, Graph::abs)
    }
    fn penalty(
        &mut self,
        parameters: &[Value],
        factor: f32,
        each: impl Fn(&mut Graph, Value) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        let mut total = self.scalar(0.0)?;
        for &parameter in parameters {
            self.expect_type(parameter, "penalty")?;
            let cost = each(self, parameter)?;
            let sum = self.reduce_elements(cost, Reduction::Sum)?;
            total = self.add_values(total, sum)?;
        }
        self.times(total, factor)
    }

    fn cross_entropy_of(
        &mut self,
        logits: Value,
        target: Target,
        label_smoothing: f32,
        reduction: Reduction,
    ) -> Result<Value, Error> {
        let target = self.smooth(target, logits, label_smoothing)?;
        let last = self.ty(logits).shape.rank().saturating_sub(1);
        let log_p = self.log_softmax(logits, last)?;
        self.weighted(target, log_p, reduction)
    }
    /// Minus the sum of the log-probabilities over the classes, weighted with the target.
    fn weighted(&mut self, target: Target, log_p: Value, reduction: Reduction) -> Result<Value, Error> {
        // 0·(-∞) is NaN
        let each = if target.hard {
            let zero = self.scalar(0.0)?;
            self.select(target.rows, log_p, zero)?
        } else {
            // What a label of 0 is multiplied with is made finite, not left out, so that the label's own
            // gradient stays log p.
            let lowest = self.scalar(f32::MIN)?;
            let finite = self.binary(Binary::Max, log_p, lowest)?;
            let factor = self.select(target.rows, log_p, finite)?;
            self.mul(target.rows, factor)?
        };
        self.reduce_rows(each, -1.0, reduction)
    }

    /// The target of a prediction over classes, from integer labels or rows.
    fn rows(&mut self, op: &str, prediction: Value, target: Value) -> Result<Target, Error> {
        if self.expect_type(target, op)?.dtype == DType::I32 {
            return self.one_hot_rows(op, prediction, target);
        }
        self.expect_rows(op, prediction, target)?;
        Ok(Target { rows: target, hard: false })
    }
    fn one_hot_rows(&mut self, op: &str, prediction: Value, labels: Value) -> Result<Target, Error> {
        let classes = self.expect_type(prediction, op)?.shape.last();
        let rows = self.one_hot(labels, classes)?;
        self.expect_rows(op, prediction, rows)?;
        Ok(Target { rows, hard: true })
    }
    fn expect_rows(&self, op: &str, prediction: Value, rows: Value) -> Result<(), Error> {
        let ty = self.expect_type(prediction, op)?;
        if self.expect_type(rows, op)? == ty {
            return Ok(());
        }
        Err(Error::Operands {
            path: self.scoped(op),
            op: op.to_string(),
            operands: format!("{ty}, {}", self.ty(rows)),
            reason: format!("the labels must be {ty} (one-hot or soft), or i32 without the last axis"),
        })
    }
    /// `(1 - smoothing)·target + smoothing/classes`
    fn smooth(&mut self, target: Target, prediction: Value, smoothing: f32) -> Result<Target, Error> {
        if !(0.0..=1.0).contains(&smoothing) {
            let reason = format!("must be from 0 to 1, got {smoothing}");
            return Err(Error::Option { option: "label_smoothing".to_string(), reason });
        }
        if smoothing == 0.0 {
            return Ok(target);
        }
        let classes = self.ty(prediction).shape.last();
        let (kept, spread) = (self.scalar(1.0 - smoothing)?, self.scalar(smoothing / classes as f32)?);
        let rows = self.mul(target.rows, kept)?;
        Ok(Target { rows: self.add_values(rows, spread)?, hard: false })
    }

    /// `ln x`, and `floor` where x is 0.
    fn log_or(&mut self, x: Value, floor: f32) -> Result<Value, Error> {
        let (zero, one, floor) = (self.scalar(0.0)?, self.scalar(1.0)?, self.scalar(floor)?);
        let is_zero = self.equal(x, zero)?;
        // the logarithm of 0 is not even taken: its gradient would be 0·∞
        let safe = self.select(is_zero, one, x)?;
        let log = self.log(safe)?;
        self.select(is_zero, floor, log)
    }

    /// Sums over the last axis, times `sign`, and what becomes of them.
    fn reduce_rows(&mut self, each: Value, sign: f32, reduction: Reduction) -> Result<Value, Error> {
        let shape = self.expect_type(each, "loss")?.shape;
        let axes: Vec<usize> = (0..shape.rank()).collect();
        let (axes, scale) = match reduction {
            Reduction::Mean => (axes, sign / (shape.elements() / shape.last()) as f32),
            Reduction::Sum => (axes, sign),
            Reduction::None => (vec![shape.rank().saturating_sub(1)], sign),
        };
        let sum = self.sum(each, &axes)?;
        let scale = self.scalar(scale)?;
        self.mul(sum, scale)
    }
    fn reduce_elements(&mut self, each: Value, reduction: Reduction) -> Result<Value, Error> {
        let axes: Vec<usize> = (0..self.expect_type(each, "loss")?.shape.rank()).collect();
        match reduction {
            Reduction::Mean => self.mean(each, &axes),
            Reduction::Sum => self.sum(each, &axes),
            Reduction::None => Ok(each),
        }
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
