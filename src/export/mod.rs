//! Taking a network away: in forms that need neither graph nor compiler to run.
//!
//! ```text
//!   Graph + Store ──object──▶ NAME.a or NAME.o, NAME.h: machine code and weights to link with C, C++ or Rust
//! ```

mod object;
mod subgraph;

pub use object::{NativeLibrary, ObjectOptions, object};
pub use subgraph::subgraph;
