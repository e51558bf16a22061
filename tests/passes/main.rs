//! The passes: what they make of graphs, and that they change no result. Everything is compared through
//! the reference interpreter, in f64, before and after.

#[path = "../common/mod.rs"]
mod common;

mod canonical;
mod equal;
mod folding;
mod fusion;
mod harness;
mod lower;
mod options;
mod resnet;
