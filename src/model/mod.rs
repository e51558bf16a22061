//! Networks as graphs: what each one needs to be trained and evaluated.
//!
//! ```text
//!   Model ──training(batch)───▶ Graph: images, labels ─▶ loss, logits   (batch statistics, running ones updated)
//!         ──evaluation(batch)─▶ Graph: images, labels ─▶ loss, logits   (running statistics)
//! ```
//!
//! Both graphs of a model name their state alike, so one [`Store`](crate::Store) serves both. The batch size is
//! part of a graph; another batch size is another graph.

use crate::error::Error;
use crate::graph::Graph;

mod resnet;

pub use resnet::{Form, MOST_BLOCKS, ResNetCifar};

/// A classifier that can be trained.
///
/// Its graphs have the inputs `images` (f32, the batch first) and `labels` (i32 `[batch]`, class indices) and the
/// outputs `loss` (f32 scalar: the mean over the batch) and `logits` (f32 `[batch, classes]`).
pub trait Model {
    /// The graph to differentiate: forward pass and loss with the batch's own statistics.
    ///
    /// # Errors
    /// [`Error::Option`] for sizes that make no network, and those of the graph's methods.
    fn training(&self, batch: usize) -> Result<Graph, Error>;
    /// The graph to evaluate: forward pass and loss with the running statistics.
    ///
    /// # Errors
    /// As [`Model::training`].
    fn evaluation(&self, batch: usize) -> Result<Graph, Error>;
}
