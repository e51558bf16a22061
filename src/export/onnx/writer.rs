//! Nodes and initializers as they are written, and which tensors hold a value of the graph.
//!
//! ```text
//!  Value ──▶ forms: the same elements in one order of axes or more ──▶ names of tensors
//!    take(value, order): a form in that order; a `Transpose` of another form where there is none yet
//! ```
//!
//! A weight has no form until one is taken; it is written in the order in which it is wanted.

use std::collections::{HashMap, HashSet};

use super::batch::Batch;
use super::order::{Order, identity, inverse, permuted, reordered};
use super::proto::{AttributeProto, AttributeType, DataType, GraphProto, NodeProto, TensorProto};
use super::weights::Weights;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::tensor::{Data, Tensor};
use crate::types::{DType, Shape};

/// A tensor that holds a value.
#[derive(Clone)]
struct Form {
    order: Order,
    tensor: String,
}

/// The file's graph as far as it is written.
pub(super) struct Writer<'a> {
    /// What is exported.
    pub(super) graph: &'a Graph,
    /// What is known of it.
    pub(super) weights: Weights<'a>,
    /// Which axes grow with the batch.
    pub(super) batch: Batch,
    forms: HashMap<Value, Vec<Form>>,
    /// Weights under the extents and the order in which they were written.
    written: HashMap<(Value, Vec<usize>, Order), String>,
    tensor_names: HashSet<String>,
    node_names: HashSet<String>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl<'a> Writer<'a> {
    /// An empty file; `reserved` are names of tensors that only [`Writer::input`], [`Writer::output`] and weights get.
    pub(super) fn new(graph: &'a Graph, weights: Weights<'a>, batch: Batch, reserved: HashSet<String>) -> Self {
        Writer {
            graph,
            weights,
            batch,
            forms: HashMap::new(),
            written: HashMap::new(),
            tensor_names: reserved,
            node_names: HashSet::new(),
            nodes: Vec::new(),
            initializers: Vec::new(),
        }
    }

    pub(super) fn shape(&self, value: Value) -> &'a Shape {
        &self.graph.ty(value).shape
    }
    pub(super) fn rank(&self, value: Value) -> usize {
        self.shape(value).rank()
    }

    /// Adds an operation; gives the name of its result. Nodes and tensors are named `path`, numbered when that is taken.
    pub(super) fn node(
        &mut self,
        kind: &str,
        operands: &[String],
        attributes: Vec<AttributeProto>,
        path: &str,
    ) -> String {
        let tensor = unique(&mut self.tensor_names, path);
        self.nodes.push(NodeProto {
            input: operands.to_vec(),
            output: vec![tensor.clone()],
            name: Some(unique(&mut self.node_names, path)),
            op_type: Some(kind.to_string()),
            attribute: attributes,
        });
        tensor
    }

    /// Whole numbers as an initializer: a shape, axes.
    pub(super) fn integers(&mut self, values: &[i64], path: &str) -> String {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(DataType::Int64, &[values.len()], data, path)
    }
    /// One whole number as an initializer without axes.
    pub(super) fn integer(&mut self, value: i64, path: &str) -> String {
        self.initializer(DataType::Int64, &[], value.to_le_bytes().to_vec(), path)
    }
    /// A constant of the exporter's own.
    pub(super) fn constant(&mut self, tensor: &Tensor, path: &str) -> String {
        self.initializer(data_type(tensor.dtype()), &tensor.shape().0, little_endian(tensor), path)
    }

    fn initializer(&mut self, data_type: DataType, dims: &[usize], raw: Vec<u8>, path: &str) -> String {
        let name = unique(&mut self.tensor_names, path);
        self.initializers.push(tensor_proto(data_type, dims, raw, name.clone()));
        name
    }

    /// The tensor that holds `value` from now on.
    pub(super) fn set(&mut self, value: Value, order: Order, tensor: String) {
        self.forms.insert(value, vec![Form { order, tensor }]);
    }
    /// The order in which a computed value is at hand; `None` for a weight, which may have any.
    pub(super) fn held(&self, value: Value) -> Option<&Order> {
        self.forms.get(&value).and_then(|forms| forms.first()).map(|form| &form.order)
    }
    /// The order of [`Writer::held`], or the graph's own.
    pub(super) fn order(&self, value: Value) -> Order {
        self.held(value).cloned().unwrap_or_else(|| identity(self.rank(value)))
    }

    /// A tensor that holds `value` in `order`.
    ///
    /// # Errors
    /// Those of [`Weights::tensor`]; [`Error::Invalid`] for a value that nothing has made.
    pub(super) fn take(&mut self, value: Value, order: &[usize]) -> Result<String, Error> {
        if self.weights.known(value) {
            return self.weight(value, &self.shape(value).0, order);
        }
        let path = &self.graph.node(value.node).name;
        let forms = self.forms.get(&value).map(Vec::as_slice).unwrap_or_default();
        if let Some(form) = forms.iter().find(|form| form.order == order) {
            return Ok(form.tensor.clone());
        }
        let Some(form) = forms.first().cloned() else {
            return Err(Error::Invalid { after: None, violations: vec![format!("{path} is used before it is made")] });
        };
        let tensor = self.transposed(&form, order, path);
        self.forms.entry(value).or_default().push(Form { order: order.to_vec(), tensor: tensor.clone() });
        Ok(tensor)
    }

    fn transposed(&mut self, form: &Form, order: &[usize], path: &str) -> String {
        let at = inverse(&form.order);
        let permutation = order.iter().map(|&axis| at[axis]);
        let attributes = vec![ints("perm", permutation)];
        self.node("Transpose", std::slice::from_ref(&form.tensor), attributes, &format!("{path}.transposed"))
    }

    /// A weight with its elements under `dims`, then in `order`.
    fn weight(&mut self, value: Value, dims: &[usize], order: &[usize]) -> Result<String, Error> {
        let key = (value, dims.to_vec(), order.to_vec());
        if let Some(name) = self.written.get(&key) {
            return Ok(name.clone());
        }
        let tensor = self.weights.tensor(value)?;
        let mut data = little_endian(&tensor);
        if !order.is_sorted() {
            data = reordered(&data, tensor.dtype().bytes(), dims, order);
        }
        let path = self.weights.name(value);
        // the first form of a state has the state's reserved name
        let first = self.graph.node(value.node).op.is_state() && !self.written.keys().any(|(v, ..)| *v == value);
        let name = if first { path.to_string() } else { unique(&mut self.tensor_names, path) };
        self.initializers.push(tensor_proto(data_type(tensor.dtype()), &permuted(dims, order), data, name.clone()));
        self.written.insert(key, name.clone());
        Ok(name)
    }

    /// `value` with leading axes of extent 1 up to the rank of `order`, in that order: as an operand that stretches.
    pub(super) fn stretched(&mut self, value: Value, order: &[usize]) -> Result<String, Error> {
        let missing = order.len() - self.rank(value);
        if missing == 0 {
            return self.take(value, order);
        }
        if order.is_sorted() || self.rank(value) == 0 {
            // aligned at the end by itself
            return self.take(value, &identity(self.rank(value)));
        }
        if self.weights.known(value) {
            let dims = [vec![1; missing], self.shape(value).0.clone()].concat();
            return self.weight(value, &dims, order);
        }
        let path = &self.graph.node(value.node).name;
        let plain = self.take(value, &identity(self.rank(value)))?;
        let axes = self.integers(&(0..missing as i64).collect::<Vec<_>>(), &format!("{path}.axes"));
        let tensor = self.node("Unsqueeze", &[plain, axes], Vec::new(), &format!("{path}.unsqueezed"));
        let form = Form { order: identity(order.len()), tensor };
        Ok(self.transposed(&form, order, path))
    }

    /// `result` is `operand` under other names of its axes: `renamed` turns an order of the operand's axes into one of
    /// the result's. A weight is written in the order `first`.
    pub(super) fn pass_on(
        &mut self,
        result: Value,
        operand: Value,
        first: &[usize],
        renamed: impl Fn(&[usize]) -> Order,
    ) -> Result<(), Error> {
        if self.weights.known(operand) {
            let tensor = self.take(operand, first)?;
            self.set(result, renamed(first), tensor);
        } else {
            let forms = self.forms.get(&operand).cloned().unwrap_or_default();
            let renamed = forms.into_iter().map(|form| Form { order: renamed(&form.order), tensor: form.tensor });
            self.forms.insert(result, renamed.collect());
        }
        Ok(())
    }

    /// The graph's input `value` as an input of the file in `order`.
    pub(super) fn input(&mut self, value: Value, order: Order) {
        let name = self.graph.node(value.node).name.clone();
        self.set(value, order, name);
    }

    /// Makes `value` in `order` a tensor called `name`.
    ///
    /// # Errors
    /// As [`Writer::take`].
    pub(super) fn output(
        &mut self,
        name: &str,
        value: Value,
        order: &[usize],
        outputs: &[String],
    ) -> Result<(), Error> {
        let tensor = self.take(value, order)?;
        let made = self.nodes.iter().any(|node| node.output.contains(&tensor));
        if made && !outputs.contains(&tensor) {
            for at in self.nodes.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
                if *at == tensor {
                    *at = name.to_string();
                }
            }
            for form in self.forms.values_mut().flatten().filter(|form| form.tensor == tensor) {
                form.tensor = name.to_string();
            }
        } else {
            // an input, a weight, or a second name
            let node = unique(&mut self.node_names, name);
            self.nodes.push(NodeProto {
                input: vec![tensor],
                output: vec![name.to_string()],
                name: Some(node),
                op_type: Some("Identity".to_string()),
                attribute: Vec::new(),
            });
        }
        Ok(())
    }

    /// The written nodes and initializers.
    pub(super) fn finish(self) -> GraphProto {
        GraphProto { node: self.nodes, initializer: self.initializers, ..GraphProto::default() }
    }

    /// For what has no counterpart in ONNX.
    pub(super) fn refuse(&self, id: NodeId, reason: impl Into<String>) -> Error {
        Error::Export { path: self.graph.node(id).name.clone(), reason: reason.into() }
    }
}

/// `path`, numbered if it is taken.
fn unique(taken: &mut HashSet<String>, path: &str) -> String {
    let numbered = (1..).map(|n| format!("{path}_{n}"));
    let mut names = std::iter::once(path.to_string()).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

fn tensor_proto(data_type: DataType, dims: &[usize], raw: Vec<u8>, name: String) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: Some(data_type as i32),
        name: Some(name),
        raw_data: Some(raw),
        ..TensorProto::default()
    }
}

fn little_endian(tensor: &Tensor) -> Vec<u8> {
    match tensor.data() {
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::U8(v) => v.clone(),
    }
}

/// The element type of a value outside fused kernels, which alone hold bf16.
pub(super) fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 | DType::Bf16 => DataType::Float,
        DType::I32 => DataType::Int32,
        DType::U8 => DataType::Uint8,
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_string()), r#type: Some(kind as i32), ..AttributeProto::default() }
}
/// An attribute that is a list of integers.
pub(super) fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> AttributeProto {
    AttributeProto { ints: values.into_iter().map(|v| v as i64).collect(), ..attribute(name, AttributeType::Ints) }
}
/// An attribute that is an integer.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}
/// An attribute that is a float.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}
