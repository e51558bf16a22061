//! Pictures of the ResNet: its inference graph before and after each pass, and the memory of its programs.
//!
//! `cargo run --release --example picture -- --out pictures` draws all; `--scope layer2.0` one block.

use std::path::PathBuf;

use clap::Parser;
use outrigger::export::inference::InferenceGraph;
use outrigger::export::picture::{Drawing, arena, stages};
use outrigger::models::{self, Classifier};
use outrigger::passes::PassOptions;
use outrigger::train::Storage;
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};
use outrigger::{Options, Store, compile};

#[derive(Parser)]
#[command(about = "Draws a network's graph before and after each pass, its inference graph, and its memory")]
struct Args {
    /// A network's name
    #[arg(long, default_value = "resnet14")]
    model: String,
    /// Images of a batch
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Draw only what is below this path, such as layer2.0
    #[arg(long)]
    scope: Option<String>,
    /// Directory for the pictures
    #[arg(long, default_value = "pictures")]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.out)?;
    let write = |name: String, text: String| std::fs::write(args.out.join(name), text);
    let model = models::by_name(&args.model)?;
    let evaluation = model.evaluation(args.batch)?;
    let draw = |title: String, graph: &outrigger::Graph| {
        let drawing = Drawing::of(graph).titled(title);
        args.scope.as_ref().map_or(Ok(drawing.clone()), |scope| drawing.scope(scope))
    };
    for (at, (pass, graph)) in stages(&evaluation.cone(&["logits"])?, &PassOptions::default())?.iter().enumerate() {
        let title = if at == 0 { args.model.clone() } else { format!("{} after {pass}", args.model) };
        let drawing = draw(title, graph)?;
        write(format!("{at:02}-{pass}.svg"), drawing.svg())?;
        write(format!("{at:02}-{pass}.dot"), drawing.dot())?;
    }
    let network = InferenceGraph::export(&evaluation, &Store::new(&evaluation, 0)?, &["logits"], Storage::F32)?;
    let drawing = draw(format!("{}, exported and fused", args.model), &network.fused()?)?;
    write("inference.svg".to_string(), drawing.svg())?;
    write("inference.dot".to_string(), drawing.dot())?;
    write("inference-arena.svg".to_string(), arena(network.program(&Options::default())?.planned()))?;

    let training = model.training(args.batch)?;
    let loss = training.output("loss")?;
    let training = training_graph(training, loss, &Optimizer::Adam(Adam::default()))?;
    write("training-arena.svg".to_string(), arena(compile(&training, &Options::default())?.planned()))?;
    println!("{} holds the pictures", args.out.display());
    Ok(())
}
