//! `outrigger summary`: the layers of a network, and how much it takes.

use serde::Serialize;

use super::output::{say, say_json};
use super::source::{Chosen, Source};
use crate::compile::{Options, compile};
use crate::error::Error;
use crate::formats::{WeightFile, read_weights};
use crate::graph::Value;
use crate::nn::Form;

/// Show the layers of a network, its parameters, and what inference takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger summary                   the default network
  outrigger summary mobilenet_v2 --form keras
  outrigger summary w.safetensors     of train --save; of other files the tensors
  outrigger summary resnet.outrigger  an exported network, its kernels and its certificate")]
pub(super) struct Args {
    /// A network's name, or a file
    #[arg(value_name = "NAME|FILE")]
    network: Option<String>,
    /// How the layers are shown: as torchsummary, as Keras, or a line a layer [default: as the network's framework]
    #[arg(long, value_enum)]
    form: Option<Look>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Forms of the table of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Look {
    Torch,
    Keras,
    Ours,
}

/// An input or output.
#[derive(Debug, Serialize)]
struct Port {
    name: String,
    /// Of one sample, without the batch.
    shape: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct Report {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    parameters: usize,
    /// Running statistics and other state that is not trained.
    buffers: usize,
    /// Operations of convolutions and matrix products for one sample; a multiply-add counts two.
    flops: u64,
    /// Work memory of inference of one sample.
    arena_bytes: usize,
    /// Epochs that the weights were trained.
    epochs: Option<u64>,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let source = Source::of_word(args.network.as_ref());
    match source.load() {
        Ok(network) => show(&network, args),
        Err(error) => match source.weights().map(read_weights) {
            // weights of a network that nothing is known of
            Some(Ok(file)) => tensors(&file, args.json),
            _ => Err(error),
        },
    }
}

fn show(network: &Chosen, args: &Args) -> Result<(), Error> {
    let graph = network.forward(1)?;
    let ports = |names: &[String], find: &dyn Fn(&str) -> Result<Value, Error>| -> Result<Vec<Port>, Error> {
        let sample = |value| graph.value_type(value).map_or(Vec::new(), |ty| ty.shape.0[1..].to_vec());
        names.iter().map(|name| Ok(Port { name: name.clone(), shape: sample(find(name)?) })).collect()
    };
    let elements = |ids: Vec<crate::graph::NodeId>| -> usize {
        ids.into_iter().filter_map(|id| graph.get(id)?.results.first()).map(|ty| ty.shape.elements()).sum()
    };
    let program = compile(&graph, &Options::default())?;
    let summary = program.summary();
    let parameters = elements(graph.parameters().collect());
    let report = Report {
        name: network.name.clone(),
        inputs: ports(&network.inputs, &|name| graph.source(name))?,
        outputs: ports(&network.outputs, &|name| graph.output(name))?,
        parameters,
        buffers: elements(graph.states().collect()) - parameters,
        flops: summary.flops,
        arena_bytes: summary.arena_bytes,
        epochs: network.recipe.as_ref().map(|(_, epochs)| *epochs),
    };
    if args.json {
        return say_json(&report);
    }
    if let Some(layers) = network.network() {
        let table = match args.form {
            Some(Look::Torch) => layers.summary_as(Form::Torch)?.to_string(),
            Some(Look::Keras) => layers.summary_as(Form::Keras)?.to_string(),
            Some(Look::Ours) => layers.to_string(),
            None => layers.summary()?.to_string(),
        };
        say(table.trim_end())?;
    }
    if let Some(inference) = network.inference() {
        say(inference.to_string().trim_end())?;
    }
    let list = |ports: &[Port]| {
        ports.iter().map(|port| format!("{} {:?}", port.name, port.shape)).collect::<Vec<_>>().join(", ")
    };
    say(format_args!("{}: {} to {} (channels last)", report.name, list(&report.inputs), list(&report.outputs)))?;
    say(format_args!("{} parameters, {} numbers of other state", report.parameters, report.buffers))?;
    say(format_args!(
        "inference of one sample: {:.3} GFLOP, {:.1} MB of work memory",
        report.flops as f64 / 1e9,
        report.arena_bytes as f64 / 1e6
    ))?;
    report.epochs.map_or(Ok(()), |epochs| say(format_args!("trained for {epochs} epochs")))
}

/// What a file of weights holds.
fn tensors(file: &WeightFile, json: bool) -> Result<(), Error> {
    let shapes: Vec<(&str, Vec<usize>)> =
        file.names().map(|name| Ok((name, file.shape(name)?.0.clone()))).collect::<Result<_, Error>>()?;
    if json {
        let shapes: Vec<_> =
            shapes.iter().map(|(name, shape)| serde_json::json!({ "name": name, "shape": shape })).collect();
        return say_json(&serde_json::json!({ "tensors": shapes }));
    }
    shapes.iter().try_for_each(|(name, shape)| say(format_args!("{name} {shape:?}")))?;
    say(format_args!("{} tensors", shapes.len()))
}
