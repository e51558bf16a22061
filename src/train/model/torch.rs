//! The parts of a step as PyTorch's loop has them.
//!
//! ```text
//!   forward(x) ─▶ outputs   loss(y) ─▶ number   zero_grad()   backward() ─▶ <p>.grad += …   step() ─▶ parameters
//!   └────────── one program of outputs, loss and gradients, run in parts ──────────┘     └─ one of its own ─┘
//! ```
//!
//! Where the compiler has merged the end of the network with the loss into one kernel, which needs the targets, the
//! outputs come from a second program.

use std::collections::HashSet;

use super::Model;
use super::compile::Compiled;
use super::feed::{Feed, Numbers};
use super::programs::Purpose;
use super::steps::{outputs, settle, settle_targets, target_names, with_loss};
use crate::data::Batch;
use crate::error::Error;
use crate::graph::Graph;
use crate::graph::Loss;
use crate::nn::{Mode, Network, Symbol};
use crate::tensor::Tensor;
use crate::train::model::objective::{Task, WEIGHTS};
use crate::train::optimizer::{GRADIENT, LEARNING_RATE, LOSS, gradient_graph, update_graph};
use crate::types::DType;

/// What [`Model::forward`], [`Model::loss`], [`Model::train_on_batch`] and their like take: a loader's batch, a tensor,
/// or several in an array, a slice or a vector.
pub trait Tensors {
    /// As inputs of a network.
    #[doc(hidden)]
    fn inputs(&self, inputs: &[Symbol]) -> Result<Fed<'_>, Error>;
    /// As targets.
    #[doc(hidden)]
    fn targets(&self) -> Result<Vec<Tensor>, Error>;
}

/// Inputs of a step.
#[doc(hidden)]
pub struct Fed<'a>(pub(super) Feed<'a>);

impl Tensors for Batch {
    fn inputs(&self, inputs: &[Symbol]) -> Result<Fed<'_>, Error> {
        Feed::of_batch(self, inputs).map(Fed)
    }
    fn targets(&self) -> Result<Vec<Tensor>, Error> {
        super::feed::targets(self)
    }
}
impl Tensors for Tensor {
    fn inputs(&self, inputs: &[Symbol]) -> Result<Fed<'_>, Error> {
        std::slice::from_ref(self).inputs(inputs)
    }
    fn targets(&self) -> Result<Vec<Tensor>, Error> {
        Ok(vec![self.clone()])
    }
}
impl Tensors for [Tensor] {
    fn inputs(&self, inputs: &[Symbol]) -> Result<Fed<'_>, Error> {
        Feed::of_tensors(self, inputs).map(Fed)
    }
    fn targets(&self) -> Result<Vec<Tensor>, Error> {
        Ok(self.to_vec())
    }
}
impl<const N: usize> Tensors for [Tensor; N] {
    fn inputs(&self, inputs: &[Symbol]) -> Result<Fed<'_>, Error> {
        self.as_slice().inputs(inputs)
    }
    fn targets(&self) -> Result<Vec<Tensor>, Error> {
        self.as_slice().targets()
    }
}
impl Tensors for Vec<Tensor> {
    fn inputs(&self, inputs: &[Symbol]) -> Result<Fed<'_>, Error> {
        self.as_slice().inputs(inputs)
    }
    fn targets(&self) -> Result<Vec<Tensor>, Error> {
        self.as_slice().targets()
    }
}

/// A step that [`Model::forward`] began.
pub(super) struct Begun {
    task: Task,
    mode: Mode,
    /// Whether the loss is known, so that gradients can follow.
    measured: bool,
    /// What it takes to begin anew, while the types of the targets are a guess.
    guess: Option<Guess>,
}

/// What a forward pass was given, and the weights and statistics before it.
struct Guess {
    inputs: Vec<Numbers<'static>>,
    weights: Vec<(String, Tensor)>,
}

impl Model {
    /// From now on [`Model::forward`] uses batch statistics and dropout, and gradients can follow. At first it is so.
    pub fn train(&mut self) {
        self.mode = Mode::Train;
    }
    /// From now on [`Model::forward`] uses running statistics and no dropout, and there are no gradients.
    pub fn eval(&mut self) {
        self.mode = Mode::Evaluate;
    }

