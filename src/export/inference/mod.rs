//! The inference graph: an evaluation graph without its loss, with all that depends on weights only computed.
//!
//! ```text
//!   evaluation Graph ─cone of outputs─▶ fold batch norms ─▶ fold ───────▶ InferenceGraph ◀─▶ NAME.outrigger
//!   Store ──────────────────────────────────────────────────────┘           │ compile: conv + bias + add + relu
//!                                                                           ▼          become one kernel
//!                                                                        Session
//! ```
//!
//! What is kept and stored is the *portable* graph with folded weights, not the fused kernels that are made of it. A
//! kernel's cut into chunks follows from the batch size, and which operations it takes in from the version of the
//! compiler; a file of kernels could be run with neither another batch size nor a better compiler, nor be written as
//! ONNX. Fusing takes milliseconds and happens when the graph is compiled, by the same passes as everywhere;
//! [`InferenceGraph::fused`] gives the kernels, and printing lists them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use outrigger_runtime::Team;

use super::kernels::sentence;
use super::portable::expect_portable;
use crate::compile::{Options, Program, compile};
use crate::error::Error;
use crate::formats::Storage;
use crate::graph::Graph;
use crate::ops::Op;
use crate::passes::{PassOptions, fold_batch_norms, optimise};
use crate::session::Session;
use crate::store::Store;
use crate::tensor::Tensor;

mod batch;
mod certificate;
mod file;
mod fold;
mod norms;

pub use certificate::{Certificate, Comparison, Samples};
pub use file::{MEMORY_BASE, MEMORY_FACTOR};

/// The arena that a session may take at most, in bytes. Shapes of a damaged or hostile file are refused by it before
/// memory is taken.
pub const MOST_ARENA: usize = 16 << 30;

/// A network ready to be deployed: a folded graph, its tensors, and how far it is from what it was made from.
#[derive(Clone)]
pub struct InferenceGraph {
    graph: Graph,
    store: Store,
    storage: Storage,
    certificate: Certificate,
}

impl InferenceGraph {
    /// The inference graph of `evaluation` (as [`Classifier::evaluation`](crate::models::Classifier::evaluation) builds it) with the
    /// weights in `store`: what `outputs` need, batch norms folded into convolutions, all that depends on weights only
    /// computed in f64, and weights rounded to `storage`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an output that is not there; [`Error::Export`] for an operation that belongs to
    /// training; [`Error::UnknownName`] or [`Error::Type`] for a store of another model; [`Error::Checkpoint`] for a weight
    /// that f16 cannot hold.
    pub fn export(evaluation: &Graph, store: &Store, outputs: &[&str], storage: Storage) -> Result<Self, Error> {
        let (graph, store) = folded(evaluation, store, outputs)?;
        check(&graph)?;
        // the weights in memory are those that a file would hold
        let stored = file::weights(&store, BTreeMap::new(), storage)?;
        stored.names().try_for_each(|name| store.set(name, &stored.tensor(name)?))?;
        let certificate = Certificate { weights_sha256: stored.tensors_sha256(), comparison: None };
        Ok(InferenceGraph { graph, store, storage, certificate })
    }

    /// Compares with the graph it was made from, on `samples`; the certificate holds the result from then on.
    ///
    /// # Errors
    /// [`Error::Option`] and [`Error::Type`] for samples that do not fit; those of compiling and running.
    pub fn certify(
        &mut self,
        evaluation: &Graph,
        store: &Store,
        samples: Samples<'_>,
        team: &Arc<Team>,
    ) -> Result<&Comparison, Error> {
        let outputs: Vec<&str> = self.graph.outputs().iter().map(|(name, _)| name.as_str()).collect();
        let cone = evaluation.cone(&outputs)?;
        let found = certificate::compare((&cone, store), (&self.graph, &self.store), self.batch(), samples, team)?;
        Ok(self.certificate.comparison.insert(found))
    }

    /// The folded graph: portable operations, and a parameter or buffer for each tensor.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// Its tensors, as they were rounded for storage.
    pub fn store(&self) -> &Store {
        &self.store
    }
    /// How weights are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }
    /// What was measured when it was exported.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
    /// Samples of a run: the first extent of the first input.
    pub fn batch(&self) -> usize {
        batch::batch_of(&self.graph)
    }

    /// The same network, on the same tensors, for `batch` samples.
    ///
    /// # Errors
    /// [`Error::Option`] for an empty batch; [`Error::Operands`] naming an operation that mixes samples, so that it has no
    /// other batch size.
    pub fn with_batch(&self, batch: usize) -> Result<Self, Error> {
        let graph = batch::with_batch(&self.graph, batch)?;
        Ok(InferenceGraph { graph, ..self.clone() })
    }

