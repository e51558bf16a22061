//! The training driver: one state, one team of threads, and a compiled program for every batch size met.
//!
//! ```text
//!   images, labels, lr ─▶ training program [batch] ─▶ loss, logits ─▶ Outcome
//!                               │ updates
//!                             Store ◀─ restore / save ─▶ WeightFile
//!                               │ reads
//!   images, labels ─────▶ evaluation program [batch] ─▶ loss, logits ─▶ Outcome
//! ```
//!
//! The last, smaller batch of an epoch has programs of its own, compiled when it first comes and kept: nothing is
//! dropped and no image counts twice.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use outrigger_runtime::Team;

use super::metrics::count_correct;
use super::optimizer::{LEARNING_RATE, LOSS, Optimizer, ParameterGroup, TrainingOptions, training_graph_with};
use crate::compile::{Options, Program, compile};
use crate::error::Error;
use crate::formats::{Layout, Restore, WeightFile};
use crate::graph::Graph;
use crate::models::Classifier;
use crate::session::Session;
use crate::store::Store;
use crate::tensor::Tensor;

/// How a [`Trainer`] works.
#[derive(Clone, Debug, Default)]
pub struct TrainerOptions {
    /// How programs are compiled.
    pub compile: Options,
    /// What initial values are drawn from. Default 0.
    pub seed: u64,
    /// Worker threads; `None` takes the cores that the process may use.
    pub threads: Option<usize>,
    /// When a loss or the state after a step is no number, repeat the step kernel by kernel and name the first
    /// operation that made one. Costs a copy of the state before every step and a look at it after. Default false.
    pub find_nan: bool,
    /// Parameters with a rate or weight decay of their own: [`TrainingOptions::groups`].
    pub groups: Vec<ParameterGroup>,
    /// Keep averages of the parameters: [`TrainingOptions::ema`].
    pub ema: Option<f64>,
}

/// What a batch, or several, came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Images.
    pub images: usize,
    /// Images whose largest logit is their label's.
    pub correct: usize,
    /// Sum of the losses of all images.
    pub loss_sum: f64,
}

impl Outcome {
    /// Mean loss of an image; NaN without images.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images as f64
    }
    /// Share of correct images, 0 to 1; NaN without images.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }
    /// Adds another batch.
    pub fn add(&mut self, other: Outcome) {
        self.images += other.images;
        self.correct += other.correct;
        self.loss_sum += other.loss_sum;
    }
}

/// A program and its arena.
struct Ready {
    program: Program,
    session: Session,
}

/// A model in training.
pub struct Trainer<M> {
    model: M,
    optimizer: Optimizer,
    options: TrainerOptions,
    store: Store,
    team: Arc<Team>,
    training: HashMap<usize, Ready>,
    evaluation: HashMap<usize, Ready>,
    steps: u64,
}

impl<M: Classifier> Trainer<M> {
    /// Initialises the state and compiles the training program for batches of `batch` images.
    ///
    /// # Errors
    /// Those of the model's graphs, of differentiation and of [`compile`]; [`Error::Option`] for a team of no
    /// threads.
    pub fn new(model: M, optimizer: Optimizer, batch: usize, options: TrainerOptions) -> Result<Self, Error> {
        let threads = options.threads.unwrap_or_else(Team::default_threads);
        let team =
            Team::new(threads).map_err(|e| Error::Option { option: "threads".to_string(), reason: e.to_string() })?;
        let team = Arc::new(team);
        let graph = step_graph(&model, optimizer, batch, &options)?;
        let store = Store::new(&graph, options.seed)?;
        let ready = Ready::new(&graph, &options.compile, &store, &team)?;
        Ok(Trainer {
            model,
            optimizer,
            options,
            store,
            team,
            training: HashMap::from([(batch, ready)]),
            evaluation: HashMap::new(),
            steps: 0,
        })
    }

