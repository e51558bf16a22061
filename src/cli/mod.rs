//! The command line `outrigger`: one file a command, thin over what the library offers. Feature `cli`.
//!
//! ```text
//!   arguments ─▶ clap ─▶ Command ─▶ its file ─▶ lines on standard output (`--json`: of JSON)
//!                 │                     └─ Err ─▶ one line on standard error
//!                 └─ usage ─▶ one line, status 2                         status 0, 1 or 2
//! ```

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;

mod bench;
mod completions;
mod convert;
mod data;
mod eval;
mod export;
mod inspect;
mod output;
mod pictures;
mod predict;
mod source;
mod summary;
#[cfg(test)]
mod tests;
mod train;

/// Status after a user's mistake on the command line.
const USAGE: u8 = 2;

/// Trains, measures, looks into and exports neural networks on CPUs.
#[derive(Debug, Parser)]
#[command(
    name = "outrigger",
    version,
    after_help = "\
Examples:
  outrigger train --epochs 4 --save w.safetensors
  outrigger eval --weights w.safetensors
  outrigger export --weights w.safetensors --format onnx --out resnet.onnx
  outrigger inspect --kernels

Exit status: 0 when all is well, 1 for a failure, 2 for a command line that makes no sense."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Summary(summary::Args),
    Bench(bench::Args),
    Inspect(inspect::Args),
    Export(export::Args),
    Convert(convert::Args),
    Completions(completions::Args),
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the command that `first` begins, with the arguments of this process behind it: what the examples do that are
/// one command.
pub fn command(first: &[&str]) -> ExitCode {
    let words = ["outrigger"].iter().chain(first).map(OsString::from);
    run(words.chain(std::env::args_os().skip(1)))
}

fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let done = match &cli.command {
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Summary(args) => summary::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Export(args) => export::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Completions(args) => completions::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // who closed the pipe wants no more
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&one_line(&error.to_string()));
            match error {
                Error::Option { .. } => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Shows help and versions as clap has them; of a mistake the line that says it.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        // nobody may be listening
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let what = text.split("\nUsage:").next().unwrap_or_default().split("\nFor more").next().unwrap_or_default();
    let what = what.trim_start_matches("error: ");
    let command = arguments.get(1).filter(|word| !word.to_string_lossy().starts_with('-'));
    let known = |word: &&OsString| <Cli as clap::CommandFactory>::command().find_subcommand(word).is_some();
    let command = command.filter(known).map_or(String::new(), |word| format!(" {}", word.to_string_lossy()));
    if text.starts_with("error: ") {
        complain(&format!("{} (see outrigger{command} --help)", one_line(what)));
    } else {
        // no command at all: clap answers with the help
        complain(
            "a command is needed: train, eval, predict, summary, bench, inspect, export, convert or completions (see outrigger --help)",
        );
    }
    ExitCode::from(USAGE)
}

fn complain(line: &str) {
    // there is no other place to say so
    let _ = writeln!(io::stderr(), "error: {line}");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
