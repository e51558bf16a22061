//! The optimizers' formulas as operations.

use super::emit::{Decay, Emit};
use super::kinds::{Adagrad, Adam, AdamW, EpsilonMode, EpsilonPlace, Lion, Optimizer, RmsProp, Sgd};
use super::{ADAGRAD_STEP, BIAS_CORRECTIONS, EMA_DECAY, LEARNING_RATE, SGD_GAIN};
use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::{Binary, Op, Unary};
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// An optimizer with its numbers of this step as values of the graph.
pub(super) struct Rule {
    e: Emit,
    kind: Kind,
    lr: Value,
    weight_decay: f64,
    decoupled: bool,
}

/// What the parameters of a group share.
pub(super) struct Group {
    /// The learning rate, with whatever else scales a step.
    rate: Value,
    /// Added to the gradient, times the parameter.
    penalty: Option<Value>,
    /// `1 - lr·weight_decay` when decay is decoupled.
    shrink: Option<Value>,
}

/// What all parameters share. The parameter moves by `-rate` times:
enum Kind {
    Sgd {
        momentum: Option<Value>,
        /// `1 - dampening`, and 1 in the first step.
        gain: Option<Value>,
        nesterov: bool,
    },
    /// `m/(root_scale·√v + epsilon)`
    Adam {
        first: Decay,
        second: Decay,
        /// Divides the rate.
        correction: Value,
        rate_scale: Option<Value>,
        root_scale: Option<Value>,
        epsilon: Value,
        amsgrad: bool,
    },
    RmsProp {
        square: Decay,
        momentum: Option<Value>,
        centered: bool,
        denominator: Denominator,
    },
    Adagrad {
        start: f64,
        denominator: Denominator,
        /// Divides the rate.
        slower: Option<Value>,
    },
    Lion {
        direction: Decay,
        mean: Decay,
    },
}

struct Denominator {
    epsilon: Value,
    place: EpsilonPlace,
}

impl Denominator {
    fn new(e: &mut Emit, epsilon: f64, place: EpsilonPlace) -> Result<Self, Error> {
        Ok(Denominator { epsilon: e.scalar(epsilon)?, place })
    }
    fn of(&self, e: &mut Emit, square: Value) -> Result<Value, Error> {
        match self.place {
            EpsilonPlace::Outside => {
                let root = e.unary(Unary::Sqrt, square)?;
                e.add(root, self.epsilon)
            }
            EpsilonPlace::Inside => {
                let sum = e.add(square, self.epsilon)?;
                e.unary(Unary::Sqrt, sum)
            }
        }
    }
}

