//! An optimizer with its learning rate, groups and averages: what Keras and PyTorch call an optimizer.

use serde::{Deserialize, Serialize};

use crate::error::Error;

use super::kinds::check_magnitude;
use super::{Adagrad, Adam, AdamW, Lion, Optimizer, ParameterGroup, RmsProp, Sgd, TrainingOptions};

/// An optimizer as a [`Model`](crate::train::Model) takes it.
///
/// ```
/// use outrigger::train::optimizer::{ParameterGroup, Sgd, Tuned};
///
/// let head = ParameterGroup { lr_scale: 10.0, ..ParameterGroup::new("fc.*") };
/// let tuned: Tuned = Sgd { momentum: 0.9, ..Sgd::default() }.lr(0.01).group(head).ema(0.999);
/// assert_eq!(tuned.lr, 0.01);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub lr: f64,
    /// As [`TrainingOptions::groups`].
    pub groups: Vec<ParameterGroup>,
    /// As [`TrainingOptions::ema`].
    pub ema: Option<f64>,
}

impl Tuned {
    /// Adds parameters with a rate or weight decay of their own; the first group that holds a parameter counts.
    #[must_use]
    pub fn group(mut self, group: ParameterGroup) -> Tuned {
        self.groups.push(group);
        self
    }
    /// Keeps an exponential moving average of every parameter, with this decay.
    #[must_use]
    pub fn ema(self, decay: f64) -> Tuned {
        Tuned { ema: Some(decay), ..self }
    }
    /// Refuses numbers that make no sense, and a group that fits none of a network's `states`.
    pub(in crate::train) fn check(&self, states: &[&str]) -> Result<(), Error> {
        check_magnitude("lr", self.lr)?;
        self.training().check(states)
    }
    /// What a training graph is made with.
    pub(in crate::train) fn training(&self) -> TrainingOptions {
        let (optimizer, groups, ema) = (self.optimizer, self.groups.clone(), self.ema);
        TrainingOptions { optimizer, groups, ema, gradient_outputs: false }
    }
}

impl Optimizer {
    /// The optimizer with a learning rate.
    pub fn lr(self, lr: f64) -> Tuned {
        Tuned { optimizer: self, lr, groups: Vec::new(), ema: None }
    }
    /// The learning rate that PyTorch starts with, Lion's that of its paper.
    pub fn default_lr(&self) -> f64 {
        match self {
            Optimizer::Adam(_) | Optimizer::AdamW(_) => 1e-3,
            Optimizer::Sgd(_) | Optimizer::RmsProp(_) | Optimizer::Adagrad(_) => 1e-2,
            Optimizer::Lion(_) => 1e-4,
        }
    }
}

impl From<Optimizer> for Tuned {
    fn from(optimizer: Optimizer) -> Tuned {
        optimizer.lr(optimizer.default_lr())
    }
}

macro_rules! tuned {
    ($($name:ident($kind:ident))*) => {
        $(
            impl $name {
                /// The optimizer with a learning rate.
                pub fn lr(self, lr: f64) -> Tuned {
                    Optimizer::$kind(self).lr(lr)
                }
            }
            impl From<$name> for Optimizer {
                fn from(options: $name) -> Optimizer {
                    Optimizer::$kind(options)
                }
            }
            impl From<$name> for Tuned {
                fn from(options: $name) -> Tuned {
                    Optimizer::$kind(options).into()
                }
            }
        )*
    };
}

tuned! { Sgd(Sgd) Adam(Adam) AdamW(AdamW) RmsProp(RmsProp) Adagrad(Adagrad) Lion(Lion) }