    /// The outputs for a batch, in the mode of [`Model::train`] or [`Model::eval`].
    ///
    /// # Errors
    /// [`Error::Option`] for tensors that do not fit, and in training for a model that was not compiled.
    pub fn forward(&mut self, x: &(impl Tensors + ?Sized)) -> Result<Vec<Tensor>, Error> {
        let Fed(feed) = x.inputs(self.network.inputs())?;
        self.begun = None;
        if self.mode == Mode::Evaluate && self.compiled.is_none() {
            return self.predict_feed(&feed);
        }
        let targets = self.expected_targets(&feed)?;
        let guess = match feed.targets.is_empty() && self.targets.is_none() {
            true => {
                let inputs = feed.inputs.iter().map(Numbers::to_static).collect();
                Some(Guess { inputs, weights: self.snapshot()? })
            }
            false => None,
        };
        let task = Task { batch: feed.batch, targets, weighted: false };
        let (begun, outputs) = self.begin(task, self.mode, &feed)?;
        self.begun = Some(Begun { guess, ..begun });
        Ok(outputs)
    }

    /// Runs the outputs' part of the program for `task`.
    fn begin(&mut self, task: Task, mode: Mode, feed: &Feed<'_>) -> Result<(Begun, Vec<Tensor>), Error> {
        let Model { network, programs, compiled, .. } = self;
        let compiled = compiled.as_ref().ok_or_else(super::compile::not_compiled)?;
        let session = programs.session(purpose(&task, mode), || {
            let (forward, loss) = with_loss(network, compiled, &task, mode)?;
            if mode == Mode::Train { gradient_graph(forward, loss) } else { Ok(forward) }
        })?;
        feed.set_inputs(session, &network.input_names())?;
        session.start();
        let names = network.output_names();
        let mut early = false;
        for target in target_names(network, compiled) {
            for output in &names {
                early |= session.reads_until(output, &target)?;
            }
        }
        let session = if early {
            // a kernel makes an output and part of the loss: the outputs come from a program without one
            let batch = feed.batch;
            let session = programs.session(Purpose::Forward(batch), || {
                // no update: the other program makes them
                network.graph(batch, mode)?.cone(&names)
            })?;
            feed.set_inputs(session, &network.input_names())?;
            session.run()?;
            session
        } else {
            names.iter().try_for_each(|name| session.run_until(name))?;
            session
        };
        let outputs = outputs(session, network)?;
        Ok((Begun { task, mode, measured: false, guess: None }, outputs))
    }

    /// The types of the targets: those that a loader's batch has beside its inputs, those of the last loss, or what the
    /// losses usually take.
    fn expected_targets(&self, feed: &Feed<'_>) -> Result<Vec<(DType, Vec<usize>)>, Error> {
        if !feed.targets.is_empty() {
            let mut targets = feed.targets.clone();
            settle_targets(&mut targets, &self.network, self.compiled()?)?;
            return Ok(super::feed::types(&targets));
        }
        self.usual_targets()
    }

    /// Those of the last loss, or what the losses usually take.
    pub(super) fn usual_targets(&self) -> Result<Vec<(DType, Vec<usize>)>, Error> {
        let compiled = self.compiled()?;
        if let Some(known) = &self.targets {
            return Ok(known.clone());
        }
        let usual = |(objective, &place): (&super::Objective, &usize)| {
            let output = &self.network.outputs()[place];
            let shape = super::feed::native_shape(output);
            match objective.known() {
                Some(Loss::CrossEntropy { .. } | Loss::Nll) => {
                    (DType::I32, shape[..shape.len().saturating_sub(1)].to_vec())
                }
                _ => (DType::F32, shape),
            }
        };
        Ok(compiled.objectives.0.iter().zip(&compiled.places).map(usual).collect())
    }

