//! Runs a plan and its graph side by side on made-up numbers and compares.
//!
//! ```text
//!   graph: every value has its own vector      ─┐
//!                                               ├─▶ outputs and states must agree, run after run
//!   plan:  one arena, one cell a byte, poisoned ─┘
//! ```
//!
//! An element is a hash of whatever it is computed from, so one wrong, stale or overwritten operand changes
//! it. Kernels are as hostile as their contract allows: one that is not element-wise spoils its whole result
//! before it reads anything, and an element-wise one stores each element before it reads the next, so a
//! result placed where it may not be destroys operands. This knows nothing of the planner's own rules.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::graph::{Graph, Value};
use crate::ops::{Anchor, Fused, Op, Output, Program, Step};
use crate::plan::{Place, Placed, Planned, PlannedStep};
use crate::types::{Shape, TensorType};

const SPOILED: u64 = 0xdead;

fn hash(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// What a kernel sees: operands and results by number and element.
trait Access {
    fn read(&self, operand: usize, element: usize) -> u64;
    fn write(&mut self, result: usize, element: usize, value: u64);
}

/// Index into `from` of element `at` of `to`, which `from` broadcasts to.
fn broadcast_index(at: usize, to: &Shape, from: &Shape) -> usize {
    let (mut rest, mut index, mut stride) = (at, 0, 1);
    for axis in (0..to.rank()).rev() {
        let here = rest % to.0[axis];
        rest /= to.0[axis];
        if axis + from.rank() >= to.rank() {
            let extent = from.0[axis + from.rank() - to.rank()];
            if extent != 1 {
                index += here * stride;
            }
            stride *= extent;
        }
    }
    index
}

fn transposed_index(at: usize, to: &Shape, from: &Shape, permutation: &[usize]) -> usize {
    let (strides, mut rest, mut index) = (from.strides(), at, 0);
    for axis in (0..to.rank()).rev() {
        index += rest % to.0[axis] * strides[permutation[axis]];
        rest /= to.0[axis];
    }
    index
}

fn spoil(m: &mut impl Access, result: usize, ty: &TensorType) {
    (0..ty.shape.elements()).for_each(|k| m.write(result, k, SPOILED));
}

/// A hash of all elements of the chosen operands.
fn all_of(m: &impl Access, ins: &[TensorType], which: impl Fn(usize) -> bool) -> u64 {
    let elements = |i: usize| (0..ins[i].shape.elements()).map(move |k| (i, k));
    hash((0..ins.len()).filter(|&i| which(i)).flat_map(elements).map(|(i, k)| m.read(i, k)).collect::<Vec<_>>())
}

fn kernel(m: &mut impl Access, op: &Op, ins: &[TensorType], outs: &[TensorType]) {
    let out = &outs[0].shape;
    let tag = hash(format!("{op:?}"));
    match op {
        Op::Cast(to) if *to == ins[0].dtype => (0..out.elements()).for_each(|k| m.write(0, k, m.read(0, k))),
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) => {
            for k in 0..out.elements() {
                let read = |i: usize| m.read(i, broadcast_index(k, out, &ins[i].shape));
                let value = hash((tag, (0..ins.len()).map(read).collect::<Vec<_>>()));
                m.write(0, k, value);
            }
        }
        Op::Reshape(_) => (0..out.elements()).for_each(|k| m.write(0, k, m.read(0, k))),
        Op::Broadcast(_) => {
            spoil(m, 0, &outs[0]);
            (0..out.elements()).for_each(|k| m.write(0, k, m.read(0, broadcast_index(k, out, &ins[0].shape))));
        }
        Op::Transpose(p) => {
            spoil(m, 0, &outs[0]);
            (0..out.elements()).for_each(|k| m.write(0, k, m.read(0, transposed_index(k, out, &ins[0].shape, p))));
        }
        Op::Coefficients(_) => {
            (0..4).for_each(|j| spoil(m, j, &outs[j]));
            for c in 0..out.elements() {
                let vectors: Vec<u64> = (2..6).map(|i| m.read(i, c)).collect();
                let value = hash((tag, all_of(m, ins, |i| i < 2), vectors));
                (0..6).for_each(|j| m.write(j, c, hash((value, j))));
            }
        }
        Op::Fused(fused) => fused_kernel(m, fused, tag, ins, outs),
        _ => {
            (0..outs.len()).for_each(|j| spoil(m, j, &outs[j]));
            let all = all_of(m, ins, |_| true);
            for (j, ty) in outs.iter().enumerate() {
                (0..ty.shape.elements()).for_each(|k| m.write(j, k, hash((tag, all, j, k))));
            }
        }
    }
}