impl Rule {
    /// Adds the learning rate and the numbers that all parameters share.
    pub fn new(graph: Graph, optimizer: &Optimizer) -> Result<Rule, Error> {
        let mut e = Emit { graph, path: "optimizer".to_string() };
        let lr = e.source(Op::Input(TensorType::new(DType::F32, [])), LEARNING_RATE)?;
        let kind = match *optimizer {
            Optimizer::Sgd(Sgd { momentum, dampening, nesterov, .. }) => Kind::Sgd {
                momentum: e.positive(momentum)?,
                gain: if momentum * dampening > 0.0 {
                    Some(from_second(&mut e, 1.0, 1.0 - dampening, SGD_GAIN)?)
                } else {
                    None
                },
                nesterov,
            },
            Optimizer::Adam(adam) => adam_kind(&mut e, &adam)?,
            Optimizer::AdamW(AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay, amsgrad }) => {
                adam_kind(&mut e, &Adam { beta1, beta2, epsilon, epsilon_mode, weight_decay, amsgrad })?
            }
            Optimizer::RmsProp(RmsProp { alpha, epsilon, epsilon_place, momentum, centered, .. }) => Kind::RmsProp {
                square: e.decay(alpha)?,
                momentum: e.positive(momentum)?,
                centered,
                denominator: Denominator::new(&mut e, epsilon, epsilon_place)?,
            },
            Optimizer::Adagrad(Adagrad { lr_decay, initial_accumulator_value, epsilon, epsilon_place, .. }) => {
                Kind::Adagrad {
                    start: initial_accumulator_value,
                    denominator: Denominator::new(&mut e, epsilon, epsilon_place)?,
                    slower: adagrad_slowdown(&mut e, lr_decay)?,
                }
            }
            Optimizer::Lion(Lion { beta1, beta2, .. }) => {
                Kind::Lion { direction: e.decay(beta1)?, mean: e.decay(beta2)? }
            }
        };
        let (weight_decay, decoupled) = optimizer.weight_decay();
        Ok(Rule { e, kind, lr, weight_decay, decoupled })
    }

    /// Adds the numbers that the parameters of one group share. Without a `weight_decay` it is the optimizer's.
    pub fn group(&mut self, lr_scale: f64, weight_decay: Option<f64>) -> Result<Group, Error> {
        let e = &mut self.e;
        e.path = "optimizer".to_string();
        let lr = if lr_scale == 1.0 {
            self.lr
        } else {
            let scale = e.scalar(lr_scale)?;
            e.mul(self.lr, scale)?
        };
        let decay = e.positive(weight_decay.unwrap_or(self.weight_decay))?;
        let (penalty, shrink) = match decay {
            Some(decay) if self.decoupled => {
                let lost = e.mul(lr, decay)?;
                let one = e.scalar(1.0)?;
                (None, Some(e.sub(one, lost)?))
            }
            penalty => (penalty, None),
        };
        let rate = match self.kind {
            Kind::Sgd { .. } | Kind::RmsProp { .. } | Kind::Lion { .. } | Kind::Adagrad { slower: None, .. } => lr,
            Kind::Adagrad { slower: Some(slower), .. } => e.div(lr, slower)?,
            Kind::Adam { correction, rate_scale, .. } => {
                let step = e.div(lr, correction)?;
                match rate_scale {
                    Some(scale) => e.mul(step, scale)?,
                    None => step,
                }
            }
        };
        Ok(Group { rate, penalty, shrink })
    }

    /// Lets every parameter have an average `<parameter>.ema` of its values after the steps: the first of them at
    /// first, then `decay·average + (1 - decay)·value`. `moved`: the parameters, each with its value after the step.
    pub fn averages(&mut self, decay: f64, moved: &[(Value, Value)]) -> Result<(), Error> {
        let e = &mut self.e;
        e.path = "optimizer".to_string();
        let decay = from_second(e, 0.0, decay, EMA_DECAY)?;
        for &(p, new) in moved {
            e.path = format!("{}.update", e.graph.node(p.node).name);
            let old = e.moment(p, "ema")?;
            let off = e.sub(old, new)?;
            let kept = e.mul(off, decay)?;
            let average = e.add(new, kept)?;
            e.graph.set_update(old, average)?;
        }
        Ok(())
    }

    /// The graph with all that was added.
    pub fn finish(self) -> Graph {
        self.e.graph
    }

    /// Moves parameter `p` one step; returns where it is then.
    pub fn update(&mut self, p: Value, gradient: Value, group: &Group) -> Result<Value, Error> {
        let Rule { e, kind, .. } = self;
        e.path = format!("{}.update", e.graph.node(p.node).name);
        let g = match group.penalty {
            Some(penalty) => {
                let pull = e.mul(p, penalty)?;
                e.add(gradient, pull)?
            }
            None => gradient,
        };
        let change = match kind {
            Kind::Sgd { momentum, gain, nesterov } => {
                let added = match *gain {
                    Some(gain) => e.mul(g, gain)?,
                    None => g,
                };
                let (momentum, nesterov) = (*momentum, *nesterov);
                let mut direction = with_momentum(e, p, added, momentum)?;
                if let Some(momentum) = momentum.filter(|_| nesterov) {
                    let ahead = e.mul(direction, momentum)?;
                    direction = e.add(g, ahead)?;
                }
                e.mul(direction, group.rate)?
            }
            Kind::Adam { first, second, root_scale, epsilon, amsgrad, .. } => {
                let (m, v) = (e.moment(p, "exp_avg")?, e.moment(p, "exp_avg_sq")?);
                let m = e.average(m, g, first)?;
                let square = e.mul(g, g)?;
                let mut v = e.average(v, square, second)?;
                if *amsgrad {
                    let most = e.moment(p, "max_exp_avg_sq")?;
                    v = e.op(Op::Binary(Binary::Max), &[most, v])?;
                    e.graph.set_update(most, v)?;
                }
                let mut root = e.unary(Unary::Sqrt, v)?;
                if let Some(scale) = *root_scale {
                    root = e.mul(root, scale)?;
                }
                let denominator = e.add(root, *epsilon)?;
                let numerator = e.mul(m, group.rate)?;
                e.div(numerator, denominator)?
            }
            Kind::RmsProp { square, momentum, centered, denominator } => {
                let v = e.moment(p, "square_avg")?;
                let squared = e.mul(g, g)?;
                let mut v = e.average(v, squared, square)?;
                if *centered {
                    let mean = e.moment(p, "grad_avg")?;
                    let mean = e.average(mean, g, square)?;
                    let squared = e.mul(mean, mean)?;
                    let variance = e.sub(v, squared)?;
                    v = e.unary(Unary::Relu, variance)?;
                }
                let denominator = denominator.of(e, v)?;
                let direction = e.div(g, denominator)?;
                let direction = with_momentum(e, p, direction, *momentum)?;
                e.mul(direction, group.rate)?
            }
            Kind::Adagrad { start, denominator, .. } => {
                let sum = e.like(p, *start, "square_sum")?;
                let square = e.mul(g, g)?;
                let new = e.add(sum, square)?;
                e.graph.set_update(sum, new)?;
                let denominator = denominator.of(e, new)?;
                let numerator = e.mul(g, group.rate)?;
                e.div(numerator, denominator)?
            }
            Kind::Lion { direction, mean } => {
                let m = e.moment(p, "exp_avg")?;
                let c = e.mix(m, g, direction)?;
                e.average(m, g, mean)?;
                let sign = e.unary(Unary::Sign, c)?;
                e.mul(sign, group.rate)?
            }
        };
        let kept = match group.shrink {
            Some(shrink) => e.mul(p, shrink)?,
            None => p,
        };
        let next = e.sub(kept, change)?;
        e.graph.set_update(p, next)?;
        Ok(next)
    }
}

