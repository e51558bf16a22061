//! The meaning of every operation: a slow, obvious interpreter in f64.
//!
//! ```text
//!  inputs ─┐
//!  state  ─┴─▶ node by node in topological order ─▶ every value ─┬─▶ outputs
//!                 evaluate(op, operands)                         └─▶ updates of the state
//! ```
//!
//! Everything else in this crate is compared with what this module says. Integers are held exactly in f64;
//! floats are never rounded to f32 on the way, so a result is the formula's value and not a kernel's.
//! One file a family of operations, as in [`crate::ops`].

use std::collections::HashMap;

use crate::error::{Error, nearest};
use crate::graph::{Graph, Loss, Node, NodeId, Reduction, Value};
use crate::ops::Op;
use crate::tensor::{Data, Tensor};
use crate::types::{DType, Shape, TensorType};

mod conv;
mod elementwise;
mod fused;
mod index;
mod math;
mod matmul;
mod movement;
mod norm;
mod pool;
mod reduce;

pub use math::erf;

/// A tensor whose elements are held in f64, whatever its element type.
#[derive(Clone, Debug, PartialEq)]
pub struct RefTensor {
    /// Element type and shape.
    pub ty: TensorType,
    /// Elements, row-major; whole numbers for the integer types.
    pub data: Vec<f64>,
}

impl RefTensor {
    /// A tensor of type `ty` over `data`.
    ///
    /// # Errors
    /// [`Error::Elements`] when the number of elements differs from the type's.
    pub fn new(ty: TensorType, data: Vec<f64>) -> Result<Self, Error> {
        if ty.shape.elements() != data.len() {
            return Err(Error::Elements { shape: ty.shape, elements: data.len() });
        }
        Ok(RefTensor { ty, data })
    }
    /// A float tensor.
    ///
    /// # Errors
    /// As [`RefTensor::new`].
    pub fn f32(shape: impl Into<Shape>, data: Vec<f64>) -> Result<Self, Error> {
        RefTensor::new(TensorType::f32(shape), data)
    }
    /// The tensor in its own element type: floats rounded to f32, integers as they are.
    ///
    /// # Errors
    /// As [`RefTensor::new`], after `data` was changed by hand.
    pub fn to_tensor(&self) -> Result<Tensor, Error> {
        let data = match self.ty.dtype {
            DType::F32 | DType::Bf16 => Data::F32(self.data.iter().map(|&x| x as f32).collect()),
            DType::I32 => Data::I32(self.data.iter().map(|&x| x as i32).collect()),
            DType::U8 => Data::U8(self.data.iter().map(|&x| x as u8).collect()),
        };
        Tensor::new(self.ty.shape.clone(), data)
    }
    /// The extents.
    pub(crate) fn dims(&self) -> &[usize] {
        &self.ty.shape.0
    }
}

impl From<&Tensor> for RefTensor {
    fn from(tensor: &Tensor) -> Self {
        RefTensor { ty: tensor.ty(), data: tensor.to_f64() }
    }
}

/// What a run of a graph gives.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The graph's outputs by name.
    pub outputs: HashMap<String, RefTensor>,
    /// The new value of every state that the graph updates, by the state's name.
    pub updates: HashMap<String, RefTensor>,
    /// Every value of the graph.
    pub values: HashMap<Value, RefTensor>,
}

impl Outcome {
    /// The output `name`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    pub fn output(&self, name: &str) -> Result<&RefTensor, Error> {
        find(&self.outputs, "output", name)
    }
}

/// Runs `graph` once: `inputs` and `state` give the value of every input and state node by name.
///
/// # Errors
/// [`Error::UnknownName`] for an input or state without a value, [`Error::Type`] for one of another
/// type, [`Error::Label`] for a label out of range, [`Error::Invalid`] for a graph with a cycle.
pub fn run(graph: &Graph, inputs: &HashMap<String, Tensor>, state: &HashMap<String, Tensor>) -> Result<Outcome, Error> {
    let exact =
        |map: &HashMap<String, Tensor>| map.iter().map(|(name, t)| (name.clone(), RefTensor::from(t))).collect();
    run_exact(graph, &exact(inputs), &exact(state))
}

