//! Optimizers: the update of every parameter as operations of the training graph.
//!
//! ```text
//!  forward ──▶ loss ──▶ gradients ──▶ new parameter ──▶ update of the parameter
//!                          │  ▲            ▲
//!                          ▼  │            └── input "lr"
//!                  buffers <parameter>.exp_avg, .exp_avg_sq, .momentum_buffer
//! ```
//!
//! Formulas and names are PyTorch's (`torch.optim.SGD`, `Adam`, `AdamW`). All that is one number a step
//! (step size, bias corrections) is computed once and shared by the parameters.

use crate::autodiff::gradients;
use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::{Binary, Op, Random};
use crate::tensor::Tensor;

mod rule;

/// Name of the learning rate's `f32[]` input.
pub const LEARNING_RATE: &str = "lr";
/// Name of the output that holds the loss.
pub const LOSS: &str = "loss";
/// Names of the `f32[]` buffers that hold Adam's `1 - beta1^t` and `1 - beta2^t`.
pub const BIAS_CORRECTIONS: [&str; 2] = ["adam.bias_correction1", "adam.bias_correction2"];

/// Last parts of the names of buffers that an optimizer keeps for a parameter: `<parameter>.exp_avg`.
const MOMENTS: [&str; 3] = ["exp_avg", "exp_avg_sq", "momentum_buffer"];

/// Whether the state `name` belongs to training and not to the model: moments, bias corrections, the
/// counter of random numbers. A model runs without it, and continues training only with it.
pub fn is_training_state(name: &str) -> bool {
    let of_parameter = name.rsplit_once('.').is_some_and(|(_, last)| MOMENTS.contains(&last));
    of_parameter || BIAS_CORRECTIONS.contains(&name) || name == Random::STEP
}

/// Stochastic gradient descent (Polyak 1964; Sutskever et al. 2013), as `torch.optim.SGD` without dampening:
/// `d = g + weight_decay·p`, `buf = momentum·buf + d`, and the parameter moves by `-lr·buf`, with Nesterov by
/// `-lr·(d + momentum·buf)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    /// Share of the last direction that is kept; 0 needs no buffers.
    pub momentum: f64,
    /// Look ahead along the momentum.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
}

/// Where Adam adds epsilon. With `m̂ = m/(1 - beta1^t)` and `v̂ = v/(1 - beta2^t)`:
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EpsilonMode {
    /// `lr·m̂/(√v̂ + epsilon)`: Algorithm 1 of Kingma & Ba 2015, and PyTorch.
    #[default]
    Corrected,
    /// `lr·√(1 - beta2^t)/(1 - beta1^t)·m/(√v + epsilon)`: "epsilon hat" of the same paper, section 2, and
    /// Keras. In the first steps a larger epsilon than the other form's.
    Hat,
}

/// Adam (Kingma & Ba 2015), as `torch.optim.Adam`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the squared gradient's mean.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Where it is added.
    pub epsilon_mode: EpsilonMode,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, epsilon_mode: EpsilonMode::Corrected, weight_decay: 0.0 }
    }
}

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW`: the parameter shrinks
/// by the factor `1 - lr·weight_decay`, and the gradient stays as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the squared gradient's mean.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Where it is added.
    pub epsilon_mode: EpsilonMode,
    /// Shrinks the parameter by `lr·weight_decay` of itself in each step.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        let Adam { beta1, beta2, epsilon, epsilon_mode, .. } = Adam::default();
        AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay: 0.01 }
    }
}

/// How parameters follow their gradients. The learning rate is no part of it: it is the training
/// graph's input [`LEARNING_RATE`], so that schedules need no new program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

impl Optimizer {
    /// `keras.optimizers.Adam()`: epsilon 1e-7, added as "epsilon hat".
    pub fn keras_adam() -> Self {
        Optimizer::Adam(Adam { epsilon: 1e-7, epsilon_mode: EpsilonMode::Hat, ..Adam::default() })
    }

    /// Refuses values for which the formulas make no sense.
    fn check(&self) -> Result<(), Error> {
        let (decays, magnitudes) = match *self {
            Optimizer::Sgd(Sgd { momentum, nesterov, weight_decay }) => {
                if nesterov && momentum == 0.0 {
                    let reason = "looks ahead along the momentum, which is 0; give a momentum such as 0.9".to_string();
                    return Err(Error::Option { option: "nesterov".to_string(), reason });
                }
                (vec![("momentum", momentum)], vec![("weight_decay", weight_decay)])
            }
            Optimizer::Adam(Adam { beta1, beta2, epsilon, weight_decay, .. })
            | Optimizer::AdamW(AdamW { beta1, beta2, epsilon, weight_decay, .. }) => {
                (vec![("beta1", beta1), ("beta2", beta2)], vec![("epsilon", epsilon), ("weight_decay", weight_decay)])
            }
        };
        let refuse = |(option, value): (&str, f64), range: &str| {
            Err(Error::Option { option: option.to_string(), reason: format!("must be {range}, got {value}") })
        };
        if let Some(&bad) = decays.iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
            return refuse(bad, "at least 0 and below 1");
        }
        if let Some(&bad) = magnitudes.iter().find(|(_, value)| !(0.0..f64::INFINITY).contains(value)) {
            return refuse(bad, "finite and at least 0");
        }
        Ok(())
    }
}

/// What a training graph holds besides the forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingOptions {
    /// How parameters are updated.
    pub optimizer: Optimizer,
    /// Make each parameter's gradient an output, named `grad/<parameter>`.
    pub gradient_outputs: bool,
}

impl Default for TrainingOptions {
    /// Adam, no gradient outputs.
    fn default() -> Self {
        TrainingOptions { optimizer: Optimizer::Adam(Adam::default()), gradient_outputs: false }
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
/// - the output [`LOSS`], unless the loss is an output of that name already;
/// - where the graph has a step counter ([`Graph::random_step`]) without an update, its update by 1.
///
/// # Errors
/// [`Error::Option`] for options out of range; those of [`gradients`], so also for a parameter that the
/// loss does not depend on; [`Error::Gradient`] for a graph without parameters; [`Error::DuplicateName`] when
/// a name is taken or a parameter already has an update.
pub fn training_graph_with(forward: Graph, loss: Value, options: &TrainingOptions) -> Result<Graph, Error> {
    options.optimizer.check()?;
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

    let mut rule = rule::Rule::new(graph, &options.optimizer)?;
    for (&parameter, &gradient) in parameters.iter().zip(&grads) {
        rule.update(parameter, gradient)?;
    }
    let mut graph = rule.finish();
    count_step(&mut graph)?;
    Ok(graph)
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
