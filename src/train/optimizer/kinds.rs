//! The optimizers and their options, with the defaults of PyTorch; `keras_…` where Keras's differ.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Stochastic gradient descent (Polyak 1964; Sutskever et al. 2013), as `torch.optim.SGD`:
/// `d = g + weight_decay·p`, `buf = momentum·buf + (1 - dampening)·d`, at first `buf = d`, and the parameter moves by
/// `-lr·buf`, with Nesterov by `-lr·(d + momentum·buf)`. Keras's `SGD` has the rate inside its buffer, which is the
/// same while the rate stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    /// Share of the last direction that is kept; 0 needs no buffers.
    pub momentum: f64,
    /// Share of each direction but the first that the momentum leaves out.
    pub dampening: f64,
    /// Look ahead along the momentum.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
}

/// Where Adam adds epsilon. With `m̂ = m/(1 - beta1^t)` and `v̂ = v/(1 - beta2^t)`:
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpsilonMode {
    /// `lr·m̂/(√v̂ + epsilon)`: Algorithm 1 of Kingma & Ba 2015, and PyTorch.
    #[default]
    Corrected,
    /// `lr·√(1 - beta2^t)/(1 - beta1^t)·m/(√v + epsilon)`: "epsilon hat" of the same paper, section 2, and
    /// Keras. In the first steps a larger epsilon than the other form's.
    Hat,
}

/// Adam (Kingma & Ba 2015), as `torch.optim.Adam`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the squared gradient's mean.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Where it is added.
    pub epsilon_mode: EpsilonMode,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Divide by the largest mean of the squared gradient so far (Reddi et al. 2018), in one more buffer.
    pub amsgrad: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            epsilon_mode: EpsilonMode::Corrected,
            weight_decay: 0.0,
            amsgrad: false,
        }
    }
}

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW`: the parameter shrinks
/// by the factor `1 - lr·weight_decay`, and the gradient stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the squared gradient's mean.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Where it is added.
    pub epsilon_mode: EpsilonMode,
    /// Shrinks the parameter by `lr·weight_decay` of itself in each step.
    pub weight_decay: f64,
    /// As [`Adam::amsgrad`].
    pub amsgrad: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        let Adam { beta1, beta2, epsilon, epsilon_mode, amsgrad, .. } = Adam::default();
        AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay: 0.01, amsgrad }
    }
}

/// Where RMSprop and Adagrad add epsilon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpsilonPlace {
    /// `g/(√v + epsilon)`, as PyTorch.
    #[default]
    Outside,
    /// `g/√(v + epsilon)`, as Keras.
    Inside,
}

/// RMSprop (Tieleman & Hinton 2012), as `torch.optim.RMSprop`: `d = g + weight_decay·p`,
/// `v = alpha·v + (1 - alpha)·d²`, `buf = momentum·buf + d/(√v + epsilon)`, and the parameter moves by `-lr·buf`.
/// Keras's has the rate inside its buffer, which is the same while the rate stays as it is, or without momentum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RmsProp {
    /// Decay of the squared gradient's mean; Keras's `rho`.
    pub alpha: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Where it is added.
    pub epsilon_place: EpsilonPlace,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Share of the last direction that is kept; 0 needs no buffer.
    pub momentum: f64,
    /// Divide by the deviation from the gradient's mean, `√(v - mean²)` (Graves 2013), in one more buffer. Where
    /// rounding makes the difference negative it counts as 0.
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        RmsProp {
            alpha: 0.99,
            epsilon: 1e-8,
            epsilon_place: EpsilonPlace::Outside,
            weight_decay: 0.0,
            momentum: 0.0,
            centered: false,
        }
    }
}

/// Adagrad (Duchi et al. 2011), as `torch.optim.Adagrad`: `d = g + weight_decay·p`, `s = s + d²`, and in step `t`,
/// from 1, the parameter moves by `-lr/(1 + (t - 1)·lr_decay)·d/(√s + epsilon)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adagrad {
    /// How fast the learning rate falls.
    pub lr_decay: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// What the sum of squares starts with.
    pub initial_accumulator_value: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Where it is added.
    pub epsilon_place: EpsilonPlace,
}

impl Default for Adagrad {
    fn default() -> Self {
        Adagrad {
            lr_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator_value: 0.0,
            epsilon: 1e-10,
            epsilon_place: EpsilonPlace::Outside,
        }
    }
}

/// Lion (Chen et al. 2023, Algorithm 2), as `keras.optimizers.Lion`: `c = beta1·m + (1 - beta1)·g`, then
/// `m = beta2·m + (1 - beta2)·g`, and the parameter moves by `-lr·(sign(c) + weight_decay·p)`. Its learning rate is
/// a third to a tenth of Adam's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lion {
    /// Share of the gradient's mean in the direction.
    pub beta1: f64,
    /// Decay of the gradient's mean.
    pub beta2: f64,
    /// Shrinks the parameter by `lr·weight_decay` of itself in each step.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

