//! What a training run of the CIFAR network is, apart from its data: everything that its weights depend on.
//!
//! A checkpoint carries its recipe in the metadata, so that a run can be continued from the file alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::metrics::Accuracy;
use super::model::{Model, ModelOptions, non_finite};
use super::optimizer::{Adam, AdamW, EpsilonMode, Optimizer, Sgd};
use crate::compile::Options;
use crate::data::{Compose, DataLoader, Images, LoaderOptions, PaddingMode, RandomCrop, RandomHorizontalFlip};
use crate::error::Error;
use crate::formats::{Layout, Restore, WeightFile};
use crate::graph::Loss;
use crate::models::{MOST_BLOCKS, ResNetCifar};
use crate::nn::Form;
use crate::types::Precision;

/// Version of the metadata's form.
const VERSION: u32 = 1;

/// An optimizer with its usual constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Adam (Kingma & Ba 2015), betas 0.9 and 0.999, epsilon of the model's framework.
    Adam,
    /// AdamW (Loshchilov & Hutter 2019), as Adam, weight decay 0.01.
    AdamW,
    /// SGD with Nesterov momentum 0.9 and weight decay 5e-4.
    Sgd,
}

impl Method {
    /// The learning rate people start with.
    pub fn default_lr(self) -> f32 {
        match self {
            Method::Adam | Method::AdamW => 1e-3,
            Method::Sgd => 0.01,
        }
    }
    /// The optimizer as the framework of `form` has it: epsilon 1e-8 (PyTorch), or 1e-7 as "epsilon hat" (Keras).
    pub fn optimizer(self, form: Form) -> Optimizer {
        let (epsilon, epsilon_mode) = match form {
            Form::Torch => (1e-8, EpsilonMode::Corrected),
            Form::Keras => (1e-7, EpsilonMode::Hat),
        };
        match self {
            Method::Adam => Optimizer::Adam(Adam { epsilon, epsilon_mode, ..Adam::default() }),
            Method::AdamW => Optimizer::AdamW(AdamW { epsilon, epsilon_mode, ..AdamW::default() }),
            Method::Sgd => Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..Sgd::default() }),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Adam => "adam",
            Method::AdamW => "adamw",
            Method::Sgd => "sgd",
        })
    }
}

impl FromStr for Method {
    type Err = Error;

    /// Reads `adam`, `adamw` or `sgd`, in any case; what follows the word (`Adam(1e-3), …`) is not looked at.
    fn from_str(text: &str) -> Result<Self, Error> {
        let lower = text.trim().to_ascii_lowercase();
        let word = lower.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        match word {
            "adam" => Ok(Method::Adam),
            "adamw" => Ok(Method::AdamW),
            "sgd" => Ok(Method::Sgd),
            _ => Err(Error::Option {
                option: "optimizer".to_string(),
                reason: format!("\"{text}\" is none of adam, adamw, sgd"),
            }),
        }
    }
}

/// The options of a run. The default is the seed's: Adam, 1e-3, batches of 100, padding by 4, crop and flip.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The network.
    pub model: ResNetCifar,
    /// The optimizer.
    pub method: Method,
    /// Learning rate of the first epochs.
    pub lr: f32,
    /// After every so many epochs the learning rate is divided by 3; 0 keeps it.
    pub decay_every: u64,
    /// Images of a batch.
    pub batch: usize,
    /// Of convolutions and activations, in training and evaluation.
    pub precision: Precision,
    /// Initial values, order of images and augmentation are drawn from this.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            model: ResNetCifar::default(),
            method: Method::Adam,
            lr: Method::Adam.default_lr(),
            decay_every: 20,
            batch: 100,
            precision: Precision::F32,
            seed: 0,
        }
    }
}

