//! Callbacks that write down what was measured.

use std::path::{Path, PathBuf};

use super::Callback;
use crate::error::Error;
use crate::nn::Mode;
use crate::train::log::{CsvLogger, EventWriter};
use crate::train::model::{Logs, Model};
use crate::train::optimizer::is_training_state;

/// A row of CSV an epoch: Keras's `CSVLogger`.
///
/// ```
/// use outrigger::train::Callback;
/// use outrigger::train::callback::CsvLog;
///
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(CsvLog::new("log.csv"))];
/// ```
#[derive(Debug)]
pub struct CsvLog {
    path: PathBuf,
    separator: char,
    append: bool,
    file: Option<CsvLogger>,
}

impl CsvLog {
    /// A new file, with commas.
    pub fn new(path: impl AsRef<Path>) -> Self {
        CsvLog { path: path.as_ref().to_path_buf(), separator: ',', append: false, file: None }
    }
    /// Another separator.
    #[must_use]
    pub fn separator(self, separator: char) -> Self {
        CsvLog { separator, ..self }
    }
    /// Continues the file if it is there.
    #[must_use]
    pub fn append(self) -> Self {
        CsvLog { append: true, ..self }
    }
}

impl Callback for CsvLog {
    fn on_train_begin(&mut self, _: &mut Model) -> Result<(), Error> {
        let open = if self.append { CsvLogger::append } else { CsvLogger::create };
        self.file = Some(open(&self.path, self.separator)?);
        Ok(())
    }
    fn on_epoch_end(&mut self, _: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        self.file.as_mut().map_or(Ok(()), |file| file.row(epoch, logs.values()))
    }
}

/// Event files for TensorBoard, in `DIR/train` and `DIR/validation` as Keras's `TensorBoard` has them: the values of each
/// epoch, the learning rate, the graph, and if wanted histograms of the weights.
///
/// ```
/// use outrigger::train::Callback;
/// use outrigger::train::callback::TensorBoard;
///
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(TensorBoard::new("logs").histograms(1))];
/// ```
pub struct TensorBoard {
    dir: PathBuf,
    histogram_freq: u64,
    train: Option<EventWriter>,
    validation: Option<EventWriter>,
}

impl TensorBoard {
    /// Into a directory, which is made if need be.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        TensorBoard { dir: dir.as_ref().to_path_buf(), histogram_freq: 0, train: None, validation: None }
    }
    /// Histograms of all parameters every so many epochs; 0, the default, writes none.
    #[must_use]
    pub fn histograms(self, every: u64) -> Self {
        TensorBoard { histogram_freq: every, ..self }
    }
}

impl Callback for TensorBoard {
    fn on_train_begin(&mut self, model: &mut Model) -> Result<(), Error> {
        let mut train = EventWriter::new(self.dir.join("train"))?;
        train.graph(&model.network().graph(1, Mode::Evaluate)?)?;
        self.train = Some(train);
        self.validation = None;
        Ok(())
    }
    fn on_epoch_end(&mut self, model: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        let Some(train) = &mut self.train else { return Ok(()) };
        for (name, value) in logs.values() {
            match name.strip_prefix("val_") {
                None => train.scalar(&format!("epoch_{name}"), epoch, *value)?,
                Some(name) => {
                    let validation = match &mut self.validation {
                        Some(writer) => writer,
                        empty => empty.insert(EventWriter::new(self.dir.join("validation"))?),
                    };
                    validation.scalar(&format!("epoch_{name}"), epoch, *value)?;
                }
            }
        }
        if logs.get("learning_rate").is_none() {
            train.scalar("epoch_learning_rate", epoch, model.learning_rate()?)?;
        }
        if self.histogram_freq > 0 && epoch.is_multiple_of(self.histogram_freq) {
            for (name, _) in model.store().entries().iter().filter(|(name, _)| !is_training_state(name)) {
                let value = model.store().get(name)?;
                if let Some(values) = value.as_f32().filter(|values| values.iter().all(|x| x.is_finite())) {
                    train.histogram(name, epoch, values)?;
                }
            }
        }
        train.flush()?;
        self.validation.as_mut().map_or(Ok(()), EventWriter::flush)
    }
}
