//! From layers to graph operations: parameters by their names, and tensors whose channels lie last in memory whatever
//! the user's shapes say.
//!
//! ```text
//!   PyTorch's shape [n, c, h, w] ─┬─ images(x): channels last, as convolutions want it (no operation)
//!                                 └─ plain(x):  as the shape says, for what mixes axes (a transpose)
//! ```

use super::form::Form;
use super::layer::Definition;
use super::symbol::Symbol;
use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::Init;
use crate::types::{DType, Shape};

/// What a graph is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Batch statistics, dropout.
    Train,
    /// Running statistics, no dropout.
    Evaluate,
}

/// A value, and how it lies in memory.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) value: Value,
    /// The shape is meant with channels first, but the tensor has them last.
    pub(super) channels_first: bool,
}

/// What a layer has to say against its operands; the call adds the place, the layer and the shapes.
pub(super) fn refused(reason: String) -> Error {
    Error::Operands { path: String::new(), op: "layer".to_string(), operands: String::new(), reason }
}

/// Adds layers to a graph.
pub(super) struct Builder<'g> {
    pub(super) graph: &'g mut Graph,
    pub(super) form: Form,
    pub(super) batch: usize,
    pub(super) mode: Mode,
    /// What training makes small besides the loss: `l1 · Σ |w| + l2 · Σ w²` of some parameters.
    penalties: Vec<(Value, [f32; 2])>,
    layer: String,
    trainable: bool,
}

impl<'g> Builder<'g> {
    pub(super) fn new(graph: &'g mut Graph, form: Form, batch: usize, mode: Mode) -> Self {
        Builder { graph, form, batch, mode, penalties: Vec::new(), layer: String::new(), trainable: true }
    }

    /// A graph input for a symbol.
    pub(super) fn input(&mut self, name: &str, symbol: &Symbol) -> Result<Placed, Error> {
        let mut shape = symbol.shape().to_vec();
        if symbol.0.channels_first {
            shape.rotate_left(1);
        }
        shape.insert(0, self.batch);
        let value = self.graph.input(name, symbol.dtype(), shape)?;
        Ok(Placed { value, channels_first: symbol.0.channels_first })
    }
    /// Graph inputs in place of `symbols`.
    pub(super) fn inputs(&mut self, symbols: &[Symbol]) -> Result<Vec<Placed>, Error> {
        symbols.iter().enumerate().map(|(i, symbol)| self.input(&format!("operand{i}"), symbol)).collect()
    }
    /// The user's shape, without the batch, and the element type of a value.
    pub(super) fn declared(&self, x: &Placed) -> Result<(Vec<usize>, DType), Error> {
        let ty = self.graph.expect_type(x.value, "layer")?;
        let mut shape = ty.shape.0.get(1..).unwrap_or_default().to_vec();
        if x.channels_first {
            shape.rotate_right(1);
        }
        Ok((shape, ty.dtype))
    }

    /// Adds a layer under the name `path`.
    pub(super) fn layer(&mut self, layer: &Definition, path: &str, x: &[Placed]) -> Result<Placed, Error> {
        self.layer = path.to_string();
        self.trainable = layer.trainable;
        self.graph.enter(path);
        let result = layer.kind.build(self, x);
        self.graph.leave();
        result
    }

    /// Whether the layer that is being added learns from the batch: not in evaluation, and not when it is frozen.
    pub(super) fn learns(&self) -> bool {
        self.mode == Mode::Train && self.trainable
    }

