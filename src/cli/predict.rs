//! `outrigger predict`: the five likeliest classes of images.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::output::{at, misuse, positive, say, say_json};
use super::source::{Compiling, Source};
use crate::compile::compile;
use crate::data::{Layout, read_fitted};
use crate::error::Error;

/// Tell what images show: the five likeliest classes.
///
/// PNG and JPEG files of any size: the shorter side is resized to the network's input, and the middle is taken.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger predict --weights w.safetensors cat.png dog.jpg
  outrigger predict --weights resnet.outrigger --json *.png")]
pub(super) struct Args {
    /// PNG or JPEG files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    compiling: Compiling,
    /// Names of the classes, a line each [default: those it was trained on; else CIFAR-10's for 10 classes, CIFAR-100's
    /// for 100]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// How many classes of an image to show
    #[arg(long, default_value = "5", value_parser = positive)]
    top: usize,
    /// Threads [default: the cores this process may use]
    #[arg(long, value_parser = positive)]
    threads: Option<usize>,
    /// A line of JSON an image: image, top (name, class, probability)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Prediction {
    image: String,
    top: Vec<Guess>,
}

#[derive(Debug, Serialize)]
struct Guess {
    name: String,
    class: usize,
    probability: f64,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    args.source.require_weights("predict")?;
    let network = args.source.load()?;
    let ([input, output], size) = (network.ends()?, network.image()?);
    let team = Arc::new(super::eval::team(args.threads)?);
    let graph = network.forward(1)?;
    let mut session = compile(&graph, &args.compiling.options(&network))?.session(&network.store, &team)?;
    let mut names = None;
    for path in &args.images {
        session.set_f32(input, &read_fitted(path, size)?.into_floats())?;
        session.run()?;
        let scores = session.get(output)?;
        let scores = scores.as_f32().unwrap_or_default();
        let names = match &mut names {
            Some(names) => names,
            empty => empty.insert(class_names(args.classes.as_deref(), &network.class_names, scores.len())?),
        };
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let shares = network.probabilities(scores);
        let guess = |&class: &usize| Guess { name: names[class].clone(), class, probability: shares[class] };
        let top: Vec<Guess> = order.iter().take(args.top).map(guess).collect();
        let image = path.display().to_string();
        if args.json {
            say_json(&Prediction { image, top })?;
        } else {
            let line = top.iter().map(|g| format!("{} {:.1} %", g.name, 100.0 * g.probability));
            say(format_args!("{image}: {}", line.collect::<Vec<_>>().join(", ")))?;
        }
    }
    Ok(())
}

/// A name for each of `count` classes.
fn class_names(file: Option<&Path>, trained: &[String], count: usize) -> Result<Vec<String>, Error> {
    let own = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    let Some(path) = file else {
        if trained.len() == count {
            return Ok(trained.to_vec());
        }
        return Ok(match count {
            10 => own(Layout::Cifar10.class_names()),
            100 => own(Layout::Cifar100.class_names()),
            _ => (0..count).map(|class| format!("class {class}")).collect(),
        });
    };
    let text = fs::read_to_string(path).map_err(at(path))?;
    let names: Vec<String> = text.lines().map(str::to_string).collect();
    if names.len() == count {
        return Ok(names);
    }
    let reason = format!("{} has {} lines, the network tells {count} classes apart", path.display(), names.len());
    Err(misuse("--classes", reason))
}
