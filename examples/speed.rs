//! Measures a training step and inference, as `outrigger bench --json`: one line of JSON.
//!
//! ```text
//! cargo run --release --example speed -- --batch 100 --steps 20
//! cargo run --release --example speed -- --help
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger::cli::command(&["bench", "--json"])
}
