//! The optimizers' formulas as operations.

use super::{Adam, AdamW, BIAS_CORRECTIONS, EpsilonMode, LEARNING_RATE, Optimizer, Sgd};
use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::{Binary, Init, Op, Unary};
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// The operations that optimizers are written with, named after what they update.
struct Emit {
    graph: Graph,
    path: String,
}

impl Emit {
    fn op(&mut self, op: Op, operands: &[Value]) -> Result<Value, Error> {
        self.graph.insert(op, operands, self.path.clone()).map(|id| id.result(0))
    }
    fn add(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Add), &[a, b])
    }
    fn sub(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Sub), &[a, b])
    }
    fn mul(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Mul), &[a, b])
    }
    fn div(&mut self, a: Value, b: Value) -> Result<Value, Error> {
        self.op(Op::Binary(Binary::Div), &[a, b])
    }
    fn unary(&mut self, f: Unary, x: Value) -> Result<Value, Error> {
        self.op(Op::Unary(f), &[x])
    }
    fn scalar(&mut self, value: f64) -> Result<Value, Error> {
        self.op(Op::Constant(Tensor::scalar(value as f32)), &[])
    }
    /// An input or buffer under a complete name.
    fn source(&mut self, op: Op, name: &str) -> Result<Value, Error> {
        if self.graph.source(name).is_ok() {
            return Err(Error::DuplicateName { what: "input or state", name: name.to_string() });
        }
        self.graph.insert(op, &[], name.to_string()).map(|id| id.result(0))
    }
    /// A buffer of zeros.
    fn buffer(&mut self, ty: TensorType, name: &str) -> Result<Value, Error> {
        self.source(Op::Buffer(ty, Init::ZEROS), name)
    }
    /// A buffer of zeros like `parameter`, named after it.
    fn moment(&mut self, parameter: Value, name: &str) -> Result<Value, Error> {
        let name = format!("{}.{name}", self.graph.node(parameter.node).name);
        self.buffer(self.graph.ty(parameter).clone(), &name)
    }
    /// `decay·old + complement·new`, which becomes the value of the buffer `old`.
    fn average(&mut self, old: Value, new: Value, decay: &Decay) -> Result<Value, Error> {
        let kept = self.mul(old, decay.kept)?;
        let added = self.mul(new, decay.complement)?;
        let sum = self.add(kept, added)?;
        self.graph.set_update(old, sum)?;
        Ok(sum)
    }
}

/// A factor and what it lacks to 1.
struct Decay {
    kept: Value,
    complement: Value,
}

/// An optimizer with its numbers of this step as values of the graph.
pub(super) struct Rule {
    e: Emit,
    kind: Kind,
}

enum Kind {
    Sgd {
        lr: Value,
        momentum: Option<Value>,
        nesterov: bool,
        /// Added to the gradient, times the parameter.
        penalty: Option<Value>,
    },
    Adam {
        first: Decay,
        second: Decay,
        /// Added to the gradient, times the parameter.
        penalty: Option<Value>,
        /// `1 - lr·weight_decay` when decay is decoupled.
        shrink: Option<Value>,
        /// The parameter moves by `-step·m/(root_scale·√v + epsilon)`.
        step: Value,
        root_scale: Option<Value>,
        epsilon: Value,
    },
}

impl Rule {
    /// Adds the learning rate and the numbers that all parameters share.
    pub fn new(graph: Graph, optimizer: &Optimizer) -> Result<Rule, Error> {
        let mut e = Emit { graph, path: "optimizer".to_string() };
        let lr = e.source(Op::Input(TensorType::new(DType::F32, [])), LEARNING_RATE)?;
        let kind = match *optimizer {
            Optimizer::Sgd(Sgd { momentum, nesterov, weight_decay }) => Kind::Sgd {
                lr,
                momentum: positive(&mut e, momentum)?,
                nesterov,
                penalty: positive(&mut e, weight_decay)?,
            },
            Optimizer::Adam(adam) => adam_rule(&mut e, lr, &adam, None)?,
            Optimizer::AdamW(AdamW { beta1, beta2, epsilon, epsilon_mode, weight_decay }) => {
                let adam = Adam { beta1, beta2, epsilon, epsilon_mode, weight_decay: 0.0 };
                let shrink = match positive(&mut e, weight_decay)? {
                    Some(decay) => {
                        let lost = e.mul(lr, decay)?;
                        let one = e.scalar(1.0)?;
                        Some(e.sub(one, lost)?)
                    }
                    None => None,
                };
                adam_rule(&mut e, lr, &adam, shrink)?
            }
        };
        Ok(Rule { e, kind })
    }