/// `momentum·buffer + direction`, which the buffer keeps; without momentum the direction.
fn with_momentum(e: &mut Emit, p: Value, direction: Value, momentum: Option<Value>) -> Result<Value, Error> {
    let Some(momentum) = momentum else { return Ok(direction) };
    let old = e.moment(p, "momentum_buffer")?;
    let kept = e.mul(old, momentum)?;
    let new = e.add(kept, direction)?;
    e.graph.set_update(old, new)?;
    Ok(new)
}

/// A number that is `first` in the first step and `then` in all that follow: a buffer that takes `then`.
fn from_second(e: &mut Emit, first: f64, then: f64, name: &str) -> Result<Value, Error> {
    let buffer = e.buffer(TensorType::f32([]), first, name)?;
    let then = e.scalar(then)?;
    e.graph.set_update(buffer, then)?;
    Ok(buffer)
}

/// `1 + (t - 1)·lr_decay` for the step `t` from 1.
fn adagrad_slowdown(e: &mut Emit, lr_decay: f64) -> Result<Option<Value>, Error> {
    let Some(decay) = e.positive(lr_decay)? else { return Ok(None) };
    // whole numbers, since f32 would stop counting at 2^24
    let steps = e.buffer(TensorType::new(DType::I32, []), 0.0, ADAGRAD_STEP)?;
    let one = e.op(Op::Constant(Tensor::i32([], vec![1])?), &[])?;
    let next = e.add(steps, one)?;
    e.graph.set_update(steps, next)?;
    let steps = e.op(Op::Cast(DType::F32), &[steps])?;
    let (one, decayed) = (e.scalar(1.0)?, e.mul(steps, decay)?);
    e.add(one, decayed).map(Some)
}

/// Adam's numbers of a step. `q = 1 - beta^t` follows the recurrence `q' = beta·q + (1 - beta)`: it is the same
/// average as the moments', of ones. So the rounding of `beta` and `1 - beta` to f32 cancels in `m/q`, and nothing
/// is lost to a subtraction of `beta^t` from 1.
fn adam_kind(e: &mut Emit, adam: &Adam) -> Result<Kind, Error> {
    let one = e.scalar(1.0)?;
    let mut corrected = |beta: f64, name: &str| -> Result<(Decay, Value), Error> {
        let decay = e.decay(beta)?;
        let old = e.buffer(TensorType::f32([]), 0.0, name)?;
        let q = e.average(old, one, &decay)?;
        Ok((decay, q))
    };
    let (first, correction) = corrected(adam.beta1, BIAS_CORRECTIONS[0])?;
    let (second, q2) = corrected(adam.beta2, BIAS_CORRECTIONS[1])?;
    let (rate_scale, root_scale) = match adam.epsilon_mode {
        EpsilonMode::Corrected => (None, Some(e.unary(Unary::Rsqrt, q2)?)),
        EpsilonMode::Hat => (Some(e.unary(Unary::Sqrt, q2)?), None),
    };
    let (epsilon, amsgrad) = (e.scalar(adam.epsilon)?, adam.amsgrad);
    Ok(Kind::Adam { first, second, correction, rate_scale, root_scale, epsilon, amsgrad })
}
