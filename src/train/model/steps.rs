//! One batch at a time, in whole steps: Keras's `train_on_batch`, `test_on_batch`, `predict_on_batch`.

use super::compile::{Compiled, Meters};
use super::feed::Feed;
use super::objective::{Task, loss_graph, target_name};
use super::programs::{Programs, Purpose};
use super::torch::{Fed, Tensors};
use super::{Logs, Model, NonFinite};
use crate::error::Error;
use crate::graph::Graph;
use crate::nn::{Mode, Network};
use crate::session::Session;
use crate::tensor::Tensor;
use crate::train::optimizer::{LEARNING_RATE, LOSS, training_graph_with};

impl Model {
    /// One step of the optimizer on one batch: loss and metrics of the batch, before the step.
    ///
    /// # Errors
    /// [`Error::Option`] for a model that was not compiled and for tensors that do not fit; those of differentiation
    /// and compilation when the batch size first comes; [`Error::Label`].
    pub fn train_on_batch(
        &mut self,
        inputs: &(impl Tensors + ?Sized),
        targets: &(impl Tensors + ?Sized),
    ) -> Result<Logs, Error> {
        self.compiled_mut()?.trained.reset();
        let feed = fed(inputs, targets, &self.network)?;
        self.train_feed(feed)?;
        Ok(self.compiled()?.trained.logs())
    }
    /// Loss and metrics of one batch, in evaluation.
    ///
    /// # Errors
    /// As [`Model::train_on_batch`].
    pub fn test_on_batch(
        &mut self,
        inputs: &(impl Tensors + ?Sized),
        targets: &(impl Tensors + ?Sized),
    ) -> Result<Logs, Error> {
        self.compiled_mut()?.tested.reset();
        let feed = fed(inputs, targets, &self.network)?;
        self.test_feed(feed)?;
        Ok(self.compiled()?.tested.logs())
    }
    /// The outputs for one batch, in evaluation. Images have the axes that the network's shapes say.
    ///
    /// # Errors
    /// [`Error::Option`] for tensors that do not fit.
    pub fn predict_on_batch(&mut self, inputs: &(impl Tensors + ?Sized)) -> Result<Vec<Tensor>, Error> {
        let Fed(feed) = inputs.inputs(self.network.inputs())?;
        self.predict_feed(&feed)
    }

    /// A step; adds to the meters of training.
    pub(super) fn train_feed(&mut self, feed: Feed<'_>) -> Result<(), Error> {
        let Model { network, programs, compiled, non_finite, .. } = self;
        let compiled = compiled.as_mut().ok_or_else(super::compile::not_compiled)?;
        let (feed, task) = settle(feed, network, compiled)?;
        if *non_finite == NonFinite::Explain {
            // a first batch of its size may add to the state
            step_session(network, programs, compiled, &task)?;
        }
        let before = non_finite.before(programs.store())?;
        let session = step_session(network, programs, compiled, &task)?;
        session.set_f32(LEARNING_RATE, &[compiled.tuned.lr as f32])?;
        set(session, &feed, network, compiled)?;
        session.run()?;
        let loss = measure(session, &feed, network, &compiled.places, &mut compiled.trained)?;
        self.check_step(&feed, task, loss, &before)?;
        self.steps += 1;
        Ok(())
    }

    /// Compiles the step for batches of `batch` samples, with targets as the losses usually take them, before the first
    /// comes.
    ///
    /// # Errors
    /// As [`Model::train_on_batch`].
    pub fn prepare(&mut self, batch: usize) -> Result<(), Error> {
        let targets = self.usual_targets()?;
        let Model { network, programs, compiled, .. } = self;
        let compiled = compiled.as_ref().ok_or_else(super::compile::not_compiled)?;
        step_session(network, programs, compiled, &Task { batch, targets, weighted: false }).map(drop)
    }

    /// Evaluates a batch; adds to the meters of testing.
    pub(super) fn test_feed(&mut self, feed: Feed<'_>) -> Result<(), Error> {
        let Model { network, programs, compiled, .. } = self;
        let compiled = compiled.as_mut().ok_or_else(super::compile::not_compiled)?;
        let (feed, task) = settle(feed, network, compiled)?;
        let session = programs.session(Purpose::Test(task.clone()), || {
            with_loss(network, compiled, &task, Mode::Evaluate).map(|(graph, _)| graph)
        })?;
        set(session, &feed, network, compiled)?;
        session.run()?;
        let loss = measure(session, &feed, network, &compiled.places, &mut compiled.tested)?;
        self.check_test(loss)
    }

