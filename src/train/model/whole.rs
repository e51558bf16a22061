//! A model in one file: architecture, weights, and how far its training is.
//!
//! ```text
//!   model.safetensors ─┬─ metadata: format, version, architecture (JSON), training (JSON: optimizer, losses, step, epoch)
//!                      └─ tensors:  parameters, running statistics, moments, under PyTorch's or Keras's names
//! ```
//!
//! The tensors are those of [`Model::save_weights`] and [`Model::save_checkpoint`], so both can take them from such a file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::objective::{Objectives, SavedObjective};
use super::torch::is_gradient;
use super::{Model, ModelOptions};
use crate::error::Error;
use crate::formats::{KERAS_ARCHITECTURE, LoadOptions, WeightFile, is_shape, load_by_name, read_weights};
use crate::nn::{Mode, Network};
use crate::store::Axes;
use crate::train::optimizer::{Tuned, is_training_state};

/// What the file is.
const FORMAT: &str = "outrigger.model";
/// Version of its metadata.
const VERSION: u32 = 1;

/// How far training is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    optimizer: Tuned,
    losses: Vec<SavedObjective>,
    step: u64,
    epoch: u64,
}

impl Model {
    /// Writes the whole model as safetensors: architecture, weights, and once it is compiled the optimizer with its
    /// moments, the losses, the learning rate, steps and epochs. Keras's `model.save`, PyTorch's usual checkpoint.
    ///
    /// Metrics, and how programs are compiled, are not in the file: give them to [`Model::set_metrics`] and
    /// [`Model::load_with`].
    ///
    /// # Errors
    /// [`Error::Network`] for a network with a [`Lambda`](crate::nn::Lambda); [`Error::Option`] for a loss of one's own,
    /// which says what to do instead; [`Error::Io`]. A file that was there before is then unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let mut metadata = BTreeMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("version".to_string(), VERSION.to_string()),
            ("architecture".to_string(), self.network.to_json()?),
        ]);
        if let Some(compiled) = &self.compiled {
            let losses = compiled.objectives.0.iter().map(|objective| objective.saved()).collect::<Result<_, _>>()?;
            let training = Training { optimizer: compiled.tuned.clone(), losses, step: self.steps, epoch: self.epochs };
            let text = serde_json::to_string(&training).map_err(|error| Error::Option {
                option: "optimizer".to_string(),
                reason: format!("cannot be written: {error}"),
            })?;
            metadata.insert("training".to_string(), text);
        }
        let gone = if self.compiled.is_some() { is_gradient } else { is_training_state };
        let store = self.store().without(gone)?;
        WeightFile::of_store(&store, self.convention().layout(), metadata)?.write(path.as_ref())
    }

    /// The model of a file that [`Model::save`] wrote. One that was compiled goes on training as if it had not been put
    /// aside, bit for bit. Also that of a `.keras` file of Keras 3, as `keras.models.load_model` reads it, but not compiled;
    /// [`Network::from_keras_json`] says which layers it may have.
    ///
    /// ```
    /// use outrigger::graph::Loss;
    /// use outrigger::nn::{Dense, Input};
    /// use outrigger::train::Model;
    /// use outrigger::train::optimizer::Optimizer;
    /// use outrigger::Tensor;
    ///
    /// # fn main() -> Result<(), outrigger::Error> {
    /// # let path = std::env::temp_dir().join(format!("outrigger-doc-{}.safetensors", std::process::id()));
    /// let x = Input::keras("x", [2]);
    /// let mut model = Model::new(&x, &Dense::new(1).call(&x)?)?;
    /// model.compile(Optimizer::keras_adam().lr(0.05), Loss::MeanSquaredError, ())?;
    /// let batch = [Tensor::f32([1, 2], vec![1.0, 2.0])?];
    /// model.train_on_batch(&batch, &[Tensor::f32([1, 1], vec![3.0])?])?;
    /// model.save(&path)?;
    ///
    /// let mut again = Model::load(&path)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// assert_eq!((again.steps(), again.learning_rate()?), (1, 0.05));
    /// assert_eq!(again.predict_on_batch(&batch)?, model.predict_on_batch(&batch)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] naming the file and the place for one that is damaged, of another version,
    /// or does not hold together, and for a layer of Keras's that is not known here.
    pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::load_with(path, ModelOptions::default())
    }
    /// [`Model::load`], working as `options` say. Their seed matters to no tensor, since all are in the file.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_with(path: impl AsRef<Path>, options: ModelOptions) -> Result<Model, Error> {
        let file = read_weights(path.as_ref())?;
        if is_ours(&file) {
            let version: u32 = file.meta_as("version")?;
            if version != VERSION {
                return Err(file.error(format!("is a model of version {version}; this program reads {VERSION}")));
            }
        }
        let Some(network) = Model::whole_network(&file)? else {
            let reason = "is no whole model of Model::save or of Keras; its weights are read by Model::load_weights";
            return Err(file.error(reason));
        };
        holds(&file, &network)?;
        let mut model = Model::of(network, options)?;
        if is_ours(&file) {
            model.restore_whole(&file)?;
        } else {
            load_by_name(&file, model.store(), &LoadOptions { strict: true, ..LoadOptions::default() })?;
        }
        Ok(model)
    }

    /// The network of a file that is a whole model, of [`Model::save`] or of Keras; `None` of one that has weights alone.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file for an architecture that is damaged, or not known here.
    pub(crate) fn whole_network(file: &WeightFile) -> Result<Option<Network>, Error> {
        let within = |part: &'static str| move |error: Error| file.error(format!("{part}: {error}"));
        if is_ours(file) {
            return Network::from_json(file.meta("architecture")?).map_err(within("architecture")).map(Some);
        }
        let config = file.metadata().get(KERAS_ARCHITECTURE);
        config.map(|text| Network::from_keras_json(text).map_err(within("config.json"))).transpose()
    }

    /// Takes what a file of [`Model::save`] has besides the architecture: weights, and how far training is.
    fn restore_whole(&mut self, file: &WeightFile) -> Result<(), Error> {
        let within = |part: &'static str| move |error: Error| file.error(format!("{part}: {error}"));
        let training = file.metadata().get("training");
        let training: Option<Training> = training
            .map(|text| serde_json::from_str(text).map_err(|error| file.error(format!("training: {error}"))))
            .transpose()?;
        let step = training.as_ref().map_or(0, |training| training.step);
        if let Some(Training { optimizer, losses, step, epoch }) = training {
            let losses = Objectives(losses.into_iter().map(Into::into).collect());
            self.compile(optimizer, losses, ()).and_then(|()| self.prepare_states()).map_err(within("training"))?;
            (self.steps, self.epochs) = (step, epoch);
        }
        let options = LoadOptions { training_state: true, ..LoadOptions::default() };
        let report = load_by_name(file, self.store(), &options)?;
        if let Some(name) = report.unexpected.first() {
            return Err(file.error(format!("has a tensor \"{name}\" that its own architecture has not")));
        }
        // before the first step moments need not have been made
        if let Some(missing) = report.missing.iter().find(|tensor| step > 0 || !is_training_state(&tensor.name)) {
            return Err(file.error(format!("has no tensor {missing}")));
        }
        Ok(())
    }
}

fn is_ours(file: &WeightFile) -> bool {
    file.metadata().get("format").is_some_and(|format| format == FORMAT)
}

/// Whether the file has the tensors of its architecture, before any memory is spent on them.
fn holds(file: &WeightFile, network: &Network) -> Result<(), Error> {
    let graph = network.graph(1, Mode::Evaluate).map_err(|error| file.error(format!("architecture: {error}")))?;
    let layout = file.assumed_layout();
    for id in graph.states() {
        let Some(node) = graph.get(id) else { continue };
        let axes = Axes::of(&graph, id);
        let (expected, got) = (layout.file_shape(axes, &graph.ty(id.result(0)).shape), file.shape(&node.name)?);
        if !is_shape(got, &expected, (layout, axes)) {
            let reason = format!("tensor \"{}\" is {got}, its architecture makes it {expected}", node.name);
            return Err(file.error(reason));
        }
    }
    Ok(())
}
