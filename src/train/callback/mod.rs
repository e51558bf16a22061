//! What happens on the way of [`Model::fit`](super::Model::fit), besides training.

mod average;
mod files;
mod logs;
mod monitor;
mod rate;
mod stopping;

pub use average::SwapEMAWeights;
pub use files::{BackupAndRestore, ModelCheckpoint};
pub use logs::{CsvLog, TensorBoard};
pub use monitor::Monitor;
pub use rate::{LearningRateMonitor, LearningRateScheduler, ReduceLROnPlateau};
pub use stopping::{EarlyStopping, TerminateOnNaN};

use super::model::{Logs, Model};
use crate::error::Error;

/// Something that is told how training goes, and may act on the model. Epochs count from 0, batches of an epoch from 1.
///
/// ```
/// use outrigger::Error;
/// use outrigger::train::{Callback, Logs, Model};
///
/// /// Stops when the loss is small.
/// struct Enough(f64);
///
/// impl Callback for Enough {
///     fn on_epoch_end(&mut self, model: &mut Model, _: u64, logs: &mut Logs) -> Result<(), Error> {
///         if logs.get("loss").is_some_and(|loss| loss < self.0) {
///             model.stop_training();
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Callback {
    /// Before the first epoch.
    ///
    /// # Errors
    /// Ends training; so do those of the other methods.
    fn on_train_begin(&mut self, model: &mut Model) -> Result<(), Error> {
        let _ = model;
        Ok(())
    }
    /// Before an epoch.
    ///
    /// # Errors
    /// As [`Callback::on_train_begin`].
    fn on_epoch_begin(&mut self, model: &mut Model, epoch: u64) -> Result<(), Error> {
        let _ = (model, epoch);
        Ok(())
    }
    /// After a batch; `logs` are the means of the epoch so far.
    ///
    /// # Errors
    /// As [`Callback::on_train_begin`].
    fn on_batch_end(&mut self, model: &mut Model, batch: usize, logs: &Logs) -> Result<(), Error> {
        let _ = (model, batch, logs);
        Ok(())
    }
    /// Before the validation of an epoch.
    ///
    /// # Errors
    /// As [`Callback::on_train_begin`].
    fn on_test_begin(&mut self, model: &mut Model) -> Result<(), Error> {
        let _ = model;
        Ok(())
    }
    /// After the validation of an epoch.
    ///
    /// # Errors
    /// As [`Callback::on_train_begin`].
    fn on_test_end(&mut self, model: &mut Model) -> Result<(), Error> {
        let _ = model;
        Ok(())
    }
    /// After an epoch and its validation; what is added to `logs` is shown and kept in the history.
    ///
    /// # Errors
    /// As [`Callback::on_train_begin`].
    fn on_epoch_end(&mut self, model: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        let _ = (model, epoch, logs);
        Ok(())
    }
    /// After the last epoch.
    ///
    /// # Errors
    /// As [`Callback::on_train_begin`].
    fn on_train_end(&mut self, model: &mut Model) -> Result<(), Error> {
        let _ = model;
        Ok(())
    }
}
