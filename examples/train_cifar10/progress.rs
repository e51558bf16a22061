//! What a run shows while it works: a bar on a terminal, a line now and then otherwise.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use outrigger::train::Outcome;

/// Without a terminal, a line at most so often within an epoch.
const QUIET: Duration = Duration::from_secs(15);

/// Writes a line to standard output.
pub fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Progress of a whole run.
pub struct Reporter {
    epochs: u64,
    /// Training images of an epoch.
    images: usize,
    bar: ProgressBar,
    terminal: bool,
    started: Instant,
    /// Images of this run, trained on so far and in all.
    done: usize,
    total: usize,
    /// Of the current epoch.
    epoch: u64,
    epoch_started: Instant,
    spoken: Instant,
}

impl Reporter {
    /// For a run of `epochs` epochs of which `start` are already done, on `images` images each.
    pub fn new(epochs: u64, start: u64, images: usize) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(images as u64) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let now = Instant::now();
        let total = images.saturating_mul(usize::try_from(epochs.saturating_sub(start)).unwrap_or(usize::MAX));
        Reporter {
            epochs,
            images,
            bar,
            terminal,
            started: now,
            done: 0,
            total,
            epoch: start,
            epoch_started: now,
            spoken: now,
        }
    }

    /// A new epoch begins, counted from 0.
    pub fn epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.epoch_started = Instant::now();
        self.spoken = self.epoch_started;
        self.bar.reset();
        self.bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.epochs));
    }

    /// A step is done; `so_far` is the epoch until now.
    pub fn step(&mut self, so_far: &Outcome, batch: usize) -> io::Result<()> {
        self.done += batch;
        let message = || {
            let rate = so_far.images as f64 / self.epoch_started.elapsed().as_secs_f64();
            format!(
                "loss {:.4}  accuracy {:.1} %  {rate:.0} images/s  {} left",
                so_far.loss(),
                100.0 * so_far.accuracy(),
                HumanDuration(self.left()),
            )
        };
        if self.terminal {
            self.bar.set_position(so_far.images as u64);
            self.bar.set_message(message());
        } else if self.spoken.elapsed() >= QUIET && so_far.images < self.images {
            say(&format!(
                "epoch {}/{}  {}/{} images  {}",
                self.epoch + 1,
                self.epochs,
                so_far.images,
                self.images,
                message()
            ))?;
            self.spoken = Instant::now();
        }
        Ok(())
    }

    /// The epoch is over, evaluation included.
    pub fn epoch_done(&self, train: &Outcome, test: &Outcome, rate: f64) -> io::Result<()> {
        self.bar.set_message("");
        let line = format!(
            "epoch {:>2}/{}  loss {:.4}  accuracy {:.1} %  test loss {:.4}  test accuracy {:.1} %  {rate:.0} images/s  {} left",
            self.epoch + 1,
            self.epochs,
            train.loss(),
            100.0 * train.accuracy(),
            test.loss(),
            100.0 * test.accuracy(),
            HumanDuration(self.left()),
        );
        if self.terminal { self.bar.suspend(|| say(&line)) } else { say(&line) }
    }

    /// The run is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Time that the rest takes at the rate so far, evaluations included.
    fn left(&self) -> Duration {
        let rest = self.total.saturating_sub(self.done) as f64 / self.done.max(1) as f64;
        // a time beyond all durations is as good as the longest that can be shown
        let seconds = self.started.elapsed().as_secs_f64() * rest;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}
