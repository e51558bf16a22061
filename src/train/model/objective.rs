//! What training makes small, and the graph that computes it.
//!
//! ```text
//!   network(batch) ─▶ outputs ─▶ losses with their targets ─▶ Σ weight · loss + regularisation ─▶ "loss"
//! ```

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::graph::{Graph, Loss, Reduction, Value};
use crate::nn::{Mode, Network, PENALTY};
use crate::tensor::Tensor;
use crate::train::optimizer::LOSS;
use crate::types::{DType, Shape};

/// Name of the input that weighs the samples of a batch.
pub(super) const WEIGHTS: &str = "sample_weight";

/// A loss of one's own: the mean over the batch, a scalar, from prediction and target.
pub type LossFunction = dyn Fn(&mut Graph, Value, Value) -> Result<Value, Error> + Send + Sync;

/// A loss of one output.
#[derive(Clone)]
pub struct Objective {
    output: Option<String>,
    weight: f32,
    loss: Function,
}

#[derive(Clone)]
enum Function {
    Known(Loss),
    Own(Arc<LossFunction>),
}

impl Objective {
    /// A loss made of graph operations.
    ///
    /// ```
    /// use outrigger::train::Objective;
    ///
    /// // the mean of (prediction - target)⁴
    /// let quartic = Objective::custom(|g, prediction, target| {
    ///     let difference = g.sub(prediction, target)?;
    ///     let square = g.mul(difference, difference)?;
    ///     let quartic = g.mul(square, square)?;
    ///     g.mean_all(quartic)
    /// });
    /// ```
    pub fn custom(
        loss: impl Fn(&mut Graph, Value, Value) -> Result<Value, Error> + Send + Sync + 'static,
    ) -> Objective {
        Objective { output: None, weight: 1.0, loss: Function::Own(Arc::new(loss)) }
    }
    /// A loss of the output with this name.
    pub fn of(output: &str, loss: impl Into<Objective>) -> Objective {
        Objective { output: Some(output.to_string()), ..loss.into() }
    }
    /// Counts the loss so many times; default 1.
    #[must_use]
    pub fn weight(self, weight: f32) -> Objective {
        Objective { weight, ..self }
    }
}

/// An [`Objective`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedObjective {
    output: Option<String>,
    weight: f32,
    loss: Loss,
}

impl From<SavedObjective> for Objective {
    fn from(saved: SavedObjective) -> Objective {
        Objective { output: saved.output, weight: saved.weight, loss: Function::Known(saved.loss) }
    }
}

impl From<Loss> for Objective {
    fn from(loss: Loss) -> Objective {
        Objective { output: None, weight: 1.0, loss: Function::Known(loss) }
    }
}

impl fmt::Debug for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss: &dyn fmt::Debug = match &self.loss {
            Function::Known(loss) => loss,
            Function::Own(_) => &"custom",
        };
        f.debug_struct("Objective")
            .field("output", &self.output)
            .field("weight", &self.weight)
            .field("loss", loss)
            .finish()
    }
}

/// The losses of a network: one, or one for each of several outputs.
#[derive(Clone, Debug)]
pub struct Objectives(pub(super) Vec<Objective>);

impl<T: Into<Objective>> From<T> for Objectives {
    fn from(one: T) -> Objectives {
        Objectives(vec![one.into()])
    }
}
impl<const N: usize> From<[Objective; N]> for Objectives {
    fn from(all: [Objective; N]) -> Objectives {
        Objectives(all.into())
    }
}
impl From<Vec<Objective>> for Objectives {
    fn from(all: Vec<Objective>) -> Objectives {
        Objectives(all)
    }
}

impl Objectives {
    /// The output that each objective is for, by its place among `outputs`. Those without a name take the outputs in
    /// order.
    pub(super) fn places(&self, outputs: &[&str]) -> Result<Vec<usize>, Error> {
        let mut places = Vec::with_capacity(self.0.len());
        for (at, objective) in self.0.iter().enumerate() {
            let place = match &objective.output {
                None => at,
                Some(name) => outputs.iter().position(|output| output == name).ok_or_else(|| Error::UnknownName {
                    what: "output",
                    name: name.clone(),
                    near: crate::error::nearest(name, outputs.iter().copied()),
                })?,
            };
            if place >= outputs.len() || places.contains(&place) {
                let reason = format!(
                    "a network with the outputs {} takes one loss for each, got {}",
                    outputs.join(", "),
                    self.0.len()
                );
                return Err(Error::Option { option: "loss".to_string(), reason });
            }
            places.push(place);
        }
        if places.is_empty() {
            let reason = "training needs a loss".to_string();
            return Err(Error::Option { option: "loss".to_string(), reason });
        }
        Ok(places)
    }
}