    /// Trains on one batch with the learning rate `lr`. `images` is as the model's input `images`, row-major;
    /// `labels` has an element an image.
    ///
    /// # Errors
    /// [`Error::Type`] when images and labels do not fit together, [`Error::Label`], and [`Error::Training`] when
    /// the loss is no finite number. With [`TrainerOptions::find_nan`] also when the new state holds one that is not:
    /// it comes from the backward pass or the update. The state is then as before the step.
    pub fn train_step(&mut self, images: &[f32], labels: &[i32], lr: f32) -> Result<Outcome, Error> {
        let before = if self.options.find_nan { self.snapshot()? } else { Vec::new() };
        let batch = labels.len();
        if !self.training.contains_key(&batch) {
            let graph = step_graph(&self.model, self.optimizer, batch, &self.options)?;
            self.training.insert(batch, Ready::new(&graph, &self.options.compile, &self.store, &self.team)?);
        }
        let session = session(&mut self.training, batch)?;
        session.set_f32(LEARNING_RATE, &[lr])?;
        let outcome = run(session, images, labels)?;
        if !outcome.loss_sum.is_finite() {
            return Err(self.explain(images, batch, &format!("the loss is {}", outcome.loss()), &before));
        }
        if self.options.find_nan
            && let Some(bad) = self.non_finite()?
        {
            return Err(self.explain(images, batch, &format!("after the step {bad}"), &before));
        }
        self.steps += 1;
        Ok(outcome)
    }

    /// Loss and correct answers on one batch with the running statistics; the state does not change.
    ///
    /// # Errors
    /// [`Error::Type`] when images and labels do not fit together, [`Error::Label`]; [`Error::Training`] when the
    /// loss is no finite number.
    pub fn evaluate(&mut self, images: &[f32], labels: &[i32]) -> Result<Outcome, Error> {
        let outcome = run(self.evaluation_session(labels.len())?, images, labels)?;
        if outcome.loss_sum.is_finite() {
            return Ok(outcome);
        }
        let culprit = match self.non_finite()? {
            Some(bad) => format!(": {bad}"),
            None => ", though the state is finite".to_string(),
        };
        Err(Error::Training { step: self.steps, reason: format!("the evaluation loss is {}{culprit}", outcome.loss()) })
    }

    /// Logits `[batch, classes]` of one batch with the running statistics.
    ///
    /// # Errors
    /// [`Error::Type`] when `images` does not hold `batch` images.
    pub fn predict(&mut self, images: &[f32], batch: usize) -> Result<Tensor, Error> {
        let session = self.evaluation_session(batch)?;
        session.set_f32("images", images)?;
        session.set_i32("labels", &vec![0; batch])?;
        session.run()?;
        session.get("logits")
    }

    /// The program that trains on batches of `batch` images, if it has been needed.
    pub fn training_program(&self, batch: usize) -> Option<&Program> {
        self.training.get(&batch).map(|ready| &ready.program)
    }
    /// The program that evaluates batches of `batch` images, if it has been needed.
    pub fn evaluation_program(&self, batch: usize) -> Option<&Program> {
        self.evaluation.get(&batch).map(|ready| &ready.program)
    }
    /// The state: parameters, running statistics, optimizer moments.
    pub fn store(&self) -> &Store {
        &self.store
    }
    /// The threads.
    pub fn team(&self) -> &Arc<Team> {
        &self.team
    }
    /// Optimizer steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Writes the whole state, with `metadata` and the number of steps.
    ///
    /// # Errors
    /// [`Error::Training`] for a state that holds a NaN or an infinity, from which no training can go on;
    /// [`Error::Io`]. A file that was there before is then unchanged.
    pub fn save(
        &self,
        path: impl AsRef<Path>,
        layout: Layout,
        mut metadata: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        if let Some(bad) = self.non_finite()? {
            let reason = format!("{bad}: not saved to {}", path.display());
            return Err(Error::Training { step: self.steps, reason });
        }
        metadata.insert("step".to_string(), self.steps.to_string());
        WeightFile::of_store(&self.store, layout, metadata)?.write(path)
    }
    /// Takes the state from a file, in the layout that it names or that its names suggest.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not this model's, or for [`Restore::Everything`] not a whole checkpoint.
    pub fn restore(&mut self, file: &WeightFile, what: Restore) -> Result<(), Error> {
        let steps = match what {
            Restore::Everything => file.meta_as("step")?,
            Restore::Model => self.steps,
        };
        file.restore(&self.store, file.assumed_layout(), what)?;
        self.steps = steps;
        Ok(())
    }

    fn evaluation_session(&mut self, batch: usize) -> Result<&mut Session, Error> {
        if !self.evaluation.contains_key(&batch) {
            let graph = self.model.evaluation(batch)?;
            self.evaluation.insert(batch, Ready::new(&graph, &self.options.compile, &self.store, &self.team)?);
        }
        session(&mut self.evaluation, batch)
    }

