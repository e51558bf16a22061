//! `outrigger bench`: a training step and inference of a network.
//!
//! ```text
//!   model ─▶ training step ─┐   a fresh process ─▶ first step
//!         ─▶ inference ─────┴─▶ medians, rates, memory ─▶ lines, or one line of JSON
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `first_step_ms` | start of a fresh process to the end of its first training step, compilation included; median of three |
//! | `compile_ms` | graph to machine code, the training program |
//! | `train_step_ms` | median training step: forward, backward, update |
//! | `infer1_ms`, `infer_batch_ms` | median inference of one image and of a batch |
//! | `peak_gflops` | the CPU's own best rate of f32 multiply-adds, measured on the same threads |
//! | `train_gflops`, `infer_gflops`, `infer1_gflops` | operations of direct convolution and matrix products (a multiply-add counts two) per second, in training, inference of a batch, and of one image |
//! | `arena_mb` | work memory of the training program |
//! | `rss_mb` | the most memory the process held until the end of training |
//! | `kernels` | distinct compiled kernels of the training program |
//! | `batch`, `threads`, `model`, `isa`, `precision` | what was measured |

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_runtime::Team;
use serde::Serialize;

use super::output::{say, say_json};
use crate::codegen::Isa;
use crate::compile::Options;
use crate::error::Error;
use crate::models::{Classifier, ResNetCifar, by_name};
use crate::train::parse_layers;
use crate::types::Precision;

mod network;
mod sweep;

use network::{Network, Ready, median, wall};

/// Measure a training step and inference of a network.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger bench --batch 100 --steps 20
  outrigger bench --model resnet18 --batch 16 --threads 1 --isa avx2 --json
  outrigger bench --report                which algorithm each convolution has, and its time
  outrigger bench --sweep --threads 1     tables: how cost grows with depth, batch and pixels")]
pub(super) struct Args {
    /// Images of a step
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Steps to take the median of
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Threads [default: the cores this process may use]
    #[arg(long)]
    threads: Option<usize>,
    /// Network; an unknown name is answered with the known ones
    #[arg(long, default_value = "resnet14", value_name = "NAME")]
    model: String,
    /// Instead of a name: the CIFAR ResNet with so many residual blocks of 16, 32 and 64 channels
    #[arg(long, value_name = "N,N,N", conflicts_with = "model")]
    layers: Option<String>,
    /// Instructions of the inner products: clif, avx2, avx512, avx512bf16 or amx [default: OUTRIGGER_ISA, or the
    /// fastest of this CPU]
    #[arg(long)]
    isa: Option<Isa>,
    /// Precision of convolutions and activations: f32 or bf16
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Print tables of how cost grows, and of all networks, instead
    #[arg(long, value_name = "TABLE", num_args = 0..=1, default_missing_value = "all", conflicts_with_all = ["model", "layers", "batch"])]
    sweep: Option<sweep::Table>,
    /// Print each convolution's algorithm, its predicted time on one thread and the measured time of all, instead
    #[arg(long, conflicts_with = "sweep")]
    report: bool,
    /// One line of JSON; not of the tables
    #[arg(long, conflicts_with_all = ["sweep", "report"])]
    json: bool,
    /// Take one training step, say so, and end: what the measuring process starts
    #[arg(long, hide = true)]
    first_step: bool,
}

impl Args {
    fn model(&self) -> Result<Box<dyn Classifier>, Error> {
        match &self.layers {
            Some(layers) => Ok(Box::new(ResNetCifar { layers: parse_layers(layers)?, ..ResNetCifar::default() })),
            None => Ok(Box::new(by_name(&self.model)?)),
        }
    }