/// The mean of a loss over tensors in memory, as a criterion of PyTorch's or a loss of Keras's is called on them.
///
/// ```
/// use outrigger::graph::Loss;
/// use outrigger::{Tensor, reference};
///
/// let (prediction, target) = (Tensor::f32([2], vec![1.0, 4.0])?, Tensor::f32([2], vec![0.0, 2.0])?);
/// assert_eq!(reference::loss(Loss::MeanSquaredError, &prediction, &target)?, (1.0 + 4.0) / 2.0);
/// # Ok::<(), outrigger::Error>(())
/// ```
///
/// # Errors
/// Those of [`Graph::loss`], and [`Error::Label`].
pub fn loss(loss: Loss, prediction: &Tensor, target: &Tensor) -> Result<f64, Error> {
    let mut graph = Graph::new("loss");
    let [x, t] = [("prediction", prediction), ("target", target)]
        .map(|(name, tensor)| graph.input(name, tensor.dtype(), tensor.shape().clone()));
    let value = graph.loss(loss, x?, t?, Reduction::Mean)?;
    graph.set_output("loss", value)?;
    let inputs = [("prediction", prediction), ("target", target)].map(|(name, t)| (name.to_string(), t.clone()));
    let outcome = run(&graph, &inputs.into(), &HashMap::new())?;
    outcome.output("loss").map(|loss| loss.data[0])
}

/// As [`run`] with values in f64: for several steps without rounding the state in between, and for
/// finite differences.
///
/// # Errors
/// As [`run`].
pub fn run_exact(
    graph: &Graph,
    inputs: &HashMap<String, RefTensor>,
    state: &HashMap<String, RefTensor>,
) -> Result<Outcome, Error> {
    let mut values: HashMap<Value, RefTensor> = HashMap::with_capacity(graph.len());
    let order = graph.topological();
    if order.len() != graph.len() {
        return graph.verify().map(|()| Outcome::default());
    }
    for id in order {
        let node = graph.node(id);
        let results = match &node.op {
            Op::Input(ty) => vec![given(inputs, "input", &node.name, ty)?],
            Op::Parameter(ty, _) | Op::Buffer(ty, _) => vec![given(state, "state", &node.name, ty)?],
            op => evaluate(op, &operands(node, &values)?).map_err(|error| located(error, graph, id))?,
        };
        values.extend(results.into_iter().enumerate().map(|(port, tensor)| (id.result(port), tensor)));
    }
    let mut outcome = Outcome::default();
    for (name, value) in graph.outputs() {
        outcome.outputs.insert(name.clone(), lookup(&values, *value, name)?.clone());
    }
    for (state, value) in graph.updates() {
        let name = &graph.node(*state).name;
        outcome.updates.insert(name.clone(), lookup(&values, *value, name)?.clone());
    }
    outcome.values = values;
    Ok(outcome)
}

