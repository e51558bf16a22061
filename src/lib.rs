//! Outrigger: a static-graph deep-learning compiler for CPUs.
//!
//! ```text
//!  model ──▶ Graph ──▶ autodiff ──▶ passes ──▶ plan ──▶ codegen ──▶ runtime
//! ```
#![warn(missing_docs)]

pub mod autodiff;
pub mod codegen;
pub mod compile;
pub mod data;
pub mod error;
pub mod graph;
pub mod model;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod reference;
pub mod session;
pub mod store;
pub mod tensor;
pub mod train;
pub mod types;

pub use compile::{Options, Program, compile};
pub use error::Error;
pub use graph::{Graph, Value};
pub use outrigger_runtime::Team;
pub use session::Session;
pub use store::Store;
pub use tensor::Tensor;
pub use types::{DType, Padding, Shape};
