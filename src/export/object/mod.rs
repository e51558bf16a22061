//! A compiled network as a static library and its C header: no runtime, no allocation, weights in read-only data.
//!
//! ```text
//!   Graph ─compile─▶ Program ─┐ prepare once             ┌──▶ NAME.o ──▶ NAME.a
//!   Store ────────────────────┴──▶ Contents ──native─────┤
//!                                                        └──▶ NAME.h
//! ```
//!
//! What the JIT's prepare steps compute from the weights (folded batch norms, packed and transformed weights) is
//! computed here and stored, so that nothing is left to be done before the first run.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use outrigger_runtime::Team;

use crate::codegen::{self, Contents, Isa, Machine, NativeCode};
use crate::compile::{Options, Program, compile};
use crate::error::Error;
use crate::formats::atomic::write_file;
use crate::graph::Graph;
use crate::store::Store;

mod header;

/// How a graph becomes native code.
#[derive(Clone, Debug)]
pub struct ObjectOptions {
    /// What all symbols and files begin with: a C identifier.
    pub name: String,
    /// What the code is to run on. Default: machines like this one.
    pub machine: Machine,
    /// Passes, precision and algorithms. Its instruction set is not used: the code has all variants.
    pub compile: Options,
}

impl ObjectOptions {
    /// Code for machines like this one, with all passes.
    pub fn new(name: impl Into<String>) -> Self {
        ObjectOptions { name: name.into(), machine: Machine::Host, compile: Options::default() }
    }
}

/// Native code of a network, and the header that says how to call it.
pub struct NativeLibrary {
    name: String,
    code: NativeCode,
    header: String,
}

/// Compiles `graph` with the weights of `store` into code that can be linked.
///
/// Every input and output becomes a pointer of the C function; [`Graph::cone`] leaves only those that are
/// wanted. The batch size is the graph's: for single images export the graph of batch 1, and run a batch of them on
/// threads with the second function, `NAME_run_batch`.
///
/// # Errors
/// Those of [`compile`]; [`Error::Option`] for a name that is no C identifier, a graph that updates state or gives or
/// takes bf16, and a machine that this build has no compiler for; [`Error::UnknownName`] or [`Error::Type`] when the
/// store lacks a state.
pub fn object(graph: &Graph, store: &Store, options: &ObjectOptions) -> Result<NativeLibrary, Error> {
    header::check_name(&options.name)?;
    // any variant's prepare steps compute the same bits for the same places; this one runs here
    let isa = Some(Isa::detect().vectors());
    let program = compile(graph, &Options { isa, ..options.compile.clone() })?;
    let planned = &program.planned;
    if planned.writes_states {
        return Err(Error::Option {
            option: format!("graph \"{}\"", planned.name),
            reason: "updates its state when it runs; export a graph for evaluation".to_string(),
        });
    }
    let contents = contents(&program, store)?;
    let code = codegen::native(planned, &contents, &options.name, options.machine, options.compile.convolution)?;
    let header = header::write(&options.name, planned, &code)?;
    Ok(NativeLibrary { name: options.name.clone(), code, header })
}

/// What a session's memory holds before its first run.
fn contents(program: &Program, store: &Store) -> Result<Contents, Error> {
    let team = Arc::new(Team::new(1)?);
    // checks the types of all state
    program.session(store, &team)?;
    let mut session = outrigger_runtime::Session::new(program.plan.clone(), store.state.clone(), team)?;
    // no steps but those that prepare
    session.run_steps(0..0)?;
    let mut arena = vec![0; program.plan.work_bytes];
    session.read_work(0, &mut arena)?;
    let states = program.planned.states.iter().map(|slot| store.state.read(&slot.name));
    Ok(Contents { plan: program.plan.clone(), arena, states: states.collect::<Result<_, _>>()? })
}

impl NativeLibrary {
    /// The object file.
    pub fn object(&self) -> &[u8] {
        &self.code.object
    }
    /// The C header.
    pub fn header(&self) -> &str {
        &self.header
    }
    /// The instruction sets that a run chooses from, the narrowest first.
    pub fn variants(&self) -> &[Isa] {
        &self.code.variants
    }
    /// Memory that a run needs, in bytes.
    pub fn workspace_bytes(&self) -> usize {
        self.code.workspace_bytes
    }
    /// Weights and what was computed from them, in bytes of the object file.
    pub fn data_bytes(&self) -> usize {
        self.code.data_bytes
    }

    /// The static library: the object file in an archive with an index, as `ar rcs` makes it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn archive(&self) -> Result<Vec<u8>, Error> {
        let member = NewArchiveMember::new(self.object(), &DEFAULT_OBJECT_READER, format!("{}.o", self.name));
        let mut archive = Cursor::new(Vec::new());
        write_archive_to_stream(&mut archive, &[member], ArchiveKind::Gnu, false, None)
            .map_err(|source| Error::Io { file: format!("{}.a", self.name), source })?;
        Ok(archive.into_inner())
    }

    /// Writes the static library `NAME.a` and `NAME.h` into `directory`; returns their paths.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, directory: impl AsRef<Path>) -> Result<[PathBuf; 2], Error> {
        let write = |extension: &str, bytes: &[u8]| {
            let path = directory.as_ref().join(format!("{}.{extension}", self.name));
            match write_file(&path, &[bytes]) {
                Ok(()) => Ok(path),
                Err(source) => Err(Error::Io { file: path.display().to_string(), source }),
            }
        };
        Ok([write("a", &self.archive()?)?, write("h", self.header.as_bytes())?])
    }
}
