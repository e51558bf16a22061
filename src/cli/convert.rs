//! `outrigger convert`: weights from one format to another.

use std::path::PathBuf;

use super::output::{misuse, say, say_json};
use crate::error::Error;
use crate::formats::{Convention, convert};

/// Convert weights between .safetensors, .pt, .weights.h5 and .npz.
///
/// The ends of the names say the formats; names and axes become those of the format's framework.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger convert model.weights.h5 model.pt
  outrigger convert w.safetensors w.npz --names keras")]
pub(super) struct Args {
    /// What to read, of any known format
    from: PathBuf,
    /// What to write: .safetensors, .pt, .pth, .ckpt, .weights.h5 or .npz
    to: PathBuf,
    /// Whose names and axes .safetensors and .npz get: torch or keras [default: as they are]
    #[arg(long, value_parser = convention)]
    names: Option<Convention>,
    /// One line of JSON: file, tensors
    #[arg(long)]
    json: bool,
}

fn convention(word: &str) -> Result<Convention, String> {
    match word {
        "torch" => Ok(Convention::Torch),
        "keras" => Ok(Convention::Keras),
        _ => Err("takes torch or keras".to_string()),
    }
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let written = convert(&args.from, &args.to, args.names).map_err(|error| match error {
        // the library's name of --names
        Error::Option { reason, .. } => misuse("--names", reason),
        other => other,
    })?;
    let (file, tensors) = (args.to.display().to_string(), written.names().count());
    if args.json {
        return say_json(&serde_json::json!({ "file": file, "tensors": tensors }));
    }
    say(format_args!("{file}: {tensors} tensors"))
}
