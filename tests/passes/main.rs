//! The passes: what they make of graphs, and that they change no result.

mod harness;
mod resnet;
