//! `outrigger train`: the CIFAR-10 ResNet, graph → autodiff → passes → plan → machine code → epochs. The main job.
//!
//! ```text
//!   options, checkpoint ─▶ Recipe ─▶ Model ─ fit ─▶ Job, told of every batch and epoch:
//!                                                   learning rate, progress, --json, --save, --plot
//! ```

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::error::Error;
use crate::formats::WeightFile;
use crate::train::log::{History, Verbose};
use crate::train::{Callback, FitOptions, Logs, Model, ModelOptions, NonFinite, Recipe};

use super::output::{at, json};
use super::source::CLASS_NAMES;
pub(super) use options::Args;
use progress::{Progress, Reporter};

pub(super) mod options;
pub(super) mod progress;

/// Rows, columns and channels of what the network takes.
const IMAGE: [usize; 3] = [32, 32, 3];

/// One epoch, as `--json` writes it.
#[derive(Clone, Debug, Serialize)]
struct EpochRecord {
    /// From 1.
    epoch: u64,
    /// Mean training loss.
    loss: f64,
    /// Share of training images classified correctly while training.
    train_acc: f64,
    /// Share of test images classified correctly after the epoch.
    test_acc: f64,
    /// Training and evaluation.
    seconds: f64,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    args.check_outputs()?;
    let (data, origin) = args.data.load(IMAGE)?;
    let (images, tests) = (Arc::new(data.train), Arc::new(data.test));

    let checkpoint = args.resume.as_deref().map(WeightFile::read).transpose()?;
    let (recipe, start) = match &checkpoint {
        Some(file) => args.resumed_recipe(file, images.classes())?,
        None => (args.new_recipe(images.classes()), 0),
    };
    let reporter = Reporter::new(args.epochs, start, images.len(), args.json_on_stdout());
    reporter.say(&format!("data: {origin}: {} training and {} test images", images.len(), tests.len()))?;
    let non_finite = if args.find_nan { NonFinite::Explain } else { NonFinite::Refuse };
    let options = ModelOptions { threads: args.threads, non_finite, ..ModelOptions::default() };
    let mut model = recipe.compile(options)?;
    model.prepare(recipe.batch)?;
    if let Some(file) = &checkpoint {
        recipe.restore(&mut model, file)?;
        if let Some(before) = file.metadata().get("images").filter(|&n| *n != images.len().to_string()) {
            let now = images.len();
            reporter.say(&format!("note: the checkpoint was trained on {before} images, this data has {now}"))?;
        }
    }
    introduce(&reporter, &model, &recipe, start)?;

    let lines = args.json.as_ref().filter(|_| !args.json_on_stdout());
    let job = Job {
        recipe: recipe.clone(),
        images: images.len(),
        class_names: json(&images.class_names())?,
        reporter,
        history: History::default(),
        started: Instant::now(),
        rate: 0.0,
        json: lines.map(|path| open_lines(path, start > 0)).transpose()?,
        args: args.clone(),
    };
    let options = FitOptions {
        epochs: args.epochs,
        initial_epoch: start,
        validation_data: Some(recipe.test_batches(&tests)?.into()),
        verbose: Verbose::Silent,
        callbacks: vec![Box::new(job)],
        ..FitOptions::default()
    };
    model.fit(recipe.training_batches(&images)?, options).map(drop).map_err(|error| match error {
        Error::Training { step, reason } => {
            Error::Training { step, reason: reason.replace("`NonFinite::Explain`", "--find-nan") }
        }
        other => other,
    })
}

fn introduce(reporter: &Reporter, model: &Model, recipe: &Recipe, start: u64) -> Result<(), Error> {
    let [a, b, c] = recipe.model.layers;
    reporter.say(&format!(
        "ResNet [{a}, {b}, {c}], {} with learning rate {:?}, batches of {}, {}, seed {}, {} threads{}",
        recipe.method,
        recipe.learning_rate(start),
        recipe.batch,
        recipe.precision,
        recipe.seed,
        model.team().threads(),
        if start > 0 { format!(", after {start} epochs") } else { String::new() },
    ))?;
    if let Some(program) = model.training_program(recipe.batch) {
        let summary = program.summary();
        reporter.say(&format!(
            "compiled {} kernels for {} steps in {:.0} ms; {}",
            summary.kernels,
            summary.steps,
            1e3 * summary.compile_time.as_secs_f64(),
            program.planned().memory_line(),
        ))?;
    }
    Ok(())
}

/// What happens on the way of the run.
struct Job {
    args: Args,
    recipe: Recipe,
    /// Training images of an epoch.
    images: usize,
    /// A list as JSON.
    class_names: String,
    reporter: Reporter,
    history: History,
    json: Option<File>,
    /// When the epoch began.
    started: Instant,
    /// Images per second of the epoch's training so far.
    rate: f64,
}

impl Callback for Job {
    fn on_epoch_begin(&mut self, model: &mut Model, epoch: u64) -> Result<(), Error> {
        self.started = Instant::now();
        self.reporter.epoch(epoch);
        model.set_learning_rate(self.recipe.learning_rate(epoch).into())
    }

    fn on_batch_end(&mut self, _: &mut Model, batch: usize, logs: &Logs) -> Result<(), Error> {
        let images = batch.saturating_mul(self.recipe.batch).min(self.images);
        self.rate = images as f64 / self.started.elapsed().as_secs_f64();
        let [loss, accuracy] = ["loss", "accuracy"].map(|name| value(logs, name));
        self.reporter.step(Progress { images, loss, accuracy })
    }

    fn on_epoch_end(&mut self, model: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        let record = EpochRecord {
            epoch: epoch + 1,
            loss: value(logs, "loss"),
            train_acc: value(logs, "accuracy"),
            test_acc: value(logs, "val_accuracy"),
            seconds: self.started.elapsed().as_secs_f64(),
        };
        self.reporter.epoch_done(logs, self.rate)?;
        logs.set("learning_rate", self.recipe.learning_rate(epoch).into());
        self.history.push(epoch, logs.values());
        if let (Some(file), Some(path)) = (&mut self.json, &self.args.json) {
            writeln!(file, "{}", json(&record)?).and_then(|()| file.flush()).map_err(at(path))?;
        } else if self.args.json_on_stdout() {
            super::output::say_json(&record)?;
        }
        if let Some(path) = &self.args.save {
            let about = [("images", self.images.to_string()), (CLASS_NAMES, self.class_names.clone())];
            self.recipe.save(model, path, epoch + 1, &about)?;
        }
        if let Some(path) = &self.args.plot {
            self.history.plot(path)?;
        }
        Ok(())
    }

    fn on_train_end(&mut self, _: &mut Model) -> Result<(), Error> {
        self.reporter.finish();
        match &self.args.save {
            Some(path) => self.reporter.say(&format!("weights: {}", path.display())),
            None => Ok(()),
        }
    }
}

fn value(logs: &Logs, name: &str) -> f64 {
    logs.get(name).unwrap_or(f64::NAN)
}

fn open_lines(path: &Path, append: bool) -> Result<File, Error> {
    let mut options = File::options();
    options.create(true).write(true).append(append).truncate(!append).open(path).map_err(at(path))
}