/// The values of a program's steps at element `k` of `shape`.
fn program(m: &impl Access, p: &Program, shape: &Shape, k: usize, anchor: u64, ins: &[TensorType]) -> Vec<u64> {
    let mut values: Vec<u64> = Vec::new();
    for step in &p.steps {
        values.push(match *step {
            Step::Anchor => anchor,
            Step::Operand(i) => m.read(i, broadcast_index(k, shape, &ins[i].shape)),
            Step::Constant(c) => hash(c.to_bits()),
            Step::Unary(u, a) => hash((u.name(), values[a])),
            Step::Binary(b, x, y) => hash((b, values[x], values[y])),
            Step::Select(c, x, y) => hash((values[c], values[x], values[y])),
        });
    }
    values
}

/// A program over each segment in turn: element-wise in its tensors.
fn segments(m: &mut impl Access, p: &Program, (shapes, shared): (&[Shape], usize), ins: &[TensorType]) {
    let own = (ins.len() - shared) / shapes.len();
    for (at, shape) in shapes.iter().enumerate() {
        let mut p = p.clone();
        for step in &mut p.steps {
            match step {
                Step::Operand(i) if *i >= shared => *i += at * own,
                _ => {}
            }
        }
        for k in 0..shape.elements() {
            let values = program(m, &p, shape, k, 0, ins);
            for (j, o) in p.outputs.iter().enumerate() {
                m.write(at * p.outputs.len() + j, k, values[o.step()]);
            }
        }
    }
}

fn fused_kernel(m: &mut impl Access, f: &Fused, tag: u64, ins: &[TensorType], outs: &[TensorType]) {
    let (source, output) = match &f.anchor {
        Anchor::Map(shape) => (shape.clone(), shape.clone()),
        Anchor::Maps { segments: shapes, shared } => return segments(m, &f.result, (shapes, *shared), ins),
        Anchor::Conv2d { conv, input, weight } | Anchor::ConvBackward { conv, input, weight, .. } => {
            let types = [TensorType::f32(input.clone()), TensorType::f32(weight.clone())];
            let y = Op::Conv2d(*conv).infer(&[&types[0], &types[1]]).unwrap();
            (input.clone(), y[0].shape.clone())
        }
    };
    let uses = |p: &Program, i: usize| p.steps.contains(&Step::Operand(i));
    let windowed = |i: usize| {
        (f.has_weight() && i == 0)
            || (f.has_source() && uses(&f.source, i))
            || (f.has_gradient() && uses(&f.gradient, i))
    };
    // where the results of each program begin
    let gradients = if f.has_source() { f.source.outputs.len() } else { 0 };
    let results = gradients + if f.has_gradient() { f.gradient.outputs.len() } else { 0 };
    let weight = results + if f.has_result() { f.result.outputs.len() } else { 0 };
    let full = |j: usize| (results..weight).contains(&j) && f.result.outputs[j - results].is_full();
    (0..outs.len()).filter(|&j| !full(j)).for_each(|j| spoil(m, j, &outs[j]));

    let shape = if f.has_gradient() { &source } else { &output };
    let mut sums = vec![0u64; f.result.outputs.len()];
    if f.has_result() {
        for k in 0..shape.elements() {
            let anchor = hash((k, all_of(m, ins, windowed)));
            let values = program(m, &f.result, shape, k, anchor, ins);
            for (j, o) in f.result.outputs.iter().enumerate() {
                match *o {
                    Output::Full(s) | Output::Bf16(s) => m.write(results + j, k, values[s]),
                    Output::Sums(s) => sums[j] = hash((sums[j], values[s])),
                }
            }
        }
    }
    for (j, sum) in sums.iter().enumerate().filter(|&(j, _)| f.has_result() && !full(results + j)) {
        (0..outs[results + j].shape.elements()).for_each(|k| m.write(results + j, k, hash((sum, k))));
    }
    // last, after the full results were stored, everything else that reads windows
    let programs = [(f.has_source(), &f.source, &source, 0), (f.has_gradient(), &f.gradient, &output, gradients)];
    for (_, p, shape, first) in programs.into_iter().filter(|p| p.0) {
        for (j, o) in p.outputs.iter().enumerate() {
            let (Output::Full(s) | Output::Bf16(s)) = *o else {
                let all = all_of(m, ins, windowed);
                (0..outs[first + j].shape.elements()).for_each(|k| m.write(first + j, k, hash((all, j, k))));
                continue;
            };
            for k in 0..shape.elements() {
                let value = program(m, p, shape, k, 0, ins)[s];
                m.write(first + j, k, value);
            }
        }
    }
    for (j, ty) in outs.iter().enumerate().skip(weight) {
        let all = all_of(m, ins, windowed);
        (0..ty.shape.elements()).for_each(|k| m.write(j, k, hash((tag, all, k))));
    }
}

