//! Building the programs of a fused kernel from graph values.
//!
//! Equal steps are made once, and only what an output or the program's value needs is made at all.

use std::collections::HashMap;

use super::super::constants::number;
use super::as_step;
use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::{Fused, Output, Program, Step};
use crate::types::Shape;

/// Whether a value is to be computed in the program over a shape rather than read.
pub(super) type Expand<'a> = &'a dyn Fn(Value, &Shape) -> bool;

/// A program under construction.
#[derive(Default)]
pub(super) struct Builder {
    shape: Shape,
    program: Program,
    /// The step that holds a graph value.
    values: HashMap<Value, usize>,
}

impl Builder {
    pub(super) fn new(shape: Shape) -> Self {
        Builder { shape, ..Builder::default() }
    }
    pub(super) fn len(&self) -> usize {
        self.program.steps.len()
    }
    /// The step, made unless it exists.
    fn push(&mut self, step: Step) -> usize {
        match self.program.steps.iter().position(|&s| same(s, step)) {
            Some(at) => at,
            None => {
                self.program.steps.push(step);
                self.program.steps.len() - 1
            }
        }
    }
    /// Says that `value` is what `step` holds.
    pub(super) fn define(&mut self, value: Value, step: usize) {
        self.values.insert(value, step);
    }
    /// An output, made unless it exists; its position.
    pub(super) fn output(&mut self, output: Output) -> usize {
        match self.program.outputs.iter().position(|&o| o == output) {
            Some(at) => at,
            None => {
                self.program.outputs.push(output);
                self.program.outputs.len() - 1
            }
        }
    }
    /// The step that holds `value`: defined before, a number, computed here when `expand` says so, or read.
    pub(super) fn value(&mut self, graph: &Graph, operands: &mut Vec<Value>, value: Value, expand: Expand) -> usize {
        if let Some(&step) = self.values.get(&value) {
            return step;
        }
        let step = match number(graph, value) {
            Some(number) => self.push(Step::Constant(number)),
            None if expand(value, &self.shape) => match self.compute(graph, operands, value, expand) {
                Some(step) => step,
                None => self.read(operands, value),
            },
            None => self.read(operands, value),
        };
        self.values.insert(value, step);
        step
    }
    /// The step that computes the element-wise node of `value`.
    pub(super) fn compute(
        &mut self,
        graph: &Graph,
        operands: &mut Vec<Value>,
        value: Value,
        expand: Expand,
    ) -> Option<usize> {
        let node = graph.node(value.node);
        let inputs: Vec<usize> = node.operands.iter().map(|&v| self.value(graph, operands, v, expand)).collect();
        as_step(&node.op, &inputs).map(|step| self.push(step))
    }
    fn read(&mut self, operands: &mut Vec<Value>, value: Value) -> usize {
        let at = index_of(operands, value);
        self.push(Step::Operand(at))
    }
    /// Takes over the steps of `program`, whose operands are `inputs`; gives the new place of each step that
    /// an output or `value` needs.
    pub(super) fn import(
        &mut self,
        graph: &Graph,
        operands: &mut Vec<Value>,
        (program, inputs): (&Program, &[Value]),
        value: bool,
        expand: Expand,
    ) -> Vec<usize> {
        let mut needed = vec![false; program.steps.len()];
        for output in &program.outputs {
            needed[output.step()] = true;
        }
        if value {
            needed[program.value] = true;
        }
        for (at, step) in program.steps.iter().enumerate().rev() {
            if needed[at] {
                uses_of(*step).into_iter().flatten().for_each(|s| needed[s] = true);
            }
        }
        let mut to = vec![0; program.steps.len()];
        for (at, step) in program.steps.iter().enumerate() {
            if needed[at] {
                to[at] = match *step {
                    Step::Operand(i) => self.value(graph, operands, inputs[i], expand),
                    Step::Anchor | Step::Constant(_) => self.push(*step),
                    Step::Unary(f, a) => self.push(Step::Unary(f, to[a])),
                    Step::Binary(f, a, b) => self.push(Step::Binary(f, to[a], to[b])),
                    Step::Select(c, a, b) => self.push(Step::Select(to[c], to[a], to[b])),
                };
            }
        }
        to
    }
    pub(super) fn finish(self) -> Program {
        self.program
    }
}

