//! The plan: in which order nodes run and where each value lives. Pure functions, nothing runs here.

use crate::ops::Op;
use crate::types::TensorType;

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the persistent slot of this index (see [`Planned::states`]).
    State(usize),
    /// In the work arena at this byte offset, a multiple of [`ALIGNMENT`].
    Work(usize),
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
    /// For an i32 input that is used as labels: the number of classes its values must stay below.
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
    /// Size of the arena in bytes.
    pub work_bytes: usize,
    /// The largest sum of bytes that are live at one step of this schedule: no plan can be smaller.
    pub live_bytes: usize,
    /// Whether a run changes state.
    pub writes_states: bool,
}
