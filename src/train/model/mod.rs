//! A network with its weights, compiled to train, evaluate and predict: Keras's `Model`, and PyTorch's loop.
//!
//! ```text
//!   Network ─┬─ + losses, optimizer ─▶ program of a step    [batch] ─┐
//!            ├─ + losses ────────────▶ program of a test    [batch] ─┼── all on one Store, run by one Team
//!            └───────────────────────▶ program to predict   [batch] ─┘
//! ```
//!
//! A program is compiled when its batch size first comes, and kept: the last, smaller batch of an epoch has one of its
//! own, nothing is dropped and no sample counts twice.

use std::fmt;
use std::sync::Arc;

use outrigger_runtime::Team;

use crate::compile::{Options, Program};
use crate::error::Error;
use crate::nn::{Form, Mode, Module, Network, Summary, Symbol, Symbols};
use crate::store::Store;
use crate::types::DType;

mod compile;
mod cost;
mod data;
mod feed;
mod files;
mod finite;
mod fit;
mod objective;
mod programs;
mod steps;
mod torch;
mod whole;

pub use compile::Metrics;
pub use cost::{Cost, LayerCost, ProgramCost};
pub use data::Batches;
pub use finite::NonFinite;
pub(in crate::train) use finite::non_finite;
pub use fit::{FitOptions, Logs};
pub use objective::{LossFunction, Objective, Objectives};
pub use torch::Tensors;

use compile::Compiled;
use programs::{Programs, Purpose};
use torch::Begun;

/// How a [`Model`] works.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// How programs are compiled.
    pub compile: Options,
    /// What initial values are drawn from. Default 0.
    pub seed: u64,
    /// Worker threads; `None` takes the cores that the process may use.
    pub threads: Option<usize>,
    /// What happens when a loss is a NaN or an infinity. Default: training goes on.
    pub non_finite: NonFinite,
}

/// A network with weights.
///
/// ```
/// use outrigger::nn::{Dense, Input, ReLU};
/// use outrigger::train::optimizer::Optimizer;
/// use outrigger::train::{Model, Objective};
/// use outrigger::graph::Loss;
/// use outrigger::Tensor;
///
/// # fn main() -> Result<(), outrigger::Error> {
/// let x = Input::keras("x", [2]);
/// let hidden = ReLU::new().call(&Dense::new(16).call(&x)?)?;
/// let mut model = Model::new(&x, &Dense::new(1).call(&hidden)?)?;
/// model.compile(Optimizer::keras_adam().lr(0.05), Loss::MeanSquaredError, ())?;
///
/// let inputs = Tensor::f32([4, 2], vec![0., 0., 0., 1., 1., 0., 1., 1.])?;
/// let target = Tensor::f32([4, 1], vec![0., 1., 1., 0.])?;
/// for _ in 0..200 {
///     model.train_on_batch(&inputs, &target)?;
/// }
/// assert!(model.test_on_batch(&inputs, &target)?.get("loss").unwrap() < 0.05);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    network: Network,
    programs: Programs,
    compiled: Option<Compiled>,
    non_finite: NonFinite,
    mode: Mode,
    begun: Option<Begun>,
    /// Types of the targets that the last loss was given.
    targets: Option<Vec<(DType, Vec<usize>)>>,
    steps: u64,
    epochs: u64,
    stop: bool,
}

