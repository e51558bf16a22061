//! The main job, as `outrigger train`: the CIFAR-10 ResNet, graph → autodiff → passes → plan → machine code → epochs.
//!
//! ```text
//! cargo run --release --example train_cifar10                      # the embedded sample
//! cargo run --release --example train_cifar10 -- --download        # all of CIFAR-10
//! cargo run --release --example train_cifar10 -- --help
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger::cli::command(&["train"])
}
