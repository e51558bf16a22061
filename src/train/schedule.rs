//! Learning-rate schedules: plain values that say the rate of a time, under PyTorch's names.
//!
//! The time `t` counts from 0 whatever a schedule is to follow: epochs, as `scheduler.step()` once an epoch in PyTorch,
//! or steps. Every formula is PyTorch's closed form for `t` calls of `step`, in f64. [`ReduceLROnPlateau`] follows a
//! metric instead and has a state.
//!
//! ```text
//!   StepLR  ▔▔▔▁▁▁    CosineAnnealingLR  ▔╲▁    OneCycleLR  ╱▔╲▁    .warmup(n)  ╱ and then the rest
//! ```

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// A learning rate that follows the time. Closures from `u64` to `f64` are schedules too: PyTorch's `LambdaLR`.
///
/// ```
/// use outrigger::train::schedule::{CosineAnnealingLR, Schedule};
///
/// // five epochs from a tenth of the rate to the whole of it, then a cosine over 95
/// let schedule = CosineAnnealingLR { lr: 0.1, t_max: 95, eta_min: 0.0 }.warmup(5, 0.1);
/// assert_eq!([0, 5, 100].map(|epoch| schedule.rate(epoch)), [0.1 * 0.1, 0.1, 0.0]);
///
/// let mine = |epoch: u64| 0.1 / (1 + epoch) as f64;
/// assert_eq!(mine.rate(4), 0.02);
/// ```
pub trait Schedule {
    /// The rate at the time `t`, from 0.
    fn rate(&self, t: u64) -> f64;

    /// A linear rise before it: `steps` times from `start_factor` of the schedule's first rate up to it, then the
    /// schedule from its beginning. PyTorch's `SequentialLR` of a `LinearLR` and this.
    fn warmup(self, steps: u64, start_factor: f64) -> Warmup<Self>
    where
        Self: Sized,
    {
        Warmup { steps, start_factor, then: self }
    }
}

impl<F: Fn(u64) -> f64> Schedule for F {
    fn rate(&self, t: u64) -> f64 {
        self(t)
    }
}

/// The same rate at all times: `ConstantLR` with the factor 1.
///
/// ```
/// use outrigger::train::schedule::{ConstantLR, Schedule};
///
/// let schedule = ConstantLR { lr: 0.1 };
/// let expected = [0.1, 0.1];
/// assert!([0, 99].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConstantLR {
    /// The rate.
    pub lr: f64,
}

impl Schedule for ConstantLR {
    fn rate(&self, _: u64) -> f64 {
        self.lr
    }
}

/// `lr·gamma^⌊t/step_size⌋`
///
/// ```
/// use outrigger::train::schedule::{Schedule, StepLR};
///
/// let schedule = StepLR { lr: 0.1, step_size: 20, gamma: 0.5 };
/// let expected = [0.1, 0.1, 0.05, 0.025];
/// assert!([0, 19, 20, 40].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLR {
    /// The first rate.
    pub lr: f64,
    /// Times between two changes; 0 keeps the rate.
    pub step_size: u64,
    /// Factor of each change; 0.1 in PyTorch.
    pub gamma: f64,
}

impl Schedule for StepLR {
    fn rate(&self, t: u64) -> f64 {
        self.lr * self.gamma.powf(t.checked_div(self.step_size).unwrap_or(0) as f64)
    }
}

/// `lr·gammaⁿ` after `n` of the milestones.
///
/// ```
/// use outrigger::train::schedule::{MultiStepLR, Schedule};
///
/// let schedule = MultiStepLR { lr: 0.1, milestones: vec![30, 80], gamma: 0.1 };
/// let expected = [0.1, 0.01, 0.001];
/// assert!([29, 30, 80].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultiStepLR {
    /// The first rate.
    pub lr: f64,
    /// Times of a change, in any order; one that is named twice counts twice.
    pub milestones: Vec<u64>,
    /// Factor of each change; 0.1 in PyTorch.
    pub gamma: f64,
}

impl Schedule for MultiStepLR {
    fn rate(&self, t: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&at| at <= t).count();
        self.lr * self.gamma.powf(passed as f64)
    }
}

