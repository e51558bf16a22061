//! `outrigger completions`: what shells complete commands and options with.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::output::{say_json, written};
use crate::error::Error;

/// Write the completions of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger completions bash > ~/.local/share/bash-completion/completions/outrigger
  outrigger completions fish > ~/.config/fish/completions/outrigger.fish")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
    /// One line of JSON: shell, script
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "outrigger", &mut script);
    if args.json {
        let script = String::from_utf8_lossy(&script);
        return say_json(&serde_json::json!({ "shell": args.shell.to_string(), "script": script }));
    }
    written(std::io::stdout().write_all(&script))
}
