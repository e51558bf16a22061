//! Weights and whole states of training in files and in memory.

use std::collections::BTreeMap;
use std::path::Path;

use super::Model;
use super::torch::is_gradient;
use crate::error::Error;
use crate::formats::{Layout, Restore, WeightFile};
use crate::nn::Form;
use crate::tensor::Tensor;
use crate::train::optimizer::is_training_state;

impl Model {
    /// Writes parameters and running statistics as safetensors, with names and layouts of the network's framework.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that was there before is then unchanged.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let store = self.store().without(is_training_state)?;
        WeightFile::of_store(&store, self.layout(), BTreeMap::new())?.write(path.as_ref())
    }
    /// Takes parameters and running statistics from a file that [`Model::save_weights`] or PyTorch's safetensors made.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] when it is not this network's; the weights are then unchanged.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let file = WeightFile::read(path.as_ref())?;
        file.restore(self.store(), file.layout().unwrap_or(self.layout()), Restore::Model)
    }

    /// Writes the whole state of training: weights, moments, steps, epochs and the learning rate. From it a run goes on
    /// as if it had not been broken off.
    ///
    /// # Errors
    /// [`Error::Option`] for a model that was not compiled; [`Error::Io`], and a file that was there is unchanged.
    pub fn save_checkpoint(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let numbers = [
            ("step", self.steps().to_string()),
            ("epoch", self.epochs().to_string()),
            ("learning_rate", self.learning_rate()?.to_string()),
        ];
        let metadata = numbers.map(|(key, value)| (key.to_string(), value)).into();
        let store = self.store().without(is_gradient)?;
        WeightFile::of_store(&store, self.layout(), metadata)?.write(path.as_ref())
    }
    /// Takes the state of training from a file of [`Model::save_checkpoint`]. The model must be compiled alike.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`]; the model is then unchanged.
    pub fn load_checkpoint(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let file = WeightFile::read(path.as_ref())?;
        let (steps, epochs, lr) = (file.meta_as("step")?, file.meta_as("epoch")?, file.meta_as("learning_rate")?);
        self.prepare_states()?;
        file.restore(self.store(), file.layout().unwrap_or(self.layout()), Restore::Everything)?;
        self.set_learning_rate(lr)?;
        (self.steps, self.epochs) = (steps, epochs);
        Ok(())
    }

    /// Copies of parameters and running statistics.
    pub(in crate::train) fn snapshot(&self) -> Result<Vec<(String, Tensor)>, Error> {
        let names = self.store().entries().iter().map(|(name, _)| name).filter(|name| !is_training_state(name));
        names.map(|name| Ok((name.clone(), self.store().get(name)?))).collect()
    }
    /// Puts copies back.
    pub(in crate::train) fn restore_snapshot(&mut self, weights: &[(String, Tensor)]) -> Result<(), Error> {
        weights.iter().try_for_each(|(name, value)| self.store().set(name, value))
    }

    fn layout(&self) -> Layout {
        match self.form() {
            Form::Torch => Layout::Torch,
            Form::Keras => Layout::Native,
        }
    }
}
