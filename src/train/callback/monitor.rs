//! Watching a value.

use crate::error::{Error, nearest};
use crate::train::log::higher_is_better;
use crate::train::model::Logs;
use crate::train::schedule::Mode;

/// A value of the logs, which way is better, and the best so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    name: String,
    mode: Mode,
    best: Option<f64>,
}

impl Monitor {
    /// A value such as `val_accuracy`. Which way is better follows from the name
    /// ([`higher_is_better`]): Keras's mode `auto`.
    pub fn new(name: &str) -> Self {
        let mode = if higher_is_better(name) { Mode::Max } else { Mode::Min };
        Monitor { name: name.to_string(), mode, best: None }
    }
    /// Says which way is better.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        Monitor { mode, ..self }
    }
    /// The best value so far.
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// The value in the logs of an epoch.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the names that there are.
    pub(super) fn value(&self, logs: &Logs) -> Result<f64, Error> {
        logs.get(&self.name).ok_or_else(|| Error::UnknownName {
            what: "value to monitor",
            name: self.name.clone(),
            near: nearest(&self.name, logs.values().iter().map(|(name, _)| name.as_str())),
        })
    }
    /// Whether `value` is the best so far, which it then is. NaN never is.
    pub(super) fn improves(&mut self, value: f64, min_delta: f64) -> bool {
        let improves = self.best.map_or(!value.is_nan(), |best| self.is_better(value, best, min_delta));
        if improves {
            self.best = Some(value);
        }
        improves
    }
    pub(super) fn is_better(&self, value: f64, than: f64, min_delta: f64) -> bool {
        match self.mode {
            Mode::Min => value < than - min_delta,
            Mode::Max => value > than + min_delta,
        }
    }
    pub(super) fn reset(&mut self) {
        self.best = None;
    }
}