    fn options(&self) -> Options {
        Options { isa: self.isa, precision: self.precision, ..Options::default() }
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(Team::default_threads)
    }
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
    infer1_gflops: f64,
    arena_mb: f64,
    rss_mb: f64,
    kernels: usize,
    batch: usize,
    threads: usize,
    model: String,
    isa: String,
    precision: String,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    if let Some(table) = args.sweep {
        return sweep::print(table, &args.options(), args.threads(), args.steps);
    }
    if args.report {
        return report(args);
    }
    if args.first_step {
        prepared(args)?;
        return say(STEPPED);
    }
    // asked first: a wrong name should not be said three times
    args.model()?;
    let first = first_step().map_err(|source| Error::Io { file: "a fresh process".to_string(), source })?;
    let report = measure(args, first)?;
    if args.json { say_json(&report) } else { say(report) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { model, threads, isa, precision, batch, .. } = self;
        let share = |gflops: f64| 100.0 * gflops / self.peak_gflops;
        writeln!(f, "{model}, {threads} threads, {isa}, {precision}, peak {:.0} GFLOP/s", self.peak_gflops)?;
        let (train, infer, one) = (share(self.train_gflops), share(self.infer_gflops), share(self.infer1_gflops));
        writeln!(f, "training step of {batch}   {:9.3} ms  {train:.0} % of the peak", self.train_step_ms)?;
        writeln!(f, "inference of {batch}       {:9.3} ms  {infer:.0} %", self.infer_batch_ms)?;
        writeln!(f, "inference of 1         {:9.3} ms  {one:.0} %", self.infer1_ms)?;
        writeln!(f, "first step of a process {:8.3} ms, {:.3} of them compiling", self.first_step_ms, self.compile_ms)?;
        write!(f, "memory in training     {:9.1} MB, {:.1} of them the arena", self.rss_mb, self.arena_mb)
    }
}

/// Starts this program anew, three times, and waits for the end of its first step. (The age of the measuring process
/// would count what `cargo run` did before it became this program.)
fn first_step() -> io::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let mut fresh = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .arg("--first-step")
            // a trace is of one process: this one
            .env_remove("OUTRIGGER_PROFILE")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(fresh.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        times.push(start.elapsed());
        let status = fresh.wait()?;
        if line.trim_end() != STEPPED || !status.success() {
            return Err(io::Error::other(format!("took no step ({status})")));
        }
    }
    times.sort_unstable();
    Ok(times[1])
}

/// A network that has taken one training step.
fn prepared(args: &Args) -> Result<(Network, Ready), Error> {
    let (network, mut training) = Network::new(args.model()?, args.options(), args.threads(), args.batch as usize)?;
    training.step()?;
    Ok((network, training))
}

/// The convolutions of the training step and of inference, as the cost model and as the shortest of some steps have them.
fn report(args: &Args) -> Result<(), Error> {
    let (network, training) = prepared(args)?;
    for mut ready in [training, network.inference(args.batch as usize)?] {
        ready.step()?;
        let mut best = ready.profile()?;
        for _ in 1..args.steps {
            let profile = ready.profile()?;
            if profile.total_ns < best.total_ns {
                best = profile;
            }
        }
        say(format_args!("{}\n{}", best.plan, ready.program.convolutions_measured(&best)))?;
    }
    Ok(())
}

fn measure(args: &Args, first_step: Duration) -> Result<Report, Error> {
    let (network, mut training) = prepared(args)?;
    let time = |ready: &mut Ready, runs: u32| Ok::<_, Error>(median(&ready.times(runs, Duration::MAX, wall)?));
    let train_step = time(&mut training, args.steps)?;
    let rss = outrigger_runtime::peak_resident_bytes().unwrap_or(0);

    let threads = network.team.threads();
    let peak_gflops = outrigger_runtime::peak_gflops(threads);

    let batch = args.batch as usize;
    let [mut of_batch, mut of_one] = [network.inference(batch)?, network.inference(1)?];
    // the first run touches new memory
    of_batch.step()?;
    let infer_batch = time(&mut of_batch, args.steps)?;
    of_one.step()?;
    let infer1 = time(&mut of_one, 10 * args.steps)?;

    let summary = training.program.summary();
    Ok(Report {
        first_step_ms: milliseconds(first_step),
        compile_ms: milliseconds(summary.compile_time),
        train_step_ms: milliseconds(train_step),
        infer1_ms: milliseconds(infer1),
        infer_batch_ms: milliseconds(infer_batch),
        peak_gflops,
        train_gflops: training.gflop() / train_step.as_secs_f64(),
        infer_gflops: of_batch.gflop() / infer_batch.as_secs_f64(),
        infer1_gflops: of_one.gflop() / infer1.as_secs_f64(),
        arena_mb: summary.arena_bytes as f64 / 1e6,
        rss_mb: rss as f64 / 1e6,
        kernels: summary.kernels,
        batch,
        threads,
        model: args.layers.as_ref().map_or_else(|| args.model.clone(), |layers| format!("resnet {layers}")),
        isa: args.isa.map_or_else(Isa::from_env, Ok)?.to_string(),
        precision: args.precision.to_string(),
    })
}

fn milliseconds(time: Duration) -> f64 {
    // microseconds are all that a timer is good for
    (time.as_secs_f64() * 1e6).round() / 1e3
}
