//! Whole epochs: Keras's `fit`, `evaluate` and `predict`.
//!
//! ```text
//!   Batches ─▶ step, step, … ─▶ Meters ─▶ Logs ─▶ progress line, callbacks, History
//!                 on_batch_end      epoch's end │
//!   validation_data ─▶ evaluate ─▶ val_loss … ──┘
//! ```

use std::time::Instant;

use super::Model;
use super::data::{Batches, Item, Source};
use super::feed::Feed;
use super::steps::fed;
use crate::error::Error;
use crate::tensor::Tensor;
use crate::train::callback::Callback;
use crate::train::log::{History, ProgressLine, Verbose};

/// How [`Model::fit`] trains, under Keras's names.
pub struct FitOptions {
    /// Number of the last epoch, counted from 1. Default 1.
    pub epochs: u64,
    /// Samples in a batch, for data that is no loader with a batch size of its own. Default 32.
    pub batch_size: usize,
    /// Whether such data is shuffled in each epoch. Default true.
    pub shuffle: bool,
    /// Threads that make batches of it; 0 makes each when it is needed. Default 1.
    pub workers: usize,
    /// What its order is drawn from. Default 0.
    pub seed: u64,
    /// What the model is measured on after every epoch, as `val_…`.
    pub validation_data: Option<Batches>,
    /// Batches in an epoch, if not all of the data: the next epoch goes on where one ends, also that of a later run with
    /// an `initial_epoch`, unless the data is a generator, which does not tell its length.
    pub steps_per_epoch: Option<usize>,
    /// Batches of a validation, if not all.
    pub validation_steps: Option<usize>,
    /// What the losses of samples of a class are multiplied with; 1 for classes that are not here.
    pub class_weight: Vec<(usize, f32)>,
    /// What is shown. Default a progress line an epoch.
    pub verbose: Verbose,
    /// What else happens on the way.
    pub callbacks: Vec<Box<dyn Callback>>,
    /// Epochs that are over already. Default 0.
    pub initial_epoch: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        FitOptions {
            epochs: 1,
            batch_size: 32,
            shuffle: true,
            workers: 1,
            seed: 0,
            validation_data: None,
            steps_per_epoch: None,
            validation_steps: None,
            class_weight: Vec::new(),
            verbose: Verbose::default(),
            callbacks: Vec::new(),
            initial_epoch: 0,
        }
    }
}

/// Values by name, such as the loss and the metrics of an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs(Vec<(String, f64)>);

impl Logs {
    /// From names and values.
    pub fn new(values: Vec<(String, f64)>) -> Logs {
        Logs(values)
    }
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
    }
    /// Adds a value, or changes one.
    pub fn set(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_string(), value)),
        }
    }
    /// Names and values, the loss first.
    pub fn values(&self) -> &[(String, f64)] {
        &self.0
    }
}

