//! What it takes to run a model: multiply-adds, bytes, kernels.
//!
//! ```text
//!   Network ─ graph(batch) ─┬─▶ multiply-adds and activation bytes of each layer
//!                           ├─ compile ─▶ inference: arena, weights, kernels ─┐
//!                           └─ + loss, optimizer, compile ─▶ training: … ─────┴─▶ Cost ─▶ text
//! ```

use std::fmt;

use super::Model;
use super::objective::Task;
use super::steps::with_loss;
use crate::compile::{Program, compile};
use crate::error::Error;
use crate::graph::{Graph, Node};
use crate::nn::Mode;
use crate::ops::Op;
use crate::train::optimizer::training_graph_with;

/// What one layer takes in a forward pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCost {
    /// The layer's name.
    pub name: String,
    /// Its class in the network's framework.
    pub class: String,
    /// Elements of its trained and kept tensors.
    pub parameters: usize,
    /// Multiply-adds of its convolutions and matrix products, for the batch.
    pub multiply_adds: u64,
    /// Bytes of what it makes for the next layer, for the batch, if that were stored: fused layers store nothing.
    pub activation_bytes: usize,
}

/// What one compiled program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// Multiply-adds of the convolutions and matrix products of a run.
    pub multiply_adds: u64,
    /// Bytes of the work arena: activations, gradients and inputs, as planned.
    pub arena_bytes: usize,
    /// Bytes of what outlives a run: parameters, statistics, moments.
    pub state_bytes: usize,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Kernel calls of a run.
    pub kernels: usize,
    /// Those in which several operations of the network were merged.
    pub fused_kernels: usize,
}

impl ProgramCost {
    /// Bytes of arena, states and code.
    pub fn memory_bytes(&self) -> usize {
        self.arena_bytes + self.state_bytes + self.code_bytes
    }

    fn of(program: &Program) -> ProgramCost {
        let (summary, planned) = (program.summary(), program.planned());
        ProgramCost {
            multiply_adds: summary.flops / 2,
            arena_bytes: summary.arena_bytes,
            state_bytes: planned.states.iter().map(|state| state.ty.bytes()).sum(),
            code_bytes: summary.code_bytes,
            kernels: summary.steps,
            fused_kernels: planned.steps.iter().filter(|step| matches!(step.op, Op::Fused(_))).count(),
        }
    }
}

/// What it takes to run a model, for printing. [`Model::cost`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Samples of a batch.
    pub batch: usize,
    /// The layers in the order of their first calls.
    pub layers: Vec<LayerCost>,
    /// A forward pass in evaluation.
    pub inference: ProgramCost,
    /// A step of the optimizer; `None` before [`Model::compile`].
    pub training: Option<ProgramCost>,
}

impl Model {
    /// What the model takes for batches of `batch` samples: it is compiled for inference, and once it has a loss and an
    /// optimizer for training, and the plans are read. Nothing runs. Targets are of the types that the last step had,
    /// or that the losses usually take.
    ///
    /// ```
    /// use outrigger::nn::{Flatten, Input, Linear};
    /// use outrigger::train::Model;
    ///
    /// # fn main() -> Result<(), outrigger::Error> {
    /// let x = Input::torch("images", [1, 4, 4]);
    /// let model = Model::new(&x, &Linear::new(10).name("fc").call(&Flatten::new().call(&x)?)?)?;
    /// let cost = model.cost(8)?;
    /// assert_eq!(cost.inference.multiply_adds, 8 * 16 * 10);
    /// println!("{cost}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the network's graph, of differentiation and of [`compile`].
    pub fn cost(&self, batch: usize) -> Result<Cost, Error> {
        let graph = self.network.graph(batch, Mode::Evaluate)?;
        let program = |graph: &Graph| compile(graph, self.programs.options()).map(|program| ProgramCost::of(&program));
        let training = match &self.compiled {
            None => None,
            Some(compiled) => {
                let task = Task { batch, targets: self.usual_targets()?, weighted: false };
                let (forward, loss) = with_loss(&self.network, compiled, &task, Mode::Train)?;
                Some(program(&training_graph_with(forward, loss, &compiled.tuned.training())?)?)
            }
        };
        Ok(Cost { batch, layers: self.layers(&graph, batch), inference: program(&graph)?, training })
    }

