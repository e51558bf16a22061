//! Callbacks that keep the model in files.

use std::path::{Path, PathBuf};

use super::{Callback, Monitor};
use crate::error::Error;
use crate::train::model::{Logs, Model};

/// Writes the weights on the way: Keras's `ModelCheckpoint`.
///
/// ```
/// use outrigger::train::Callback;
/// use outrigger::train::callback::ModelCheckpoint;
///
/// let best = ModelCheckpoint::best("best.safetensors", "val_accuracy");
/// let every = ModelCheckpoint::every("epoch_{epoch}.safetensors", 5);
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(best), Box::new(every)];
/// ```
#[derive(Clone, Debug)]
pub struct ModelCheckpoint {
    path: String,
    when: When,
}

#[derive(Clone, Debug)]
enum When {
    Better(Monitor),
    Every(u64),
}

impl ModelCheckpoint {
    /// When a value is better than in all epochs before. `{epoch}` in the path stands for the epoch, counted from 1.
    pub fn best(path: &str, monitor: &str) -> Self {
        ModelCheckpoint { path: path.to_string(), when: When::Better(Monitor::new(monitor)) }
    }
    /// Every so many epochs.
    pub fn every(path: &str, epochs: u64) -> Self {
        ModelCheckpoint { path: path.to_string(), when: When::Every(epochs.max(1)) }
    }
}

impl Callback for ModelCheckpoint {
    fn on_epoch_end(&mut self, model: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        let due = match &mut self.when {
            When::Better(monitor) => {
                let value = monitor.value(logs)?;
                monitor.improves(value, 0.0)
            }
            When::Every(epochs) => (epoch + 1).is_multiple_of(*epochs),
        };
        if due { model.save_weights(self.path.replace("{epoch}", &(epoch + 1).to_string())) } else { Ok(()) }
    }
}

/// Keeps the whole state of training in a file after every epoch, goes on from it when [`Model::fit`] begins, and
/// deletes it when training is over: Keras's `BackupAndRestore`. A run that was broken off ends as it would have.
///
/// ```
/// use outrigger::train::Callback;
/// use outrigger::train::callback::BackupAndRestore;
///
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(BackupAndRestore::new("backup.safetensors"))];
/// ```
#[derive(Clone, Debug)]
pub struct BackupAndRestore {
    path: PathBuf,
}

impl BackupAndRestore {
    /// In this file.
    pub fn new(path: impl AsRef<Path>) -> Self {
        BackupAndRestore { path: path.as_ref().to_path_buf() }
    }
}

impl Callback for BackupAndRestore {
    fn on_train_begin(&mut self, model: &mut Model) -> Result<(), Error> {
        if self.path.exists() { model.load_checkpoint(&self.path) } else { Ok(()) }
    }
    fn on_epoch_end(&mut self, model: &mut Model, _: u64, _: &mut Logs) -> Result<(), Error> {
        model.save_checkpoint(&self.path)
    }
    fn on_train_end(&mut self, _: &mut Model) -> Result<(), Error> {
        if !self.path.exists() {
            return Ok(());
        }
        let file = self.path.display().to_string();
        std::fs::remove_file(&self.path).map_err(|source| Error::Io { file, source })
    }
}
