//! Training: the step program and its state, and weight files.
//!
//! ```text
//!   Model ─▶ training graph ─▶ Trainer { programs by batch size, Store, Team } ─▶ loss, correct
//!                                    └─▶ WeightFile ─▶ FILE.safetensors
//! ```

mod atomic;
mod layout;
mod weights;

pub use layout::Layout;
pub use weights::{Restore, WeightFile};
