//! Those who can run a graph: the reference interpreter and the compiled program in its variants.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger::codegen::Isa;
use outrigger::passes::PassOptions;
use outrigger::reference::{self, RefTensor};
use outrigger::{DType, Error, Graph, Options, Program, Store, Team, Tensor, compile};

/// What a run gives: outputs under their names, the new values of states under `new NAME`.
pub type Results = HashMap<String, RefTensor>;

/// Something that runs a graph once.
pub trait Executor {
    fn name(&self) -> String;
    /// Outputs and updates, or what went wrong.
    fn run(
        &self,
        graph: &Graph,
        inputs: &HashMap<String, Tensor>,
        state: &HashMap<String, Tensor>,
    ) -> Result<Results, String>;
}

/// Everyone who must agree with the reference. Here is the place to add an executor.
pub fn executors() -> Vec<Box<dyn Executor>> {
    let mut all: Vec<Box<dyn Executor>> = Vec::new();
    // the others multiply f32 as AVX-512 does
    for isa in [Isa::Clif, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.available()) {
        for (name, passes) in [("fused", PassOptions::default()), ("unfused", PassOptions::unfused())] {
            let options = Options { isa: Some(isa), passes, ..Options::default() };
            all.push(Box::new(Compiled::new(format!("{name} for {isa}"), options)));
        }
    }
    all
}

/// The interpreter: what the others are compared with.
pub struct Reference;

impl Executor for Reference {
    fn name(&self) -> String {
        "reference".to_string()
    }
    fn run(
        &self,
        graph: &Graph,
        inputs: &HashMap<String, Tensor>,
        state: &HashMap<String, Tensor>,
    ) -> Result<Results, String> {
        let outcome = reference::run(graph, inputs, state).map_err(|e| e.to_string())?;
        let updates = outcome.updates.into_iter().map(|(name, tensor)| (format!("new {name}"), tensor));
        Ok(outcome.outputs.into_iter().chain(updates).collect())
    }
}

/// The whole pipeline. The program runs with one, two and three threads, which must give the same bits.
pub struct Compiled {
    name: String,
    options: Options,
    teams: Vec<Arc<Team>>,
}

impl Compiled {
    pub fn new(name: String, options: Options) -> Self {
        let teams = [1, 2, 3].map(|threads| Arc::new(Team::new(threads).unwrap())).to_vec();
        Compiled { name, options, teams }
    }
}

impl Executor for Compiled {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn run(
        &self,
        graph: &Graph,
        inputs: &HashMap<String, Tensor>,
        state: &HashMap<String, Tensor>,
    ) -> Result<Results, String> {
        let program = compile(graph, &self.options).map_err(|e| e.to_string())?;
        let mut first: Option<HashMap<String, Tensor>> = None;
        for (at, team) in self.teams.iter().enumerate() {
            let results = run_once(&program, team, graph, inputs, state).map_err(|e| e.to_string())?;
            match &first {
                None => first = Some(results),
                Some(first) => {
                    let mut names: Vec<_> =
                        first.keys().filter(|&n| first[n].to_bytes() != results[n].to_bytes()).collect();
                    names.sort();
                    if !names.is_empty() {
                        return Err(format!("{names:?} differ between 1 and {} threads", at + 1));
                    }
                }
            }
        }
        Ok(first.into_iter().flatten().map(|(name, tensor)| (name, RefTensor::from(&tensor))).collect())
    }
}

fn run_once(
    program: &Program,
    team: &Arc<Team>,
    graph: &Graph,
    inputs: &HashMap<String, Tensor>,
    state: &HashMap<String, Tensor>,
) -> Result<HashMap<String, Tensor>, Error> {
    let store = Store::new(graph, 1)?;
    for (name, tensor) in state {
        store.set(name, tensor)?;
    }
    let mut session = program.session(&store, team)?;
    for (name, tensor) in inputs {
        session.set(name, tensor)?;
    }
    session.run()?;
    let mut results = HashMap::new();
    for (name, _) in graph.outputs() {
        results.insert(name.clone(), session.get(name)?);
    }
    for (id, _) in graph.updates() {
        if let Some(node) = graph.get(*id) {
            results.insert(format!("new {}", node.name), store.get(&node.name)?);
        }
    }
    Ok(results)
}

/// Says where `got` differs from `want` by more than `limit` of the name and the largest finite element
/// (integers: at all). What the reference calls too large for f32 must be infinite.
pub fn difference(got: &Results, want: &Results, limit: impl Fn(&str, f64) -> f64) -> Option<String> {
    let mut names: Vec<_> = want.keys().collect();
    names.sort();
    for name in names {
        let want = &want[name];
        let Some(got) = got.get(name) else { return Some(format!("{name} is missing")) };
        if got.ty != want.ty {
            return Some(format!("{name} is {}, not {}", got.ty, want.ty));
        }
        let exact: Vec<f64> = match want.ty.dtype {
            DType::F32 | DType::Bf16 => want.data.iter().map(|&v| representable(v)).collect(),
            DType::I32 | DType::U8 => want.data.clone(),
        };
        let float = want.ty.dtype == DType::F32;
        let scale = exact.iter().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
        let limit = if float { limit(name, scale) } else { 0.0 };
        for (at, (&got, &want)) in got.data.iter().zip(&exact).enumerate() {
            let same = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= limit;
            if !same {
                return Some(format!("{name}[{at}] is {got}, not {want} (within {limit:.1e})"));
            }
        }
    }
    None
}

/// The reference's value, or the infinity that f32 makes of it.
fn representable(v: f64) -> f64 {
    if (v as f32).is_infinite() { f64::from(v as f32) } else { v }
}
