//! What several test programs share: the suite of operation cases, random graphs, and the executors that
//! run them.

// each test program uses another part of this
#![allow(dead_code)]

pub mod build;
pub mod cases;
pub mod executors;
pub mod random_graph;
pub mod rng;