/// `lr·gamma^t`
///
/// ```
/// use outrigger::train::schedule::{ExponentialLR, Schedule};
///
/// let schedule = ExponentialLR { lr: 0.1, gamma: 0.9 };
/// let expected = [0.1, 0.09, 0.081];
/// assert!([0, 1, 2].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExponentialLR {
    /// The first rate.
    pub lr: f64,
    /// Factor of each time.
    pub gamma: f64,
}

impl Schedule for ExponentialLR {
    fn rate(&self, t: u64) -> f64 {
        self.lr * self.gamma.powf(t as f64)
    }
}

/// `eta_min + (lr - eta_min)·(1 + cos(π·t/t_max))/2` (Loshchilov & Hutter 2017). After `t_max` it rises again, as in
/// PyTorch.
///
/// ```
/// use outrigger::train::schedule::{CosineAnnealingLR, Schedule};
///
/// let schedule = CosineAnnealingLR { lr: 0.1, t_max: 10, eta_min: 0.0 };
/// let expected = [0.1, 0.05, 0.0];
/// assert!([0, 5, 10].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CosineAnnealingLR {
    /// The first rate.
    pub lr: f64,
    /// Time of the lowest rate; 0 counts as 1.
    pub t_max: u64,
    /// The lowest rate; 0 in PyTorch.
    pub eta_min: f64,
}

impl Schedule for CosineAnnealingLR {
    fn rate(&self, t: u64) -> f64 {
        between(self.lr, self.eta_min, t as f64 / self.t_max.max(1) as f64)
    }
}

/// `lr·(1 - t/total_iters)^power`, and 0 after `total_iters`.
///
/// ```
/// use outrigger::train::schedule::{PolynomialLR, Schedule};
///
/// let schedule = PolynomialLR { lr: 0.1, total_iters: 10, power: 2.0 };
/// let expected = [0.1, 0.025, 0.0, 0.0];
/// assert!([0, 5, 10, 11].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolynomialLR {
    /// The first rate.
    pub lr: f64,
    /// Time at which the rate is 0; 5 in PyTorch.
    pub total_iters: u64,
    /// 1 is a straight line, PyTorch's default.
    pub power: f64,
}

impl Schedule for PolynomialLR {
    fn rate(&self, t: u64) -> f64 {
        let left = self.total_iters.saturating_sub(t) as f64 / self.total_iters.max(1) as f64;
        if t >= self.total_iters { 0.0 } else { self.lr * left.powf(self.power) }
    }
}

/// Up to a large rate and down to a tiny one, a cosine each way (Smith & Topin 2019). Its time counts steps, not
/// epochs. The cycled momentum of PyTorch's class is not part of it: the momentum belongs to the optimizer.
///
/// ```
/// use outrigger::train::schedule::{OneCycleLR, Schedule};
///
/// let schedule = OneCycleLR::new(0.1, 100);
/// let expected = [0.004, 0.1, 4e-7];
/// assert!([0, 29, 99].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneCycleLR {
    /// The largest rate.
    pub max_lr: f64,
    /// Steps of the whole cycle. Later ones have the last rate.
    pub total_steps: u64,
    /// Share of the cycle that rises.
    pub pct_start: f64,
    /// The first rate is the largest divided by this.
    pub div_factor: f64,
    /// The last rate is the first divided by this.
    pub final_div_factor: f64,
}

impl OneCycleLR {
    /// PyTorch's defaults: a rise over 0.3 of the cycle from a 25th of the rate, and down to a ten-thousandth of that.
    pub fn new(max_lr: f64, total_steps: u64) -> Self {
        OneCycleLR { max_lr, total_steps, pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4 }
    }
}

impl Schedule for OneCycleLR {
    fn rate(&self, t: u64) -> f64 {
        let first = self.max_lr / self.div_factor;
        let last = first / self.final_div_factor;
        let end = self.total_steps.saturating_sub(1) as f64;
        let peak = self.pct_start * self.total_steps as f64 - 1.0;
        let t = (t as f64).min(end);
        if t <= peak && peak > 0.0 {
            between(first, self.max_lr, t / peak)
        } else {
            let fall = end - peak;
            between(self.max_lr, last, if fall > 0.0 { (t - peak) / fall } else { 1.0 })
        }
    }
}

