//! Writes what the programs in `c`, `cpp` and `rust` need: the CIFAR-10 ResNet as a static library with its header,
//! its weights, and test images with the classes that they should give.
//!
//! ```text
//! cargo run --release --example native -- DIR                        # after an epoch on the embedded sample
//! cargo run --release --example native -- DIR --weights FILE         # of `train_cifar10 --save FILE`
//! examples/native/run                                                # this, then all three programs
//! ```

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use outrigger::codegen::Machine;
use outrigger::data::sample;
use outrigger::export::{ObjectOptions, object};
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::train::{Layout, Recipe, Restore, Trainer, TrainerOptions, WeightFile, network};
use outrigger::{Error, Options, Store, Team, compile};

/// Exports the CIFAR-10 ResNet as native code.
#[derive(Debug, Parser)]
struct Args {
    /// Where the files go; made if it is not there
    directory: PathBuf,
    /// Weights of `train_cifar10 --save` [default: trains for one epoch on the embedded sample]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// host, x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu
    #[arg(long, default_value = "host")]
    machine: Machine,
}

fn main() -> ExitCode {
    match export(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn export(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(&args.directory)?;
    let weights = match &args.weights {
        Some(path) => path.clone(),
        None => train(&args.directory.join("resnet.safetensors"))?,
    };
    let file = WeightFile::read(&weights)?;
    let (layers, form) = network(&file)?;
    let model = ResNetCifar { layers, form, ..ResNetCifar::default() };
    // one image, no loss
    let graph = model.evaluation(1)?.cone(&["logits"])?;
    let store = Store::new(&graph, 0)?;
    file.restore(&store, file.layout().unwrap_or(Layout::Native), Restore::Model)?;

    let options = ObjectOptions { machine: args.machine, ..ObjectOptions::new("resnet") };
    let library = object(&graph, &store, &options)?;
    library.write(&args.directory)?;

    // what the compiler's own session makes of the test images
    let (mut pixels, mut classes) = (Vec::new(), String::new());
    let mut session = compile(&graph, &Options::default())?.session(&store, &Arc::new(Team::new(1)?))?;
    let recipe = Recipe { model, batch: 1, ..Recipe::default() };
    for batch in recipe.test_batches(&Arc::new(sample()?.test))?.epoch(0) {
        let image = batch?.inputs;
        session.set_f32("images", &image)?;
        session.run()?;
        let logits = session.get("logits")?;
        let logits = logits.as_f32().unwrap_or_default();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
        writeln!(classes, "{best}")?;
        pixels.extend(image.iter().flat_map(|x| x.to_le_bytes()));
    }
    fs::write(args.directory.join("images"), pixels)?;
    fs::write(args.directory.join("classes"), classes)?;
    eprintln!("{}: resnet.a of {} bytes, resnet.h", args.directory.display(), library.object().len());
    Ok(())
}

/// One epoch on the embedded sample; the file of the weights.
fn train(path: &Path) -> Result<PathBuf, Error> {
    let recipe = Recipe::default();
    let mut trainer = Trainer::new(recipe.model, recipe.optimizer(), recipe.batch, TrainerOptions::default())?;
    for batch in recipe.training_batches(&Arc::new(sample()?.train))?.epoch(0) {
        let batch = batch?;
        trainer.train_step(&batch.inputs, &batch.labels, recipe.learning_rate(0))?;
    }
    trainer.save(path, recipe.layout(), recipe.metadata(1))?;
    Ok(path.to_path_buf())
}
