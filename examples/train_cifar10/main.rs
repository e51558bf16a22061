//! Trains the CIFAR-10 ResNet: graph → autodiff → passes → plan → machine code → epochs.
//!
//! ```text
//! cargo run --release --example train_cifar10                      # the embedded sample
//! cargo run --release --example train_cifar10 -- --download        # all of CIFAR-10
//! cargo run --release --example train_cifar10 -- --help
//! ```

mod options;
mod progress;
mod source;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use outrigger::data::DataLoader;
use outrigger::models::ResNetCifar;
use outrigger::train::log::History;
use outrigger::train::{Outcome, Recipe, Restore, Trainer, TrainerOptions, WeightFile};
use outrigger::{Error, Options};
use serde::Serialize;

use options::Args;
use progress::{Reporter, say};

/// One epoch, as `--json` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: u64,
    /// Mean training loss.
    pub loss: f64,
    /// Share of training images classified correctly while training.
    pub train_acc: f64,
    /// Share of test images classified correctly after the epoch.
    pub test_acc: f64,
    /// Training and evaluation.
    pub seconds: f64,
}

fn main() -> ExitCode {
    match train(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn train(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    args.check_outputs()?;
    let (data, origin) = source::load(args)?;
    let (images, tests) = (Arc::new(data.train), Arc::new(data.test));
    say(&format!("data: {origin}: {} training and {} test images", images.len(), tests.len()))?;

    let checkpoint = args.resume.as_deref().map(WeightFile::read).transpose()?;
    let (recipe, start) = match &checkpoint {
        Some(file) => args.resumed_recipe(file, images.classes())?,
        None => (args.new_recipe(images.classes()), 0),
    };
    let options = TrainerOptions {
        compile: Options { precision: recipe.precision, ..Options::default() },
        seed: recipe.seed,
        threads: args.threads,
        find_nan: args.find_nan,
        ..TrainerOptions::default()
    };
    let mut trainer = Trainer::new(recipe.model, recipe.optimizer(), recipe.batch, options)?;
    if let Some(file) = &checkpoint {
        trainer.restore(file, Restore::Everything)?;
        if let Some(before) = file.metadata().get("images").filter(|&n| *n != images.len().to_string()) {
            say(&format!("note: the checkpoint was trained on {before} images, this data has {}", images.len()))?;
        }
    }
    introduce(&trainer, &recipe, start)?;

    let mut json = args.json.as_ref().map(|path| open_lines(path, start > 0)).transpose()?;
    let (train_loader, test_loader) = (recipe.training_batches(&images)?, recipe.test_batches(&tests)?);
    let mut reporter = Reporter::new(args.epochs, start, images.len());
    let mut history = History::default();
    for epoch in start..args.epochs {
        let record = run_epoch(&mut trainer, &recipe, epoch, &train_loader, &test_loader, &mut reporter, &mut history)?;
        if let Some(file) = &mut json {
            serde_json::to_writer(&mut *file, &record)?;
            file.write_all(b"\n")?;
            file.flush()?;
        }
        if let Some(path) = &args.save {
            let mut metadata = recipe.metadata(epoch + 1);
            metadata.insert("images".to_string(), images.len().to_string());
            trainer.save(path, recipe.layout(), metadata)?;
        }
        if let Some(path) = &args.plot {
            history.plot(path)?;
        }
    }
    reporter.finish();
    if let Some(path) = &args.save {
        say(&format!("weights: {}", path.display()))?;
    }
    Ok(())
}

fn introduce(trainer: &Trainer<ResNetCifar>, recipe: &Recipe, start: u64) -> std::io::Result<()> {
    let [a, b, c] = recipe.model.layers;
    say(&format!(
        "ResNet [{a}, {b}, {c}], {} with learning rate {:?}, batches of {}, {}, seed {}, {} threads{}",
        recipe.method,
        recipe.learning_rate(start),
        recipe.batch,
        recipe.precision,
        recipe.seed,
        trainer.team().threads(),
        if start > 0 { format!(", after {start} epochs") } else { String::new() },
    ))?;
    if let Some(program) = trainer.training_program(recipe.batch) {
        let summary = program.summary();
        say(&format!(
            "compiled {} kernels for {} steps in {:.0} ms; {}",
            summary.kernels,
            summary.steps,
            1e3 * summary.compile_time.as_secs_f64(),
            program.planned().memory_line(),
        ))?;
    }
    Ok(())
}

/// Trains for an epoch and evaluates.
fn run_epoch(
    trainer: &mut Trainer<ResNetCifar>,
    recipe: &Recipe,
    epoch: u64,
    train_loader: &DataLoader,
    test_loader: &DataLoader,
    reporter: &mut Reporter,
    history: &mut History,
) -> Result<EpochRecord, Box<dyn std::error::Error>> {
    let started = Instant::now();
    reporter.epoch(epoch);
    let lr = recipe.learning_rate(epoch);
    let mut train = Outcome::default();
    for batch in train_loader.epoch(epoch) {
        let batch = batch.map_err(Error::Data)?;
        train.add(trainer.train_step(&batch.inputs, &batch.labels, lr)?);
        reporter.step(&train, batch.len())?;
        train_loader.recycle(batch);
    }
    let rate = train.images as f64 / started.elapsed().as_secs_f64();
    let test = evaluate(trainer, test_loader)?;
    reporter.epoch_done(&train, &test, rate)?;
    history.push(
        epoch,
        &[
            ("loss", train.loss()),
            ("accuracy", train.accuracy()),
            ("val_loss", test.loss()),
            ("val_accuracy", test.accuracy()),
            ("learning_rate", f64::from(lr)),
        ],
    );
    Ok(EpochRecord {
        epoch: epoch + 1,
        loss: train.loss(),
        train_acc: train.accuracy(),
        test_acc: test.accuracy(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn evaluate(trainer: &mut Trainer<ResNetCifar>, loader: &DataLoader) -> Result<Outcome, Error> {
    let mut total = Outcome::default();
    for batch in loader.epoch(0) {
        let batch = batch.map_err(Error::Data)?;
        total.add(trainer.evaluate(&batch.inputs, &batch.labels)?);
        loader.recycle(batch);
    }
    Ok(total)
}

fn open_lines(path: &std::path::Path, append: bool) -> Result<File, Error> {
    let mut options = File::options();
    let options = options.create(true).write(true).append(append).truncate(!append);
    options.open(path).map_err(|source| Error::Io { file: path.display().to_string(), source })
}