    fn layers(&self, graph: &Graph, batch: usize) -> Vec<LayerCost> {
        let separator = self.form().path("", "");
        let mut layers: Vec<LayerCost> = self
            .network
            .layers()
            .map(|(name, class, elements)| LayerCost {
                name: name.to_string(),
                class: class.to_string(),
                parameters: 0,
                multiply_adds: 0,
                activation_bytes: batch * elements * 4,
            })
            .collect();
        for id in graph.nodes() {
            let Some(node) = graph.get(id) else { continue };
            // operations of a layer lie in its scope, tensors behind its name
            let of_layer = |layer: &LayerCost| {
                let rest = node.name.strip_prefix(layer.name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with(&separator))
            };
            // of two names of which one begins with the other, the longer one is meant
            let owner = layers.iter_mut().filter(|layer| of_layer(layer)).max_by_key(|layer| layer.name.len());
            let Some(layer) = owner else { continue };
            layer.multiply_adds += multiply_adds(graph, node);
            if let Op::Parameter(ty, _) | Op::Buffer(ty, _) = &node.op {
                layer.parameters += ty.shape.elements();
            }
        }
        layers
    }
}

/// Multiply-adds of a convolution or a matrix product.
fn multiply_adds(graph: &Graph, node: &Node) -> u64 {
    let elements = |operand: usize| node.operands.get(operand).map_or(0, |&v| graph.ty(v).shape.elements());
    let extents = |operand: usize| node.operands.get(operand).map_or(&[][..], |&v| &graph.ty(v).shape.0);
    let made = node.results.first().map_or(0, |ty| ty.shape.elements());
    let count = match &node.op {
        // each output pixel takes every weight of its channel
        Op::Conv2d(_) => made.saturating_mul(elements(1)) / extents(1).last().copied().unwrap_or(1).max(1),
        // the same convolution from its other end
        Op::Conv2dGradInput(..) => {
            elements(0).saturating_mul(elements(1)) / extents(1).last().copied().unwrap_or(1).max(1)
        }
        Op::MatMul(product) => {
            let [rows, columns] = match extents(0) {
                [.., rows, columns] => [*rows, *columns],
                _ => [0; 2],
            };
            made.saturating_mul(if product.trans_a { rows } else { columns })
        }
        _ => 0,
    };
    count as u64
}

impl fmt::Display for Cost {
    /// A line a layer and a line for each total, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.iter().map(|l| l.name.len() + l.class.len() + 3).fold(12, usize::max);
        let (layer, batch) = ("Layer (type)", self.batch);
        writeln!(f, "{layer:<width$} {:>12} {:>16} {:>16}", "Parameters", "Multiply-adds", "Activations")?;
        for LayerCost { name, class, parameters, multiply_adds, activation_bytes } in &self.layers {
            let (layer, bytes) = (format!("{name} ({class})"), size(*activation_bytes));
            writeln!(f, "{layer:<width$} {parameters:>12} {multiply_adds:>16} {bytes:>16}")?;
        }
        write!(f, "Inference of {batch}: {}", self.inference)?;
        match &self.training {
            Some(training) => write!(f, "\nTraining of {batch}: {training}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ProgramCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProgramCost { multiply_adds, kernels, fused_kernels, .. } = self;
        let [total, arena, states, code] =
            [self.memory_bytes(), self.arena_bytes, self.state_bytes, self.code_bytes].map(size);
        write!(f, "{multiply_adds} multiply-adds, {kernels} kernels of which {fused_kernels} fused, ")?;
        write!(f, "{total} of memory (arena {arena}, weights and state {states}, code {code})")
    }
}

/// Bytes in binary units.
fn size(bytes: usize) -> String {
    match bytes as f64 {
        bytes if bytes >= 1_048_576.0 => format!("{:.2} MiB", bytes / 1_048_576.0),
        bytes => format!("{:.2} KiB", bytes / 1024.0),
    }
}