fn constant(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(4).map(hash).collect()
}

/// The graph's own meaning: a vector for each value.
struct Separate<'a> {
    operands: Vec<&'a Vec<u64>>,
    results: Vec<Vec<u64>>,
}

impl Access for Separate<'_> {
    fn read(&self, operand: usize, element: usize) -> u64 {
        self.operands[operand][element]
    }
    fn write(&mut self, result: usize, element: usize, value: u64) {
        self.results[result][element] = value;
    }
}

type Named = HashMap<String, Vec<u64>>;

/// Runs the graph; changes the states and gives the outputs.
fn run_graph(graph: &Graph, inputs: &Named, states: &mut Named) -> Named {
    let mut values: HashMap<Value, Vec<u64>> = HashMap::new();
    for id in graph.topological() {
        let node = graph.node(id);
        let results = match &node.op {
            Op::Input(_) => vec![inputs[&node.name].clone()],
            Op::Parameter(..) | Op::Buffer(..) => vec![states[&node.name].clone()],
            Op::Constant(t) => vec![constant(&t.to_bytes())],
            op => {
                let ins: Vec<TensorType> = node.operands.iter().map(|v| graph.ty(*v).clone()).collect();
                let operands = node.operands.iter().map(|v| &values[v]).collect();
                let results = node.results.iter().map(|ty| vec![0; ty.shape.elements()]).collect();
                let mut memory = Separate { operands, results };
                kernel(&mut memory, op, &ins, &node.results);
                memory.results
            }
        };
        for (port, result) in results.into_iter().enumerate() {
            values.insert(id.result(port), result);
        }
    }
    for &(state, value) in graph.updates() {
        states.insert(graph.node(state).name.clone(), values[&value].clone());
    }
    graph.outputs().iter().map(|(name, v)| (name.clone(), values[v].clone())).collect()
}

/// Arena, the image's memory for every image at once, and states; an element sits in the cell of its first byte.
struct Machine {
    work: Vec<u64>,
    image: Vec<u64>,
    states: Vec<Vec<u64>>,
}

struct Shared<'a> {
    machine: &'a mut Machine,
    step: &'a PlannedStep,
}

