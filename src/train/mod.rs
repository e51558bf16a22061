//! Training: optimizers as part of the graph.

pub mod optimizer;
