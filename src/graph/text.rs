//! The text form: [`Graph`] prints as text, and [`Graph::parse`] reads the same graph back.
//!
//! ```text
//! graph "mlp" {
//!   %0 = Input((dtype:F32,shape:[2,3])) () "x" : f32[2,3]
//!   %1 = Unary(Relu) (%0) "relu" : f32[2,3]
//!   output "y" = %1
//!   update %2 = %5.3
//! }
//! ```
//!
//! One line a node: its id, the operation with its attributes (RON), operands, path (a JSON string), result
//! types. Lines are printed in topological order and may be read in any; the ids must be `%0`, `%1`, … without
//! a gap. `//` starts a comment line. Reading trusts nothing: types are inferred again and must be the
//! declared ones, and whatever is wrong is an [`Error::Parse`] with its line.

use std::collections::HashSet;
use std::fmt;

use petgraph::graph::NodeIndex;

use super::{Graph, Node, NodeId, Value};
use crate::error::Error;
use crate::ops::Op;
use crate::types::{DType, Shape, TensorType};

/// A string in quotes, with everything escaped that would end it or its line.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut order = self.topological();
        if order.len() < self.len() {
            // a broken graph is printed too: whoever looks for its cycle wants to see it
            let ordered: HashSet<NodeId> = order.iter().copied().collect();
            order.extend(self.nodes().filter(|id| !ordered.contains(id)));
        }
        writeln!(f, "graph {} {{", quoted(&self.name))?;
        for id in order {
            let node = self.node(id);
            let op = ron::to_string(&node.op).map_err(|_| fmt::Error)?;
            let (operands, name, types) = (list(&node.operands), quoted(&node.name), list(&node.results));
            writeln!(f, "  {id} = {op} ({operands}) {name} : {types}")?;
        }
        for (name, value) in &self.outputs {
            writeln!(f, "  output {} = {value}", quoted(name))?;
        }
        for (state, value) in &self.updates {
            writeln!(f, "  update {state} = {value}")?;
        }
        writeln!(f, "}}")
    }
}

/// Two graphs are the same when their ids, operations, paths, operands, types, outputs and updates are.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.name == other.name
            && self.len() == other.len()
            && self.nodes().all(|id| self.node(id) == other.node(id))
            && self.outputs == other.outputs
            && self.updates == other.updates
    }
}

impl Graph {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::Parse`] with the line and what was expected there; also for a text of the right form whose
    /// graph would break an invariant (see [`Graph::verify`]).
    pub fn parse(text: &str) -> Result<Graph, Error> {
        let mut body = Body::default();
        let mut lines = text.lines().enumerate().map(|(at, line)| Cursor { rest: line.trim(), line: at + 1 });
        let mut lines = lines.by_ref().filter(|c| !c.rest.is_empty() && !c.rest.starts_with("//"));
        let end = text.lines().count().max(1);
        let missing = |what: &str| Error::Parse { line: end, reason: format!("the text ends before {what}") };

        let mut header = lines.next().ok_or_else(|| missing("`graph \"name\" {`"))?;
        header.expect("graph")?;
        body.name = header.string()?;
        header.expect("{")?;
        header.end()?;
        loop {
            let mut line = lines.next().ok_or_else(|| missing("the closing `}`"))?;
            if line.take("}") {
                line.end()?;
                break;
            }
            body.line(line)?;
        }
        match lines.next() {
            Some(line) => line.fail("nothing follows the closing `}`"),
            None => body.build(end),
        }
    }
}

/// What the lines said, before it is known to fit together.
#[derive(Default)]
struct Body {
    name: String,
    nodes: Vec<(usize, NodeId, Node)>,
    outputs: Vec<(usize, String, Value)>,
    updates: Vec<(usize, NodeId, Value)>,
}

