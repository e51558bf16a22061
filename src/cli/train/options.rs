//! The options of training, and how they go together with a checkpoint.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::data::DataArgs;
use crate::cli::output::{at, positive};
use crate::error::Error;
use crate::formats::WeightFile;
use crate::models::{MOST_BLOCKS, ResNetCifar};
use crate::nn::Form;
use crate::train::{Method, Recipe, parse_layers};
use crate::types::Precision;

/// Train the residual network on CIFAR-10 with kernels compiled for this machine.
///
/// Data: --data DIR; else what --download has fetched before; else a sample of 3,750 training and 750 test images
/// that is part of the program.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger train                                       the sample, 24 epochs
  outrigger train --download --save w.safetensors       all of CIFAR-10
  outrigger train --resume w.safetensors --epochs 40
  outrigger train --epochs 2 --json                     a line of JSON an epoch")]
pub(in crate::cli) struct Args {
    /// Epochs in all, those of a resumed checkpoint included
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) epochs: u64,
    /// Images of a training step [default: 100]
    #[arg(long, visible_alias = "batch", value_parser = positive)]
    pub(in crate::cli) batch_size: Option<usize>,
    /// Learning rate; divided by 3 every 20 epochs [default: 0.001, with sgd 0.01]
    #[arg(long, value_parser = learning_rate)]
    pub(in crate::cli) lr: Option<f32>,
    /// adam, adamw or sgd (Nesterov momentum 0.9, weight decay 5e-4) [default: adam]
    #[arg(long, value_parser = method)]
    pub(in crate::cli) optimizer: Option<Method>,
    /// Residual blocks with 16, 32 and 64 channels [default: 2,2,2]
    #[arg(long, value_parser = layers, value_name = "N,N,N")]
    pub(in crate::cli) layers: Option<[usize; 3]>,
    /// Instead of --layers: the ResNet of 6n+2 layers, as resnet20
    #[arg(long, value_parser = depth, value_name = "NAME", conflicts_with = "layers")]
    pub(in crate::cli) model: Option<[usize; 3]>,
    /// Whose names, padding and constants the network has: torch or keras [default: torch]
    #[arg(long, value_parser = form)]
    pub(in crate::cli) form: Option<Form>,
    /// f32, or bf16: convolutions and activations in bf16, weights, sums and optimizer in f32 [default: f32]
    #[arg(long)]
    pub(in crate::cli) precision: Option<Precision>,
    /// What initial weights, order and augmentation are drawn from [default: 0]
    #[arg(long)]
    pub(in crate::cli) seed: Option<u64>,
    /// Threads; the result does not depend on it [default: the cores this process may use]
    #[arg(long, value_parser = positive)]
    pub(in crate::cli) threads: Option<usize>,
    /// Which data.
    #[command(flatten)]
    pub(in crate::cli) data: DataArgs,
    /// Write a line of JSON after every epoch, to a file (a resumed run appends) or else to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(in crate::cli) json: Option<PathBuf>,
    /// Write weights and optimizer state (safetensors) after every epoch
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) save: Option<PathBuf>,
    /// Continue from a file that --save wrote
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) resume: Option<PathBuf>,
    /// Draw loss, accuracy and learning rate over the epochs (SVG or PNG)
    #[arg(long, value_name = "FILE.svg|FILE.png")]
    pub(in crate::cli) plot: Option<PathBuf>,
    /// When the loss is no number, name the operation that first made one
    #[arg(long)]
    pub(in crate::cli) find_nan: bool,
}

fn learning_rate(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(lr) if lr.is_finite() && lr >= 0.0 => Ok(lr),
        _ => Err("takes a finite number of at least 0".to_string()),
    }
}

fn method(text: &str) -> Result<Method, String> {
    let known = [Method::Adam, Method::AdamW, Method::Sgd];
    let named = known.into_iter().find(|m| m.to_string() == text.to_ascii_lowercase());
    named.ok_or_else(|| "takes adam, adamw or sgd".to_string())
}

fn layers(text: &str) -> Result<[usize; 3], String> {
    parse_layers(text).map_err(|e| match e {
        Error::Option { reason, .. } => reason,
        other => other.to_string(),
    })
}

fn depth(name: &str) -> Result<[usize; 3], String> {
    let layers = name.strip_prefix("resnet").and_then(|n| n.parse::<usize>().ok());
    match layers {
        Some(n) if n % 6 == 2 && (1..=MOST_BLOCKS).contains(&(n / 6)) => Ok([n / 6; 3]),
        _ => Err("takes resnet14, resnet20, … of 6n+2 layers; other networks have no training recipe here".to_string()),
    }
}

