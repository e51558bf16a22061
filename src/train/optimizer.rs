//! Optimizers: the update of every parameter as operations of the training graph.
//!
//! ```text
//!  forward ──▶ loss ──▶ gradients ──▶ new parameter ──▶ update of the parameter
//!                          │  ▲            ▲
//!                          ▼  │            └── input "lr"
//!                  buffers <parameter>.exp_avg, .exp_avg_sq, .momentum_buffer, …
//! ```
//!
//! Formulas and names are PyTorch's (`torch.optim.SGD`, `Adam`, `AdamW`, `RMSprop`, `Adagrad`), Lion's those of its
//! paper. All that is one number a step (step size, bias corrections) is computed once and shared by the parameters.

use crate::autodiff::gradients;
use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::{Binary, Init, Op, Random};
use crate::store::{ADAGRAD_STEP, EMA_DECAY, SGD_GAIN};
use crate::tensor::Tensor;

mod emit;
mod group;
mod kinds;
mod rule;
mod tuned;

pub use crate::store::{BIAS_CORRECTIONS, GRADIENT, is_training_state};
pub use group::ParameterGroup;
pub use kinds::{Adagrad, Adam, AdamW, EpsilonMode, EpsilonPlace, Lion, Optimizer, RmsProp, Sgd};
pub use tuned::Tuned;

/// Name of the learning rate's `f32[]` input.
pub const LEARNING_RATE: &str = "lr";
/// Name of the output that holds the loss.
pub const LOSS: &str = "loss";
/// What a training graph holds besides the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingOptions {
    /// How parameters are updated.
    pub optimizer: Optimizer,
    /// Parameters with a learning rate or weight decay of their own; the first group that holds a parameter counts.
    pub groups: Vec<ParameterGroup>,
    /// Keep an exponential moving average of every parameter, `<parameter>.ema`, with this decay, such as 0.999;
    /// [`swap_ema`](super::swap_ema) exchanges the two. The first step copies the parameters, as
    /// `torch.optim.swa_utils.AveragedModel` and Keras's `use_ema` do.
    pub ema: Option<f64>,
    /// Make each parameter's gradient an output, named `grad/<parameter>`.
    pub gradient_outputs: bool,
}

impl TrainingOptions {
    /// Refuses options out of range, and a group that fits none of a network's `states`.
    fn check(&self, states: &[&str]) -> Result<(), Error> {
        self.optimizer.check()?;
        self.groups.iter().try_for_each(|group| group.check(states))?;
        self.ema.map_or(Ok(()), |decay| kinds::check_decay("ema", decay))
    }
}

/// Names of parameters and buffers.
fn state_names(graph: &Graph) -> Vec<&str> {
    graph.states().map(|id| graph.node(id).name.as_str()).collect()
}

impl Default for TrainingOptions {
    /// Adam, one group, no averages, no gradient outputs.
    fn default() -> Self {
        let optimizer = Optimizer::Adam(Adam::default());
        TrainingOptions { optimizer, groups: Vec::new(), ema: None, gradient_outputs: false }
    }
}

/// The training graph of `forward`: one run computes the outputs and the loss, and moves every parameter
/// one step. See [`training_graph_with`].
///
/// # Errors
/// As [`training_graph_with`].
pub fn training_graph(forward: Graph, loss: Value, optimizer: &Optimizer) -> Result<Graph, Error> {
    training_graph_with(forward, loss, &TrainingOptions { optimizer: *optimizer, ..TrainingOptions::default() })
}

/// Adds to `forward`:
/// - the gradients of the scalar `loss` with respect to every parameter;
/// - the input [`LEARNING_RATE`], the optimizer's buffers and the updates of parameters and buffers;
/// - averages of the parameters, where they are wanted;
/// - the output [`LOSS`], unless the loss is an output of that name already;
/// - where the graph has a step counter ([`Graph::random_step`]) without an update, its update by 1.
///
/// # Errors
/// [`Error::Option`] for options out of range; [`Error::UnknownName`] for a group that fits no parameter; those of
/// [`gradients`], so also for a parameter that the loss does not depend on; [`Error::Gradient`] for a graph without
/// parameters; [`Error::DuplicateName`] when a name is taken or a parameter already has an update.
pub fn training_graph_with(forward: Graph, loss: Value, options: &TrainingOptions) -> Result<Graph, Error> {
    options.check(&state_names(&forward))?;
    let mut graph = forward;
    let parameters: Vec<Value> = graph.parameters().map(|id| id.result(0)).collect();
    if parameters.is_empty() {
        let path = graph.name().to_string();
        return Err(Error::Gradient { path, reason: "the graph has no parameters to train".to_string() });
    }
    let grads = gradients(&mut graph, loss, &parameters)?;
    if graph.output(LOSS).ok() != Some(loss) {
        graph.set_output(LOSS, loss)?;
    }
    if options.gradient_outputs {
        for (parameter, &gradient) in parameters.iter().zip(&grads) {
            let name = format!("grad/{}", graph.node(parameter.node).name);
            graph.set_output(&name, gradient)?;
        }
    }

    update(graph, &parameters, &grads, options)
}

