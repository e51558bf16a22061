//! Looking at a model and keeping it: summaries, architectures as JSON, whole models in files.

mod json;
mod keras_json;
mod summary;
mod whole;

use std::path::{Path, PathBuf};

use outrigger::Error;
use outrigger::nn::{Mode, Network};

/// A file beside the checkout; `None`, with a message, where it is missing.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    let found = path.exists();
    if !found {
        eprintln!("skipped: {} is not there", path.display());
    }
    found.then_some(path)
}

/// The graph texts of a network in both modes.
fn texts(network: &Network) -> [String; 2] {
    [Mode::Train, Mode::Evaluate].map(|mode| network.graph(2, mode).unwrap().to_string())
}

/// The error of what must fail, however its value prints.
fn refused<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("must be refused"),
        Err(error) => error.to_string(),
    }
}
