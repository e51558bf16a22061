//! Taking a trained network away: the forms in which it is deployed or looked at.
//!
//! ```text
//!   evaluation Graph + Store ─┬─▶ inference: folded graph with its weights ─▶ NAME.outrigger
//!                             ├─▶ onnx:      for other runtimes              ─▶ NAME.onnx
//!                             ├─▶ object:    machine code and weights        ─▶ NAME.a, NAME.o, NAME.h
//!                             └─▶ picture:   any graph, any plan           ─▶ SVG, DOT
//! ```

pub mod inference;
mod kernels;
mod object;
pub mod onnx;
pub mod picture;
mod portable;

pub use object::{NativeLibrary, ObjectOptions, object};