fn form(word: &str) -> Result<Form, String> {
    match word {
        "torch" => Ok(Form::Torch),
        "keras" => Ok(Form::Keras),
        _ => Err("takes torch or keras".to_string()),
    }
}

/// Errors unless `path` can be written: a file that is there is opened, and beside it a temporary one is made and
/// removed, as files are replaced whole. Devices and pipes are
/// left alone: to open one may wait for its other end.
fn try_output(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) => {
            if !metadata.is_file() {
                return Ok(());
            }
            fs::File::options().append(true).open(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let temporary = path.with_file_name(format!(".{}.{}.try", name.to_string_lossy(), std::process::id()));
    fs::File::options().write(true).create_new(true).open(&temporary)?;
    fs::remove_file(&temporary)
}

impl Args {
    /// Whether lines of JSON go to standard output, and all else to standard error.
    pub(in crate::cli) fn json_on_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }
    /// Blocks that were asked for.
    fn blocks(&self) -> Option<[usize; 3]> {
        self.layers.or(self.model)
    }

    /// Refuses files that cannot be written, before a long run and not after it.
    pub(in crate::cli) fn check_outputs(&self) -> Result<(), Error> {
        let json = if self.json_on_stdout() { &None } else { &self.json };
        for path in [json, &self.save, &self.plot].into_iter().flatten() {
            try_output(path).map_err(at(path))?;
        }
        let picture = |path: &PathBuf| {
            path.extension().is_some_and(|e| ["svg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known)))
        };
        if let Some(path) = self.plot.as_ref().filter(|path| !picture(path)) {
            let reason = format!("takes a file that ends with .svg or .png, got {}", path.display());
            return Err(Error::Option { option: "--plot".to_string(), reason });
        }
        Ok(())
    }

    /// The recipe of a new run on images of `classes` classes.
    pub(in crate::cli) fn new_recipe(&self, classes: usize) -> Recipe {
        let default = Recipe::default();
        let method = self.optimizer.unwrap_or(default.method);
        Recipe {
            model: ResNetCifar {
                layers: self.blocks().unwrap_or(default.model.layers),
                form: self.form.unwrap_or(default.model.form),
                classes,
                ..default.model
            },
            method,
            lr: self.lr.unwrap_or(method.default_lr()),
            batch: self.batch_size.unwrap_or(default.batch),
            precision: self.precision.unwrap_or(default.precision),
            seed: self.seed.unwrap_or(default.seed),
            ..default
        }
    }

    /// The recipe of a checkpoint and its complete epochs. Options that were given must agree with it, but for the
    /// learning rate, which may change.
    pub(in crate::cli) fn resumed_recipe(&self, file: &WeightFile, classes: usize) -> Result<(Recipe, u64), Error> {
        let (mut recipe, epochs) = Recipe::from_file(file)?;
        let conflict = |option: &str, given: String, saved: String| {
            Err(file.error(format!("was trained with {option} {saved}; {given} needs a new run (or leave it out)")))
        };
        if let Some(given) = self.blocks().filter(|&l| l != recipe.model.layers) {
            return conflict("--layers", format!("{given:?}"), format!("{:?}", recipe.model.layers));
        }
        if let Some(given) = self.form.filter(|&f| f != recipe.model.form) {
            return conflict("--form", given.name().to_string(), recipe.model.form.name().to_string());
        }
        if let Some(given) = self.optimizer.filter(|&m| m != recipe.method) {
            return conflict("--optimizer", given.to_string(), recipe.method.to_string());
        }
        if let Some(given) = self.batch_size.filter(|&b| b != recipe.batch) {
            return conflict("--batch-size", given.to_string(), recipe.batch.to_string());
        }
        if let Some(given) = self.precision.filter(|&p| p != recipe.precision) {
            return conflict("--precision", given.to_string(), recipe.precision.to_string());
        }
        if let Some(given) = self.seed.filter(|&s| s != recipe.seed) {
            return conflict("--seed", given.to_string(), recipe.seed.to_string());
        }
        if classes != recipe.model.classes {
            return Err(file.error(format!("tells {} classes apart, the data has {classes}", recipe.model.classes)));
        }
        if epochs >= self.epochs {
            let reason =
                format!("has {epochs} epochs already; --epochs counts from the first one, got {}", self.epochs);
            return Err(file.error(reason));
        }
        recipe.lr = self.lr.unwrap_or(recipe.lr);
        Ok((recipe, epochs))
    }
}
