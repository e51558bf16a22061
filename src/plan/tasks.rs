//! From nodes to tasks: what has to run, on which items, and what must wait for what.
//!
//! ```text
//!   %1 = conv2d ─▶ %2 = reshape ─▶ output "y"            task conv2d ─▶ item 0 (output "y")
//!                                            becomes
//!   state s ◀─ update ─ %3 = add(s, %1)                  task add: s, item 0 ─▶ writes s directly,
//!                                                          after all other readers of s
//! ```
//!
//! An *item* is a value with memory of its own; a node that only renames (a reshape) adds none. A state
//! that is updated is written by the task that makes its new value when every reader of the old value can
//! run before, and else by a copy at the end. Copies are tasks of the op `Reshape`: for a step of a plan
//! it means "copy the bytes".

use crate::error::Error;
use crate::graph::{Graph, Node, NodeId, Value};
use crate::ops::Op;
use crate::types::TensorType;

use super::inplace::same_index;
use super::labels::limited;

/// Who gives an item its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The caller, before the run.
    Input,
    /// Known now.
    Constant,
    /// The state slot of this index, as it was before the run.
    State(usize),
    /// A task.
    Task(usize),
}

/// A value with memory of its own.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub bytes: usize,
    pub origin: Origin,
    /// The state slot that the task writes directly.
    pub slot: Option<usize>,
    /// Whether it is an output.
    pub output: bool,
}

/// Something to run.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub name: String,
    pub op: Op,
    /// Items with the types the operation sees them under.
    pub operands: Vec<(usize, TensorType)>,
    pub results: Vec<(usize, TensorType)>,
    /// Tasks that must run before: those that make operands, and readers of a state this task overwrites.
    pub after: Vec<usize>,
    /// Whether it depends on state and constants only, and no state changes.
    pub prepare: bool,
}

/// A named item.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub name: String,
    pub ty: TensorType,
    pub item: usize,
    /// For an i32 or u8 input: the least number of classes of the one-hot encodings that get all of its
    /// elements as labels.
    pub classes: Option<usize>,
}

/// All that is to be planned. Tasks are numbered in the graph's topological order, copies last.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    pub items: Vec<Item>,
    pub tasks: Vec<Task>,
    pub inputs: Vec<Named>,
    pub outputs: Vec<Named>,
    pub states: Vec<Named>,
    pub constants: Vec<(usize, Vec<u8>)>,
}

