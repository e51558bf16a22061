//! What goes with a training step: learning-rate schedules, against PyTorch's numbers, and metrics, by brute force.

mod metrics;
mod schedules;
