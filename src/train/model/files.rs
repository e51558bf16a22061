//! Weights and states of training in files and in memory.
//!
//! ```text
//!   store ─ without training's ─▶ WeightFile ─ names of the file's framework ─▶ save_weights    any format
//!   store ◀── by name, a report ─ WeightFile ◀ names of the model's framework ─ load_weights    any format
//!   store, steps, rate ─────────▶ WeightFile ─────────────────────────────────▶ save_checkpoint  safetensors
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::Model;
use super::torch::is_gradient;
use crate::error::Error;
use crate::formats::{
    Convention, LoadOptions, LoadReport, Restore, WeightFile, convention_of, load_by_name, read_weights, write_weights,
};
use crate::nn::{Form, SummaryRow};
use crate::tensor::Tensor;
use crate::train::optimizer::is_training_state;

impl Model {
    /// Writes parameters and running statistics, in the format that the end of the name says: `.safetensors` and `.npz`
    /// with names and layouts of the network's framework, `.pt`, `.pth` and `.ckpt` with PyTorch's, `.weights.h5` with
    /// Keras's.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for another end; [`Error::Io`]; a file that was there before is then unchanged.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let fixed = convention_of(path)?;
        let store = self.store().without(is_training_state)?;
        let weights = WeightFile::of_store(&store, self.convention().layout(), BTreeMap::new())?;
        match (fixed, self.convention()) {
            (Some(fixed), own) if fixed != own => write_weights(path, &weights.to_convention_of(fixed, &store)?),
            // Keras finds layers by their classes and order
            (Some(Convention::Keras), _) => {
                write_weights(path, &weights.with_keras_architecture(&self.keras_layers()?)?)
            }
            _ => write_weights(path, &weights),
        }
    }
    /// Names and classes of the layers in Keras's order, as its architectures list them.
    fn keras_layers(&self) -> Result<String, Error> {
        let summary = self.network().summary_as(Form::Keras)?;
        let layer = |row: &SummaryRow| {
            let kernel = self.store().ty(&format!("{}/kernel", row.name)).map(|ty| ty.shape.last()).ok();
            let multiplier = kernel.filter(|_| row.class == "DepthwiseConv2D").unwrap_or(1);
            json!({ "class_name": row.class, "config": { "name": row.name, "depth_multiplier": multiplier } })
        };
        let layers: Vec<_> = summary.rows().iter().map(layer).collect();
        Ok(json!({ "config": { "layers": layers } }).to_string())
    }
    /// Takes all parameters and running statistics from a file of any format that
    /// [`read_weights`](crate::formats::read_weights) knows; the file must hold exactly these.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] when it is not this network's; the weights are then unchanged.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.load_weights_by_name(path, &LoadOptions { strict: true, ..LoadOptions::default() }).map(|_| ())
    }
    /// Takes the tensors of a file whose names this model has too, and says what became of each:
    /// [`load_by_name`], for fine-tuning. Files of the other framework are read under the names that its tensors have
    /// here (`fc/kernel` for `fc.weight`).
    ///
    /// ```no_run
    /// # fn load(model: &mut outrigger::train::Model) -> Result<(), outrigger::Error> {
    /// use outrigger::formats::LoadOptions;
    ///
    /// let report = model.load_weights_by_name("pretrained.pt", &LoadOptions { skip_mismatch: true, ..LoadOptions::default() })?;
    /// println!("{report}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] for tensors that `options` do not allow to be missing, unexpected or of
    /// another shape; the weights are then unchanged.
    pub fn load_weights_by_name(&mut self, path: impl AsRef<Path>, options: &LoadOptions) -> Result<LoadReport, Error> {
        let mut file = read_weights(path.as_ref())?;
        if options.layout.is_none() && file.convention() != self.convention() {
            file = file.to_convention_of(self.convention(), self.store())?;
        }
        load_by_name(&file.with_variables_of(self.store()), self.store(), options)
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
        WeightFile::of_store(&store, self.convention().layout(), metadata)?.write(path.as_ref())
    }
    /// Takes the state of training from a file of [`Model::save_checkpoint`]. The model must be compiled alike.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`]; the model is then unchanged.
    pub fn load_checkpoint(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let file = WeightFile::read(path.as_ref())?;
        let (steps, epochs, lr) = (file.meta_as("step")?, file.meta_as("epoch")?, file.meta_as("learning_rate")?);
        self.prepare_states()?;
        file.restore(self.store(), file.layout().unwrap_or(self.convention().layout()), Restore::Everything)?;
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

    /// Whose names and layouts the model's files have.
    pub(super) fn convention(&self) -> Convention {
        match self.form() {
            Form::Torch => Convention::Torch,
            Form::Keras => Convention::Keras,
        }
    }
}
