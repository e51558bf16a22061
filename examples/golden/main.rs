//! Replays a training run that another framework made in float64, and prints the differences as one line of JSON.
//!
//! ```text
//! cargo run --release --example golden -- FILE.safetensors --data DIR
//! ```

mod replay;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use outrigger::data::load_dir;
use outrigger::train::{ModelOptions, WeightFile};
use outrigger::{Error, Options, Precision};

/// Replays a golden training run and prints how far this compiler's is from it.
#[derive(Debug, Parser)]
struct Args {
    /// The golden run (safetensors; its metadata says how it was made)
    file: PathBuf,
    /// Directory with the CIFAR-10 files it was made from
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Threads [default: the cores this process may use]
    #[arg(long)]
    threads: Option<usize>,
    /// f32 or bf16
    #[arg(long, default_value = "f32")]
    precision: Precision,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let file = WeightFile::read(&args.file)?;
    let data = load_dir(&args.data).map_err(Error::Data)?;
    let compile = Options { precision: args.precision, ..Options::default() };
    let options = ModelOptions { threads: args.threads, compile, ..ModelOptions::default() };
    let report = replay::replay(&file, data, options)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}
