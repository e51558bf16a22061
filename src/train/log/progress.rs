//! What a run shows of an epoch, text for text as Keras 3 prints it (`keras.utils.Progbar`).
//!
//! ```text
//!   Epoch 1/24
//!   38/38 ━━━━━━━━━━━━━━━━━━━━ 3s 80ms/step - accuracy: 0.2913 - loss: 1.9021 - val_accuracy: 0.3800 - val_loss: 1.7000
//! ```

use std::io::{IsTerminal, Stdout, Write};
use std::time::Duration;

use crate::error::Error;

/// Characters of the bar.
const WIDTH: usize = 20;
/// The bar is drawn at most so often.
const INTERVAL: Duration = Duration::from_millis(50);

/// How much a run says: Keras's `verbose`, 0, 1 or 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbose {
    /// Nothing (0).
    Silent,
    /// A bar an epoch (1): redrawn in place on a terminal, else written once, when the epoch is over.
    #[default]
    Bar,
    /// A line an epoch, without a bar (2).
    Line,
}

impl TryFrom<u8> for Verbose {
    type Error = Error;
    /// Keras's number.
    ///
    /// # Errors
    /// [`Error::Option`] for a number above 2.
    fn try_from(level: u8) -> Result<Verbose, Error> {
        match level {
            0 => Ok(Verbose::Silent),
            1 => Ok(Verbose::Bar),
            2 => Ok(Verbose::Line),
            _ => Err(Error::Option {
                option: "verbose".to_string(),
                reason: format!("takes 0 (nothing), 1 (a bar) or 2 (a line an epoch), got {level}"),
            }),
        }
    }
}

/// The progress of epochs. Times are given by the caller, measured from the beginning of the epoch.
///
/// ```
/// use std::time::Duration;
///
/// use outrigger::train::log::{ProgressLine, Verbose};
///
/// # fn main() -> Result<(), outrigger::Error> {
/// let mut shown = Vec::new();
/// let mut progress = ProgressLine::new(&mut shown, Verbose::Line);
/// progress.begin_epoch(0, 24, Some(38))?;
/// for step in 1..=38 {
///     progress.step(step, Duration::from_millis(80 * step as u64), &[("loss", 2.0)])?;
/// }
/// progress.end_epoch(Duration::from_millis(3040), &[("accuracy", 0.2913), ("loss", 1.9021)])?;
/// assert_eq!(
///     String::from_utf8_lossy(&shown),
///     "Epoch 1/24\n38/38 - 3s - 80ms/step - accuracy: 0.2913 - loss: 1.9021\n",
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProgressLine<W: Write> {
    out: W,
    verbose: Verbose,
    /// Whether to draw in place and in colours.
    terminal: bool,
    /// Steps of the epoch, if known.
    steps: Option<usize>,
    /// Steps of the epoch so far.
    seen: usize,
    /// When the first step was done, which the bar does not count in the time of a step: it compiles.
    first: Option<Duration>,
    /// When the bar was drawn last.
    drawn: Option<Duration>,
    /// Characters on the line that is drawn in place.
    width: usize,
}

impl ProgressLine<Stdout> {
    /// To standard output, drawn in place if that is a terminal.
    pub fn stdout(verbose: Verbose) -> Self {
        let out = std::io::stdout();
        let terminal = out.is_terminal();
        ProgressLine { terminal, ..ProgressLine::new(out, verbose) }
    }
}

impl<W: Write> ProgressLine<W> {
    /// To `out`, which is no terminal.
    pub fn new(out: W, verbose: Verbose) -> Self {
        ProgressLine { out, verbose, terminal: false, steps: None, seen: 0, first: None, drawn: None, width: 0 }
    }

    /// To `out`, a terminal that understands ANSI colours: the bar is drawn in place.
    pub fn terminal(out: W, verbose: Verbose) -> Self {
        ProgressLine { terminal: true, ..ProgressLine::new(out, verbose) }
    }

    /// Epoch `epoch` (from 0) of `epochs` begins; it has `steps` steps, if that is known. One epoch alone has no
    /// heading.
    ///
    /// # Errors
    /// [`Error::Io`] when writing fails, as of all these methods.
    pub fn begin_epoch(&mut self, epoch: u64, epochs: u64, steps: Option<usize>) -> Result<(), Error> {
        (self.steps, self.seen, self.first, self.drawn, self.width) = (steps, 0, None, None, 0);
        if self.verbose == Verbose::Silent || epochs <= 1 {
            return Ok(());
        }
        self.write(&format!("Epoch {}/{epochs}\n", epoch + 1))
    }

