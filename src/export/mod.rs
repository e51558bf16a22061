//! Taking a trained network away: the forms in which it is deployed or looked at.
//!
//! ```text
//!   evaluation Graph + Store ─┬─▶ inference: folded graph with its weights ─▶ NAME.outrigger
//!                             ├─▶ onnx:      for other runtimes              ─▶ NAME.onnx
//!                             └─▶ picture:   any graph, any plan           ─▶ SVG, DOT
//! ```

pub mod inference;
mod kernels;
pub mod onnx;
pub mod picture;