impl Model {
    /// Trains for epochs and returns what was measured.
    ///
    /// # Errors
    /// [`Error::Option`] for a model that was not compiled, options or data that do not fit; [`Error::Data`] from the
    /// data set; those of [`Model::train_on_batch`] and of the callbacks.
    pub fn fit(&mut self, data: impl Into<Batches>, options: FitOptions) -> Result<History, Error> {
        let source = data.into().source(&options)?;
        let mut options = options;
        let mut callbacks = std::mem::take(&mut options.callbacks);
        let validation = match &options.validation_data {
            Some(data) => Some(data.source(&FitOptions { shuffle: false, ..options.batching() })?),
            None => None,
        };
        self.compiled()?;
        if let Some((class, weight)) =
            options.class_weight.iter().find(|(_, weight)| !(0.0..f32::INFINITY).contains(weight))
        {
            let reason = format!("must be finite and at least 0, got {weight} for the class {class}");
            return Err(Error::Option { option: "class_weight".to_string(), reason });
        }
        let mut history = History::default();
        self.stop = false;
        self.epochs = options.initial_epoch;
        callbacks.iter_mut().try_for_each(|c| c.on_train_begin(self))?;
        let mut progress = ProgressLine::stdout(options.verbose);
        let steps = options.steps_per_epoch.or(source.steps());
        let mut stream = Stream::new(&source, self.epochs, options.steps_per_epoch);
        while self.epochs < options.epochs && !self.stop {
            let epoch = self.epochs;
            callbacks.iter_mut().try_for_each(|c| c.on_epoch_begin(self, epoch))?;
            progress.begin_epoch(epoch, options.epochs, steps)?;
            let start = Instant::now();
            self.compiled_mut()?.trained.reset();
            let mut done = 0;
            while options.steps_per_epoch.is_none_or(|steps| done < steps) && !self.stop {
                let Some(item) = stream.next() else { break };
                let item = item?;
                self.train_item(&item, &options.class_weight)?;
                source.recycle(item);
                done += 1;
                let logs = self.compiled()?.trained.logs();
                progress.step(done, start.elapsed(), logs.values())?;
                callbacks.iter_mut().try_for_each(|c| c.on_batch_end(self, done, &logs))?;
            }
            stream.end_epoch();
            if done == 0 {
                let reason = format!("epoch {} has no batch", epoch + 1);
                return Err(Error::Option { option: "data".to_string(), reason });
            }
            let mut logs = self.compiled()?.trained.logs();
            if let Some(validation) = &validation {
                callbacks.iter_mut().try_for_each(|c| c.on_test_begin(self))?;
                for (name, value) in self.evaluate_source(validation, options.validation_steps)?.values() {
                    logs.set(&format!("val_{name}"), *value);
                }
                callbacks.iter_mut().try_for_each(|c| c.on_test_end(self))?;
            }
            self.epochs += 1;
            callbacks.iter_mut().try_for_each(|c| c.on_epoch_end(self, epoch, &mut logs))?;
            progress.end_epoch(start.elapsed(), logs.values())?;
            history.push(epoch, logs.values());
        }
        callbacks.iter_mut().try_for_each(|c| c.on_train_end(self))?;
        Ok(history)
    }

    /// Ends [`Model::fit`] after the batch or epoch that a callback sees.
    pub fn stop_training(&mut self) {
        self.stop = true;
    }
    /// How many epochs are over: a callback may set it when [`Model::fit`] begins, to go on with an earlier run.
    pub fn set_epochs(&mut self, epochs: u64) {
        self.epochs = epochs;
    }

    /// Loss and metrics over all of the data, in evaluation.
    ///
    /// ```
    /// # use outrigger::prelude::*;
    /// # fn main() -> Result<(), Error> {
    /// let x = Input::keras("x", [2]);
    /// let mut model = Model::new(&x, &Dense::new(3).call(&x)?)?;
    /// model.compile(Adam::default(), Loss::cross_entropy(), [Accuracy::new()])?;
    /// let points = Tensor::f32([4, 2], vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])?;
    /// let labels = Tensor::i32([4], vec![0, 1, 2, 0])?;
    /// let logs = model.evaluate((points.clone(), labels), 3)?;
    /// assert!(logs.get("accuracy").is_some() && logs.get("loss").is_some());
    /// assert_eq!(model.predict(points, 3)?[0].shape().0, [4, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Model::test_on_batch`]; [`Error::Data`].
    pub fn evaluate(&mut self, data: impl Into<Batches>, batch_size: usize) -> Result<Logs, Error> {
        let source = data.into().source(&FitOptions { batch_size, shuffle: false, ..FitOptions::default() })?;
        self.evaluate_source(&source, None)
    }
    fn evaluate_source(&mut self, source: &Source, steps: Option<usize>) -> Result<Logs, Error> {
        self.compiled_mut()?.tested.reset();
        let mut batches = source.epoch(0).take(steps.unwrap_or(usize::MAX)).peekable();
        if batches.peek().is_none() {
            return Err(Error::Option { option: "data".to_string(), reason: "has no batch to evaluate".to_string() });
        }
        for item in batches {
            let item = item?;
            match &item {
                Item::Batch(batch) => self.test_feed(Feed::of_batch(batch, self.network.inputs())?)?,
                Item::Tensors((inputs, targets)) => {
                    self.test_feed(fed(&inputs[..], &targets[..], &self.network)?)?;
                }
            }
            source.recycle(item);
        }
        Ok(self.compiled()?.tested.logs())
    }