    /// Step `step` (from 1) is done, `elapsed` after the epoch began; `logs` are the epoch's values so far, in
    /// the order to show them; Keras's is alphabetical, validation last.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn step(&mut self, step: usize, elapsed: Duration, logs: &[(impl AsRef<str>, f64)]) -> Result<(), Error> {
        self.seen = step;
        if step == 1 && self.verbose == Verbose::Bar {
            self.first = Some(elapsed);
        }
        let recent = self.drawn.is_some_and(|drawn| elapsed.saturating_sub(drawn) < INTERVAL);
        if self.verbose != Verbose::Bar || !self.terminal || recent {
            return Ok(());
        }
        self.drawn = Some(elapsed);
        let left = self.steps.map(|steps| self.step_time(step, elapsed) * steps.saturating_sub(step) as f64);
        let time = left.map_or_else(|| format!("{:.0}s", elapsed.as_secs_f64()), time_left);
        self.draw(step, &time, elapsed, &values(logs), "")
    }

    /// The epoch is over, validation included.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end_epoch(&mut self, elapsed: Duration, logs: &[(impl AsRef<str>, f64)]) -> Result<(), Error> {
        let steps = *self.steps.get_or_insert(self.seen);
        let time = format!("{:.0}s", elapsed.as_secs_f64());
        match self.verbose {
            Verbose::Silent => Ok(()),
            Verbose::Bar => self.draw(steps, &time, elapsed, &values(logs), "\n"),
            Verbose::Line => {
                let step = per_step(self.step_time(steps, elapsed));
                self.write(&format!("{steps}/{steps} - {time} - {step}{}\n", values(logs)))
            }
        }
    }

    /// Writes the bar, in place of the one before on a terminal.
    fn draw(&mut self, step: usize, time: &str, elapsed: Duration, values: &str, end: &str) -> Result<(), Error> {
        // [text, how a terminal shows it]: bold, green, white
        let mut parts: Vec<(String, &str)> = Vec::new();
        match self.steps {
            Some(steps) => {
                let digits = steps.to_string().len();
                let done = (WIDTH * step.min(steps)).checked_div(steps).unwrap_or(0);
                parts.push((format!("{step:digits$}/{steps}"), "\x1b[1m"));
                parts.push((" ".to_string(), ""));
                parts.push(("━".repeat(done), "\x1b[32m"));
                parts.push(("━".repeat(WIDTH - done), "\x1b[37m"));
            }
            None => parts.push((format!("{step:7}/Unknown"), "")),
        }
        parts.push((" ".to_string(), ""));
        parts.push((time.to_string(), "\x1b[1m"));
        parts.push((format!(" {}{values}", per_step(self.step_time(step, elapsed))), ""));

        let width = parts.iter().map(|(text, _)| text.chars().count()).sum();
        let mut line = String::new();
        if self.terminal {
            line.push('\r');
        }
        for (text, style) in parts.iter().filter(|(text, _)| !text.is_empty()) {
            match (self.terminal, *style) {
                (false, _) | (true, "") => line += text,
                (true, style) => line += &format!("{style}{text}\x1b[0m"),
            }
        }
        if self.terminal {
            line += &" ".repeat(self.width.saturating_sub(width));
        }
        self.width = width;
        self.write(&(line + end))
    }

    /// Seconds of a step when `step` are done.
    fn step_time(&self, step: usize, elapsed: Duration) -> f64 {
        match self.first {
            _ if step == 0 => 0.0,
            Some(first) if step > 1 => elapsed.saturating_sub(first).as_secs_f64() / (step - 1) as f64,
            _ => elapsed.as_secs_f64() / step as f64,
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|source| Error::Io { file: "progress output".to_string(), source })
    }
}

/// `80ms/step`
fn per_step(seconds: f64) -> String {
    if seconds >= 1.0 || seconds == 0.0 {
        format!("{seconds:.0}s/step")
    } else if seconds >= 1e-3 {
        format!("{:.0}ms/step", seconds * 1e3)
    } else {
        format!("{:.0}us/step", seconds * 1e6)
    }
}

/// `12s`, `1:05` or `2:00:10`, rounded down.
fn time_left(seconds: f64) -> String {
    let whole = seconds as u64;
    if seconds > 3600.0 {
        format!("{}:{:02}:{:02}", whole / 3600, whole % 3600 / 60, whole % 60)
    } else if seconds > 60.0 {
        format!("{}:{:02}", whole / 60, whole % 60)
    } else {
        format!("{whole}s")
    }
}

/// ` - accuracy: 0.2913 - loss: 1.9021`
fn values(logs: &[(impl AsRef<str>, f64)]) -> String {
    logs.iter().map(|(name, value)| format!(" - {}: {}", name.as_ref(), decimal(*value))).collect()
}

/// Four decimals; small numbers with an exponent of two digits at least, as Python's `.4e`.
fn decimal(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_string();
    }
    if value.abs() > 1e-3 {
        return format!("{value:.4}");
    }
    let text = format!("{value:.4e}");
    match text.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?))) {
        Some((digits, exponent)) => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
        None => text,
    }
}