/// Whether a node's result has the bytes of its first operand in the same order.
fn is_alias(graph: &Graph, node: &Node) -> bool {
    let Some(&operand) = node.operands.first() else {
        return false;
    };
    let from = graph.ty(operand);
    match &node.op {
        Op::Reshape(_) => true,
        Op::Cast(to) => from.dtype == *to,
        // as many elements: nothing is repeated, only axes of extent 1 are added
        Op::Broadcast(shape) => from.shape.elements() == shape.elements(),
        // only axes of extent 1 move
        Op::Transpose(permutation) => {
            let kept: Vec<usize> = permutation.iter().copied().filter(|&axis| from.shape.0[axis] != 1).collect();
            kept.is_sorted()
        }
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Random(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::OneHot(_)
        | Op::Gather
        | Op::ScatterAdd(_)
        | Op::Reduce(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::MatMul(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradInput(..)
        | Op::Conv2dGradWeight(..)
        | Op::MaxPool(_)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPool(_)
        | Op::AvgPoolGrad(..)
        | Op::BatchNorm(_)
        | Op::BatchNormEval(_)
        | Op::BatchNormGrad
        | Op::Coefficients(_)
        | Op::GradCoefficients(_)
        | Op::Fused(_) => false,
    }
}

/// Nodes that an output or update needs.
fn needed(graph: &Graph, order: &[NodeId]) -> Vec<bool> {
    let mut needed = vec![false; graph.len()];
    for value in graph.outputs().iter().map(|(_, v)| v).chain(graph.updates().iter().map(|(_, v)| v)) {
        needed[value.node.index()] = true;
    }
    for &id in order.iter().rev() {
        if needed[id.index()] {
            for operand in &graph.node(id).operands {
                needed[operand.node.index()] = true;
            }
        }
    }
    needed
}

impl Tasks {
    /// The tasks of a graph.
    ///
    /// # Errors
    /// [`Error::Invalid`] when nodes form a cycle.
    pub fn of(graph: &Graph) -> Result<Tasks, Error> {
        let order = graph.topological();
        if order.len() != graph.len() {
            let violations = vec!["nodes form a cycle, so there is no order to run them in".to_string()];
            return Err(Error::Invalid { after: None, violations });
        }
        let mut all = Tasks::default();
        let item_of = all.add_nodes(graph, &order);
        let item = |v: Value| item_of[v.node.index()][v.port as usize];
        all.add_outputs(graph, item);
        all.add_updates(graph, item);
        all.mark_prepare();
        Ok(all)
    }

    fn add_item(&mut self, ty: &TensorType, origin: Origin) -> usize {
        self.items.push(Item { bytes: ty.bytes(), origin, slot: None, output: false });
        self.items.len() - 1
    }

    /// Sources and needed nodes; gives the items of each node's results.
    fn add_nodes(&mut self, graph: &Graph, order: &[NodeId]) -> Vec<Vec<usize>> {
        let mut item_of: Vec<Vec<usize>> = vec![Vec::new(); graph.len()];
        let named = |id: NodeId, item| {
            let node = graph.node(id);
            Named { name: node.name.clone(), ty: node.results[0].clone(), item, classes: None }
        };
        for id in graph.inputs() {
            let item = self.add_item(&graph.node(id).results[0], Origin::Input);
            item_of[id.index()] = vec![item];
            self.inputs.push(named(id, item));
        }
        for (slot, id) in graph.states().enumerate() {
            let item = self.add_item(&graph.node(id).results[0], Origin::State(slot));
            item_of[id.index()] = vec![item];
            self.states.push(named(id, item));
        }
        let needed = needed(graph, order);
        for &id in order.iter().filter(|id| needed[id.index()]) {
            let node = graph.node(id);
            if let Op::Constant(tensor) = &node.op {
                let item = self.add_item(&node.results[0], Origin::Constant);
                item_of[id.index()] = vec![item];
                self.constants.push((item, tensor.to_bytes()));
            } else if !node.op.is_source() {
                let operand = |v: &Value| (item_of[v.node.index()][v.port as usize], graph.ty(*v).clone());
                let operands: Vec<_> = node.operands.iter().map(operand).collect();
                item_of[id.index()] = if is_alias(graph, node) {
                    vec![operands[0].0]
                } else {
                    if let Some((labels, classes)) = limited(graph, node) {
                        self.limit_labels(graph, labels, classes, &item_of);
                    }
                    self.add_task(node.name.clone(), node.op.clone(), operands, &node.results)
                };
            }
        }
        item_of
    }

    /// Appends a task after those that make its operands; gives its results' items.
    fn add_task(
        &mut self,
        name: String,
        op: Op,
        operands: Vec<(usize, TensorType)>,
        results: &[TensorType],
    ) -> Vec<usize> {
        let index = self.tasks.len();
        let items: Vec<usize> = results.iter().map(|ty| self.add_item(ty, Origin::Task(index))).collect();
        let mut after: Vec<usize> = operands
            .iter()
            .filter_map(|&(item, _)| match self.items[item].origin {
                Origin::Task(task) => Some(task),
                Origin::Input | Origin::Constant | Origin::State(_) => None,
            })
            .collect();
        after.sort_unstable();
        after.dedup();
        let results = items.iter().copied().zip(results.iter().cloned()).collect();
        self.tasks.push(Task { name, op, operands, results, after, prepare: false });
        items
    }

    /// Appends a copy of `item`; gives the item of the copy.
    fn add_copy(&mut self, name: String, item: usize, ty: &TensorType) -> usize {
        let op = Op::Reshape(ty.shape.clone());
        self.add_task(name, op, vec![(item, ty.clone())], std::slice::from_ref(ty))[0]
    }

    /// Every output has memory of its own, which nothing else names.
    fn add_outputs(&mut self, graph: &Graph, item: impl Fn(Value) -> usize) {
        for (name, value) in graph.outputs() {
            let ty = graph.ty(*value).clone();
            let source = item(*value);
            let own = matches!(self.items[source].origin, Origin::Task(_)) && !self.items[source].output;
            let item = if own { source } else { self.add_copy(format!("{name}.copy"), source, &ty) };
            self.items[item].output = true;
            self.outputs.push(Named { name: name.clone(), ty, item, classes: None });
        }
    }

    /// New values of states. A value that is another state's old value is copied to a temporary first if
    /// that state changes too: `a ← b, b ← a` has no order of direct copies that reads only old values.
    fn add_updates(&mut self, graph: &Graph, item: impl Fn(Value) -> usize) {
        let mut updates = Vec::new();
        for (slot, id) in graph.states().enumerate() {
            let update = graph.updates().iter().find(|(state, _)| *state == id);
            if let Some(value) = update.map(|&(_, v)| item(v))
                && self.items[value].origin != Origin::State(slot)
            {
                updates.push((slot, value));
            }
        }
        let changes: Vec<usize> = updates.iter().map(|&(slot, _)| slot).collect();
        for (slot, value) in &mut updates {
            let state = &self.states[*slot];
            if matches!(self.items[*value].origin, Origin::State(s) if changes.contains(&s)) {
                *value = self.add_copy(format!("{}.old", state.name), *value, &state.ty.clone());
            }
        }
        // from here on no task is added that reads a state which changes
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); self.items.len()];
        for (index, task) in self.tasks.iter().enumerate() {
            for &(item, _) in &task.operands {
                if readers[item].last() != Some(&index) {
                    readers[item].push(index);
                }
            }
        }
        for &(slot, value) in &updates {
            let old_readers = &readers[self.states[slot].item];
            let writer = match self.items[value].origin {
                Origin::Task(task) if self.may_write(task, value, slot, old_readers) => {
                    self.items[value].slot = Some(slot);
                    task
                }
                Origin::Task(_) | Origin::Input | Origin::Constant | Origin::State(_) => {
                    let Named { name, ty, .. } = self.states[slot].clone();
                    let copy = self.add_copy(format!("{name}.update"), value, &ty);
                    self.items[copy].slot = Some(slot);
                    self.tasks.len() - 1
                }
            };
            let after = &mut self.tasks[writer].after;
            after.extend(old_readers.iter().filter(|&&reader| reader != writer));
            after.sort_unstable();
            after.dedup();
        }
    }

    /// Whether `task` may write `value` over the old value of state `slot`: no reader of the old value has
    /// to wait for the task, and if the task itself reads it, then only where it writes.
    fn may_write(&self, task: usize, value: usize, slot: usize, old_readers: &[usize]) -> bool {
        let Some(result) = self.tasks[task].results.iter().position(|&(item, _)| item == value) else {
            return false;
        };
        !self.items[value].output
            && self.items[value].slot.is_none()
            && self.shares(task, self.states[slot].item, result)
            && !self.waits_for_any(old_readers, task)
    }

    /// Whether `task` reads `item`, if at all, only where it writes `result`.
    pub fn shares(&self, task: usize, item: usize, result: usize) -> bool {
        let task = &self.tasks[task];
        let operands: Vec<&TensorType> = task.operands.iter().map(|(_, ty)| ty).collect();
        let results: Vec<&TensorType> = task.results.iter().map(|(_, ty)| ty).collect();
        (0..operands.len())
            .filter(|&i| task.operands[i].0 == item)
            .all(|i| same_index(&task.op, &operands, i, &results, result))
    }

    /// Whether one of `tasks`, other than `first` itself, has to run after `first`.
    fn waits_for_any(&self, tasks: &[usize], first: usize) -> bool {
        let mut stack: Vec<usize> = tasks.iter().copied().filter(|&t| t != first).collect();
        let mut seen = vec![false; self.tasks.len()];
        while let Some(task) = stack.pop() {
            if task == first {
                return true;
            }
            if !std::mem::replace(&mut seen[task], true) {
                stack.extend(&self.tasks[task].after);
            }
        }
        false
    }

    /// Whether a run changes state.
    pub fn writes_states(&self) -> bool {
        self.items.iter().any(|i| i.slot.is_some())
    }

    fn mark_prepare(&mut self) {
        if self.writes_states() {
            return;
        }
        for index in 0..self.tasks.len() {
            let known = self.tasks[index].operands.iter().all(|&(item, _)| match self.items[item].origin {
                Origin::Input => false,
                Origin::Constant | Origin::State(_) => true,
                Origin::Task(maker) => self.tasks[maker].prepare,
            });
            self.tasks[index].prepare = known;
        }
    }
}
