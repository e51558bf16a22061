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
/// stub: every value has memory of its own
pub fn plan(graph: &crate::Graph) -> Result<Planned, crate::Error> {
    let mut p = Planned {
        name: graph.name().into(),
        prepare: vec![],
        steps: vec![],
        states: vec![],
        constants: vec![],
        inputs: vec![],
        outputs: vec![],
        work_bytes: 0,
        live_bytes: 0,
        writes_states: false,
    };
    let mut places = std::collections::HashMap::new();
    for id in graph.topological() {
        let node = graph.node(id);
        for (port, ty) in node.results.iter().enumerate() {
            let place = if node.op.is_state() {
                p.states.push(StateSlot { name: node.name.clone(), ty: ty.clone() });
                Place::State(p.states.len() - 1)
            } else {
                let o = p.work_bytes;
                p.work_bytes += ty.bytes().next_multiple_of(64);
                Place::Work(o)
            };
            places.insert(id.result(port), Placed { ty: ty.clone(), place });
        }
        let results: Vec<Placed> = (0..node.results.len()).map(|i| places[&id.result(i)].clone()).collect();
        match &node.op {
            Op::Input(_) => p.inputs.push(Port { name: node.name.clone(), placed: results[0].clone(), classes: None }),
            Op::Constant(t) => {
                if let Place::Work(o) = results[0].place {
                    p.constants.push((o, t.to_bytes()))
                }
            }
            Op::Parameter(..) | Op::Buffer(..) => {}
            op => p.steps.push(PlannedStep {
                name: node.name.clone(),
                op: op.clone(),
                operands: node.operands.iter().map(|v| places[v].clone()).collect(),
                results,
                dead_after: vec![],
            }),
        }
    }
    for (name, v) in graph.outputs() {
        p.outputs.push(Port { name: name.clone(), placed: places[v].clone(), classes: None });
    }
    for (s, v) in graph.updates() {
        p.writes_states = true;
        let to = places[&s.result(0)].clone();
        p.steps.push(PlannedStep {
            name: graph.node(*s).name.clone(),
            op: Op::Reshape(to.ty.shape.clone()),
            operands: vec![places[v].clone()],
            results: vec![to],
            dead_after: vec![],
        });
    }
    p.live_bytes = p.work_bytes;
    Ok(p)
}
