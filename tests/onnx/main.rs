//! ONNX files: their structure here, their numbers by `tests/onnx/check`, which has `files.rs` write every case of the
//! operation suite and every network, and runs them with ONNX Runtime.

#[path = "../common/mod.rs"]
mod common;

mod errors;
mod files;
mod parsed;
mod structure;