impl Machine {
    fn cell(&mut self, placed: &Placed, element: usize) -> &mut u64 {
        let byte = element * placed.ty.dtype.bytes();
        match placed.place {
            Place::State(slot) => &mut self.states[slot][byte],
            Place::Work(offset) => &mut self.work[offset + byte],
            // all images side by side, every buffer as many times as far from the start
            Place::Image(offset) => &mut self.image[offset * placed.ty.shape.0[0] + byte],
        }
    }
    fn get(&mut self, placed: &Placed) -> Vec<u64> {
        (0..placed.ty.shape.elements()).map(|k| *self.cell(placed, k)).collect()
    }
    fn set(&mut self, placed: &Placed, values: &[u64]) {
        values.iter().enumerate().for_each(|(k, &v)| *self.cell(placed, k) = v);
    }
    fn run(&mut self, steps: &[PlannedStep]) {
        for step in steps {
            let types = |placed: &[Placed]| placed.iter().map(|p| p.ty.clone()).collect::<Vec<_>>();
            let (ins, outs) = (types(&step.operands), types(&step.results));
            kernel(&mut Shared { machine: self, step }, &step.op, &ins, &outs);
            for &(offset, bytes) in &step.dead_after {
                self.work[offset..offset + bytes].fill(SPOILED);
            }
        }
    }
}

impl Access for Shared<'_> {
    fn read(&self, operand: usize, element: usize) -> u64 {
        let placed = &self.step.operands[operand];
        let byte = element * placed.ty.dtype.bytes();
        match placed.place {
            Place::State(slot) => self.machine.states[slot][byte],
            Place::Work(offset) => self.machine.work[offset + byte],
            Place::Image(offset) => self.machine.image[offset * placed.ty.shape.0[0] + byte],
        }
    }
    fn write(&mut self, result: usize, element: usize, value: u64) {
        *self.machine.cell(&self.step.results[result], element) = value;
    }
}

fn made_up(what: &str, name: &str, round: usize, ty: &TensorType) -> Vec<u64> {
    (0..ty.shape.elements()).map(|k| hash((what, name, round, k))).collect()
}

/// Three runs: with new inputs, with the same ones left in place, and after the caller changed states and
/// inputs. Gives the first difference.
pub fn compare(graph: &Graph, plan: &Planned) -> Result<(), String> {
    let mut machine = Machine {
        work: vec![SPOILED; plan.work_bytes],
        image: vec![SPOILED; plan.image_bytes * plan.groups.iter().map(|g| g.images).max().unwrap_or(0)],
        states: plan.states.iter().map(|s| vec![SPOILED; s.ty.bytes()]).collect(),
    };
    let constants = plan.constants.iter().map(|(offset, bytes)| {
        (Placed { ty: TensorType::f32([bytes.len() / 4]), place: Place::Work(*offset) }, constant(bytes))
    });
    constants.for_each(|(placed, values)| machine.set(&placed, &values));
    let (mut inputs, mut states) = (Named::new(), Named::new());
    for round in 0..3 {
        if round != 1 {
            for port in &plan.inputs {
                let values = made_up("input", &port.name, round, &port.placed.ty);
                machine.set(&port.placed, &values);
                inputs.insert(port.name.clone(), values);
            }
            for (slot, state) in plan.states.iter().enumerate() {
                let values = made_up("state", &state.name, round, &state.ty);
                machine.set(&Placed { ty: state.ty.clone(), place: Place::State(slot) }, &values);
                states.insert(state.name.clone(), values);
            }
            machine.run(&plan.prepare);
        }
        machine.run(&plan.steps);
        let outputs = run_graph(graph, &inputs, &mut states);
        for port in &plan.outputs {
            if machine.get(&port.placed) != outputs[&port.name] {
                return Err(format!("run {round}: output \"{}\" differs", port.name));
            }
        }
        for (slot, state) in plan.states.iter().enumerate() {
            let got = machine.get(&Placed { ty: state.ty.clone(), place: Place::State(slot) });
            if got != states[&state.name] {
                return Err(format!("run {round}: state \"{}\" differs", state.name));
            }
        }
    }
    Ok(())
}