/// The network and how far its training is; no weights.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("network", &self.network.name())
            .field("form", &self.form())
            .field("inputs", &self.network.input_names())
            .field("outputs", &self.network.output_names())
            .field("compiled", &self.compiled.is_some())
            .field("steps", &self.steps)
            .field("epochs", &self.epochs)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// A network from its inputs and outputs, with initial weights.
    ///
    /// # Errors
    /// Those of [`Network::new`] and [`Model::of`].
    pub fn new(inputs: impl Symbols, outputs: impl Symbols) -> Result<Model, Error> {
        Model::of(Network::new("model", inputs, outputs)?, ModelOptions::default())
    }
    /// A network from a module (a struct, or a [`Sequential`](crate::nn::Sequential)) and its input.
    ///
    /// ```
    /// use outrigger::prelude::*;
    ///
    /// # fn main() -> Result<(), Error> {
    /// let layers = Sequential::new().add(Flatten::new()).add(Linear::new(4)).add(ReLU::new()).add(Linear::new(2));
    /// let mut model = Model::from_module(&layers, Input::torch("images", [1, 3, 3]))?;
    /// let images = Tensor::full([5, 1, 3, 3], 0.5);
    /// assert_eq!(model.predict(images, 2)?[0].shape().0, [5, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Network::of`] and [`Model::of`].
    #[track_caller]
    pub fn from_module(module: &(impl Module + ?Sized), input: Symbol) -> Result<Model, Error> {
        Model::of(Network::of(module, input)?, ModelOptions::default())
    }
    /// A network with initial weights.
    ///
    /// # Errors
    /// Those of the network's graph; [`Error::Option`] for a team of no threads.
    pub fn of(network: Network, options: ModelOptions) -> Result<Model, Error> {
        let programs = Programs::new(&network, &options)?;
        Ok(Model {
            network,
            programs,
            compiled: None,
            non_finite: options.non_finite,
            mode: Mode::Train,
            begun: None,
            targets: None,
            steps: 0,
            epochs: 0,
            stop: false,
        })
    }

    /// The architecture as a table: [`Network::summary`]. [`Model::cost`] says what it takes to run it.
    ///
    /// # Errors
    /// Those of [`Network::summary`].
    pub fn summary(&self) -> Result<Summary, Error> {
        self.network.summary()
    }
    /// The architecture.
    pub fn network(&self) -> &Network {
        &self.network
    }
    /// Whose conventions the network follows.
    pub fn form(&self) -> Form {
        self.network.form()
    }
    /// Parameters, running statistics, and once the model is compiled the optimizer's moments.
    pub fn store(&self) -> &Store {
        self.programs.store()
    }
    /// The threads.
    pub fn team(&self) -> &Arc<Team> {
        self.programs.team()
    }
    /// Optimizer steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }
    /// Epochs that [`Model::fit`] has finished.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// Freezes the layers whose names `*` in `pattern` fits; returns how many. Their gradients are forgotten, and programs
    /// are compiled anew.
    ///
    /// # Errors
    /// Those of the network's graph.
    pub fn freeze(&mut self, pattern: &str) -> Result<usize, Error> {
        let held = self.network.freeze(pattern);
        self.programs.forget();
        self.forget_frozen()?;
        Ok(held)
    }
    /// Takes back [`Model::freeze`].
    pub fn unfreeze(&mut self, pattern: &str) -> Result<usize, Error> {
        let held = self.network.unfreeze(pattern);
        self.programs.forget();
        Ok(held)
    }

    /// The learning rate of the next step.
    ///
    /// # Errors
    /// [`Error::Option`] for a model that was not compiled.
    pub fn learning_rate(&self) -> Result<f64, Error> {
        Ok(self.compiled()?.tuned.lr)
    }
    /// Changes the learning rate. Groups of parameters keep their share of it.
    ///
    /// # Errors
    /// As [`Model::learning_rate`].
    pub fn set_learning_rate(&mut self, lr: f64) -> Result<(), Error> {
        self.compiled_mut()?.tuned.lr = lr;
        Ok(())
    }

    /// Exchanges every parameter with the average that [`Tuned::ema`](crate::train::optimizer::Tuned::ema) keeps of it:
    /// to evaluate, predict or save with the averages. Call it again before more training. During
    /// [`Model::fit`], [`SwapEMAWeights`](crate::train::callback::SwapEMAWeights) does so for every validation.
    ///
    /// # Errors
    /// [`Error::Option`] for a model without averages: compiled without them, or before its first step.
    pub fn swap_ema(&mut self) -> Result<(), Error> {
        crate::train::swap_ema(self.store())
    }
    /// Goes on behind so many steps of an earlier run.
    pub(in crate::train) fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// The compiled step for batches of `batch` samples, if it has been needed.
    pub fn training_program(&self, batch: usize) -> Option<&Program> {
        self.programs.find(|purpose| matches!(purpose, Purpose::Step(task) if task.batch == batch))
    }
    /// The compiled forward pass of [`Model::predict_on_batch`] for batches of `batch` samples, if it has been needed.
    pub fn inference_program(&self, batch: usize) -> Option<&Program> {
        self.programs.find(|purpose| *purpose == Purpose::Predict(batch))
    }
}