    /// The outputs for all of the data, in evaluation and in order.
    ///
    /// # Errors
    /// As [`Model::predict_on_batch`]; [`Error::Data`].
    pub fn predict(&mut self, data: impl Into<Batches>, batch_size: usize) -> Result<Vec<Tensor>, Error> {
        let source = data.into().source(&FitOptions { batch_size, shuffle: false, ..FitOptions::default() })?;
        let mut all: Vec<(Vec<usize>, Vec<f32>)> = Vec::new();
        for item in source.epoch(0) {
            let item = item?;
            let outputs = match &item {
                Item::Batch(batch) => self.predict_feed(&Feed::of_batch(batch, self.network.inputs())?)?,
                Item::Tensors((inputs, _)) => self.predict_on_batch(inputs.as_slice())?,
            };
            source.recycle(item);
            all.resize(outputs.len(), (Vec::new(), Vec::new()));
            for ((shape, values), output) in all.iter_mut().zip(&outputs) {
                let rows = shape.first().copied().unwrap_or(0) + output.shape().0.first().copied().unwrap_or(0);
                *shape = output.shape().0.clone();
                shape[0] = rows;
                values.extend_from_slice(output.as_f32().unwrap_or_default());
            }
        }
        all.into_iter().map(|(shape, values)| Tensor::f32(shape, values)).collect()
    }

    fn train_item(&mut self, item: &Item, class_weight: &[(usize, f32)]) -> Result<(), Error> {
        let mut feed = match item {
            Item::Batch(batch) => Feed::of_batch(batch, self.network.inputs())?,
            Item::Tensors((inputs, targets)) => fed(&inputs[..], &targets[..], &self.network)?,
        };
        if !class_weight.is_empty() {
            feed.weights = Some(weights(&feed.targets, class_weight)?);
        }
        self.train_feed(feed)
    }
}

impl FitOptions {
    /// The options that say how data becomes batches.
    fn batching(&self) -> FitOptions {
        let FitOptions { batch_size, workers, seed, .. } = *self;
        FitOptions { batch_size, workers, seed, ..FitOptions::default() }
    }
}

/// What each sample counts, by its class: a label, the largest of a row, or for one number 1 above a half.
fn weights(targets: &[Tensor], class_weight: &[(usize, f32)]) -> Result<Vec<f32>, Error> {
    let of = |class: usize| class_weight.iter().find(|(known, _)| *known == class).map_or(1.0, |&(_, weight)| weight);
    if let [target] = targets {
        match (target.as_i32(), target.as_f32(), target.shape().0.as_slice()) {
            (Some(labels), _, [_]) => return Ok(labels.iter().map(|&label| of(label.max(0) as usize)).collect()),
            (_, Some(values), [_, classes]) if *classes > 1 => {
                let rows = values.chunks_exact(*classes);
                return Ok(rows.map(|row| of(crate::train::metrics::argmax(row))).collect());
            }
            (_, Some(values), [_] | [_, 1]) => return Ok(values.iter().map(|&x| of(usize::from(x > 0.5))).collect()),
            _ => {}
        }
    }
    let reason = "needs one target, of class indices or one-hot rows".to_string();
    Err(Error::Option { option: "class_weight".to_string(), reason })
}

/// Batches of one epoch of training after the other.
struct Stream<'s> {
    source: &'s Source,
    /// Batches of the epoch that has begun.
    items: Option<Box<dyn Iterator<Item = Result<Item, Error>> + 's>>,
    /// The next epoch of the data.
    epoch: u64,
    /// Whether an epoch of training ends anywhere in the data.
    endless: bool,
}

impl<'s> Stream<'s> {
    /// From the beginning of an epoch of so many steps; without, as many as the data has batches.
    fn new(source: &'s Source, epoch: u64, steps: Option<usize>) -> Self {
        let endless = steps.is_some();
        match (steps, source.steps()) {
            (Some(steps), Some(batches @ 1..)) => {
                let done = epoch.saturating_mul(steps as u64);
                let (epoch, begun) = (done / batches as u64, (done % batches as u64) as usize);
                let items = (begun > 0).then(|| Box::new(source.epoch(epoch).skip(begun)) as _);
                Stream { source, epoch: epoch + u64::from(items.is_some()), items, endless }
            }
            _ => Stream { source, items: None, epoch, endless },
        }
    }
    /// The next batch; `None` at the end of an epoch of the data, or if that has no batch.
    fn next(&mut self) -> Option<Result<Item, Error>> {
        if let Some(items) = &mut self.items {
            let item = items.next();
            if item.is_some() || !self.endless {
                return item;
            }
        }
        self.epoch += 1;
        self.items.insert(self.source.epoch(self.epoch - 1)).next()
    }
    /// Where epochs end with the data, the next one begins.
    fn end_epoch(&mut self) {
        if !self.endless {
            self.items = None;
        }
    }
}