impl Recipe {
    /// The learning rate of an epoch, counted from 0.
    pub fn learning_rate(&self, epoch: u64) -> f32 {
        let divisions = epoch.checked_div(self.decay_every).unwrap_or(0);
        (0..divisions).fold(self.lr, |lr, _| lr / 3.0)
    }
    /// The optimizer.
    pub fn optimizer(&self) -> Optimizer {
        self.method.optimizer(self.model.form)
    }
    /// The network with first weights, compiled to be trained: its optimizer, the cross-entropy, the accuracy. Seed and
    /// precision are the recipe's, the rest comes from `options`.
    ///
    /// # Errors
    /// Those of [`Model::of`] and [`Model::compile`].
    pub fn compile(&self, options: ModelOptions) -> Result<Model, Error> {
        let compile = Options { precision: self.precision, ..options.compile };
        let mut model = Model::of(self.model.network()?, ModelOptions { compile, seed: self.seed, ..options })?;
        let loss = match self.model.softmax {
            true => Loss::CategoricalCrossEntropy { label_smoothing: 0.0 },
            false => Loss::cross_entropy(),
        };
        model.compile(self.optimizer().lr(self.lr.into()), loss, [Accuracy::new()])?;
        Ok(model)
    }
    /// Writes the whole state of `model` after `epochs` complete epochs, with the recipe and `more` as metadata.
    ///
    /// # Errors
    /// [`Error::Training`] for a state that holds a NaN or an infinity, from which no training can go on;
    /// [`Error::Io`]. A file that was there before is then unchanged.
    pub fn save(&self, model: &Model, path: &Path, epochs: u64, more: &[(&str, String)]) -> Result<(), Error> {
        if let Some(bad) = non_finite(model.store())? {
            let reason = format!("{bad}: not saved to {}", path.display());
            return Err(Error::Training { step: model.steps(), reason });
        }
        let mut metadata = self.metadata(epochs);
        metadata.extend(more.iter().map(|(key, value)| (key.to_string(), value.clone())));
        metadata.insert("step".to_string(), model.steps().to_string());
        WeightFile::of_store(model.store(), self.layout(), metadata)?.write(path)
    }
    /// Takes the whole state from a file of [`Recipe::save`], to train on.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not this model's, or not a whole checkpoint; the state is then unchanged.
    pub fn restore(&self, model: &mut Model, file: &WeightFile) -> Result<(), Error> {
        let steps = file.meta_as("step")?;
        // the moments are a part of it
        model.prepare(self.batch)?;
        file.restore(model.store(), file.assumed_layout(), Restore::Everything)?;
        model.set_steps(steps);
        Ok(())
    }
    /// The layout of weight files: that of the model's framework.
    pub fn layout(&self) -> Layout {
        match self.model.form {
            Form::Torch => Layout::Torch,
            Form::Keras => Layout::Native,
        }
    }
    /// Batches to train on: shuffled, padded, flipped and cropped, the same for the same seed and epoch.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty data set or a batch size of 0.
    pub fn training_batches(&self, data: &Arc<Images>) -> Result<DataLoader, Error> {
        let options = LoaderOptions { batch_size: self.batch, seed: self.seed, ..LoaderOptions::default() };
        let [height, width, _] = data.shape();
        let crop = RandomCrop { size: [height, width], padding: 4, mode: PaddingMode::default() };
        let augment = Compose::new().then(crop).then(RandomHorizontalFlip::default());
        Ok(DataLoader::new(Arc::clone(data), options)?.transform(augment))
    }
    /// Batches to evaluate on: the images as they are, in their order.
    ///
    /// # Errors
    /// As [`Recipe::training_batches`].
    pub fn test_batches(&self, data: &Arc<Images>) -> Result<DataLoader, Error> {
        let options = LoaderOptions { batch_size: self.batch, shuffle: false, ..LoaderOptions::default() };
        DataLoader::new(Arc::clone(data), options).map_err(Error::Data)
    }

    /// The recipe as a checkpoint's metadata, after `epochs` complete epochs.
    pub fn metadata(&self, epochs: u64) -> BTreeMap<String, String> {
        let [a, b, c] = self.model.layers;
        let entries = [
            ("format_version", VERSION.to_string()),
            ("epoch", epochs.to_string()),
            ("framework", self.model.form.name().to_string()),
            ("layers", format!("{a},{b},{c}")),
            ("classes", self.model.classes.to_string()),
            ("optimizer", self.method.to_string()),
            // Display of floats is the shortest text that reads back to the same bits
            ("lr", self.lr.to_string()),
            ("decay_every", self.decay_every.to_string()),
            ("batch", self.batch.to_string()),
            ("precision", self.precision.to_string()),
            ("seed", self.seed.to_string()),
        ];
        entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }
    /// Reads back the recipe and the number of complete epochs.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the file has no recipe, or one that is not understood.
    pub fn from_file(file: &WeightFile) -> Result<(Recipe, u64), Error> {
        let version: u32 = file.meta_as("format_version")?;
        if version != VERSION {
            return Err(file.error(format!("is of format version {version}; this program reads {VERSION}")));
        }
        let (layers, form) = network(file)?;
        let recipe = Recipe {
            model: ResNetCifar { layers, form, classes: file.meta_as("classes")?, ..ResNetCifar::default() },
            method: file.meta("optimizer")?.parse().map_err(|e: Error| file.error(e.to_string()))?,
            lr: file.meta_as("lr")?,
            decay_every: file.meta_as("decay_every")?,
            batch: file.meta_as("batch")?,
            // files from before there was a choice do not name it
            precision: match file.metadata().get("precision") {
                Some(word) => word.parse().map_err(|reason| file.error(reason))?,
                None => Precision::F32,
            },
            seed: file.meta_as("seed")?,
        };
        Ok((recipe, file.meta_as("epoch")?))
    }
}

