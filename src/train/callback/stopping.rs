//! Callbacks that end training.

use super::{Callback, Monitor};
use crate::error::Error;
use crate::tensor::Tensor;
use crate::train::model::{Logs, Model};
use crate::train::schedule::Mode;

/// Ends training when a value has stopped getting better: Keras's `EarlyStopping`.
///
/// ```
/// use outrigger::train::FitOptions;
/// use outrigger::train::callback::EarlyStopping;
///
/// let stopping = EarlyStopping::new("val_loss").patience(3).restore_best_weights();
/// let options = FitOptions { epochs: 100, callbacks: vec![Box::new(stopping)], ..FitOptions::default() };
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    monitor: Monitor,
    min_delta: f64,
    patience: u64,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: u64,
    waited: u64,
    weights: Option<Vec<(String, Tensor)>>,
}

impl EarlyStopping {
    /// Watches a value such as `val_loss`; which way is better follows from its name. The first epoch that is no better
    /// ends training.
    pub fn new(monitor: &str) -> Self {
        EarlyStopping {
            monitor: Monitor::new(monitor),
            min_delta: 0.0,
            patience: 0,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
            waited: 0,
            weights: None,
        }
    }
    /// Says which way is better.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        EarlyStopping { monitor: self.monitor.mode(mode), ..self }
    }
    /// How much better counts as better.
    #[must_use]
    pub fn min_delta(self, min_delta: f64) -> Self {
        EarlyStopping { min_delta, ..self }
    }
    /// Epochs without a better value after which training ends.
    #[must_use]
    pub fn patience(self, patience: u64) -> Self {
        EarlyStopping { patience, ..self }
    }
    /// A value that must be reached within the patience, or training ends with the next epoch that is no better.
    #[must_use]
    pub fn baseline(self, baseline: f64) -> Self {
        EarlyStopping { baseline: Some(baseline), ..self }
    }
    /// Gives the model the weights of the best epoch back at the end.
    #[must_use]
    pub fn restore_best_weights(self) -> Self {
        EarlyStopping { restore_best_weights: true, ..self }
    }
    /// Epochs at first that are not looked at.
    #[must_use]
    pub fn start_from_epoch(self, epoch: u64) -> Self {
        EarlyStopping { start_from_epoch: epoch, ..self }
    }
}

impl Callback for EarlyStopping {
    fn on_train_begin(&mut self, _: &mut Model) -> Result<(), Error> {
        (self.waited, self.weights) = (0, None);
        self.monitor.reset();
        Ok(())
    }
    fn on_epoch_end(&mut self, model: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        let value = self.monitor.value(logs)?;
        if epoch < self.start_from_epoch {
            return Ok(());
        }
        let improves = self.monitor.improves(value, self.min_delta);
        if self.restore_best_weights && (improves || self.weights.is_none()) {
            self.weights = Some(model.snapshot()?);
        }
        self.waited += 1;
        if improves {
            // a value that does not reach the baseline gives no more patience
            if self.baseline.is_none_or(|baseline| self.monitor.is_better(value, baseline, self.min_delta)) {
                self.waited = 0;
            }
        } else if self.waited >= self.patience && epoch > 0 {
            model.stop_training();
        }
        Ok(())
    }
    fn on_train_end(&mut self, model: &mut Model) -> Result<(), Error> {
        self.weights.take().map_or(Ok(()), |weights| model.restore_snapshot(&weights))
    }
}

/// Ends training after the batch whose loss is a NaN or an infinity: Keras's `TerminateOnNaN`.
///
/// ```
/// use outrigger::train::{Callback, callback::TerminateOnNaN};
///
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(TerminateOnNaN)];
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TerminateOnNaN;

impl Callback for TerminateOnNaN {
    fn on_batch_end(&mut self, model: &mut Model, _: usize, logs: &Logs) -> Result<(), Error> {
        if logs.get("loss").is_some_and(|loss| !loss.is_finite()) {
            model.stop_training();
        }
        Ok(())
    }
}
