//! Tables in Markdown: how cost grows with depth, batch and pixels, and what bounds each network.
//!
//! ```text
//!   peak, bandwidth ─▶ for each row:  training steps ─ inference ─ profiles        the best of each
//! ```
//!
//! With one thread times are its time on a core, so that other programs on the machine do less harm; what they take of
//! caches and clock rate remains. Where cost is linear, the columns `a unit` and `peak` stay the same from row to row. The columns:
//!
//! | column | meaning |
//! |---|---|
//! | train, infer | best time of a training step and of inference |
//! | a unit | that time divided by what the table varies: layers, images or thousands of pixels |
//! | peak | operations of direct convolution and matrix products per second, as a share of the best `peak_gflops` of the start |
//! | conv | share of the training step in convolution kernels |
//! | roof | the least time that the roofline model allows, as a share of the time taken |
//! | bound | what most of a training step's time is bounded by in that model, and how much of it |

use std::io::Write;
use std::time::Duration;

use clap::ValueEnum;
use outrigger_runtime::{Bound, Roof, peak_bandwidth, peak_gflops};

use super::network::{Clock, Network, Ready, cpu, wall};
use crate::compile::Options;
use crate::error::Error;
use crate::models::{Classifier, ResNetCifar, by_name};

/// Which tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Table {
    /// All of them.
    All,
    /// ResNet-20, -56 and -110.
    Depth,
    /// ResNet-20 with 1 to 512 images.
    Batch,
    /// ResNet-20 with 16 × 16 to 128 × 128 pixels.
    Pixels,
    /// Every kind of network.
    Models,
}

/// Enough time for a row's steps of one kind.
const ENOUGH: Duration = Duration::from_secs(2);

/// Networks of the last table, each with the batch it is trained with.
const MODELS: [(&str, usize); 8] = [
    ("resnet14", 100),
    ("resnet56", 100),
    ("resnet110", 100),
    ("resnet18", 16),
    ("vgg16", 8),
    ("mobilenet_v2", 16),
    ("lenet5", 512),
    ("mlp", 512),
];

/// Measures and prints; `steps` is the most steps of a row.
///
/// # Errors
/// Those of compiling and running.
pub(super) fn print(table: Table, options: &Options, threads: usize, steps: u32) -> Result<(), Error> {
    let run = Sweep { options, threads, steps, roof: roof(threads), clock: if threads == 1 { cpu } else { wall } };
    let wanted = |one: Table| table == one || table == Table::All;
    say(&format!("{threads} thread(s), {:.0} GFLOP/s, {:.1} GB/s", run.roof.gflops, run.roof.bandwidth));
    let resnet = |n: usize, size: usize| ResNetCifar { layers: [n; 3], size, ..ResNetCifar::default() };
    if wanted(Table::Depth) {
        head("Depth: CIFAR ResNets, 32 images of 32 × 32", "layers");
        for n in [3, 5, 7, 9, 18] {
            run.row((6 * n + 2) as f64, "", resnet(n, 32), 32)?;
        }
    }
    if wanted(Table::Batch) {
        head("Batch: ResNet-20, images of 32 × 32", "images");
        for batch in [1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512] {
            run.row(batch as f64, "", resnet(3, 32), batch)?;
        }
    }
    if wanted(Table::Pixels) {
        head("Pixels: ResNet-20, 16 images", "1000 pixels");
        for size in [16, 24, 32, 48, 64, 96, 128] {
            run.row((size * size) as f64 / 1e3, &format!("{size} × {size}: "), resnet(3, size), 16)?;
        }
    }
    if wanted(Table::Models) {
        say("\n### Networks\n");
        say("| network | batch | GFLOP a step | train | peak | roof | conv | bound | infer | peak | infer 1 | peak |");
        say("|---|---|---|---|---|---|---|---|---|---|---|---|");
        for (name, batch) in MODELS {
            run.model(name, batch)?;
        }
    }
    Ok(())
}

