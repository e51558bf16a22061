//! Measures a training step and inference of the CIFAR-10 ResNet, and prints one line of JSON.
//!
//! ```text
//! cargo run --release --example speed -- --batch 100 --steps 20
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `first_step_ms` | start of a fresh process to the end of its first training step, compilation included; median of three |
//! | `compile_ms` | graph to machine code, the training program |
//! | `train_step_ms` | median training step: forward, backward, update |
//! | `infer1_ms`, `infer_batch_ms` | median inference of one image and of a batch |
//! | `peak_gflops` | the CPU's own best rate of f32 multiply-adds, measured on the same threads |
//! | `train_gflops`, `infer_gflops` | operations of direct convolution (a multiply-add counts two) per second |
//! | `arena_mb` | work memory of the training program |
//! | `rss_mb` | the most memory the process held until the end of training |
//! | `kernels` | distinct compiled kernels of the training program |
//! | `precision` | of convolutions and activations |

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use outrigger::compile::Program;
use outrigger::model::ResNetCifar;
use outrigger::train::{Recipe, Trainer, TrainerOptions, parse_layers};
use outrigger::{Error, Options, Precision};
use serde::Serialize;

/// Measures a training step and inference of the CIFAR-10 ResNet.
#[derive(Debug, Parser)]
struct Args {
    /// Images of a step
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Steps to take the median of
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads [default: the cores this process may use]
    #[arg(long)]
    threads: Option<usize>,
    /// Residual blocks with 16, 32 and 64 channels
    #[arg(long, default_value = "2,2,2", value_name = "N,N,N")]
    layers: String,
    /// Precision of convolutions and activations: f32 or bf16
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Take one training step, say so, and end: what the measuring process starts
    #[arg(long, hide = true)]
    first_step: bool,
}

/// What a process with `--first-step` prints after the step.
const STEPPED: &str = "stepped";

#[derive(Debug, Serialize)]
struct Report {
    first_step_ms: f64,
    compile_ms: f64,
    train_step_ms: f64,
    infer1_ms: f64,
    infer_batch_ms: f64,
    peak_gflops: f64,
    train_gflops: f64,
    infer_gflops: f64,
    arena_mb: f64,
    rss_mb: f64,
    kernels: usize,
    precision: String,
    batch: usize,
    threads: usize,
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

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let said = if args.first_step {
        prepared(args)?;
        STEPPED.to_string()
    } else {
        serde_json::to_string(&measure(args, first_step()?)?)?
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

/// Starts this program anew, three times, and waits for the end of its first step. (The age of the measuring process
/// would count what `cargo run` did before it became this program.)
fn first_step() -> Result<Duration, Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let mut fresh = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .arg("--first-step")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(fresh.stdout.take().ok_or("no output of the fresh process")?).read_line(&mut line)?;
        times.push(start.elapsed());
        let status = fresh.wait()?;
        if line.trim_end() != STEPPED || !status.success() {
            return Err(format!("the fresh process took no step ({status})").into());
        }
    }
    times.sort_unstable();
    Ok(times[1])
}

/// A trainer that has taken one step, with its images and labels.
struct Prepared {
    trainer: Trainer<ResNetCifar>,
    recipe: Recipe,
    images: Vec<f32>,
    labels: Vec<i32>,
}

fn prepared(args: &Args) -> Result<Prepared, Error> {
    let batch = args.batch as usize;
    let layers = parse_layers(&args.layers)?;
    let recipe = Recipe { model: ResNetCifar { layers, ..ResNetCifar::default() }, batch, ..Recipe::default() };
    let (images, labels) = noise(batch, recipe.model.classes);

    let compile = Options { precision: args.precision, ..Options::default() };
    let options = TrainerOptions { threads: args.threads, compile, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(recipe.model, recipe.optimizer(), batch, options)?;
    trainer.train_step(&images, &labels, recipe.lr)?;
    Ok(Prepared { trainer, recipe, images, labels })
}

fn measure(args: &Args, first_step: Duration) -> Result<Report, Error> {
    let Prepared { mut trainer, recipe, images, labels } = prepared(args)?;
    let batch = recipe.batch;
    let train_step = median(args.steps, || trainer.train_step(&images, &labels, recipe.lr).map(drop))?;
    let rss = outrigger_runtime::peak_resident_bytes().unwrap_or(0);

    let threads = trainer.team().threads();
    let peak_gflops = outrigger_runtime::peak_gflops(threads);

    // the first prediction of each batch size compiles its program
    trainer.predict(&images, batch)?;
    let infer_batch = median(args.steps, || trainer.predict(&images, batch).map(drop))?;
    let one = &images[..images.len() / batch];
    trainer.predict(one, 1)?;
    let infer1 = median(10 * args.steps, || trainer.predict(one, 1).map(drop))?;

    let absent =
        || Error::Option { option: "--batch".to_string(), reason: "the measured program is not there".to_string() };
    let training = trainer.training_program(batch).ok_or_else(absent)?;
    let evaluation = trainer.evaluation_program(batch).ok_or_else(absent)?;
    Ok(Report {
        first_step_ms: milliseconds(first_step),
        compile_ms: milliseconds(training.summary().compile_time),
        train_step_ms: milliseconds(train_step),
        infer1_ms: milliseconds(infer1),
        infer_batch_ms: milliseconds(infer_batch),
        peak_gflops,
        train_gflops: gflops(training, train_step),
        infer_gflops: gflops(evaluation, infer_batch),
        arena_mb: training.summary().arena_bytes as f64 / 1e6,
        rss_mb: rss as f64 / 1e6,
        kernels: training.summary().kernels,
        precision: args.precision.to_string(),
        batch,
        threads,
    })
}

fn gflops(program: &Program, time: Duration) -> f64 {
    program.summary().flops as f64 / time.as_secs_f64() / 1e9
}

fn milliseconds(time: Duration) -> f64 {
    // microseconds are all that a timer is good for
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Median time of `runs` runs.
fn median(runs: u32, mut body: impl FnMut() -> Result<(), Error>) -> Result<Duration, Error> {
    let mut times = Vec::with_capacity(runs as usize);
    for _ in 0..runs {
        let start = Instant::now();
        body()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2)
}

/// Images of noise in [0, 1) and labels: kernels take the same time for any pixels.
fn noise(batch: usize, classes: usize) -> (Vec<f32>, Vec<i32>) {
    let mut state = 1u32;
    let mut next = || {
        // the generator of Numerical Recipes, "An Even Quicker Generator"
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let images = (0..batch * 32 * 32 * 3).map(|_| next()).collect();
    (images, (0..batch).map(|i| (i % classes) as i32).collect())
}
