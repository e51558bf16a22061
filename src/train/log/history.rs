//! The values of a run's epochs: Keras's `History`, with a table, JSON and a picture of it.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::plot;
use crate::error::{Error, nearest};

/// What was measured in each epoch. Epochs count from 0, as Keras's do; tables and pictures show them from 1, as
/// progress lines do. A metric that was not measured in an epoch is NaN there.
///
/// ```
/// use outrigger::train::log::History;
///
/// # fn main() -> Result<(), outrigger::Error> {
/// let mut history = History::default();
/// history.push(0, &[("loss", 1.9), ("val_accuracy", 0.38)]);
/// history.push(1, &[("loss", 1.5), ("val_accuracy", 0.47)]);
/// history.push(2, &[("loss", 1.3), ("val_accuracy", 0.45)]);
///
/// assert_eq!(history.get("loss")?, [1.9, 1.5, 1.3]);
/// assert_eq!(history.last("loss")?, 1.3);
/// assert_eq!(history.best("val_accuracy")?, (1, 0.47));
/// println!("{history}");
/// # let path = std::env::temp_dir().join(format!("outrigger-history-{}.png", std::process::id()));
/// history.plot(&path)?;
/// # std::fs::remove_file(&path).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    epochs: Vec<u64>,
    /// One number an epoch each, in the order in which the names came.
    metrics: Vec<(String, Vec<f64>)>,
}

/// Whether a metric of this name is the better the higher it is: accuracies, precision, recall, F1, AUC. All else, with
/// losses (whatever their output is called) and errors, is better the lower it is. Keras's mode `auto`.
pub fn higher_is_better(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.ends_with("loss") && ["acc", "auc", "precision", "recall", "f1"].iter().any(|part| name.contains(part))
}

impl History {
    /// Adds an epoch (from 0) with its values. A name that is new was NaN so far.
    pub fn push(&mut self, epoch: u64, logs: &[(impl AsRef<str>, f64)]) {
        let before = self.epochs.len();
        self.epochs.push(epoch);
        for (name, value) in logs {
            let name = name.as_ref();
            let at = self.metrics.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                self.metrics.push((name.to_string(), vec![f64::NAN; before]));
                self.metrics.len() - 1
            });
            let values = &mut self.metrics[at].1;
            values.truncate(before);
            values.push(*value);
        }
        for (_, values) in &mut self.metrics {
            values.resize(self.epochs.len(), f64::NAN);
        }
    }

    /// The epochs, from 0.
    pub fn epochs(&self) -> &[u64] {
        &self.epochs
    }

    /// Names with one value an epoch, in the order in which they came.
    pub fn metrics(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.metrics.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// The values of a metric, one an epoch.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    pub fn get(&self, name: &str) -> Result<&[f64], Error> {
        match self.metrics.iter().find(|(known, _)| known == name) {
            Some((_, values)) => Ok(values),
            None => Err(Error::UnknownName {
                what: "metric",
                name: name.to_string(),
                near: nearest(name, self.metrics.iter().map(|(known, _)| known.as_str())),
            }),
        }
    }

    /// The value of the last epoch that measured it; NaN when all are.
    ///
    /// # Errors
    /// As [`History::get`].
    pub fn last(&self, name: &str) -> Result<f64, Error> {
        let values = self.get(name)?;
        Ok(values.iter().rev().copied().find(|v| !v.is_nan()).unwrap_or(f64::NAN))
    }

    /// The epoch (from 0) with the best value, and the value: the highest or the lowest as [`higher_is_better`] says, the
    /// first of equal ones. NaN is never best; when all are, it is the first epoch's.
    ///
    /// # Errors
    /// As [`History::get`].
    pub fn best(&self, name: &str) -> Result<(u64, f64), Error> {
        let higher = higher_is_better(name);
        let better = |new: f64, old: f64| if higher { new > old } else { new < old };
        let mut best = (0, f64::NAN);
        for (at, (&epoch, &value)) in self.epochs.iter().zip(self.get(name)?).enumerate() {
            if at == 0 || better(value, best.1) || (best.1.is_nan() && !value.is_nan()) {
                best = (epoch, value);
            }
        }
        Ok(best)
    }

    /// As JSON, with the names of Keras's object: `{"epoch":[0,1],"history":{"loss":[1.9,1.5]}}`. What is not a finite
    /// number is `null`, since JSON has no word for it.
    pub fn to_json(&self) -> String {
        // an object of `serde_json` sorts its names, so those in the order of the history are written by hand
        let metrics: Vec<String> =
            self.metrics().map(|(name, values)| format!("{}:{}", Value::from(name), json!(values))).collect();
        format!("{{\"epoch\":{},\"history\":{{{}}}}}", json!(self.epochs), metrics.join(","))
    }

    /// Draws loss, metrics and learning rate over the epochs, one panel each: training and validation (`val_…`) in one,
    /// the rate on a logarithmic axis. The file's ending says how, `.svg` or `.png`; it is replaced whole or not at all.
    ///
    /// # Errors
    /// [`Error::Log`] for another ending or a history without a finite number; [`Error::Io`] when writing fails.
    pub fn plot(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        plot::draw(self, path.as_ref())
    }
}

/// A table with a row an epoch, from 1.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epochs = self.epochs.iter().map(|epoch| (epoch + 1).to_string()).collect();
        let columns: Vec<(&str, Vec<String>)> = [("epoch", epochs)]
            .into_iter()
            .chain(self.metrics().map(|(name, values)| (name, values.iter().map(|&v| cell(v)).collect())))
            .collect();
        let widths: Vec<usize> = columns
            .iter()
            .map(|(name, cells)| cells.iter().map(String::len).chain([name.chars().count()]).max().unwrap_or(0))
            .collect();
        let line = |cells: Vec<&str>| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            padded.join("  ")
        };
        write!(f, "{}", line(columns.iter().map(|(name, _)| *name).collect()))?;
        for row in 0..self.epochs.len() {
            write!(f, "\n{}", line(columns.iter().map(|(_, cells)| cells[row].as_str()).collect()))?;
        }
        Ok(())
    }
}

/// Four decimals, or as many digits for what is small; `-` for NaN.
fn cell(value: f64) -> String {
    if value.is_nan() {
        "-".to_string()
    } else if value == 0.0 || value.abs() >= 1e-2 {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}
