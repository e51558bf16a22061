//! Networks with their loss, as graphs to train and to evaluate.
//!
//! ```text
//!   Classifier ──training(batch)───▶ Graph: images, labels ─▶ loss, logits   (batch statistics, running ones updated)
//!         ──evaluation(batch)─▶ Graph: images, labels ─▶ loss, logits   (running statistics)
//! ```
//!
//! Both graphs of a model name their state alike, so one [`Store`](crate::Store) serves both. The batch size is
//! part of a graph; another batch size is another graph.

use super::{LeNet5, Mlp, MobileNetV2, ResNetCifar, ResNetImageNet, Vgg16};
use crate::error::Error;
use crate::graph::{Graph, Loss, Reduction};
use crate::nn::{Mode, Network};
use crate::types::DType;

/// A classifier that can be trained.
///
/// Its graphs have the inputs `images` (f32, the batch first) and `labels` (i32 `[batch]`, class indices) and the
/// outputs `loss` (f32 scalar: the mean over the batch) and `logits` (f32 `[batch, classes]`).
pub trait Classifier {
    /// The graph to differentiate: forward pass and loss with the batch's own statistics.
    ///
    /// # Errors
    /// [`Error::Option`] for sizes that make no network, and those of the graph's methods.
    fn training(&self, batch: usize) -> Result<Graph, Error>;
    /// The graph to evaluate: forward pass and loss with the running statistics.
    ///
    /// # Errors
    /// As [`Classifier::training`].
    fn evaluation(&self, batch: usize) -> Result<Graph, Error>;
}

/// A network of one output, rows over classes, with the cross-entropy. Where it ends in a softmax, `logits` are
/// probabilities, and the loss is that of probabilities. Regularised weights add to the loss of the training graph.
impl Classifier for Network {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        classifier(self, batch, Mode::Train)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        classifier(self, batch, Mode::Evaluate)
    }
}

impl<M: Classifier + ?Sized> Classifier for Box<M> {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        (**self).training(batch)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        (**self).evaluation(batch)
    }
}

macro_rules! models {
    ($($name:ident)*) => {
        $(impl Classifier for $name {
            fn training(&self, batch: usize) -> Result<Graph, Error> {
                self.network()?.training(batch)
            }
            fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
                self.network()?.evaluation(batch)
            }
        })*
    };
}

models! { ResNetCifar ResNetImageNet Vgg16 MobileNetV2 LeNet5 Mlp }

fn classifier(network: &Network, batch: usize, mode: Mode) -> Result<Graph, Error> {
    let purpose = if mode == Mode::Train { "train" } else { "eval" };
    let mut graph = Graph::new(format!("{}_{purpose}", network.name()));
    let (outputs, penalty) = network.add_to(&mut graph, batch, mode, mode == Mode::Train)?;
    let &[logits] = &outputs[..] else {
        let reason = format!("a classifier has one output, this network {}", outputs.len());
        return Err(Error::Network { name: network.name().to_string(), reason });
    };
    let labels = graph.input("labels", DType::I32, [batch])?;
    let mut loss = if network.ends_in_softmax() {
        graph.loss(Loss::CategoricalCrossEntropy { label_smoothing: 0.0 }, logits, labels, Reduction::Mean)?
    } else {
        graph.cross_entropy(logits, labels)?
    };
    if let Some(penalty) = penalty {
        loss = graph.add_values(loss, penalty)?;
    }
    graph.set_output("loss", loss)?;
    graph.set_output("logits", logits)?;
    Ok(graph)
}