    /// The loss of the batch that [`Model::forward`] was called with.
    ///
    /// The program holds the loss, so the types of the targets are known before them: from the loader's batch that the
    /// forward pass was given, else from the step before. In the first step they are taken to be class indices for
    /// [`Loss::CrossEntropy`] and [`Loss::Nll`], and numbers shaped as the output for others; where they are something
    /// else, that forward pass is run again with a program for them.
    ///
    /// # Errors
    /// [`Error::Option`] without a forward pass, and for targets that do not fit; [`Error::Label`].
    pub fn loss(&mut self, targets: &(impl Tensors + ?Sized)) -> Result<f32, Error> {
        let Some(mut begun) = self.begun.take() else { return Err(out_of_order("loss", "forward")) };
        let feed = Feed { batch: begun.task.batch, inputs: Vec::new(), targets: targets.targets()?, weights: None };
        let (feed, task) = settle(feed, &self.network, self.compiled()?)?;
        let guess = begun.guess.take();
        if guess.is_some() || task != begun.task {
            self.targets = Some(task.targets.clone());
        }
        if let Some(Guess { inputs, weights }) = guess.filter(|_| task != begun.task) {
            self.restore_snapshot(&weights)?;
            let again = Feed { batch: task.batch, inputs, targets: Vec::new(), weights: None };
            (begun, _) = self.begin(task.clone(), begun.mode, &again)?;
        }
        if task != begun.task {
            // the program was made for other targets
            let shown = |task: &Task| format!("{:?}", task.targets);
            let reason = format!(
                "the forward pass expected targets of {}, got {}; from the next one on these are expected",
                shown(&begun.task),
                shown(&task)
            );
            return Err(Error::Option { option: "targets".to_string(), reason });
        }
        let Model { network, programs, compiled, .. } = self;
        let compiled = compiled.as_ref().ok_or_else(super::compile::not_compiled)?;
        let session = programs.session(purpose(&task, begun.mode), || Err(out_of_order(WEIGHTS, "forward")))?;
        feed.set_targets(session, &target_names(network, compiled))?;
        session.run_until(LOSS)?;
        let loss = session.scalar(LOSS)?;
        self.begun = Some(Begun { measured: true, ..begun });
        Ok(loss)
    }

    /// Forgets the gradients.
    ///
    /// # Errors
    /// None in practice.
    pub fn zero_grad(&mut self) -> Result<(), Error> {
        self.each_gradient(|values| values.fill(0.0))
    }

    /// Adds the gradients of the loss to what [`Model::zero_grad`] and earlier calls left.
    ///
    /// # Errors
    /// [`Error::Option`] without a loss in training mode.
    pub fn backward(&mut self) -> Result<(), Error> {
        match self.begun.take() {
            Some(Begun { task, mode: Mode::Train, measured: true, .. }) => {
                let purpose = purpose(&task, Mode::Train);
                self.programs.session(purpose, || Err(out_of_order("backward", "forward")))?.finish()
            }
            _ => Err(out_of_order("backward", "forward and loss in training mode")),
        }
    }

    /// Moves the parameters one step along their gradients.
    ///
    /// # Errors
    /// [`Error::Option`] for a model that was not compiled; those of compilation in the first step.
    pub fn step(&mut self) -> Result<(), Error> {
        let Model { network, programs, compiled, .. } = self;
        let compiled = compiled.as_ref().ok_or_else(super::compile::not_compiled)?;
        let session = programs
            .session(Purpose::Update, || update_graph(&network.graph(1, Mode::Train)?, &compiled.tuned.training()))?;
        session.set_f32(LEARNING_RATE, &[compiled.tuned.lr as f32])?;
        session.run()?;
        self.steps += 1;
        Ok(())
    }

    /// All of a step at once, in one program: forward, loss, backward, and the step. Returns the loss before it;
    /// [`Model::train_on_batch`] returns the metrics too. From a loader's batch both inputs and targets are taken:
    /// `model.train_step(&batch, &batch)?`.
    ///
    /// # Errors
    /// As [`Model::train_on_batch`].
    pub fn train_step(&mut self, x: &(impl Tensors + ?Sized), targets: &(impl Tensors + ?Sized)) -> Result<f32, Error> {
        Ok(self.train_on_batch(x, targets)?.get("loss").unwrap_or(f64::NAN) as f32)
    }

    /// Makes the states that training needs, before the first step.
    pub(super) fn prepare_states(&mut self) -> Result<(), Error> {
        let step = step_graph(&self.network, self.compiled()?)?;
        self.programs.widen(&step)?;
        self.programs.widen(&self.network.graph(1, Mode::Train)?)?;
        self.programs.drop_states(is_gradient)
    }

