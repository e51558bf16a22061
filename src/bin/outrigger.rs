//! The command line; see the module `cli` of the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger::cli::main()
}
