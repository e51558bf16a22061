//! `outrigger inspect`: what the compiler made of a network, stage by stage.

use serde_json::{Map, Value, json};

use super::output::{misuse, positive, say, say_json};
use super::source::{Chosen, Compiling, Source};
use crate::codegen::Listing;
use crate::compile::{Program, compile};
use crate::error::{Error, nearest};
use crate::graph::Graph;
use crate::models::Classifier;
use crate::nn::Form;
use crate::train::Method;
use crate::train::optimizer::{LOSS, training_graph};

/// Show what the compiler made of a network: passes, plan, kernels, and a kernel's code.
///
/// Without a choice of parts: sizes and the list of kernels.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger inspect --passes                        what each pass did, and why it left alone what it left alone
  outrigger inspect --plan --training --batch 100
  outrigger inspect --kernels
  outrigger inspect --kernel fc --nest --clif       by the name of a step, or its number in the list
  outrigger inspect --kernel 0 --asm --isa avx2")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    compiling: Compiling,
    /// The training step (with Adam), not inference
    #[arg(long)]
    training: bool,
    /// Images of a batch
    #[arg(long, default_value = "1", value_parser = positive)]
    batch: usize,
    /// The graph's text, before the passes
    #[arg(long)]
    graph: bool,
    /// The passes' report
    #[arg(long)]
    passes: bool,
    /// Every step with its buffers' places
    #[arg(long)]
    plan: bool,
    /// The list of distinct kernels
    #[arg(long)]
    kernels: bool,
    /// A kernel: its number in the list, or the name of a step that it serves
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// The kernel's description as loops; the default if it is not --clif or --asm
    #[arg(long, requires = "kernel")]
    nest: bool,
    /// The kernel's code in Cranelift's intermediate form
    #[arg(long, requires = "kernel")]
    clif: bool,
    /// The kernel's machine code, with the tiles that it calls
    #[arg(long, requires = "kernel")]
    asm: bool,
    /// One line of JSON with a field for each part
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let network = args.source.load()?;
    let graph = graph(args, &network)?;
    let program = compile(&graph, &args.compiling.options(&network))?;
    let parts = parts(args, &graph, &program)?;
    if args.json {
        return say_json(&Value::Object(parts.into_iter().map(|part| (part.name.to_string(), part.json)).collect()));
    }
    parts.iter().try_for_each(|part| say(part.text.trim_end()))
}

fn graph(args: &Args, network: &Chosen) -> Result<Graph, Error> {
    if !args.training {
        return network.forward(args.batch);
    }
    let Some(layers) = network.network() else {
        return Err(misuse("--training", format!("{} is exported for inference and cannot be trained", network.name)));
    };
    let forward = layers.training(args.batch)?;
    let loss = forward.output(LOSS)?;
    training_graph(forward, loss, &Method::Adam.optimizer(Form::Torch))
}

/// A part of the answer, in both forms.
struct Part {
    name: &'static str,
    text: String,
    json: Value,
}

impl Part {
    fn text(name: &'static str, text: String) -> Part {
        Part { name, json: json!(text), text }
    }
}

fn parts(args: &Args, graph: &Graph, program: &Program) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let nothing = !(args.graph || args.passes || args.plan || args.kernels || args.kernel.is_some());
    if args.graph {
        parts.push(Part::text("graph", graph.to_string()));
    }
    if args.passes {
        parts.push(Part::text("passes", program.report().to_string()));
    }
    if args.plan {
        parts.push(Part::text("plan", program.planned().to_string()));
    }
    if nothing {
        parts.push(sizes(program));
    }
    if nothing || args.kernels || args.kernel.is_some() {
        let listings = program.listings()?;
        if nothing || args.kernels {
            parts.push(kernels(&listings));
        }
        if let Some(name) = &args.kernel {
            parts.push(kernel(args, find(name, &listings)?));
        }
    }
    Ok(parts)
}

fn sizes(program: &Program) -> Part {
    let s = program.summary();
    let text = format!(
        "{} kernels, {} bytes of code, {} steps, {:.3} GFLOP, arena of {} bytes, compiled in {:.0} ms",
        s.kernels,
        s.code_bytes,
        s.steps,
        s.flops as f64 / 1e9,
        s.arena_bytes,
        1e3 * s.compile_time.as_secs_f64()
    );
    let json = json!({
        "kernels": s.kernels, "code_bytes": s.code_bytes, "steps": s.steps, "flops": s.flops,
        "arena_bytes": s.arena_bytes, "compile_ms": 1e3 * s.compile_time.as_secs_f64(),
    });
    Part { name: "sizes", text, json }
}

fn kernels(listings: &[Listing]) -> Part {
    let line = |(at, kernel): (usize, &Listing)| {
        let others = match kernel.steps.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        format!("{at:3}  {:20}  {}{others}\n", kernel.kind, kernel.steps.first().map_or("", String::as_str))
    };
    let entry = |kernel: &Listing| json!({ "kind": kernel.kind, "steps": kernel.steps });
    Part {
        name: "kernels",
        text: listings.iter().enumerate().map(line).collect(),
        json: listings.iter().map(entry).collect(),
    }
}

/// The kernel of a number, or of the name of a step.
fn find<'k>(name: &str, listings: &'k [Listing]) -> Result<&'k Listing, Error> {
    let numbered = name.parse().ok().and_then(|at: usize| listings.get(at));
    let named = || listings.iter().find(|kernel| kernel.steps.iter().any(|step| step == name));
    let part = || listings.iter().find(|kernel| kernel.steps.iter().any(|step| step.contains(name)));
    numbered.or_else(named).or_else(part).ok_or_else(|| Error::UnknownName {
        what: "kernel",
        name: name.to_string(),
        near: nearest(name, listings.iter().flat_map(|kernel| &kernel.steps).map(String::as_str)),
    })
}

fn kernel(args: &Args, kernel: &Listing) -> Part {
    let mut fields = Map::new();
    let mut text = format!("; {} of {}\n", kernel.kind, kernel.steps.join(", "));
    fields.insert("kind".to_string(), json!(kernel.kind));
    fields.insert("steps".to_string(), json!(kernel.steps));
    if args.nest || !(args.clif || args.asm) {
        text += &format!("{}\n", kernel.nest);
        fields.insert("nest".to_string(), json!(kernel.nest));
    }
    if args.clif {
        text += &kernel.clif;
        fields.insert("clif".to_string(), json!(kernel.clif));
    }
    if args.asm {
        for function in &kernel.functions {
            text += &format!("; {}\n{}", function.name, function.assembly);
        }
        let functions = kernel.functions.iter().map(|f| json!({ "name": f.name, "assembly": f.assembly }));
        fields.insert("asm".to_string(), functions.collect());
    }
    Part { name: "kernel", text, json: Value::Object(fields) }
}
