//! The one error type: a variant for each stage, naming the node, the shapes, and what would be right.

use crate::types::{Shape, TensorType};

/// What can go wrong, stage by stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation does not accept its operands.
    #[error("{path}: {op}({operands}): {reason}")]
    Operands {
        /// The node's path (`layer1.0.conv1`).
        path: String,
        /// The operation.
        op: String,
        /// Operand types, separated by commas.
        operands: String,
        /// What does not fit, and what would.
        reason: String,
    },
    /// A layer does not accept what it was called on.
    #[error("{site}: {layer} cannot be called on {operands}: {reason}")]
    Layer {
        /// File, line and column of the call.
        site: String,
        /// The layer's path, or its class.
        layer: String,
        /// Shapes without the batch, separated by commas.
        operands: String,
        /// What does not fit, and what would.
        reason: String,
    },
    /// Inputs and outputs that make no network.
    #[error("network \"{name}\": {reason}")]
    Network {
        /// The network's name.
        name: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A text that describes no network.
    #[error("{place}: {reason}")]
    Architecture {
        /// The entry of the text (`calls[3]`).
        place: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A value of another graph, or of none.
    #[error("{path}: operand {value} does not exist in this graph of {nodes} nodes")]
    UnknownValue {
        /// The node that would have used it.
        path: String,
        /// The value.
        value: String,
        /// Nodes of the graph.
        nodes: usize,
    },
    /// A name that is not there.
    #[error("no {what} named \"{name}\"{}", suggest(.near))]
    UnknownName {
        /// What was looked for (input, output, parameter, …).
        what: &'static str,
        /// The name.
        name: String,
        /// Existing names, the most similar first.
        near: Vec<String>,
    },
    /// Two things of one name.
    #[error("{what} \"{name}\" exists already; give it a name of its own")]
    DuplicateName {
        /// What it is (input, output, parameter, …).
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Elements and shape disagree.
    #[error("shape {shape} has {} elements, got {elements}", shape.elements())]
    Elements {
        /// The shape.
        shape: Shape,
        /// Elements given.
        elements: usize,
    },
    /// A tensor of the wrong type for a named place.
    #[error("\"{name}\" takes {expected}, got {got}")]
    Type {
        /// The input, output or state.
        name: String,
        /// The type it has.
        expected: TensorType,
        /// The type given.
        got: TensorType,
    },
    /// A label that names no class.
    #[error("\"{name}\"[{index}] is {label}, but labels must be in 0..{classes}")]
    Label {
        /// The input.
        name: String,
        /// Its element.
        index: usize,
        /// The value.
        label: i32,
        /// Number of classes.
        classes: usize,
    },
    /// A graph that breaks invariants; every violation is listed.
    #[error("the graph{} is invalid:\n  {}", .after.as_ref().map(|p| format!(" after pass \"{p}\"")).unwrap_or_default(), .violations.join("\n  "))]
    Invalid {
        /// The pass that left it so.
        after: Option<String>,
        /// One line each.
        violations: Vec<String>,
    },
    /// A text that is not a graph.
    #[error("line {line}: {reason}")]
    Parse {
        /// Line, from 1.
        line: usize,
        /// What was expected.
        reason: String,
    },
    /// A gradient was asked for that does not exist.
    #[error("{path}: {reason}")]
    Gradient {
        /// The node.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A rewrite that would change a type, or that names unknown values.
    #[error("pass \"{pass}\": {reason}")]
    Patch {
        /// The pass.
        pass: String,
        /// What is wrong with the patch.
        reason: String,
    },
    /// A plan that breaks its own rules; every violation is listed.
    #[error("the plan of \"{name}\" is invalid:\n  {}", .violations.join("\n  "))]
    Plan {
        /// The graph's name.
        name: String,
        /// One line each.
        violations: Vec<String>,
    },
    /// A kernel could not be generated.
    #[error("{path}: {reason}")]
    Codegen {
        /// The node.
        path: String,
        /// Why.
        reason: String,
    },
    /// A node that a file format has no words for.
    #[error("{path}: {reason}")]
    Export {
        /// The node.
        path: String,
        /// Why not, and what could be exported instead.
        reason: String,
    },
    /// An option or environment variable with a value that makes no sense.
    #[error("{option}: {reason}")]
    Option {
        /// The option's name.
        option: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A checkpoint or weights file that does not fit or is damaged.
    #[error("{file}: {reason}")]
    Checkpoint {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A log or picture of a run that cannot take what it was given.
    #[error("{file}: {reason}")]
    Log {
        /// The file.
        file: String,
        /// What is wrong and what would fit.
        reason: String,
    },
    /// Training cannot go on.
    #[error("step {step}: {reason}")]
    Training {
        /// Optimizer step, from 1.
        step: u64,
        /// What happened.
        reason: String,
    },
    /// Reading or writing a file failed.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Data sets.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// Running a plan.
    #[error(transparent)]
    Runtime(#[from] outrigger_runtime::Error),
}

fn suggest(near: &[String]) -> String {
    match near {
        [] => "; there are none".to_string(),
        [first, rest @ ..] => {
            let others: Vec<_> = rest.iter().take(4).map(|n| format!("\"{n}\"")).collect();
            let others = if others.is_empty() { String::new() } else { format!(" (others: {})", others.join(", ")) };
            format!("; did you mean \"{first}\"?{others}")
        }
    }
}

/// Sorts `names` by edit distance to `name`, nearest first; `*` in `name` stands for anything.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<_> = names.into_iter().map(|n| (edit_distance(name, n), n.to_string())).collect();
    all.sort();
    all.into_iter().map(|(_, n)| n).collect()
}

/// Levenshtein distance in characters, `*` in `a` for any.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for ca in a.chars() {
        if ca == '*' {
            (0..b.len()).for_each(|j| row[j + 1] = row[j + 1].min(row[j]));
            continue;
        }
        let mut diagonal = row[0];
        row[0] += 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