    pub(super) fn predict_feed(&mut self, feed: &Feed<'_>) -> Result<Vec<Tensor>, Error> {
        let Model { network, programs, .. } = self;
        let graph = || network.graph(feed.batch, Mode::Evaluate);
        let session = programs.session(Purpose::Predict(feed.batch), graph)?;
        feed.set_inputs(session, &network.input_names())?;
        session.run()?;
        outputs(session, network)
    }
}

/// Inputs and targets of a step.
pub(super) fn fed<'a>(
    inputs: &'a (impl Tensors + ?Sized),
    targets: &(impl Tensors + ?Sized),
    network: &Network,
) -> Result<Feed<'a>, Error> {
    let Fed(feed) = inputs.inputs(network.inputs())?;
    feed.with_targets(targets.targets()?)
}

/// The outputs of a run, with the axes that the network's shapes say.
pub(super) fn outputs(session: &Session, network: &Network) -> Result<Vec<Tensor>, Error> {
    let named = network.output_names().into_iter().zip(network.outputs());
    named.map(|(name, output)| super::feed::declared(session.get(name)?, output)).collect()
}

/// The network with its losses, and the total.
pub(super) fn with_loss(
    network: &Network,
    compiled: &Compiled,
    task: &Task,
    mode: Mode,
) -> Result<(Graph, crate::graph::Value), Error> {
    let graph = loss_graph(network, &compiled.objectives, task, mode)?;
    let loss = graph.output(LOSS)?;
    Ok((graph, loss))
}

/// Targets as they lie in memory, and the program that takes them.
pub(super) fn settle<'a>(
    mut feed: Feed<'a>,
    network: &Network,
    compiled: &Compiled,
) -> Result<(Feed<'a>, Task), Error> {
    settle_targets(&mut feed.targets, network, compiled)?;
    let task = feed.task();
    Ok((feed, task))
}

/// Targets as the losses' programs take them.
pub(super) fn settle_targets(targets: &mut [Tensor], network: &Network, compiled: &Compiled) -> Result<(), Error> {
    let (places, objectives) = (&compiled.places, &compiled.objectives.0);
    if targets.len() != places.len() {
        let reason = format!("{} losses take a target each, got {}", places.len(), targets.len());
        return Err(Error::Option { option: "targets".to_string(), reason });
    }
    for ((target, &place), objective) in targets.iter_mut().zip(places).zip(objectives) {
        let output = &network.outputs()[place];
        if objective.known().is_some_and(|loss| !loss.is_over_classes())
            && let Some(numbers) = super::feed::elementwise(target, output)?
        {
            *target = numbers;
        }
        if let Some(native) = super::feed::native(target, output)? {
            *target = native;
        }
    }
    Ok(())
}

fn set(session: &mut Session, feed: &Feed<'_>, network: &Network, compiled: &Compiled) -> Result<(), Error> {
    feed.set_inputs(session, &network.input_names())?;
    feed.set_targets(session, &target_names(network, compiled))
}

/// Names of the targets among a program's inputs.
pub(super) fn target_names(network: &Network, compiled: &Compiled) -> Vec<String> {
    let outputs = network.output_names();
    compiled.places.iter().map(|&place| target_name(outputs[place])).collect()
}

/// The program of a step, with its memory.
fn step_session<'p>(
    network: &Network,
    programs: &'p mut Programs,
    compiled: &Compiled,
    task: &Task,
) -> Result<&'p mut Session, Error> {
    programs.session(Purpose::Step(task.clone()), || {
        let (forward, loss) = with_loss(network, compiled, task, Mode::Train)?;
        training_graph_with(forward, loss, &compiled.tuned.training())
    })
}

/// Adds what a run came to; returns its loss.
fn measure(
    session: &Session,
    feed: &Feed<'_>,
    network: &Network,
    places: &[usize],
    meters: &mut Meters,
) -> Result<f32, Error> {
    let outputs = network.output_names();
    let losses = meters.loss_names().map(|name| session.scalar(name)).collect::<Result<Vec<_>, _>>()?;
    let mut pairs = Vec::new();
    if meters.measures() {
        for (&place, target) in places.iter().zip(&feed.targets) {
            pairs.push((session.get(outputs[place])?, target.clone()));
        }
    }
    let loss = session.scalar(LOSS)?;
    meters.add(feed.batch, loss, &losses, &pairs)?;
    Ok(loss)
}