    /// The tensor with its channels last, which must have `axes` axes besides them.
    pub(super) fn spatial(&mut self, x: Placed, axes: usize) -> Result<Value, Error> {
        let (shape, _) = self.declared(&x)?;
        if shape.len() == axes + 1 {
            return self.images(x);
        }
        let wanted = match axes {
            1 => self.form.pick("[channels, length]", "[length, channels]"),
            _ => self.form.pick("[channels, height, width]", "[height, width, channels]"),
        };
        Err(refused(format!("takes {wanted}, without the batch; got {} axes", shape.len())))
    }
    /// The tensor with its channels last.
    pub(super) fn images(&mut self, x: Placed) -> Result<Value, Error> {
        let rank = self.graph.expect_type(x.value, "layer")?.shape.rank();
        if self.form == Form::Keras || x.channels_first || rank < 3 {
            return Ok(x.value);
        }
        let permutation: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        self.graph.transpose(x.value, &permutation)
    }
    /// What a layer made of [`Builder::images`].
    pub(super) fn of_images(&self, value: Value) -> Result<Placed, Error> {
        let rank = self.graph.expect_type(value, "layer")?.shape.rank();
        Ok(Placed { value, channels_first: self.form == Form::Torch && rank >= 3 })
    }
    /// The tensor with its axes as the user's shape has them.
    pub(super) fn plain(&mut self, x: Placed) -> Result<Value, Error> {
        if !x.channels_first {
            return Ok(x.value);
        }
        let rank = self.graph.expect_type(x.value, "layer")?.shape.rank();
        let permutation: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        self.graph.transpose(x.value, &permutation)
    }
    /// What a layer made of [`Builder::plain`].
    pub(super) fn of_plain(&self, value: Value) -> Placed {
        Placed { value, channels_first: false }
    }
    /// Where an axis of the user's shape lies in memory. The batch counts as axis 0 and -1 is the last axis, as in both
    /// frameworks.
    pub(super) fn axis(&self, x: &Placed, axis: isize) -> Result<usize, Error> {
        let rank = self.graph.expect_type(x.value, "layer")?.shape.rank();
        let at = if axis < 0 { rank.checked_add_signed(axis) } else { usize::try_from(axis).ok() };
        match at.filter(|at| (1..rank).contains(at)) {
            Some(1) if x.channels_first => Ok(rank - 1),
            Some(at) if x.channels_first => Ok(at - 1),
            Some(at) => Ok(at),
            None if rank < 2 => Err(refused(format!("has no axis besides the batch, asked for {axis}"))),
            None => {
                let last = rank - 1;
                Err(refused(format!("has the axes 1 to {last} besides the batch, or -{last} to -1; asked for {axis}")))
            }
        }
    }
    /// The user's axis of channels, which [`Builder::axis`] takes.
    pub(super) fn channel_axis(&self) -> isize {
        self.form.pick(1, -1)
    }
    /// All operands with axes in the order of the first's.
    pub(super) fn alike(&mut self, x: &[Placed]) -> Result<Vec<Value>, Error> {
        let first = x.first().is_some_and(|p| p.channels_first);
        x.iter().map(|&p| if first { self.images(p) } else { self.plain(p) }).collect()
    }

    /// Lets training make `l1 · Σ |w| + l2 · Σ w²` small, unless the layer is frozen.
    pub(super) fn penalise(&mut self, weight: Value, factors: [f32; 2]) {
        let known = self.penalties.iter().any(|&(penalised, _)| penalised == weight);
        if factors != [0.0; 2] && self.trainable && !known {
            self.penalties.push((weight, factors));
        }
    }
    /// The sum of all penalties, if there is one.
    pub(super) fn penalty(&mut self) -> Result<Option<Value>, Error> {
        let mut total = None;
        for (weight, [l1, l2]) in std::mem::take(&mut self.penalties) {
            for (factor, squares) in [(l1, false), (l2, true)].into_iter().filter(|&(factor, _)| factor != 0.0) {
                let add = if squares { Graph::l2_penalty } else { Graph::l1_penalty };
                let term = add(self.graph, &[weight], factor)?;
                total = Some(total.map_or(Ok(term), |before| self.graph.add_values(before, term))?);
            }
        }
        Ok(total)
    }

    /// Extent of the last axis.
    pub(super) fn channels(&self, x: Value) -> Result<usize, Error> {
        Ok(self.graph.expect_type(x, "layer")?.shape.last())
    }

    /// A trained tensor of the layer that is being added; a buffer when the layer is frozen. One that is there
    /// already, because the layer is called a second time, is taken.
    pub(super) fn parameter(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Value, Error> {
        let trainable = self.trainable;
        self.state(name, shape.into(), init, trainable)
    }
    /// A tensor of the layer that is kept and not trained.
    pub(super) fn buffer(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Value, Error> {
        self.state(name, shape.into(), init, false)
    }
    fn state(&mut self, name: &str, shape: Shape, init: Init, trained: bool) -> Result<Value, Error> {
        let path = self.form.path(&self.layer, name);
        let Ok(known) = self.graph.source(&path) else {
            // the path is whole: the layer's scope is for its operations
            self.graph.leave();
            let state = if trained {
                self.graph.parameter(&path, shape, init)
            } else {
                self.graph.buffer(&path, DType::F32, shape, init)
            };
            self.graph.enter(&self.layer);
            return state;
        };
        let got = self.graph.expect_type(known, &path)?;
        if got.shape == shape {
            return Ok(known);
        }
        let reason = format!(
            "\"{path}\" is {} from the layer's first call, and this call needs {shape}: a layer that is called \
             several times must get inputs of as many channels",
            got.shape
        );
        Err(Error::Operands { path, op: "layer".to_string(), operands: shape.to_string(), reason })
    }
}
