//! Training: the step program and its state, schedules, metrics, logs; weight files are in
//! [`formats`](crate::formats).
//!
//! ```text
//!   Network, Optimizer, Loss ─▶ Model { programs by batch size, Store, Team } ◀─ batches ─ DataLoader, Dataset
//!      ▲ compile                  ▲ restore, save     └─ fit ─▶ callbacks, History
//!   Recipe ◀─▶ WeightFile (metadata, tensors) ◀─▶ FILE.safetensors
//! ```

pub mod callback;
mod ema;
pub mod log;
pub mod metrics;
mod model;
pub mod optimizer;
mod recipe;
pub mod schedule;

pub use crate::formats::{Layout, Restore, Storage, WeightFile};
pub use callback::Callback;
pub use ema::swap_ema;
pub use model::{
    Batches, Cost, FitOptions, LayerCost, Logs, LossFunction, Metrics, Model, ModelOptions, NonFinite, Objective,
    Objectives, ProgramCost, Tensors,
};
pub use optimizer::Optimizer;
pub use recipe::{Method, Recipe, network, parse_layers};
