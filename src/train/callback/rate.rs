//! Callbacks about the learning rate.

use super::{Callback, Monitor};
use crate::error::Error;
use crate::train::log::higher_is_better;
use crate::train::model::{Logs, Model};
use crate::train::schedule::{self, Mode, PlateauOptions, Schedule};

/// The name under which rates are logged.
const RATE: &str = "learning_rate";

/// Sets the rate by a schedule: Keras's `LearningRateScheduler`, PyTorch's `scheduler.step()`.
///
/// ```
/// use outrigger::train::Callback;
/// use outrigger::train::callback::LearningRateScheduler;
/// use outrigger::train::schedule::{OneCycleLR, StepLR};
///
/// let steps = LearningRateScheduler::epochs(StepLR { lr: 1e-3, step_size: 20, gamma: 1.0 / 3.0 });
/// let cycle = LearningRateScheduler::batches(OneCycleLR::new(0.01, 24 * 38));
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(steps)];
/// ```
pub struct LearningRateScheduler {
    schedule: Box<dyn Schedule>,
    every_batch: bool,
}

impl LearningRateScheduler {
    /// The time of the schedule counts epochs.
    pub fn epochs(schedule: impl Schedule + 'static) -> Self {
        LearningRateScheduler { schedule: Box::new(schedule), every_batch: false }
    }
    /// The time of the schedule counts optimizer steps.
    pub fn batches(schedule: impl Schedule + 'static) -> Self {
        LearningRateScheduler { schedule: Box::new(schedule), every_batch: true }
    }
}

impl Callback for LearningRateScheduler {
    fn on_epoch_begin(&mut self, model: &mut Model, epoch: u64) -> Result<(), Error> {
        let time = if self.every_batch { model.steps() } else { epoch };
        model.set_learning_rate(self.schedule.rate(time))
    }
    fn on_batch_end(&mut self, model: &mut Model, _: usize, _: &Logs) -> Result<(), Error> {
        if self.every_batch { model.set_learning_rate(self.schedule.rate(model.steps())) } else { Ok(()) }
    }
    fn on_epoch_end(&mut self, model: &mut Model, _: u64, logs: &mut Logs) -> Result<(), Error> {
        logs.set(RATE, model.learning_rate()?);
        Ok(())
    }
}

/// Lowers the rate when a value has stopped getting better: Keras's callback and PyTorch's scheduler of this name.
///
/// ```
/// use outrigger::train::Callback;
/// use outrigger::train::callback::ReduceLROnPlateau;
/// use outrigger::train::schedule::PlateauOptions;
///
/// let plateau = ReduceLROnPlateau::new("val_loss", PlateauOptions { patience: 3, ..PlateauOptions::default() });
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(plateau)];
/// ```
pub struct ReduceLROnPlateau {
    monitor: Monitor,
    options: PlateauOptions,
    plateau: Option<schedule::ReduceLROnPlateau>,
}

impl ReduceLROnPlateau {
    /// Watches a value such as `val_loss`. Which way is better follows from its name
    /// ([`higher_is_better`](crate::train::log::higher_is_better)), whatever the options say.
    pub fn new(monitor: &str, options: PlateauOptions) -> Self {
        let mode = if higher_is_better(monitor) { Mode::Max } else { Mode::Min };
        ReduceLROnPlateau { monitor: Monitor::new(monitor), options, plateau: None }.mode(mode)
    }
    /// Says which way is better, where it does not follow from the value's name.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.options.mode = mode;
        self
    }
}

impl Callback for ReduceLROnPlateau {
    fn on_train_begin(&mut self, model: &mut Model) -> Result<(), Error> {
        self.plateau = Some(schedule::ReduceLROnPlateau::new(model.learning_rate()?, self.options));
        Ok(())
    }
    fn on_epoch_end(&mut self, model: &mut Model, _: u64, logs: &mut Logs) -> Result<(), Error> {
        let value = self.monitor.value(logs)?;
        logs.set(RATE, model.learning_rate()?);
        match &mut self.plateau {
            Some(plateau) => model.set_learning_rate(plateau.step(value)),
            None => Ok(()),
        }
    }
}

/// Adds the rate of each epoch to its logs, as `learning_rate`: Lightning's callback of this name.
///
/// ```
/// use outrigger::train::{Callback, callback::LearningRateMonitor};
///
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(LearningRateMonitor)];
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LearningRateMonitor;

impl Callback for LearningRateMonitor {
    fn on_epoch_end(&mut self, model: &mut Model, _: u64, logs: &mut Logs) -> Result<(), Error> {
        logs.set(RATE, model.learning_rate()?);
        Ok(())
    }
}
