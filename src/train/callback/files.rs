//! Callbacks that keep the model in files.

use std::path::{Path, PathBuf};

use super::{Callback, Monitor};
use crate::error::Error;
use crate::train::model::{Logs, Model};
use crate::train::schedule::Mode;

/// Writes the weights on the way: Keras's `ModelCheckpoint`. Folders are made if need be.
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
    /// Says which way is better, where it does not follow from the value's name
    /// ([`higher_is_better`](crate::train::log::higher_is_better)).
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        if let When::Better(monitor) = &mut self.when {
            *monitor = monitor.clone().mode(mode);
        }
        self
    }
    /// Every so many epochs.
    pub fn every(path: &str, epochs: u64) -> Self {
        ModelCheckpoint { path: path.to_string(), when: When::Every(epochs.max(1)) }
    }
}

impl Callback for ModelCheckpoint {
    fn on_train_begin(&mut self, _: &mut Model) -> Result<(), Error> {
        // a name that says no format is not found out after an epoch
        crate::formats::convention_of(self.path.as_ref()).map(drop)
    }
    fn on_epoch_end(&mut self, model: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        let due = match &mut self.when {
            When::Better(monitor) => {
                let value = monitor.value(logs)?;
                monitor.improves(value, 0.0)
            }
            When::Every(epochs) => (epoch + 1).is_multiple_of(*epochs),
        };
        if !due {
            return Ok(());
        }
        let path = self.path.replace("{epoch}", &(epoch + 1).to_string());
        make_folder(path.as_ref())?;
        model.save_weights(path)
    }
}

/// Keeps the whole state of training in a file after every epoch, goes on from it when [`Model::fit`] begins, and
/// deletes it when training is over: Keras's `BackupAndRestore`. A run that was broken off ends as it would have, but for
/// callbacks that remember earlier epochs (the best value, epochs without a better one): they begin anew, as in Keras.
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
        make_folder(&self.path)?;
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

/// Makes the folder that a file is to be in.
fn make_folder(file: &Path) -> Result<(), Error> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|source| Error::Io { file: folder.display().to_string(), source })
}