/// What a program with a loss is compiled for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Task {
    pub(super) batch: usize,
    /// Type and shape of each objective's target, without the batch.
    pub(super) targets: Vec<(DType, Vec<usize>)>,
    /// Whether samples have weights.
    pub(super) weighted: bool,
}

/// Name of an objective's target among the inputs.
pub(super) fn target_name(output: &str) -> String {
    format!("target/{output}")
}
/// Name of the output that is an objective's loss, where there are several.
pub(super) fn loss_name(output: &str) -> String {
    format!("{output}_loss")
}

/// The network with its losses: outputs by their names, and [`LOSS`].
pub(super) fn loss_graph(network: &Network, objectives: &Objectives, task: &Task, mode: Mode) -> Result<Graph, Error> {
    // in both modes, as in Keras
    let mut graph = network.graph_with(task.batch, mode, true)?;
    let outputs = network.output_names();
    let places = objectives.places(&outputs)?;
    let weights = match task.weighted {
        true => Some(graph.input(WEIGHTS, DType::F32, [task.batch])?),
        false => None,
    };
    let mut total = graph.output(PENALTY).ok();
    for ((objective, &place), (dtype, shape)) in objectives.0.iter().zip(&places).zip(&task.targets) {
        let output = outputs[place];
        let shape: Vec<usize> = [task.batch].into_iter().chain(shape.iter().copied()).collect();
        let target = graph.input(&target_name(output), *dtype, shape)?;
        let prediction = graph.output(output)?;
        let loss = graph.scope("loss", |g| objective.build(g, prediction, target, weights))?;
        if places.len() > 1 {
            graph.set_output(&loss_name(output), loss)?;
        }
        let counted = if objective.weight == 1.0 {
            loss
        } else {
            let weight = graph.constant(Tensor::scalar(objective.weight))?;
            graph.mul(loss, weight)?
        };
        total = Some(total.map_or(Ok(counted), |sum| graph.add_values(sum, counted))?);
    }
    if let Some(total) = total {
        graph.set_output(LOSS, total)?;
    }
    Ok(graph)
}

impl Objective {
    /// The loss, if it is not one's own.
    pub(super) fn known(&self) -> Option<Loss> {
        match self.loss {
            Function::Known(loss) => Some(loss),
            Function::Own(_) => None,
        }
    }

    /// What a file holds of it.
    pub(super) fn saved(&self) -> Result<SavedObjective, Error> {
        let loss = self.known().ok_or_else(|| Error::Option {
            option: "loss".to_string(),
            reason: "a loss of one's own is code, which no file holds; keep `network().to_json()` and \
                     `save_checkpoint`, and compile the model anew before `load_checkpoint`"
                .to_string(),
        })?;
        Ok(SavedObjective { output: self.output.clone(), weight: self.weight, loss })
    }

    /// The mean over the batch; with weights `[n]` that of `weight · loss`, divided by the number of samples as Keras
    /// does.
    fn build(&self, g: &mut Graph, prediction: Value, target: Value, weights: Option<Value>) -> Result<Value, Error> {
        let loss = match (&self.loss, weights) {
            (Function::Known(loss), None) => g.loss(*loss, prediction, target, Reduction::Mean)?,
            (Function::Own(loss), None) => loss(g, prediction, target)?,
            (Function::Known(loss), Some(weights)) => {
                let each = g.loss(*loss, prediction, target, Reduction::None)?;
                let axes: Vec<usize> = (1..g.ty(each).shape.rank()).collect();
                let each = if axes.is_empty() { each } else { g.mean(each, &axes)? };
                let weighted = g.mul(each, weights)?;
                g.mean_all(weighted)?
            }
            (Function::Own(_), Some(_)) => {
                let reason =
                    "a loss of one's own cannot weigh samples; let it take the weights in its target".to_string();
                return Err(Error::Option { option: WEIGHTS.to_string(), reason });
            }
        };
        let ty = g.ty(loss).clone();
        if ty.dtype == DType::F32 && ty.shape == Shape::scalar() {
            return Ok(loss);
        }
        let reason = format!("a loss is an f32 scalar, the mean over the batch; got {ty}");
        Err(Error::Option { option: "loss".to_string(), reason })
    }
}
