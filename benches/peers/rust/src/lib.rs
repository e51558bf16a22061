//! What both peers have in common: the command line, the clock, and what is printed for the driver `run`, as
//! `measure.py` describes it.

use std::error::Error;
use std::time::Instant;

use serde_json::{Value, json};

/// Of the seed's network, in PyTorch's form.
pub const PARAMETERS: usize = 195_738;
pub const CLASSES: usize = 10;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The version of a crate that this was built with, from Cargo.lock.
pub fn version(name: &str) -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    let found = lines.any(|line| line == format!("name = \"{name}\""));
    let line = if found { lines.next() } else { None };
    line.and_then(|line| line.split('"').nth(1)).unwrap_or("unknown")
}

pub struct Arguments {
    pub batch: usize,
    pub steps: usize,
    pub threads: usize,
}

impl Arguments {
    /// Reads `--batch N --steps N --threads N`.
    pub fn parse() -> Result<Arguments> {
        let mut arguments = Arguments { batch: 100, steps: 20, threads: 1 };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?.parse()?;
            match word.as_str() {
                "--batch" => arguments.batch = value,
                "--steps" => arguments.steps = value,
                "--threads" => arguments.threads = value,
                _ => return Err(format!("unknown option {word}").into()),
            }
        }
        Ok(arguments)
    }
}

/// Numbers in [0, 1).
pub fn noise(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 12.9898).sin() * 0.5 + 0.5).collect()
}

pub fn median_ms(runs: usize, mut body: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        body()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0)
}

/// The most memory that this process has held, in MB.
pub fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
}

/// Refuses another network.
pub fn check_parameters(count: usize) -> Result<()> {
    if count == PARAMETERS { Ok(()) } else { Err(format!("{count} parameters, but the network has {PARAMETERS}").into()) }
}

/// Adds the medians of `infer(batch)` to `result`; its first call may prepare.
pub fn inference(a: &Arguments, result: &mut Value, mut infer: impl FnMut(usize) -> Result<()>) -> Result<()> {
    for (key, batch, runs) in [("infer_batch_ms", a.batch, a.steps), ("infer1_ms", 1, 10 * a.steps)] {
        for _ in 0..3 {
            infer(batch)?;
        }
        result[key] = json!(median_ms(runs, || infer(batch))?);
    }
    Ok(())
}