    /// Checks every invariant of the graph, that it holds portable operations only, and that the tensors are those of
    /// the certificate. Loading does the same.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Operands`]; [`Error::Checkpoint`] for changed tensors.
    pub fn verify(&self) -> Result<(), Error> {
        check(&self.graph)?;
        let tensors = file::weights(&self.store, BTreeMap::new(), self.storage)?;
        if tensors.tensors_sha256() == self.certificate.weights_sha256 {
            Ok(())
        } else {
            Err(tensors.error("are not those that the certificate was written for"))
        }
    }

    /// The kernels that the graph becomes: the same network at the machine level.
    ///
    /// # Errors
    /// Those of the passes.
    pub fn fused(&self) -> Result<Graph, Error> {
        optimise(&self.graph, &PassOptions::default()).map(|(graph, _)| graph)
    }
    /// Compiles it.
    ///
    /// # Errors
    /// Those of [`compile`]; [`Error::Option`] when the plan takes more than [`MOST_ARENA`] bytes.
    pub fn program(&self, options: &Options) -> Result<Program, Error> {
        let program = compile(&self.graph, options)?;
        let bytes = program.summary().arena_bytes;
        if bytes > MOST_ARENA {
            let reason = format!("\"{}\" needs {bytes} bytes; {MOST_ARENA} are allowed", self.graph.name());
            return Err(Error::Option { option: "arena".to_string(), reason });
        }
        Ok(program)
    }
    /// A session on its own tensors.
    ///
    /// # Errors
    /// As [`InferenceGraph::program`]; [`Error::Runtime`] when memory cannot be had.
    pub fn session(&self, team: &Arc<Team>) -> Result<Session, Error> {
        self.program(&Options::default())?.session(&self.store, team)
    }
    /// Compiles for the number of samples in `inputs`, runs once, and gives all outputs in order. To run often, keep a
    /// [`InferenceGraph::session`].
    ///
    /// # Errors
    /// As [`InferenceGraph::with_batch`], [`InferenceGraph::session`] and running.
    pub fn run(&self, inputs: &[(&str, &Tensor)], team: &Arc<Team>) -> Result<Vec<(String, Tensor)>, Error> {
        let first = self.graph.inputs().next().map(|id| self.graph.node(id).name.clone());
        let given = inputs.iter().find(|(name, _)| Some(*name) == first.as_deref());
        let batch = given.and_then(|(_, tensor)| tensor.shape().0.first().copied()).unwrap_or(self.batch());
        let mut session = self.with_batch(batch)?.session(team)?;
        inputs.iter().try_for_each(|(name, tensor)| session.set(name, tensor))?;
        session.run()?;
        self.graph.outputs().iter().map(|(name, _)| Ok((name.clone(), session.get(name)?))).collect()
    }
}

/// What `outputs` need of `evaluation`, without batch norms and without computations on weights alone, and its tensors.
///
/// # Errors
/// As [`InferenceGraph::export`].
pub(super) fn folded(evaluation: &Graph, store: &Store, outputs: &[&str]) -> Result<(Graph, Store), Error> {
    let cone = evaluation.cone(outputs)?;
    expect_portable(&cone)?;
    let mut folding = fold_batch_norms(&cone)?;
    norms::split(&mut folding)?;
    fold::fold(&folding.compact().cone(outputs)?, store)
}

/// What holds of every inference graph.
fn check(graph: &Graph) -> Result<(), Error> {
    graph.verify()?;
    expect_portable(graph)?;
    let lacks = match (graph.updates().is_empty(), graph.outputs().is_empty(), graph.inputs().next().is_none()) {
        (false, ..) => "changes its state",
        (_, true, _) => "has no output",
        (.., true) => "has no input",
        _ => return Ok(()),
    };
    Err(Error::Invalid {
        after: None,
        violations: vec![format!("an inference graph, but \"{}\" {lacks}", graph.name())],
    })
}

/// The graph's text, its kernels, and the certificate.
impl fmt::Display for InferenceGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.store.entries().iter().map(|(_, ty)| ty.bytes()).sum();
        let (tensors, storage) = (self.store.entries().len(), self.storage);
        writeln!(f, "inference graph, batch {}: {tensors} tensors, {bytes} bytes, stored as {storage}", self.batch())?;
        write!(f, "{}", self.graph)?;
        match self.fused() {
            Err(error) => writeln!(f, "kernels: {error}")?,
            Ok(fused) => {
                writeln!(f, "kernels")?;
                for node in fused.topological().into_iter().map(|id| fused.node(id)).filter(|n| !n.op.is_source()) {
                    let what = match &node.op {
                        Op::Fused(kernel) => sentence(kernel),
                        other => other.kind().to_string(),
                    };
                    writeln!(f, "  {:<28} {what}", node.name)?;
                }
            }
        }
        write!(f, "{}", self.certificate)
    }
}
