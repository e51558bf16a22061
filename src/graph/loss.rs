//! Losses by name: what each computes, what it takes, and what other frameworks call it. Their graphs are in `losses`.

use serde::{Deserialize, Serialize};

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
///
/// The examples call [`reference::loss`](crate::reference::loss), which gives the mean of a loss over tensors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Loss {
    /// `-Σ target·log_softmax(x)`. A class whose logit is -∞ adds nothing where its target is 0.
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// // a label, or the same as a row
    /// let logits = Tensor::f32([1, 3], vec![2.0, 0.0, 0.0])?;
    /// let loss = reference::loss(Loss::cross_entropy(), &logits, &Tensor::i32([1], vec![0])?)?;
    /// assert!((loss - (2.0 * (-2.0_f64).exp()).ln_1p()).abs() < 1e-6);
    /// let row = Tensor::f32([1, 3], vec![1.0, 0.0, 0.0])?;
    /// assert!((loss - reference::loss(Loss::cross_entropy(), &logits, &row)?).abs() < 1e-12);
    /// // a tenth of the target is spread over the three classes: the two others cost 2 more
    /// let smooth = Loss::CrossEntropy { label_smoothing: 0.1 };
    /// let smoothed = reference::loss(smooth, &logits, &row)?;
    /// assert!((smoothed - (loss + 2.0 * 2.0 * 0.1 / 3.0)).abs() < 1e-6);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    CrossEntropy {
        /// Share of the target that is spread over all classes, 0 to 1 (Szegedy et al. 2016).
        label_smoothing: f32,
    },
    /// `-Σ target·ln p`, with `p` divided by its sum and limited to `[1e-7, 1 - 1e-7]`, as Keras does.
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let probabilities = Tensor::f32([2, 2], vec![0.25, 0.75, 0.5, 0.5])?;
    /// let one_hot = Tensor::f32([2, 2], vec![0.0, 1.0, 1.0, 0.0])?;
    /// let loss = reference::loss(Loss::categorical_cross_entropy(), &probabilities, &one_hot)?;
    /// assert!((loss + (0.75_f64.ln() + 0.5_f64.ln()) / 2.0).abs() < 1e-6);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    CategoricalCrossEntropy {
        /// As in [`Loss::CrossEntropy`].
        label_smoothing: f32,
    },
    /// `-Σ target·x` for log-probabilities `x`: minus that of the label.
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let log_p = Tensor::f32([1, 3], vec![-1.5, -0.5, -2.0])?;
    /// assert_eq!(reference::loss(Loss::Nll, &log_p, &Tensor::i32([1], vec![1])?)?, 0.5);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Nll,
    /// `-(t·ln p + (1 - t)·ln(1 - p))`, where the logarithm of 0 counts as -100, as in PyTorch. Its gradient there is
    /// 0, as in Keras: better train with [`Loss::BinaryCrossEntropyWithLogits`].
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let (p, t) = (Tensor::f32([2, 1], vec![0.75, 0.5])?, Tensor::f32([2, 1], vec![1.0, 0.0])?);
    /// let loss = reference::loss(Loss::BinaryCrossEntropy, &p, &t)?;
    /// assert!((loss + (0.75_f64.ln() + 0.5_f64.ln()) / 2.0).abs() < 1e-6);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    BinaryCrossEntropy,
    /// The same for `p = sigmoid(x)`, as `softplus(x) - x·t`, which no logit overflows.
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let (x, t) = (Tensor::f32([2, 1], vec![0.0, 500.0])?, Tensor::f32([2, 1], vec![1.0, 0.0])?);
    /// let loss = reference::loss(Loss::BinaryCrossEntropyWithLogits, &x, &t)?;
    /// assert!((loss - (2.0_f64.ln() + 500.0) / 2.0).abs() < 1e-4);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    BinaryCrossEntropyWithLogits,
    /// `(x - t)²`
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let (x, t) = (Tensor::f32([2], vec![1.0, 4.0])?, Tensor::f32([2], vec![0.5, 1.0])?);
    /// assert_eq!(reference::loss(Loss::MeanSquaredError, &x, &t)?, (0.25 + 9.0) / 2.0);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    MeanSquaredError,
    /// `|x - t|`
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let (x, t) = (Tensor::f32([2], vec![1.0, 4.0])?, Tensor::f32([2], vec![0.5, 1.0])?);
    /// assert_eq!(reference::loss(Loss::L1, &x, &t)?, (0.5 + 3.0) / 2.0);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    L1,
    /// `d²/2` for `d = |x - t|` up to delta, `delta·(d - delta/2)` beyond (Huber 1964).
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let (x, t) = (Tensor::f32([2], vec![1.0, 4.0])?, Tensor::f32([2], vec![0.5, 1.0])?);
    /// assert_eq!(reference::loss(Loss::Huber { delta: 1.0 }, &x, &t)?, (0.125 + 2.5) / 2.0);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Huber {
        /// Where the parabola becomes a line; 1 in PyTorch and Keras.
        delta: f32,
    },
    /// `Σ t·(ln t - x)` for log-probabilities `x`; a target of 0 adds nothing.
    ///
    /// ```
    /// # use outrigger::{Tensor, graph::Loss, reference};
    /// let log_q = Tensor::f32([1, 2], vec![0.5_f32.ln(), 0.5_f32.ln()])?;
    /// let p = Tensor::f32([1, 2], vec![1.0, 0.0])?;
    /// assert!((reference::loss(Loss::KlDivergence, &log_q, &p)? - 2.0_f64.ln()).abs() < 1e-6);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
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
    /// Whether the last axis of the prediction lists classes, so that labels may be given as numbers of classes. Other
    /// losses compare element by element.
    pub fn is_over_classes(self) -> bool {
        match self {
            Loss::CrossEntropy { .. } | Loss::CategoricalCrossEntropy { .. } | Loss::Nll => true,
            Loss::BinaryCrossEntropy
            | Loss::BinaryCrossEntropyWithLogits
            | Loss::MeanSquaredError
            | Loss::L1
            | Loss::Huber { .. }
            | Loss::KlDivergence => false,
        }
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
