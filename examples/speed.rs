//! Measures a training step and inference of the CIFAR-10 ResNet, and prints one line of JSON.
//!
//! ```text
//! cargo run --release --example speed -- --batch 100 --steps 20
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `first_step_ms` | process start to the end of the first training step, compilation included |
//! | `compile_ms` | graph to machine code, the training program |
//! | `train_step_ms` | median training step: forward, backward, update |
//! | `infer1_ms`, `infer_batch_ms` | median inference of one image and of a batch |
//! | `peak_gflops` | the CPU's own best rate of f32 multiply-adds, measured on the same threads |
//! | `train_gflops`, `infer_gflops` | operations of direct convolution (a multiply-add counts two) per second |
//! | `arena_mb` | work memory of the training program |
//! | `rss_mb` | the most memory the process held until the end of training |
//! | `kernels` | distinct compiled kernels of the training program |

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use outrigger::Error;
use outrigger::compile::Program;
use outrigger::model::ResNetCifar;
use outrigger::train::{Recipe, Trainer, TrainerOptions, parse_layers};
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
}

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
    batch: usize,
    threads: usize,
}

fn main() -> ExitCode {
    let (entered, age) = (Instant::now(), process_age().unwrap_or_default());
    match run(&Args::parse(), entered, age) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, entered: Instant, age: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let report = measure(args, entered, age)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}

fn measure(args: &Args, entered: Instant, age: Duration) -> Result<Report, Error> {
    let batch = args.batch as usize;
    let layers = parse_layers(&args.layers)?;
    let recipe = Recipe { model: ResNetCifar { layers, ..ResNetCifar::default() }, batch, ..Recipe::default() };
    let (images, labels) = noise(batch, recipe.model.classes);

    let options = TrainerOptions { threads: args.threads, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(recipe.model, recipe.optimizer(), batch, options)?;
    trainer.train_step(&images, &labels, recipe.lr)?;
    let first_step = age + entered.elapsed();
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

/// How long this process has existed, to 10 ms: Linux gives its start in ticks since boot (field 22 of
/// `/proc/self/stat`; a tick is 1/100 s in every Linux ABI), and the time since boot.
fn process_age() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // the second field is the program's name in parentheses, which may hold spaces
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(uptime - ticks / 100.0).ok()
}