/// How parameters follow their gradients. The learning rate is no part of it: it is the training
/// graph's input [`LEARNING_RATE`](super::LEARNING_RATE), so that schedules need no new program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// RMSprop.
    RmsProp(RmsProp),
    /// Adagrad.
    Adagrad(Adagrad),
    /// Lion.
    Lion(Lion),
}

impl Optimizer {
    /// `keras.optimizers.Adam()`: epsilon 1e-7, added as "epsilon hat".
    pub fn keras_adam() -> Self {
        Optimizer::Adam(Adam { epsilon: 1e-7, epsilon_mode: EpsilonMode::Hat, ..Adam::default() })
    }
    /// `keras.optimizers.AdamW()`: as [`Optimizer::keras_adam`], weight decay 0.004.
    pub fn keras_adamw() -> Self {
        let (epsilon, epsilon_mode) = (1e-7, EpsilonMode::Hat);
        Optimizer::AdamW(AdamW { epsilon, epsilon_mode, weight_decay: 0.004, ..AdamW::default() })
    }
    /// `keras.optimizers.RMSprop()`: rho 0.9, epsilon 1e-7 inside the root.
    pub fn keras_rmsprop() -> Self {
        let epsilon_place = EpsilonPlace::Inside;
        Optimizer::RmsProp(RmsProp { alpha: 0.9, epsilon: 1e-7, epsilon_place, ..RmsProp::default() })
    }
    /// `keras.optimizers.Adagrad()`: sums start with 0.1, epsilon 1e-7 inside the root.
    pub fn keras_adagrad() -> Self {
        let (initial_accumulator_value, epsilon_place) = (0.1, EpsilonPlace::Inside);
        Optimizer::Adagrad(Adagrad { initial_accumulator_value, epsilon: 1e-7, epsilon_place, ..Adagrad::default() })
    }

    /// The weight decay, and whether it is decoupled: a share of the parameter, and not added to the gradient.
    pub(super) fn weight_decay(&self) -> (f64, bool) {
        match *self {
            Optimizer::Sgd(Sgd { weight_decay, .. })
            | Optimizer::Adam(Adam { weight_decay, .. })
            | Optimizer::RmsProp(RmsProp { weight_decay, .. })
            | Optimizer::Adagrad(Adagrad { weight_decay, .. }) => (weight_decay, false),
            Optimizer::AdamW(AdamW { weight_decay, .. }) | Optimizer::Lion(Lion { weight_decay, .. }) => {
                (weight_decay, true)
            }
        }
    }

    /// Refuses values for which the formulas make no sense.
    pub(super) fn check(&self) -> Result<(), Error> {
        let (decays, mut magnitudes) = match *self {
            Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => {
                if nesterov && (momentum == 0.0 || dampening != 0.0) {
                    let reason = format!(
                        "needs a momentum such as 0.9 and no dampening, got momentum {momentum}, dampening {dampening}"
                    );
                    return Err(Error::Option { option: "nesterov".to_string(), reason });
                }
                (vec![("momentum", momentum), ("dampening", dampening)], vec![])
            }
            Optimizer::Adam(Adam { beta1, beta2, epsilon, .. })
            | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, .. }) => {
                (vec![("beta1", beta1), ("beta2", beta2)], vec![("epsilon", epsilon)])
            }
            Optimizer::RmsProp(RmsProp { alpha, epsilon, momentum, .. }) => {
                (vec![("alpha", alpha), ("momentum", momentum)], vec![("epsilon", epsilon)])
            }
            Optimizer::Adagrad(Adagrad { lr_decay, initial_accumulator_value, epsilon, .. }) => {
                let start = ("initial_accumulator_value", initial_accumulator_value);
                (vec![], vec![("lr_decay", lr_decay), start, ("epsilon", epsilon)])
            }
            Optimizer::Lion(Lion { beta1, beta2, .. }) => (vec![("beta1", beta1), ("beta2", beta2)], vec![]),
        };
        magnitudes.push(("weight_decay", self.weight_decay().0));
        decays.into_iter().try_for_each(|(option, value)| check_decay(option, value))?;
        magnitudes.into_iter().try_for_each(|(option, value)| check_magnitude(option, value))
    }
}

/// Refuses what is no number from 0 and below 1.
pub(super) fn check_decay(option: &str, value: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { refuse(option, value, "at least 0 and below 1") }
}

/// Refuses what is no finite number from 0.
pub(super) fn check_magnitude(option: &str, value: f64) -> Result<(), Error> {
    if (0.0..f64::INFINITY).contains(&value) { Ok(()) } else { refuse(option, value, "finite and at least 0") }
}

fn refuse(option: &str, value: f64, range: &str) -> Result<(), Error> {
    Err(Error::Option { option: option.to_string(), reason: format!("must be {range}, got {value}") })
}
