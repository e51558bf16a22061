//! One network, compiled for training or inference and ready to run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_runtime::{Profile, Team};

use crate::compile::{Options, Program, compile};
use crate::error::Error;
use crate::graph::Graph;
use crate::models::Classifier;
use crate::nn::Form;
use crate::session::Session;
use crate::store::Store;
use crate::train::Method;
use crate::train::optimizer::{LEARNING_RATE, LOSS, training_graph};

/// A model with its weights and threads.
pub(super) struct Network {
    model: Box<dyn Classifier>,
    options: Options,
    store: Store,
    pub(super) team: Arc<Team>,
}

/// A program of a network, with its inputs.
pub(super) struct Ready {
    pub(super) program: Program,
    session: Session,
    images: Vec<f32>,
    labels: Vec<i32>,
}

impl Network {
    /// A network with first weights, and its training step with Adam on `batch` images: forward, backward, update.
    pub(super) fn new(
        model: Box<dyn Classifier>,
        options: Options,
        threads: usize,
        batch: usize,
    ) -> Result<(Network, Ready), Error> {
        let team = Arc::new(Team::new(threads)?);
        let forward = model.training(batch)?;
        let loss = forward.output(LOSS)?;
        let graph = training_graph(forward, loss, &Method::Adam.optimizer(Form::Torch))?;
        let network = Network { store: Store::new(&graph, 0)?, model, options, team };
        let mut training = network.ready(&graph, batch)?;
        training.session.set_f32(LEARNING_RATE, &[Method::Adam.default_lr()])?;
        Ok((network, training))
    }

    /// Inference of `batch` images.
    pub(super) fn inference(&self, batch: usize) -> Result<Ready, Error> {
        self.ready(&self.model.evaluation(batch)?, batch)
    }

    fn ready(&self, graph: &Graph, batch: usize) -> Result<Ready, Error> {
        let shape = |value| graph.value_type(value).map(|ty| ty.shape.clone()).unwrap_or_default();
        let (pixels, classes) = (shape(graph.source("images")?).elements(), shape(graph.output("logits")?).last());
        let program = compile(graph, &self.options)?;
        let session = program.session(&self.store, &self.team)?;
        let labels = (0..batch).map(|i| (i % classes) as i32).collect();
        Ok(Ready { program, session, images: noise(pixels), labels })
    }
}

impl Ready {
    /// Gives the images, runs, and takes the logits.
    pub(super) fn step(&mut self) -> Result<(), Error> {
        self.session.set_f32("images", &self.images)?;
        self.session.set_i32("labels", &self.labels)?;
        self.session.run()?;
        self.session.get("logits").map(drop)
    }

    /// The times of `runs` steps, or of fewer that take `enough` together (but three), shortest first.
    pub(super) fn times(&mut self, runs: u32, enough: Duration, clock: Clock) -> Result<Vec<Duration>, Error> {
        let (mut times, begin) = (Vec::new(), Instant::now());
        while times.len() < runs as usize && (times.len() < 3 || begin.elapsed() < enough) {
            let start = clock(begin);
            self.step()?;
            times.push(clock(begin).saturating_sub(start));
        }
        times.sort_unstable();
        Ok(times)
    }

    /// Another step on the same images, measured kernel by kernel.
    pub(super) fn profile(&mut self) -> Result<Profile, Error> {
        self.session.run_profiled()
    }

    /// Operations of direct convolution and matrix products in a step, in GFLOP.
    pub(super) fn gflop(&self) -> f64 {
        self.program.summary().flops as f64 / 1e9
    }
}

/// Tells the time, given when the first measurement began.
pub(super) type Clock = fn(Instant) -> Duration;

/// The time of day: what a user waits for.
pub(super) fn wall(begin: Instant) -> Duration {
    begin.elapsed()
}

/// The calling thread's time on a core, where the system tells it: on a machine that others use too, what a team of one
/// thread would take alone.
pub(super) fn cpu(begin: Instant) -> Duration {
    outrigger_runtime::thread_cpu_time().unwrap_or_else(|| begin.elapsed())
}

/// Median of times in order.
pub(super) fn median(times: &[Duration]) -> Duration {
    match times.len() {
        0 => Duration::ZERO,
        n => (times[(n - 1) / 2] + times[n / 2]) / 2,
    }
}

/// Images of noise in [0, 1): kernels take the same time for any pixels.
fn noise(pixels: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        // the generator of Numerical Recipes, "An Even Quicker Generator"
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..pixels).map(|_| next()).collect()
}