/// The results of one operation. Inputs, parameters and buffers have no value of their own.
///
/// # Errors
/// [`Error::Operands`] when the operands do not fit; [`Error::Elements`] when an operand's data are not
/// of its shape; [`Error::Label`] for a label out of range.
pub fn evaluate(op: &Op, operands: &[&RefTensor]) -> Result<Vec<RefTensor>, Error> {
    let refuse = |reason: String| Error::Operands {
        path: op.kind().to_string(),
        op: op.kind().to_string(),
        operands: operands.iter().map(|t| t.ty.to_string()).collect::<Vec<_>>().join(", "),
        reason,
    };
    if let Some(t) = operands.iter().find(|t| t.data.len() != t.ty.shape.elements()) {
        return Err(Error::Elements { shape: t.ty.shape.clone(), elements: t.data.len() });
    }
    let inputs: Vec<&TensorType> = operands.iter().map(|t| &t.ty).collect();
    let types = op.infer(&inputs).map_err(|mismatch| refuse(mismatch.0))?;
    let x = operands;
    let results = match op {
        Op::Input(_) | Op::Parameter(..) | Op::Buffer(..) => {
            return Err(refuse("its value is given at each run".to_string()));
        }
        Op::Constant(tensor) => vec![tensor.to_f64()],
        Op::Random(random) => {
            let (seed, step) = (x[0].data[0] as i32, x[1].data[0] as i32);
            vec![(0..random.shape.elements()).map(|i| f64::from(random.value(seed, step, i))).collect()]
        }
        Op::Unary(unary) => vec![elementwise::unary(*unary, x[0])],
        Op::Binary(binary) => vec![elementwise::binary(*binary, x[0], x[1], &types[0])],
        Op::Select => vec![elementwise::select(x[0], x[1], x[2], &types[0].shape)],
        Op::Cast(to) => vec![elementwise::cast(x[0], *to)],
        Op::Reshape(_) => vec![x[0].data.clone()],
        Op::Transpose(permutation) => vec![movement::transpose(x[0], permutation, &types[0].shape)],
        Op::Broadcast(shape) => vec![movement::broadcast(x[0], shape)],
        Op::Pad(pad) => vec![movement::pad(x[0], pad, &types[0])],
        Op::Slice(slice) => vec![movement::slice(x[0], slice, &types[0].shape)],
        Op::Concat(axis) => vec![movement::concat(x, *axis)],
        Op::OneHot(classes) => vec![movement::one_hot(x[0], *classes)?],
        Op::Gather => vec![movement::gather_rows(x[0], x[1])?],
        Op::ScatterAdd(n) => vec![movement::scatter_add(x[0], x[1], *n)?],
        Op::Reduce(attributes) => vec![reduce::reduce(x[0], attributes)],
        Op::Softmax(axis) => vec![reduce::softmax(x[0], *axis)],
        Op::LogSoftmax(axis) => vec![reduce::log_softmax(x[0], *axis)],
        Op::MatMul(attributes) => vec![matmul::matmul(x[0], x[1], attributes)],
        Op::Conv2d(c) => vec![conv::forward(c, x[0], x[1], &types[0].shape)],
        Op::Conv2dGradInput(c, shape) => vec![conv::grad_input(c, x[0], x[1], shape)],
        Op::Conv2dGradWeight(c, shape) => vec![conv::grad_weight(c, x[0], x[1], shape)],
        Op::MaxPool(pool) => vec![pool::max(pool, x[0], &types[0].shape).0],
        Op::MaxPoolIndex(pool) => vec![pool::max(pool, x[0], &types[0].shape).1],
        Op::MaxPoolGrad(pool, shape) => vec![pool::max_grad(pool, x[0], x[1], shape)],
        Op::AvgPool(pool) => vec![pool::average(pool, x[0], &types[0].shape)],
        Op::AvgPoolGrad(pool, shape) => vec![pool::average_grad(pool, x[0], shape)],
        Op::BatchNorm(attributes) => norm::train(attributes, x),
        Op::BatchNormEval(epsilon) => vec![norm::eval(*epsilon, x)],
        Op::BatchNormGrad => norm::grad(x),
        Op::Coefficients(attributes) => norm::coefficients(attributes, x),
        Op::GradCoefficients(attributes) => norm::grad_coefficients(attributes, x),
        Op::Fused(f) => fused::fused(f, x)?,
    };
    types.into_iter().zip(results).map(|(ty, data)| RefTensor::new(ty, data)).collect()
}

fn operands<'a>(node: &Node, values: &'a HashMap<Value, RefTensor>) -> Result<Vec<&'a RefTensor>, Error> {
    node.operands.iter().map(|&v| lookup(values, v, &node.name)).collect()
}

fn lookup<'a>(values: &'a HashMap<Value, RefTensor>, value: Value, user: &str) -> Result<&'a RefTensor, Error> {
    values.get(&value).ok_or_else(|| Error::UnknownValue {
        path: user.to_string(),
        value: value.to_string(),
        nodes: values.len(),
    })
}

fn given(
    map: &HashMap<String, RefTensor>,
    what: &'static str,
    name: &str,
    ty: &TensorType,
) -> Result<RefTensor, Error> {
    let tensor = find(map, what, name)?;
    if tensor.ty != *ty {
        return Err(Error::Type { name: name.to_string(), expected: ty.clone(), got: tensor.ty.clone() });
    }
    Ok(tensor.clone())
}

fn find<'a>(map: &'a HashMap<String, RefTensor>, what: &'static str, name: &str) -> Result<&'a RefTensor, Error> {
    map.get(name).ok_or_else(|| Error::UnknownName {
        what,
        name: name.to_string(),
        near: nearest(name, map.keys().map(String::as_str)),
    })
}

/// Puts the node's own names into an error of [`evaluate`].
fn located(error: Error, graph: &Graph, id: NodeId) -> Error {
    let node = graph.node(id);
    match error {
        Error::Operands { op, operands, reason, .. } => {
            Error::Operands { path: node.name.clone(), op, operands, reason }
        }
        Error::Label { index, label, classes, .. } => {
            // ids and labels are the last operand
            let source = node.operands.last().and_then(|v| graph.get(v.node)).unwrap_or(node);
            Error::Label { name: source.name.clone(), index, label, classes }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