/// Measured for longer than usual: every row is compared with it.
fn roof(threads: usize) -> Roof {
    let best = |rate: fn(usize) -> f64| (0..10).map(|_| rate(threads)).fold(0.0, f64::max);
    Roof { gflops: best(peak_gflops), bandwidth: best(peak_bandwidth) }
}

fn head(title: &str, unit: &str) {
    say(&format!("\n### {title}\n"));
    say(&format!("| {unit} | GFLOP a step | train | a unit | peak | roof | conv | bound | infer | a unit | peak |"));
    say("|---|---|---|---|---|---|---|---|---|---|---|");
}

/// A row at a time: later ones take minutes. Who closed the pipe wants no more.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

struct Sweep<'o> {
    options: &'o Options,
    threads: usize,
    steps: u32,
    roof: Roof,
    clock: Clock,
}

/// A program's best time, and its operations per second as a share of the peak.
struct Measured {
    time: Duration,
    peak: String,
}

impl Sweep<'_> {
    fn network(&self, model: Box<dyn Classifier>, batch: usize) -> Result<(Network, Ready), Error> {
        Network::new(model, self.options.clone(), self.threads, batch)
    }

    fn measure(&self, ready: &mut Ready) -> Result<Measured, Error> {
        // the first run touches new memory
        ready.step()?;
        let time = ready.times(self.steps, ENOUGH, self.clock)?.first().copied().unwrap_or_default();
        Ok(Measured { time, peak: percent(ready.gflop() / time.as_secs_f64() / self.roof.gflops) })
    }

    /// Time is divided by `units`.
    fn row(&self, units: f64, label: &str, model: ResNetCifar, batch: usize) -> Result<(), Error> {
        let (network, mut training) = self.network(Box::new(model), batch)?;
        let train = self.measure(&mut training)?;
        let infer = self.measure(&mut network.inference(batch)?)?;
        say(&format!(
            "| {label}{units} | {:.3} | {} | {} | {} | {} | {} | {} | {} |",
            training.gflop(),
            pretty(train.time),
            pretty(train.time.div_f64(units)),
            train.peak,
            self.bounds(&mut training, train.time)?,
            pretty(infer.time),
            pretty(infer.time.div_f64(units)),
            infer.peak,
        ));
        Ok(())
    }

    fn model(&self, name: &str, batch: usize) -> Result<(), Error> {
        let (network, mut training) = self.network(Box::new(by_name(name)?), batch)?;
        let (train, gflop) = (self.measure(&mut training)?, training.gflop());
        let bounds = self.bounds(&mut training, train.time)?;
        // its memory is larger than all others' together
        drop(training);
        let infer = self.measure(&mut network.inference(batch)?)?;
        let one = self.measure(&mut network.inference(1)?)?;
        say(&format!(
            "| {name} | {batch} | {gflop:.3} | {} | {} | {bounds} | {} | {} | {} | {} |",
            pretty(train.time),
            train.peak,
            pretty(infer.time),
            infer.peak,
            pretty(one.time),
            one.peak,
        ));
        Ok(())
    }

    /// The columns `roof`, `conv` and `bound` of a step that takes `time`.
    fn bounds(&self, ready: &mut Ready, time: Duration) -> Result<String, Error> {
        // the shortest of three is the least disturbed
        let mut profile = ready.profile()?;
        for _ in 0..2 {
            let again = ready.profile()?;
            if again.total_ns < profile.total_ns {
                profile = again;
            }
        }
        let share = |bound| profile.share_bound_by(bound, &self.roof);
        let bound = if share(Bound::Compute) > share(Bound::Memory) { Bound::Compute } else { Bound::Memory };
        let roof = profile.least_ns(&self.roof) / 1e9 / time.as_secs_f64();
        let conv = profile.convolution_share();
        Ok(format!("{} | {} | {bound}, {}", percent(roof), percent(conv), percent(share(bound))))
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Three digits in the unit that suits.
fn pretty(time: Duration) -> String {
    let (value, unit) = match time.as_secs_f64() {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}
