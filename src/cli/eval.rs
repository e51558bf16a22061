//! `outrigger eval`: loss and accuracy on test images.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::data::DataArgs;
use super::output::{at, misuse, positive, say, say_json};
use super::source::{Chosen, Compiling, Source};
use crate::compile::{Options, compile};
use crate::data::{DataLoader, LoaderOptions};
use crate::error::Error;
use crate::session::Session;
use crate::tensor::Tensor;
use crate::train::metrics::{Accuracy, Mean, Metric, TopK};
use outrigger_runtime::Team;

/// Measure loss and accuracy on test images.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger eval --weights w.safetensors
  outrigger eval --weights resnet.outrigger --json
  outrigger eval --weights w.safetensors --data photos     photos/cat/1.png, photos/dog/1.png, …
  outrigger eval --weights w.safetensors --dump images-and-classes")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    compiling: Compiling,
    /// Images of a batch
    #[arg(long, default_value = "100", value_parser = positive)]
    batch: usize,
    /// Threads [default: the cores this process may use]
    #[arg(long, value_parser = positive)]
    threads: Option<usize>,
    /// Also write what was evaluated, to test exported code with: DIR/images (f32, as the network takes them, one after
    /// the other) and DIR/classes (the answers, a line each)
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// One line of JSON: images, loss, accuracy, top_5_accuracy
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    images: usize,
    loss: f64,
    accuracy: f64,
    top_5_accuracy: f64,
}

/// A program for every batch size met: the last batch may be smaller.
struct Programs<'n> {
    network: &'n Chosen,
    options: Options,
    team: Arc<Team>,
    sessions: HashMap<usize, Session>,
}

impl Programs<'_> {
    fn session(&mut self, batch: usize) -> Result<&mut Session, Error> {
        use std::collections::hash_map::Entry;
        match self.sessions.entry(batch) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                let program = compile(&self.network.evaluation(batch)?, &self.options)?;
                Ok(vacant.insert(program.session(&self.network.store, &self.team)?))
            }
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    args.source.require_weights("eval")?;
    let network = args.source.load()?;
    let [input, output] = network.ends()?;
    let (data, origin) = args.data.test(&network)?;
    let (options, team) = (args.compiling.options(&network), Arc::new(team(args.threads)?));
    let mut programs = Programs { network: &network, options, team, sessions: HashMap::new() };

    let images = data.len();
    let options = LoaderOptions { batch_size: args.batch, shuffle: false, ..LoaderOptions::default() };
    let loader = DataLoader::new(Arc::new(data), options)?;
    let (mut loss, mut accuracy, mut top5) = (Mean::default(), Accuracy::new(), TopK::new(5));
    let (mut pixels, mut classes) = (Vec::new(), String::new());
    for batch in loader.epoch(0) {
        let batch = batch?;
        let session = programs.session(batch.len())?;
        session.set_f32(input, &batch.inputs)?;
        session.set_i32("labels", &batch.labels)?;
        session.run()?;
        loss.add(session.scalar("loss")?.into(), batch.len());
        let (scores, labels) = (session.get(output)?, Tensor::i32([batch.len()], batch.labels.clone())?);
        accuracy.update(&scores, &labels)?;
        top5.update(&scores, &labels)?;
        if args.dump.is_some() {
            pixels.extend(batch.inputs.iter().flat_map(|x| x.to_le_bytes()));
            for row in scores.as_f32().unwrap_or_default().chunks(scores.shape().last().max(1)) {
                // writing to a string does not fail
                let _ = writeln!(classes, "{}", best(row));
            }
        }
        loader.recycle(batch);
    }
    if let Some(dir) = &args.dump {
        fs::create_dir_all(dir).map_err(at(dir))?;
        for (name, contents) in [("images", &pixels[..]), ("classes", classes.as_bytes())] {
            let path = dir.join(name);
            fs::write(&path, contents).map_err(at(&path))?;
        }
    }
    let report = Report { images, loss: loss.value(), accuracy: accuracy.value(), top_5_accuracy: top5.value() };
    if args.json {
        return say_json(&report);
    }
    say(format_args!("data: {origin}: {images} test images"))?;
    say(format_args!(
        "{}: loss {:.4}  accuracy {:.1} %  among the first five {:.1} %",
        network.name,
        report.loss,
        100.0 * report.accuracy,
        100.0 * report.top_5_accuracy
    ))
}

/// The class of the largest score, the first of equal ones.
fn best(row: &[f32]) -> usize {
    (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

/// A team of the threads that were asked for.
pub(super) fn team(threads: Option<usize>) -> Result<Team, Error> {
    Team::new(threads.unwrap_or_else(Team::default_threads)).map_err(|e| misuse("--threads", e.to_string()))
}
