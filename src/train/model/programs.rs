//! Programs by what they are for, compiled when they are first needed, and the state that they share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use outrigger_runtime::Team;

use super::ModelOptions;
use super::objective::Task;
use crate::compile::{Options, Program, compile};
use crate::error::Error;
use crate::graph::Graph;
use crate::nn::{Mode, Network};
use crate::session::Session;
use crate::store::Store;

/// What a program does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Outputs of a batch in evaluation.
    Predict(usize),
    /// Outputs and loss, in evaluation.
    Test(Task),
    /// Outputs, loss, and a step of the optimizer.
    Step(Task),
    /// Outputs of a batch as in training, with no state changed.
    Forward(usize),
    /// Outputs, loss, and gradients that are added up.
    Gradient(Task),
    /// A step along the gradients.
    Update,
}

struct Ready {
    program: Program,
    session: Option<Session>,
}

/// Programs on one state.
pub(super) struct Programs {
    store: Store,
    team: Arc<Team>,
    compile: Options,
    seed: u64,
    ready: HashMap<Purpose, Ready>,
}

impl Programs {
    pub(super) fn new(network: &Network, options: &ModelOptions) -> Result<Programs, Error> {
        let threads = options.threads.unwrap_or_else(Team::default_threads);
        let team =
            Team::new(threads).map_err(|e| Error::Option { option: "threads".to_string(), reason: e.to_string() })?;
        let store = Store::new(&network.graph(1, Mode::Evaluate)?, options.seed)?;
        let (compile, seed) = (options.compile.clone(), options.seed);
        Ok(Programs { store, team: Arc::new(team), compile, seed, ready: HashMap::new() })
    }

    /// How programs are compiled.
    pub(super) fn options(&self) -> &Options {
        &self.compile
    }
    pub(super) fn store(&self) -> &Store {
        &self.store
    }
    pub(super) fn team(&self) -> &Arc<Team> {
        &self.team
    }
    /// A program whose purpose fits, if one was needed before.
    pub(super) fn find(&self, fits: impl Fn(&Purpose) -> bool) -> Option<&Program> {
        self.ready.iter().find(|(purpose, _)| fits(purpose)).map(|(_, ready)| &ready.program)
    }
    /// Drops all programs: the network has changed.
    pub(super) fn forget(&mut self) {
        self.ready.clear();
    }
    /// The state without tensors whose names `gone` holds.
    pub(super) fn drop_states(&mut self, gone: impl Fn(&str) -> bool) -> Result<(), Error> {
        self.store = self.store.without(gone)?;
        self.ready.values_mut().for_each(|ready| ready.session = None);
        Ok(())
    }

    /// Makes the states that `graph` has.
    pub(super) fn widen(&mut self, graph: &Graph) -> Result<(), Error> {
        if let Some(wider) = self.store.with(graph, self.seed)? {
            self.store = wider;
            // they hold the state that was too small
            self.ready.values_mut().for_each(|ready| ready.session = None);
        }
        Ok(())
    }

    /// The session for `purpose`, compiled from `graph` when it comes for the first time.
    pub(super) fn session(
        &mut self,
        purpose: Purpose,
        graph: impl FnOnce() -> Result<Graph, Error>,
    ) -> Result<&mut Session, Error> {
        if !self.ready.contains_key(&purpose) {
            let graph = graph()?;
            let program = compile(&graph, &self.compile)?;
            self.widen(&graph)?;
            self.ready.insert(purpose.clone(), Ready { program, session: None });
        }
        match self.ready.entry(purpose) {
            Entry::Occupied(entry) => {
                let ready = entry.into_mut();
                match &mut ready.session {
                    Some(session) => Ok(session),
                    empty => Ok(empty.insert(ready.program.session(&self.store, &self.team)?)),
                }
            }
            Entry::Vacant(entry) => Err(Error::Option {
                option: "program".to_string(),
                reason: format!("{:?} was not compiled", entry.key()),
            }),
        }
    }
}
