//! Trained networks in the forms that other programs take.
//!
//! ```text
//!  evaluation graph + Store ──▶ onnx ──▶ NAME.onnx
//! ```

pub mod onnx;