impl Body {
    fn line(&mut self, mut line: Cursor<'_>) -> Result<(), Error> {
        if line.take("output ") {
            let name = line.string()?;
            line.expect("=")?;
            self.outputs.push((line.line, name, line.value()?));
        } else if line.take("update ") {
            let state = line.id()?;
            line.expect("=")?;
            self.updates.push((line.line, state, line.value()?));
        } else if line.rest.starts_with('%') {
            let id = line.id()?;
            line.expect("=")?;
            let op = line.op()?;
            line.expect("(")?;
            let operands = if line.take(")") {
                Vec::new()
            } else {
                let operands = line.separated(Cursor::value)?;
                line.expect(")")?;
                operands
            };
            let name = line.string()?;
            line.expect(":")?;
            let results = line.separated(Cursor::tensor_type)?;
            self.nodes.push((line.line, id, Node { op, name, operands, results }));
        } else {
            return line.fail("a line is `%id = …`, `output \"name\" = %id`, `update %id = %id` or `}`");
        }
        line.end()
    }

    fn build(mut self, end: usize) -> Result<Graph, Error> {
        let wrong = |line: usize, reason: String| Error::Parse { line, reason };
        let lines: Vec<(usize, NodeId)> = self.nodes.iter().map(|&(line, id, _)| (line, id)).collect();
        let count = self.nodes.len();
        let mut seen = HashSet::new();
        let mut names = HashSet::new();
        for (line, id, node) in &self.nodes {
            if id.index() >= count {
                return Err(wrong(
                    *line,
                    format!("{id} is not one of %0 to %{}; ids have no gaps", count.saturating_sub(1)),
                ));
            }
            if !seen.insert(*id) {
                return Err(wrong(*line, format!("{id} is defined twice")));
            }
            if node.op.has_unique_name() && !names.insert(&node.name) {
                return Err(wrong(*line, format!("input or state {} exists already", quoted(&node.name))));
            }
            if let Some(unknown) = node.operands.iter().find(|v| v.node.index() >= count) {
                return Err(wrong(*line, format!("operand {unknown} does not exist among {count} nodes")));
            }
        }
        self.nodes.sort_by_key(|&(_, id, _)| id);
        let mut graph = Graph::new(self.name);
        for (_, _, node) in self.nodes {
            graph.count_automatic_name(&node);
            graph.inner.add_node(node);
        }
        for &(line, id) in &lines {
            for operand in graph.node(id).operands.clone() {
                graph.inner.add_edge(NodeIndex::new(operand.node.index()), NodeIndex::new(id.index()), ());
            }
            let node = graph.node(id);
            match graph.infer(&node.op, &node.operands, &node.name) {
                Ok(results) if results == node.results => {}
                Ok(results) => {
                    let (declared, inferred) = (list(&node.results), list(&results));
                    return Err(wrong(
                        line,
                        format!("{id} is declared {declared}, but the operation gives {inferred}"),
                    ));
                }
                Err(error) => return Err(wrong(line, error.to_string())),
            }
        }
        let cyclic: HashSet<NodeId> = graph.cycles().into_iter().flatten().collect();
        if let Some((line, id)) = lines.iter().find(|(_, id)| cyclic.contains(id)) {
            return Err(wrong(*line, format!("{id} needs its own result: the nodes form a cycle")));
        }
        // sets, not searches: a text may have a great many of both
        let mut names = HashSet::new();
        for (line, name, value) in self.outputs {
            if !names.insert(name.clone()) {
                return Err(wrong(line, Error::DuplicateName { what: "output", name }.to_string()));
            }
            graph.push_output(&name, value).map_err(|error| wrong(line, error.to_string()))?;
        }
        let mut updated = HashSet::new();
        for (line, state, value) in self.updates {
            if !updated.insert(state) {
                let name = graph.get(state).map(|node| node.name.clone()).unwrap_or_default();
                return Err(wrong(line, Error::DuplicateName { what: "update of a state", name }.to_string()));
            }
            graph.push_update(state.result(0), value).map_err(|error| wrong(line, error.to_string()))?;
        }
        // all of this was checked line by line; the verifier has the last word
        graph.verify().map_err(|error| wrong(end, error.to_string()))?;
        Ok(graph)
    }
}

