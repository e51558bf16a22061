//! Training: the step program and its state, schedules, metrics; weight files are in [`formats`](crate::formats).
//!
//! ```text
//!   Recipe ─▶ Model, Optimizer, DataLoader ─▶ Trainer { programs by batch size, Store, Team } ─▶ Outcome
//!      ▲                                     ▲ restore, save
//!      └──────── WeightFile (metadata, tensors) ◀─▶ FILE.safetensors
//! ```

mod ema;
pub mod metrics;
pub mod optimizer;
mod recipe;
pub mod schedule;
mod trainer;

pub use crate::formats::{Layout, Restore, WeightFile};
pub use ema::swap_ema;
pub use optimizer::Optimizer;
pub use recipe::{Method, Recipe, network, parse_layers};
pub use trainer::{Outcome, Trainer, TrainerOptions};