/// A fused kernel of a convolution, taken apart to be changed.
pub(super) struct Kernel {
    fused: Fused,
    pub(super) operands: Vec<Value>,
    pub(super) source: Builder,
    pub(super) gradient: Builder,
    pub(super) result: Builder,
    /// New steps of the old result program.
    pub(super) result_steps: Vec<usize>,
}

impl Kernel {
    /// Takes `fused` over `inputs` apart; operands that `expand` names are computed in the programs that
    /// read them. The result program has its steps but no outputs yet: see [`Kernel::keep_results`].
    pub(super) fn open(graph: &Graph, fused: &Fused, inputs: &[Value], expand: Expand) -> Result<Self, Error> {
        let Some([source_shape, gradient_shape, result_shape]) = fused.shapes() else {
            let reason = format!("the window of {:?} does not fit", fused.anchor);
            return Err(Error::Patch { pass: "fusion".to_string(), reason });
        };
        let mut kernel = Kernel {
            fused: fused.clone(),
            operands: Vec::with_capacity(inputs.len()),
            source: Builder::new(source_shape),
            gradient: Builder::new(gradient_shape),
            result: Builder::new(result_shape),
            result_steps: Vec::new(),
        };
        if fused.has_weight() {
            kernel.operands.push(inputs[0]);
        }
        let Kernel { operands, source, gradient, result, .. } = &mut kernel;
        if fused.has_source() {
            let to = source.import(graph, operands, (&fused.source, inputs), true, expand);
            source.program.value = to[fused.source.value];
            source.program.outputs = renumbered(&fused.source.outputs, &to);
        }
        if fused.has_gradient() {
            let to = gradient.import(graph, operands, (&fused.gradient, inputs), true, expand);
            gradient.program.value = to[fused.gradient.value];
            gradient.program.outputs = renumbered(&fused.gradient.outputs, &to);
        }
        if fused.has_result() {
            kernel.result_steps = result.import(graph, operands, (&fused.result, inputs), false, expand);
        }
        Ok(kernel)
    }
    /// Keeps all outputs of the old result program.
    pub(super) fn keep_results(&mut self) {
        if self.fused.has_result() {
            self.result.program.outputs = renumbered(&self.fused.result.outputs, &self.result_steps);
        }
    }
    /// The operation and its operands.
    pub(super) fn finish(self) -> (Fused, Vec<Value>) {
        let fused = Fused {
            source: self.source.finish(),
            gradient: self.gradient.finish(),
            result: self.result.finish(),
            ..self.fused
        };
        (fused, self.operands)
    }
}

/// Where each of the three programs' results and the partial weight gradients start among the results.
pub(super) fn first_ports(fused: &Fused) -> [usize; 4] {
    let count = |used: bool, program: &Program| if used { program.outputs.len() } else { 0 };
    let gradient = count(fused.has_source(), &fused.source);
    let result = gradient + count(fused.has_gradient(), &fused.gradient);
    let filter = result + count(fused.has_result(), &fused.result);
    [0, gradient, result, filter]
}

/// Position of `value` in `operands`, appended if it is new.
pub(super) fn index_of(operands: &mut Vec<Value>, value: Value) -> usize {
    match operands.iter().position(|&v| v == value) {
        Some(at) => at,
        None => {
            operands.push(value);
            operands.len() - 1
        }
    }
}

fn renumbered(outputs: &[Output], to: &[usize]) -> Vec<Output> {
    outputs.iter().map(|output| output.of(to[output.step()])).collect()
}

/// Steps that a step reads.
fn uses_of(step: Step) -> [Option<usize>; 3] {
    match step {
        Step::Anchor | Step::Operand(_) | Step::Constant(_) => [None; 3],
        Step::Unary(_, a) => [Some(a), None, None],
        Step::Binary(_, a, b) => [Some(a), Some(b), None],
        Step::Select(c, a, b) => [Some(c), Some(a), Some(b)],
    }
}

/// Equality of steps; numbers bit by bit, since 0 and -0 compare equal and are not.
fn same(a: Step, b: Step) -> bool {
    match (a, b) {
        (Step::Constant(a), Step::Constant(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}
