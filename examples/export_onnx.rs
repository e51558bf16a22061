//! Writes a network with its weights as an ONNX file.
//!
//! ```text
//! cargo run --release --example train_cifar10 -- --epochs 1 --save w.safetensors
//! cargo run --release --example export_onnx -- --weights w.safetensors --out resnet14.onnx
//! cargo run --release --example export_onnx -- --model mobilenet_v2 --weights torchvision.safetensors --channels-first
//! ```
//!
//! The file has the input `images` and the output `logits`. Without `--weights` the weights are random.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use outrigger::export::onnx::{DataFormat, OPSET, OnnxOptions, export};
use outrigger::models::{Classifier, by_name};
use outrigger::train::{Layout, Recipe, Restore, WeightFile};
use outrigger::{Error, Store};

/// Writes a network with its weights as an ONNX file.
#[derive(Debug, Parser)]
struct Args {
    /// Network; an unknown name is answered with the known ones [default: the one that --weights was trained as, or resnet14]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Weights (safetensors), as train_cifar10 saves them or with PyTorch's names and layout
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Where to write
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// Images of a run; without it the file takes any number
    #[arg(long)]
    batch: Option<usize>,
    /// The input is [batch, channels, rows, columns], not [batch, rows, columns, channels]
    #[arg(long)]
    channels_first: bool,
    /// Keep batch norms, instead of folding them into convolutions
    #[arg(long)]
    unfused: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let file = args.weights.as_deref().map(WeightFile::read).transpose()?;
    let model: Box<dyn Classifier> = match (&args.model, &file) {
        (Some(name), _) => Box::new(by_name(name)?),
        (None, Some(file)) => Box::new(Recipe::from_file(file)?.0.model),
        (None, None) => Box::new(by_name("resnet14")?),
    };
    let graph = model.evaluation(args.batch.unwrap_or(1))?;
    let store = Store::new(&graph, 0)?;
    if let Some(file) = &file {
        file.restore(&store, file.layout().unwrap_or(Layout::Torch), Restore::Model)?;
    }
    let data_format = if args.channels_first { DataFormat::ChannelsFirst } else { DataFormat::ChannelsLast };
    let options = OnnxOptions {
        fused: !args.unfused,
        data_format,
        dynamic_batch: args.batch.is_none(),
        ..OnnxOptions::default()
    };
    export(&graph, &store, &["logits"], &options, &args.out)?;
    println!("{} of {}: opset {OPSET}, images ─▶ logits", args.out.display(), graph.name());
    Ok(())
}
