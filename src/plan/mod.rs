//! The plan: in which order nodes run and where each value lives. Pure functions, nothing runs here.
//!
//! ```text
//!  Graph ─▶ tasks ─▶ schedule ─▶ groups ─▶ liveness ─▶ memory ─▶ Planned ─▶ verify
//!           what     in which    image by  buffers,    offsets   steps with
//!           runs     order       image     lifetimes             places
//! ```
//!
//! What a kernel may rely on and must keep to:
//! - A step of op [`Op::Reshape`] copies its operand's bytes to its result. All other nodes that only rename
//!   (reshapes, casts to the same type, …) are no steps; their users see the operand's place under their type.
//! - A result in an operand's place is computed in place (`inplace.rs` says when, and what that asks of a kernel).
//! - Inputs keep their place and are never overwritten, so a run may use those of the run before. Outputs
//!   and constants have places of their own; outputs are valid from the end of a run to the start of the next.
//! - A state is overwritten by the step that makes its new value where that is legal; steps that are placed
//!   after it and name the state's place use the new value.

use crate::error::Error;
use crate::graph::Graph;
use crate::ops::Op;
use crate::types::TensorType;

mod groups;
mod inplace;
mod labels;
mod liveness;
pub mod memory;
mod schedule;
mod tasks;
#[cfg(test)]
mod tests;
mod text;
mod verify;

pub use groups::Group;

use liveness::Buffer;
use tasks::{Origin, Tasks};

/// Plans a graph: order, lifetimes, places. A pure function of the graph.
///
/// # Errors
/// [`Error::Invalid`] when nodes form a cycle; [`Error::Plan`] when the plan fails its own check (debug
/// builds only; [`Planned::verify`] does it in any build).
pub fn plan(graph: &Graph) -> Result<Planned, Error> {
    let tasks = Tasks::of(graph)?;
    let order = schedule::schedule(&tasks);
    let groups = groups::find(&tasks, &order);
    let lives = liveness::analyse(&tasks, &order, &groups);
    let layouts = Layouts { work: memory::assign(&lives.work.buffers), image: memory::assign(&lives.image.buffers) };
    let planned = assemble(graph.name(), tasks, &order, groups, &lives, &layouts);
    if cfg!(debug_assertions) {
        planned.verify()?;
    }
    Ok(planned)
}

/// Offsets in the arena and in a worker's memory for one image.
struct Layouts {
    work: memory::Layout,
    image: memory::Layout,
}

