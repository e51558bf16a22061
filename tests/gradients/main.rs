//! Gradients of the graph against central differences of the f64 reference interpreter, for every
//! operation on random shapes, and the exact values where a function has a kink.

mod cases;
mod errors;
mod harness;
mod kinks;
mod layers;
mod order;