/// Adds to `forward` the gradients of the scalar `loss`, which every run adds to the buffers `<parameter>.grad`:
/// PyTorch's `backward()`. [`update_graph`] makes the step.
///
/// # Errors
/// Those of [`gradients`]; [`Error::DuplicateName`] when a name is taken.
pub fn gradient_graph(forward: Graph, loss: Value) -> Result<Graph, Error> {
    let mut graph = forward;
    let parameters: Vec<Value> = graph.parameters().map(|id| id.result(0)).collect();
    let grads = gradients(&mut graph, loss, &parameters)?;
    for (&parameter, &gradient) in parameters.iter().zip(&grads) {
        let sum = gradient_buffer(&mut graph, parameter)?;
        let total = graph.insert(Op::Binary(Binary::Add), &[sum, gradient], name_of(&graph, sum, ".accumulate"))?;
        graph.set_update(sum, total.result(0))?;
    }
    count_step(&mut graph)?;
    Ok(graph)
}

/// A graph that moves the parameters of `model` one step along the gradients in `<parameter>.grad`, and computes
/// nothing else: PyTorch's `optimizer.step()`.
///
/// # Errors
/// As [`training_graph_with`].
pub fn update_graph(model: &Graph, options: &TrainingOptions) -> Result<Graph, Error> {
    options.check(&state_names(model))?;
    let mut graph = Graph::new(format!("{}_step", model.name()));
    let (mut parameters, mut grads) = (Vec::new(), Vec::new());
    for id in model.parameters() {
        let node = model.node(id);
        let parameter = graph.insert(node.op.clone(), &[], node.name.clone())?.result(0);
        grads.push(gradient_buffer(&mut graph, parameter)?);
        parameters.push(parameter);
    }
    update(graph, &parameters, &grads, options)
}

fn gradient_buffer(graph: &mut Graph, parameter: Value) -> Result<Value, Error> {
    let op = Op::Buffer(graph.ty(parameter).clone(), Init::ZEROS);
    let name = name_of(graph, parameter, &format!(".{GRADIENT}"));
    graph.insert(op, &[], name).map(|id| id.result(0))
}

fn name_of(graph: &Graph, value: Value, suffix: &str) -> String {
    format!("{}{suffix}", graph.node(value.node).name)
}

/// Lets `parameters` follow their gradients.
fn update(graph: Graph, parameters: &[Value], grads: &[Value], options: &TrainingOptions) -> Result<Graph, Error> {
    let membership = membership(&graph, parameters, &options.groups);
    let mut rule = rule::Rule::new(graph, &options.optimizer)?;
    let mut groups = Vec::with_capacity(options.groups.len() + 1);
    for group in &options.groups {
        groups.push(rule.group(group.lr_scale, group.weight_decay)?);
    }
    groups.push(rule.group(1.0, None)?);
    let mut moved = Vec::with_capacity(parameters.len());
    for ((&parameter, &gradient), at) in parameters.iter().zip(grads).zip(membership) {
        moved.push((parameter, rule.update(parameter, gradient, &groups[at])?));
    }
    if let Some(decay) = options.ema {
        rule.averages(decay, &moved)?;
    }
    let mut graph = rule.finish();
    count_step(&mut graph)?;
    Ok(graph)
}

/// The group of each parameter; the last, after all of `groups`, for those in none.
fn membership(graph: &Graph, parameters: &[Value], groups: &[ParameterGroup]) -> Vec<usize> {
    let names = parameters.iter().map(|p| &graph.node(p.node).name);
    names.map(|name| groups.iter().position(|group| group.holds(name)).unwrap_or(groups.len())).collect()
}

/// Lets a step counter that nobody updates count runs.
fn count_step(graph: &mut Graph) -> Result<(), Error> {
    if graph.source(Random::STEP).is_err() {
        return Ok(());
    }
    let step = graph.random_step()?;
    if graph.updates().iter().any(|&(state, _)| state == step.node) {
        return Ok(());
    }
    let one = graph.constant(Tensor::i32([], vec![1])?)?;
    let next = graph.insert(Op::Binary(Binary::Add), &[step, one], format!("{}.update", Random::STEP))?;
    graph.set_update(step, next.result(0))
}