    /// The graph with all that was added.
    pub fn finish(self) -> Graph {
        self.e.graph
    }

    /// Moves parameter `p` one step.
    pub fn update(&mut self, p: Value, gradient: Value) -> Result<(), Error> {
        let Rule { e, kind } = self;
        e.path = format!("{}.update", e.graph.node(p.node).name);
        let next = match kind {
            Kind::Sgd { lr, momentum, nesterov, penalty } => {
                let d = penalise(e, gradient, p, *penalty)?;
                let direction = match *momentum {
                    Some(momentum) => {
                        let old = e.moment(p, "momentum_buffer")?;
                        let kept = e.mul(old, momentum)?;
                        let new = e.add(kept, d)?;
                        e.graph.set_update(old, new)?;
                        if *nesterov {
                            let ahead = e.mul(new, momentum)?;
                            e.add(d, ahead)?
                        } else {
                            new
                        }
                    }
                    None => d,
                };
                let change = e.mul(direction, *lr)?;
                e.sub(p, change)?
            }
            Kind::Adam { first, second, penalty, shrink, step, root_scale, epsilon } => {
                let g = penalise(e, gradient, p, *penalty)?;
                let (m, v) = (e.moment(p, "exp_avg")?, e.moment(p, "exp_avg_sq")?);
                let m = e.average(m, g, first)?;
                let square = e.mul(g, g)?;
                let v = e.average(v, square, second)?;
                let mut root = e.unary(Unary::Sqrt, v)?;
                if let Some(scale) = *root_scale {
                    root = e.mul(root, scale)?;
                }
                let denominator = e.add(root, *epsilon)?;
                let numerator = e.mul(m, *step)?;
                let change = e.div(numerator, denominator)?;
                let kept = match *shrink {
                    Some(shrink) => e.mul(p, shrink)?,
                    None => p,
                };
                e.sub(kept, change)?
            }
        };
        e.graph.set_update(p, next)
    }
}

/// Adam's numbers of a step. `q = 1 - beta^t` follows the recurrence `q' = beta·q + (1 - beta)`: it is the same
/// average as the moments', of ones. So the rounding of `beta` and `1 - beta` to f32 cancels in `m/q`, and nothing
/// is lost to a subtraction of `beta^t` from 1.
fn adam_rule(e: &mut Emit, lr: Value, adam: &Adam, shrink: Option<Value>) -> Result<Kind, Error> {
    let one = e.scalar(1.0)?;
    let mut corrected = |beta: f64, name: &str| -> Result<(Decay, Value), Error> {
        let decay = Decay { kept: e.scalar(beta)?, complement: e.scalar(1.0 - beta)? };
        let old = e.buffer(TensorType::f32([]), name)?;
        let q = e.average(old, one, &decay)?;
        Ok((decay, q))
    };
    let (first, q1) = corrected(adam.beta1, BIAS_CORRECTIONS[0])?;
    let (second, q2) = corrected(adam.beta2, BIAS_CORRECTIONS[1])?;
    let step = e.div(lr, q1)?;
    let (step, root_scale) = match adam.epsilon_mode {
        EpsilonMode::Corrected => (step, Some(e.unary(Unary::Rsqrt, q2)?)),
        EpsilonMode::Hat => {
            let root = e.unary(Unary::Sqrt, q2)?;
            (e.mul(step, root)?, None)
        }
    };
    let penalty = positive(e, adam.weight_decay)?;
    Ok(Kind::Adam { first, second, penalty, shrink, step, root_scale, epsilon: e.scalar(adam.epsilon)? })
}

/// `g + penalty·p`
fn penalise(e: &mut Emit, g: Value, p: Value, penalty: Option<Value>) -> Result<Value, Error> {
    let Some(penalty) = penalty else { return Ok(g) };
    let pull = e.mul(p, penalty)?;
    e.add(g, pull)
}

/// The number, or nothing for zero.
fn positive(e: &mut Emit, value: f64) -> Result<Option<Value>, Error> {
    if value > 0.0 { e.scalar(value).map(Some) } else { Ok(None) }
}