/// Blocks and framework that a file's metadata names (`layers`, `framework`).
///
/// # Errors
/// [`Error::Checkpoint`] when one is missing or not understood.
pub fn network(file: &WeightFile) -> Result<([usize; 3], Form), Error> {
    let layers = parse_layers(file.meta("layers")?).map_err(|e| file.error(e.to_string()))?;
    let form = match file.meta("framework")?.to_ascii_lowercase().as_str() {
        "pytorch" | "torch" => Form::Torch,
        "keras" => Form::Keras,
        other => return Err(file.error(format!("is of framework \"{other}\"; pytorch and keras are known"))),
    };
    Ok((layers, form))
}

/// Reads `2,2,2`.
///
/// # Errors
/// [`Error::Option`] unless there are three numbers from 1 to [`MOST_BLOCKS`].
pub fn parse_layers(text: &str) -> Result<[usize; 3], Error> {
    let refuse = || Error::Option {
        option: "layers".to_string(),
        reason: format!("takes three numbers of blocks, each from 1 to {MOST_BLOCKS}, as in 2,2,2; got \"{text}\""),
    };
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    let layers: [usize; 3] = numbers.map_err(|_| refuse())?.try_into().map_err(|_| refuse())?;
    if layers.iter().all(|n| (1..=MOST_BLOCKS).contains(n)) { Ok(layers) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_falls_to_a_third_every_twenty_epochs() {
        let recipe = Recipe::default();
        assert_eq!([0, 19].map(|e| recipe.learning_rate(e)), [1e-3; 2]);
        assert_eq!([20, 40].map(|e| recipe.learning_rate(e)), [1e-3 / 3.0, 1e-3 / 3.0 / 3.0]);
        assert_eq!(Recipe { decay_every: 0, ..recipe }.learning_rate(1000), 1e-3);
    }

    #[test]
    fn a_recipe_survives_its_metadata() {
        let recipe = Recipe {
            model: ResNetCifar { layers: [1, 4, 2], form: Form::Keras, classes: 100, ..ResNetCifar::default() },
            method: Method::AdamW,
            lr: 0.1 + 0.2,
            decay_every: 7,
            batch: 33,
            precision: Precision::Bf16,
            seed: u64::MAX,
        };
        let file = WeightFile::new([], recipe.metadata(12));
        assert_eq!(Recipe::from_file(&file).unwrap(), (recipe.clone(), 12));
        for (key, bad) in
            [("layers", "2,2"), ("lr", "fast"), ("optimizer", "lion"), ("precision", "f16"), ("format_version", "2")]
        {
            let mut metadata = recipe.metadata(12);
            metadata.insert(key.to_string(), bad.to_string());
            let error = Recipe::from_file(&WeightFile::new([], metadata.clone())).unwrap_err();
            assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
            metadata.remove(key);
            let read = Recipe::from_file(&WeightFile::new([], metadata));
            assert!(
                if key == "precision" { read.unwrap().0.precision == Precision::F32 } else { read.is_err() },
                "{key}"
            );
        }
    }

    #[test]
    fn optimizers_are_known_by_their_first_word() {
        let method = |text: &str| text.parse::<Method>();
        assert_eq!(method("Adam(1e-3), Keras defaults (epsilon 1e-7)").unwrap(), Method::Adam);
        assert_eq!(method("SGD(lr 0.01, momentum 0.9)").unwrap(), Method::Sgd);
        assert_eq!(method("adamw").unwrap(), Method::AdamW);
        assert!(method("adamax").is_err() && method("").is_err());
    }

    #[test]
    fn layers_are_three_numbers() {
        assert_eq!(parse_layers("3, 4,1").unwrap(), [3, 4, 1]);
        for bad in ["", "2,2", "2,2,2,2", "2,0,2", "a,b,c", "-1,2,2"] {
            assert!(parse_layers(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_layers("1000,1,1").unwrap(), [1000, 1, 1]);
        for large in ["1001,1,1", "1,4000000000,1", "1,1,99999999999999999999999"] {
            let error = parse_layers(large).unwrap_err().to_string();
            assert!(error.contains(large) && error.contains("1000"), "{error}");
        }
    }
}