impl Graph {
    /// Continues the numbering of automatic names (`relu`, `relu_1`, …) behind those of a text.
    fn count_automatic_name(&mut self, node: &Node) {
        let (scope, last) = node.name.rsplit_once('.').map_or(("", node.name.as_str()), |(s, l)| (s, l));
        let Some(number) = last.strip_prefix(node.op.kind()) else { return };
        let count = match number.strip_prefix('_').map(str::parse::<usize>) {
            None if number.is_empty() => 1,
            Some(Ok(n)) => n.saturating_add(1),
            None | Some(Err(_)) => return,
        };
        let path = if scope.is_empty() { node.op.kind().to_string() } else { format!("{scope}.{}", node.op.kind()) };
        let taken = self.taken.entry(path).or_insert(0);
        *taken = count.max(*taken);
    }
}

/// The unread part of one line.
struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn fail<T>(&self, reason: &str) -> Result<T, Error> {
        let found = match self.rest.char_indices().nth(40) {
            Some((cut, _)) => format!("`{}…`", &self.rest[..cut]),
            None if self.rest.is_empty() => "the end of the line".to_string(),
            None => format!("`{}`", self.rest),
        };
        Err(Error::Parse { line: self.line, reason: format!("{reason}; found {found}") })
    }

    /// Takes `token` and the blanks around it, if it is next.
    fn take(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }
    fn expect(&mut self, token: &str) -> Result<(), Error> {
        if self.take(token) { Ok(()) } else { self.fail(&format!("expected `{token}`")) }
    }
    fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { self.fail("expected the end of the line") }
    }
    fn separated<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let mut items = vec![item(self)?];
        while self.take(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, Error> {
        let digits = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        match self.rest[..digits].parse() {
            Ok(number) => {
                self.rest = self.rest[digits..].trim_start();
                Ok(number)
            }
            Err(_) => self.fail(&format!("expected {what}, a number")),
        }
    }
    /// `%7`
    fn id(&mut self) -> Result<NodeId, Error> {
        self.expect("%")?;
        self.number("a node's id").map(NodeId)
    }
    /// `%7` or `%7.1`
    fn value(&mut self) -> Result<Value, Error> {
        let node = self.id()?;
        let port = if self.take(".") { self.number("a result's position")? } else { 0 };
        Ok(Value { node, port })
    }
    /// A JSON string.
    fn string(&mut self) -> Result<String, Error> {
        let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match strings.next() {
            Some(Ok(string)) => {
                self.rest = self.rest.get(strings.byte_offset()..).unwrap_or_default().trim_start();
                Ok(string)
            }
            Some(Err(_)) | None => self.fail("expected a name in quotes"),
        }
    }
    /// Everything up to the first blank outside brackets.
    fn op(&mut self) -> Result<Op, Error> {
        let mut depth = 0usize;
        let length = self.rest.find(|c: char| {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && c.is_whitespace()
        });
        let (text, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        match ron::from_str(text) {
            Ok(op) => {
                self.rest = rest.trim_start();
                Ok(op)
            }
            Err(error) => self.fail(&format!("expected an operation: {}", error.code)),
        }
    }
    /// `f32[2,3]`
    fn tensor_type(&mut self) -> Result<TensorType, Error> {
        let dtypes = [DType::F32, DType::Bf16, DType::I32, DType::U8];
        let Some(&dtype) = dtypes.iter().find(|dtype| self.take(&format!("{dtype}["))) else {
            return self.fail("expected a type such as `f32[2,3]`");
        };
        let mut shape = Vec::new();
        if !self.take("]") {
            shape = self.separated(|line| line.number("an extent"))?;
            self.expect("]")?;
        }
        Ok(TensorType::new(dtype, Shape(shape)))
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
