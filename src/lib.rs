//! Outrigger: a static-graph deep-learning compiler for CPUs.
//!
//! A network is a [`Graph`]: typed operations on tensors of fixed shapes, checked as they are added.
//! [`train::optimizer::training_graph`] adds the backward pass and the parameter updates to the same graph, so
//! that one run is one training step. [`compile()`] turns a graph into machine code for this CPU; a [`Session`]
//! runs it on a [`Store`] of weights with a [`Team`] of threads.
//!
//! ```text
//!  model ──▶ Graph ──▶ autodiff ──▶ passes ──▶ plan ──▶ codegen ──▶ Program ─┐
//!                                                      Store (weights) ──────┼──▶ Session: set, run, get
//!                                                      Team (threads) ───────┘
//! ```
//!
//! | to … | see |
//! |---|---|
//! | build a graph | [`graph::Graph`], one method an operation; [`ops`] for their meaning |
//! | differentiate, train | [`autodiff::gradients`], [`train::optimizer`] |
//! | take a loss, know what others call it | [`graph::Loss`] |
//! | change the rate, measure | [`train::schedule`], [`train::metrics`] |
//! | show, draw and log a run | [`train::log`] |
//! | compile, run | [`compile()`], [`Options`], [`Session`], [`Store`] |
//! | define a network of layers | [`nn`]: `Sequential`, layers called on symbols, `Module`; [`prelude`] |
//! | train the CIFAR-10 network | [`models::resnet_cifar`], [`data`], [`train::Recipe`], `outrigger train` |
//! | take another known network | [`models::by_name`] |
//! | read and write weights (PyTorch, Keras, safetensors, NumPy), load them by name | [`formats`] |
//! | look at a model, keep it | [`nn::Network::summary`], [`train::Model::cost`], [`train::Model::save`], [`nn::Network::to_json`] |
//! | deploy a network | [`export::inference::InferenceGraph`] |
//! | draw a graph, or memory over time | [`export::picture`] |
//! | know what a value must be | [`mod@reference`], the interpreter in f64 |
//! | take a network to another runtime | [`export::onnx`] |
//! | see what the compiler did | [`Program::report`], [`Program::planned`], [`Program::convolutions`], [`Session::run_profiled`], `OUTRIGGER_PROFILE` |
//! | link a network with C, C++ or Rust | [`export::object()`] |
//! | benchmark a program with Criterion | `bench::program`, with the cargo feature `criterion` |
//!
//! # Example
//!
//! A network of two layers learns the exclusive or:
//!
//! ```
//! use std::sync::Arc;
//!
//! use outrigger::ops::Init;
//! use outrigger::train::optimizer::{Adam, Optimizer, training_graph};
//! use outrigger::{DType, Error, Graph, Options, Store, Team, compile};
//!
//! # fn main() -> Result<(), Error> {
//! let mut g = Graph::new("xor");
//! let x = g.input("x", DType::F32, [4, 2])?;
//! let target = g.input("target", DType::F32, [4, 1])?;
//! let (w1, b1) = (g.parameter("1.weight", [2, 8], Init::Normal(1.0))?, g.parameter("1.bias", [8], Init::ZEROS)?);
//! let (w2, b2) = (g.parameter("2.weight", [8, 1], Init::Normal(1.0))?, g.parameter("2.bias", [1], Init::ZEROS)?);
//! let hidden = g.linear(x, w1, Some(b1))?;
//! let hidden = g.tanh(hidden)?;
//! let logits = g.linear(hidden, w2, Some(b2))?;
//! let loss = g.binary_cross_entropy_with_logits(logits, target)?;
//!
//! // one run of this graph is one step of Adam; the learning rate is its input "lr", the loss its output "loss"
//! let training = training_graph(g, loss, &Optimizer::Adam(Adam::default()))?;
//! let store = Store::new(&training, 7)?;
//! let team = Arc::new(Team::new(1)?);
//! let program = compile(&training, &Options::default())?;
//! let mut session = program.session(&store, &team)?;
//!
//! session.set_f32("x", &[0., 0., 0., 1., 1., 0., 1., 1.])?;
//! session.set_f32("target", &[0., 1., 1., 0.])?;
//! session.set_f32("lr", &[0.05])?;
//! for _ in 0..200 {
//!     session.run()?;
//! }
//! assert!(session.scalar("loss")? < 0.05);
//! # Ok(())
//! # }
//! ```
//!
//! # What to rely on
//!
//! - Shapes, the batch size among them, are part of a graph. Another batch size is another program; all programs
//!   of a model share one [`Store`].
//! - Activations are NHWC, convolution weights HWIO, linear weights `[in, out]`.
//! - A run computes bit for bit the same for any number of threads.
//! - Whatever a caller or a file can get wrong is an [`Error`] that says what would be right.
//!
//! Two types are called `Program`: [`Program`] is a compiled graph, [`ops::Program`] the straight line of
//! element-wise steps inside one fused kernel. The second is met only by those who write passes.
#![warn(missing_docs)]

pub mod autodiff;
#[cfg(feature = "criterion")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codegen;
pub mod compile;
pub mod data;
pub mod error;
pub mod export;
pub mod formats;
pub mod graph;
pub mod models;
pub mod nn;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod prelude;
pub mod reference;
pub mod session;
pub mod store;
pub mod tensor;
pub mod train;
pub mod types;

pub use compile::{Options, Program, compile};
pub use error::Error;
pub use graph::{Graph, Value};
pub use outrigger_runtime::{Profile, Roof, Team};
pub use session::Session;
pub use store::Store;
pub use tensor::Tensor;
pub use train::Model;
pub use types::{DType, Padding, Padding1d, Precision, Shape};

/// The examples of README.md are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