    /// Forgets the gradients of parameters that are not trained any more.
    pub(super) fn forget_frozen(&mut self) -> Result<(), Error> {
        if self.gradient_names().is_empty() {
            return Ok(());
        }
        let graph = self.network.graph(1, Mode::Train)?;
        let trained: HashSet<&str> =
            graph.parameters().filter_map(|id| graph.get(id)).map(|node| node.name.as_str()).collect();
        self.programs.drop_states(|state| gradient_of(state).is_some_and(|parameter| !trained.contains(parameter)))
    }

    /// Names of the parameters that have gradients.
    pub fn gradient_names(&self) -> Vec<String> {
        self.store().entries().iter().filter_map(|(name, _)| gradient_of(name)).map(str::to_string).collect()
    }
    /// The gradient of a parameter, as the parameter lies in memory.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a parameter that has none, also before the first [`Model::backward`].
    pub fn gradient(&self, parameter: &str) -> Result<Tensor, Error> {
        self.store().get(&format!("{parameter}.{GRADIENT}"))
    }
    /// Scales all gradients so that their common Euclidean norm is at most `max_norm`; returns the norm before
    /// (`torch.nn.utils.clip_grad_norm_`).
    ///
    /// # Errors
    /// [`Error::Option`] for a norm that is not at least 0.
    pub fn clip_grad_norm(&mut self, max_norm: f64) -> Result<f64, Error> {
        at_least_zero("max_norm", max_norm)?;
        let mut sum = 0.0;
        self.each_gradient(|values| sum += values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>())?;
        let norm = sum.sqrt();
        let scale = (max_norm / (norm + 1e-6)).min(1.0) as f32;
        if scale < 1.0 {
            self.each_gradient(|values| values.iter_mut().for_each(|x| *x *= scale))?;
        }
        Ok(norm)
    }
    /// Limits every element of the gradients to `[-limit, limit]` (`torch.nn.utils.clip_grad_value_`). NaN stays NaN.
    ///
    /// # Errors
    /// [`Error::Option`] for a limit that is not at least 0.
    pub fn clip_grad_value(&mut self, limit: f32) -> Result<(), Error> {
        at_least_zero("limit", f64::from(limit))?;
        self.each_gradient(|values| values.iter_mut().for_each(|x| *x = x.clamp(-limit, limit)))
    }

    fn each_gradient(&mut self, mut change: impl FnMut(&mut [f32])) -> Result<(), Error> {
        for parameter in self.gradient_names() {
            let name = format!("{parameter}.{GRADIENT}");
            let gradient = self.store().get(&name)?;
            let mut values = gradient.as_f32().unwrap_or_default().to_vec();
            change(&mut values);
            self.store().set(&name, &Tensor::f32(gradient.shape().clone(), values)?)?;
        }
        Ok(())
    }
}

fn at_least_zero(option: &str, value: f64) -> Result<(), Error> {
    if value >= 0.0 {
        return Ok(());
    }
    Err(Error::Option { option: option.to_string(), reason: format!("must be at least 0, got {value}") })
}

/// The parameter whose gradient a state is.
fn gradient_of(state: &str) -> Option<&str> {
    state.rsplit_once('.').filter(|(_, last)| *last == GRADIENT).map(|(parameter, _)| parameter)
}
/// Whether a state is what [`Model::backward`] adds to.
pub(super) fn is_gradient(state: &str) -> bool {
    gradient_of(state).is_some()
}

/// The update alone.
fn step_graph(network: &Network, compiled: &Compiled) -> Result<Graph, Error> {
    update_graph(&network.graph(1, Mode::Train)?, &compiled.tuned.training())
}

fn purpose(task: &Task, mode: Mode) -> Purpose {
    match mode {
        Mode::Train => Purpose::Gradient(task.clone()),
        Mode::Evaluate => Purpose::Test(task.clone()),
    }
}

fn out_of_order(what: &str, before: &str) -> Error {
    Error::Option { option: what.to_string(), reason: format!("comes after {before}") }
}