/// Writes down what the stages decided.
fn assemble(
    name: &str,
    all: Tasks,
    order: &[usize],
    groups: Vec<Group>,
    lives: &liveness::Lives,
    layouts: &Layouts,
) -> Planned {
    let place = |item: usize| match (all.items[item].slot, all.items[item].origin, lives.buffer_of[item]) {
        (Some(slot), ..) | (None, Origin::State(slot), _) => Place::State(slot),
        (None, _, Some(Buffer::Work(buffer))) => Place::Work(layouts.work.offsets[buffer]),
        (None, _, Some(Buffer::Image(buffer))) => Place::Image(layouts.image.offsets[buffer]),
        // what nobody reads has no memory and no reader
        (None, _, None) => Place::Work(0),
    };
    let placed = |(item, ty): &(usize, TensorType)| Placed { ty: ty.clone(), place: place(*item) };
    let mut dead_after: Vec<Vec<(usize, usize)>> = vec![Vec::new(); order.len()];
    for (buffer, interval) in lives.work.buffers.iter().enumerate() {
        if !lives.work.kept[buffer] {
            dead_after[interval.last].push((layouts.work.offsets[buffer], interval.bytes));
        }
    }
    let (mut prepare, mut steps) = (Vec::new(), Vec::new());
    for (&index, dead_after) in order.iter().zip(dead_after) {
        let task = &all.tasks[index];
        let step = PlannedStep {
            name: task.name.clone(),
            op: task.op.clone(),
            operands: task.operands.iter().map(placed).collect(),
            results: task.results.iter().map(placed).collect(),
            dead_after,
        };
        if task.prepare { prepare.push(step) } else { steps.push(step) }
    }
    let port = |n: &tasks::Named| Port {
        name: n.name.clone(),
        placed: Placed { ty: n.ty.clone(), place: place(n.item) },
        classes: n.classes,
    };
    let offset = |item: usize| match place(item) {
        Place::Work(offset) => offset,
        Place::State(_) | Place::Image(_) => 0,
    };
    // positions among the steps of a run
    let before = prepare.len();
    let groups = groups.into_iter().map(|g| Group { steps: g.steps.start - before..g.steps.end - before, ..g });
    Planned {
        name: name.to_string(),
        prepare,
        steps,
        states: all.states.iter().map(|n| StateSlot { name: n.name.clone(), ty: n.ty.clone() }).collect(),
        constants: all.constants.iter().map(|(item, bytes)| (offset(*item), bytes.clone())).collect(),
        inputs: all.inputs.iter().map(port).collect(),
        outputs: all.outputs.iter().map(port).collect(),
        groups: groups.collect(),
        work_bytes: layouts.work.bytes,
        image_bytes: layouts.image.bytes,
        live_bytes: lives.peak(),
        writes_states: all.writes_states(),
    }
}

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the persistent slot of this index (see [`Planned::states`]).
    State(usize),
    /// In the work arena at this byte offset, a multiple of [`ALIGNMENT`].
    Work(usize),
    /// In the worker's own memory at this byte offset, a multiple of [`ALIGNMENT`], and only the image that the
    /// worker has at hand: made and read within one [`Group`].
    Image(usize),
}

/// Every buffer starts at a multiple of a cache line, which is also the widest vector.
pub const ALIGNMENT: usize = 64;

/// A typed place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Element type and shape.
    pub ty: TensorType,
    /// Where.
    pub place: Place,
}

/// One node to run.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// The node's path.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Operands in the operation's order.
    pub operands: Vec<Placed>,
    /// Results; one that shares an operand's place is computed in place.
    pub results: Vec<Placed>,
    /// Work buffers (offset, bytes) whose last use this step is.
    pub dead_after: Vec<(usize, usize)>,
}

/// A state tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSlot {
    /// The node's name.
    pub name: String,
    /// Element type and shape.
    pub ty: TensorType,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name.
    pub name: String,
    /// Type and place.
    pub placed: Placed,
    /// For an i32 or u8 input that is used as labels: the number of classes its values must stay below.
    /// Labels may reach the one-hot encoding through casts, reshapes, transposes, broadcasts and
    /// concatenations; behind a slice or arithmetic they are not traced back to an input.
    pub classes: Option<usize>,
}

/// A graph with an order and a place for everything.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The graph's name.
    pub name: String,
    /// Steps that depend on state and constants only (and the graph changes no state): run once until
    /// a state changes.
    pub prepare: Vec<PlannedStep>,
    /// Steps of every run, in order.
    pub steps: Vec<PlannedStep>,
    /// Persistent tensors.
    pub states: Vec<StateSlot>,
    /// Values known now: offset in the arena and bytes.
    pub constants: Vec<(usize, Vec<u8>)>,
    /// Inputs in order.
    pub inputs: Vec<Port>,
    /// Outputs in order.
    pub outputs: Vec<Port>,
    /// Runs of `steps` that are taken image by image, in order.
    pub groups: Vec<Group>,
    /// Size of the arena in bytes.
    pub work_bytes: usize,
    /// Memory of each worker for what groups make of one image, in bytes.
    pub image_bytes: usize,
    /// The largest sum of bytes that are live at one step of this schedule: no plan can be smaller.
    pub live_bytes: usize,
    /// Whether a run changes state.
    pub writes_states: bool,
}
