//! Training: the step program and its state, schedules, metrics, and weight files.
//!
//! ```text
//!   Recipe ─▶ Model, Optimizer, DataLoader ─▶ Trainer { programs by batch size, Store, Team } ─▶ Outcome
//!      ▲                                     ▲ restore, save
//!      └──────── WeightFile (metadata, tensors) ◀─▶ FILE.safetensors
//! ```

mod atomic;
mod ema;
mod layout;
pub mod metrics;
pub mod optimizer;
mod recipe;
pub mod schedule;
mod trainer;
mod weights;

pub use ema::swap_ema;
pub use layout::Layout;
pub use optimizer::Optimizer;
pub use recipe::{Method, Recipe, network, parse_layers};
pub use trainer::{Outcome, Trainer, TrainerOptions};
pub use weights::{Restore, Storage, WeightFile};
