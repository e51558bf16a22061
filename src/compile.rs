//! The pipeline: graph in, runnable program out. The only module that sees every stage.

use std::sync::Arc;
use std::time::Duration;

use outrigger_runtime::Team;

use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::types::TensorType;

/// How a graph is compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which passes run.
    pub passes: crate::passes::PassOptions,
}

/// A compiled graph.
pub struct Program {
    _private: (),
}

/// Sizes of a program.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Bytes of the work arena.
    pub arena_bytes: usize,
    /// Largest live set of the schedule, in bytes.
    pub live_bytes: usize,
    /// Distinct compiled kernels.
    pub kernels: usize,
    /// Steps of a run.
    pub steps: usize,
    /// Floating-point operations of a run (a multiply-add counts two).
    pub flops: u64,
    /// Time to compile.
    pub compile_time: Duration,
}

/// Compiles `graph`.
///
/// # Errors
/// [`Error::Invalid`] for a graph that breaks an invariant, [`Error::Codegen`].
pub fn compile(graph: &Graph, options: &Options) -> Result<Program, Error> {
    let _ = (graph, options);
    Err(Error::Codegen { path: String::new(), reason: "not built yet".to_string() })
}

impl Program {
    /// What the passes did and did not do, for printing.
    pub fn report(&self) -> &crate::passes::Report {
        todo!()
    }
    /// Sizes.
    pub fn summary(&self) -> &Summary {
        todo!()
    }
    /// Binds the program to state and to a worker team.
    ///
    /// # Errors
    /// [`Error::UnknownName`] or [`Error::Type`] when the store lacks a state of this program.
    pub fn session(&self, store: &Store, team: &Arc<Team>) -> Result<Session, Error> {
        let _ = (store, team);
        todo!()
    }
}

/// The state tensors of a model: parameters, running statistics, optimizer moments. Shared by the
/// programs that train and evaluate it.
#[derive(Clone)]
pub struct Store {
    _private: (),
}

impl Store {
    /// State for every parameter and buffer of `graph`, initialised from `seed`: each random tensor
    /// depends on the seed and its name only.
    ///
    /// # Errors
    /// [`Error::Runtime`] when memory cannot be had.
    pub fn new(graph: &Graph, seed: u64) -> Result<Store, Error> {
        let _ = (graph, seed);
        todo!()
    }
    /// Names and types in the graph's order.
    pub fn entries(&self) -> &[(String, TensorType)] {
        todo!()
    }
    /// A copy of a state tensor.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    pub fn get(&self, name: &str) -> Result<Tensor, Error> {
        let _ = name;
        todo!()
    }
    /// Replaces a state tensor.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Type`].
    pub fn set(&self, name: &str, value: &Tensor) -> Result<(), Error> {
        let _ = (name, value);
        todo!()
    }
}

/// A program with its arena, ready to run.
pub struct Session {
    _private: (),
}

impl Session {
    /// Gives an input its value for the next runs.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Type`]; [`Error::Label`] for a label out of range.
    pub fn set(&mut self, name: &str, value: &Tensor) -> Result<(), Error> {
        let _ = (name, value);
        todo!()
    }
    /// As [`Session::set`] for floats, without making a tensor.
    ///
    /// # Errors
    /// As [`Session::set`].
    pub fn set_f32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let _ = (name, values);
        todo!()
    }
    /// As [`Session::set`] for integers, without making a tensor.
    ///
    /// # Errors
    /// As [`Session::set`].
    pub fn set_i32(&mut self, name: &str, values: &[i32]) -> Result<(), Error> {
        let _ = (name, values);
        todo!()
    }
    /// Runs the program once.
    ///
    /// # Errors
    /// [`Error::Runtime`].
    pub fn run(&mut self) -> Result<(), Error> {
        todo!()
    }
    /// Runs step by step and stops at the first step that makes a NaN or an infinity.
    ///
    /// # Errors
    /// [`Error::Runtime`] naming the step.
    pub fn run_checked(&mut self) -> Result<(), Error> {
        todo!()
    }
    /// Runs once and measures each kernel.
    ///
    /// # Errors
    /// [`Error::Runtime`].
    pub fn run_profiled(&mut self) -> Result<outrigger_runtime::Profile, Error> {
        todo!()
    }
    /// An output of the last run.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn get(&self, name: &str) -> Result<Tensor, Error> {
        let _ = name;
        todo!()
    }
    /// A scalar f32 output of the last run.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Type`].
    pub fn scalar(&self, name: &str) -> Result<f32, Error> {
        let _ = name;
        todo!()
    }
}
