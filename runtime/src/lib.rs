//! Runs the plans that the `outrigger` compiler makes: arena, worker team, executor, profile.
//!
//! This crate knows neither graphs nor compilers. A [`Plan`] is a list of kernels (machine code
//! behind [`KernelFn`] pointers) with the memory each one touches; a [`Session`] runs it.
//!
//! ```text
//!   Arc<Plan>  steps, sizes, constants ─┐
//!   Arc<State> weights, moments, stats ─┼─▶ Session ── run() ──▶ step 0 ▶ step 1 ▶ … ▶ step n
//!   Arc<Team>  worker threads          ─┘      │                  chunks of a step run in parallel,
//!                                              │                  a barrier lies between two steps
//!                      work arena: inputs, activations, gradients, outputs
//! ```
//!
//! With `OUTRIGGER_PROFILE=trace.json` in the environment every session of the process is measured: its last ten runs go
//! into that file, a Chrome trace with one process for each session and an event for each kernel and thread, and
//! [`Profile::table`] of the run of median length goes to stderr. Both are written when the session is dropped, so
//! a program that is killed, or that never drops a session, leaves them out. The file is valid after each of them.
//! Not recorded are prepare steps, and runs in a debug mode.
//!
//! Architecture invariants: the outcome of a run does not depend on the number of threads (the plan
//! cuts the work into chunks, never the team); no memory is allocated during a run; every error that
//! a caller can cause is an [`Error`] value.

#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

mod amx;
mod bytes;
mod canary;
mod check;
mod debug;
mod error;
mod event;
mod flush;
mod futex;
mod memory;
mod peak;
mod plan;
mod process;
mod profile;
mod program;
mod ranges;
mod recording;
mod roof;
mod session;
mod state;
mod table;
mod team;
mod trace;
mod validate;

pub use amx::{has_amx_bf16, is_amd};
pub use bytes::bytes_of;
pub use debug::DebugOptions;
pub use error::{Error, Result};
pub use peak::{peak_bandwidth, peak_gflops};
pub use plan::{Argument, BufferRef, Constant, KernelFn, Phase, Plan, StateSlot, Step};
pub use process::{peak_resident_bytes, resident_bytes, thread_cpu_time};
pub use profile::{Profile, Span, StepProfile};
pub use roof::{Bound, Roof};
pub use session::Session;
pub use state::State;
pub use team::Team;

/// Every buffer starts at a multiple of this many bytes: a cache line, and the widest vector.
pub const ALIGNMENT: usize = 64;
