//! What a run shows while it works: a bar on a terminal, a line now and then otherwise.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::cli::output::written;
use crate::error::Error;
use crate::train::Logs;

/// Without a terminal, a line at most so often within an epoch.
const QUIET: Duration = Duration::from_secs(15);

/// An epoch until now.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Progress {
    /// Images trained on.
    pub(in crate::cli) images: usize,
    /// Mean loss of an image.
    pub(in crate::cli) loss: f64,
    /// Share of correct images.
    pub(in crate::cli) accuracy: f64,
}

/// Progress of a whole run.
pub(in crate::cli) struct Reporter {
    epochs: u64,
    /// Training images of an epoch.
    images: usize,
    bar: ProgressBar,
    terminal: bool,
    /// Lines go to standard error: standard output has other readers.
    aside: bool,
    started: Instant,
    /// Images of this run, trained on in the epochs before, so far, and in all.
    before: usize,
    done: usize,
    total: usize,
    /// Of the current epoch.
    epoch: u64,
    epoch_started: Instant,
    spoken: Instant,
}

impl Reporter {
    /// For a run of `epochs` epochs of which `start` are already done, on `images` images each; `aside` to standard
    /// error.
    pub(in crate::cli) fn new(epochs: u64, start: u64, images: usize, aside: bool) -> Self {
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
            aside,
            started: now,
            before: 0,
            done: 0,
            total,
            epoch: start,
            epoch_started: now,
            spoken: now,
        }
    }

    /// Writes a line.
    pub(in crate::cli) fn say(&self, line: &str) -> Result<(), Error> {
        let write = || if self.aside { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") };
        written(if self.terminal { self.bar.suspend(write) } else { write() })
    }

    /// A new epoch begins, counted from 0.
    pub(in crate::cli) fn epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.before = self.done;
        self.epoch_started = Instant::now();
        self.spoken = self.epoch_started;
        self.bar.reset();
        self.bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.epochs));
    }

    /// A step is done; `so_far` is the epoch until now.
    pub(in crate::cli) fn step(&mut self, so_far: Progress) -> Result<(), Error> {
        self.done = self.before.saturating_add(so_far.images);
        let message = || {
            let rate = so_far.images as f64 / self.epoch_started.elapsed().as_secs_f64();
            format!(
                "loss {:.4}  accuracy {:.1} %  {rate:.0} images/s  {} left",
                so_far.loss,
                100.0 * so_far.accuracy,
                HumanDuration(self.left()),
            )
        };
        if self.terminal {
            self.bar.set_position(so_far.images as u64);
            self.bar.set_message(message());
        } else if self.spoken.elapsed() >= QUIET && so_far.images < self.images {
            self.say(&format!(
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
    pub(in crate::cli) fn epoch_done(&self, logs: &Logs, rate: f64) -> Result<(), Error> {
        self.bar.set_message("");
        let [loss, accuracy, test_loss, test_accuracy] =
            ["loss", "accuracy", "val_loss", "val_accuracy"].map(|name| logs.get(name).unwrap_or(f64::NAN));
        self.say(&format!(
            "epoch {:>2}/{}  loss {loss:.4}  accuracy {:.1} %  test loss {test_loss:.4}  test accuracy {:.1} %  {rate:.0} images/s  {} left",
            self.epoch + 1,
            self.epochs,
            100.0 * accuracy,
            100.0 * test_accuracy,
            HumanDuration(self.left()),
        ))
    }

    /// The run is over.
    pub(in crate::cli) fn finish(&self) {
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