/// A linear rise, then another schedule; see [`Schedule::warmup`].
///
/// ```
/// use outrigger::train::schedule::{Schedule, StepLR};
///
/// let schedule = StepLR { lr: 0.1, step_size: 10, gamma: 0.1 }.warmup(4, 0.5);
/// let expected = [0.05, 0.075, 0.1, 0.01];
/// assert!([0, 2, 4, 14].map(|t| schedule.rate(t)).iter().zip(expected).all(|(rate, e)| (rate - e).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warmup<S> {
    /// Times of the rise.
    pub steps: u64,
    /// Where it starts, as a share of the first rate of `then`; a third in PyTorch.
    pub start_factor: f64,
    /// What comes after it.
    pub then: S,
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn rate(&self, t: u64) -> f64 {
        if t >= self.steps {
            return self.then.rate(t - self.steps);
        }
        let share = t as f64 / self.steps as f64;
        self.then.rate(0) * (self.start_factor + (1.0 - self.start_factor) * share)
    }
}

/// From `a` at 0 to `b` at 1, along half a cosine.
fn between(a: f64, b: f64, share: f64) -> f64 {
    b + (a - b) * (1.0 + (PI * share).cos()) / 2.0
}

/// Whether a metric should fall or rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// As a loss.
    #[default]
    Min,
    /// As an accuracy.
    Max,
}

/// What [`PlateauOptions::threshold`] is a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThresholdMode {
    /// Of the best metric.
    #[default]
    Rel,
    /// Of 1. Keras's `min_delta`.
    Abs,
}

/// Options of [`ReduceLROnPlateau`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauOptions {
    /// Which way is better.
    pub mode: Mode,
    /// What the rate is multiplied with.
    pub factor: f64,
    /// Epochs without a better metric that are waited for; the next one lowers the rate. Keras counts one less.
    pub patience: u64,
    /// How much better is better.
    pub threshold: f64,
    /// What that is a share of.
    pub threshold_mode: ThresholdMode,
    /// Epochs after a change that do not count.
    pub cooldown: u64,
    /// The rate does not fall below this.
    pub min_lr: f64,
    /// A smaller change than this is not made.
    pub eps: f64,
}

impl Default for PlateauOptions {
    fn default() -> Self {
        PlateauOptions {
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
        }
    }
}

/// Lowers the rate when a metric has stopped getting better: `torch.optim.lr_scheduler.ReduceLROnPlateau`.
///
/// ```
/// use outrigger::train::schedule::{PlateauOptions, ReduceLROnPlateau};
///
/// let mut plateau = ReduceLROnPlateau::new(0.1, PlateauOptions { patience: 1, factor: 0.5, ..Default::default() });
/// let rates = [1.0, 0.9, 0.9, 0.9, 0.9].map(|loss| plateau.step(loss));
/// assert_eq!(rates, [0.1, 0.1, 0.1, 0.05, 0.05]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReduceLROnPlateau {
    options: PlateauOptions,
    lr: f64,
    /// None before the first metric that is a number.
    best: Option<f64>,
    bad_epochs: u64,
    cooldown: u64,
}

impl ReduceLROnPlateau {
    /// Starts with the rate `lr`.
    pub fn new(lr: f64, options: PlateauOptions) -> Self {
        ReduceLROnPlateau { options, lr, best: None, bad_epochs: 0, cooldown: 0 }
    }
    /// The rate now.
    pub fn rate(&self) -> f64 {
        self.lr
    }
    /// Takes the metric of an epoch and returns the rate for the next one. NaN is no better than anything.
    pub fn step(&mut self, metric: f64) -> f64 {
        if self.is_better(metric) {
            self.best = Some(metric);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.bad_epochs = 0;
        }
        if self.bad_epochs > self.options.patience {
            let lower = (self.lr * self.options.factor).max(self.options.min_lr);
            if self.lr - lower > self.options.eps {
                self.lr = lower;
            }
            self.cooldown = self.options.cooldown;
            self.bad_epochs = 0;
        }
        self.lr
    }

    fn is_better(&self, metric: f64) -> bool {
        let Some(best) = self.best else { return !metric.is_nan() };
        let PlateauOptions { mode, threshold, threshold_mode, .. } = self.options;
        match (mode, threshold_mode) {
            (Mode::Min, ThresholdMode::Rel) => metric < best * (1.0 - threshold),
            (Mode::Min, ThresholdMode::Abs) => metric < best - threshold,
            (Mode::Max, ThresholdMode::Rel) => metric > best * (1.0 + threshold),
            (Mode::Max, ThresholdMode::Abs) => metric > best + threshold,
        }
    }
}