    fn snapshot(&self) -> Result<Vec<(String, Tensor)>, Error> {
        self.store.entries().iter().map(|(name, _)| Ok((name.clone(), self.store.get(name)?))).collect()
    }

    /// The first element of the state that is no finite number, in words.
    fn non_finite(&self) -> Result<Option<String>, Error> {
        for (name, _) in self.store.entries() {
            let value = self.store.get(name)?;
            if let Some((at, bad)) = value.as_f32().and_then(first_non_finite) {
                return Ok(Some(format!("\"{name}\"[{at}] is {bad}")));
            }
        }
        Ok(None)
    }

    /// The error for a step after which `what` is so: the loss or the state is no finite number. `before` is the
    /// state before the step, or empty.
    fn explain(&mut self, images: &[f32], batch: usize, what: &str, before: &[(String, Tensor)]) -> Error {
        let step = self.steps + 1;
        if let Some((at, bad)) = first_non_finite(images) {
            return Error::Training { step, reason: format!("{what}: images[{at}] is {bad}") };
        }
        if before.is_empty() {
            let reason = format!("{what}; a smaller learning rate may help, `find_nan` names the operation");
            return Error::Training { step, reason };
        }
        match self.first_culprit(batch, before) {
            Ok(Some(culprit)) => Error::Training { step, reason: format!("{what}: {culprit}") },
            Ok(None) => Error::Training { step, reason: format!("{what}, and nothing else") },
            Err(error) => error,
        }
    }

    /// Repeats the last step from the state `before` and returns what first made a number that is not finite.
    fn first_culprit(&mut self, batch: usize, before: &[(String, Tensor)]) -> Result<Option<String>, Error> {
        let reset = |store: &Store| before.iter().try_for_each(|(name, value)| store.set(name, value));
        for (name, value) in before {
            if let Some((_, bad)) = value.as_f32().and_then(first_non_finite) {
                return Ok(Some(format!("\"{name}\" was already {bad} before the step")));
            }
        }
        reset(&self.store)?;
        let checked = session(&mut self.training, batch)?.run_checked();
        reset(&self.store)?;
        match checked {
            Ok(()) => Ok(None),
            Err(Error::Runtime(what @ outrigger_runtime::Error::NonFinite { .. })) => Ok(Some(what.to_string())),
            Err(other) => Err(other),
        }
    }
}

impl Ready {
    fn new(graph: &Graph, options: &Options, store: &Store, team: &Arc<Team>) -> Result<Ready, Error> {
        let program = compile(graph, options)?;
        let session = program.session(store, team)?;
        Ok(Ready { program, session })
    }
}

/// The training graph of `model` for batches of `batch` images: forward, backward and update.
fn step_graph(
    model: &impl Classifier,
    optimizer: Optimizer,
    batch: usize,
    options: &TrainerOptions,
) -> Result<Graph, Error> {
    let forward = model.training(batch)?;
    let loss = forward.output(LOSS)?;
    let (groups, ema) = (options.groups.clone(), options.ema);
    training_graph_with(forward, loss, &TrainingOptions { optimizer, groups, ema, gradient_outputs: false })
}

fn session(programs: &mut HashMap<usize, Ready>, batch: usize) -> Result<&mut Session, Error> {
    match programs.get_mut(&batch) {
        Some(ready) => Ok(&mut ready.session),
        None => Err(Error::Option {
            option: "batch".to_string(),
            reason: format!("no program for a batch of {batch} was compiled"),
        }),
    }
}

fn run(session: &mut Session, images: &[f32], labels: &[i32]) -> Result<Outcome, Error> {
    session.set_f32("images", images)?;
    session.set_i32("labels", labels)?;
    session.run()?;
    let loss = f64::from(session.scalar(LOSS)?);
    let correct = count_correct(&session.get("logits")?, labels);
    Ok(Outcome { images: labels.len(), correct, loss_sum: loss * labels.len() as f64 })
}

/// Index and value of the first element that is a NaN or an infinity.
fn first_non_finite(values: &[f32]) -> Option<(usize, f32)> {
    values.iter().copied().enumerate().find(|(_, x)| !x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_weigh_batches_by_their_images() {
        let mut total = Outcome { images: 3, correct: 3, loss_sum: 3.0 };
        total.add(Outcome { images: 1, correct: 0, loss_sum: 5.0 });
        assert_eq!((total.loss(), total.accuracy()), (2.0, 0.75));
    }
}
