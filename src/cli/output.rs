//! What commands write to standard output, and the checks of what users write on the command line.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::Error;

/// Writes a line to standard output.
pub(super) fn say(line: impl std::fmt::Display) -> Result<(), Error> {
    written(writeln!(io::stdout().lock(), "{line}"))
}

/// Writes a line of JSON to standard output.
pub(super) fn say_json(value: &impl Serialize) -> Result<(), Error> {
    say(json(value)?)
}

/// One line of JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Io { file: "JSON".to_string(), source: e.into() })
}

/// An error of standard output as one of ours.
pub(super) fn written(result: io::Result<()>) -> Result<(), Error> {
    result.map_err(|source| Error::Io { file: "standard output".to_string(), source })
}

/// An error of a file as one of ours.
pub(super) fn at<'p>(path: &'p Path) -> impl Fn(io::Error) -> Error + 'p {
    move |source| Error::Io { file: path.display().to_string(), source }
}

/// What is wrong with an option.
pub(super) fn misuse(option: &str, reason: impl Into<String>) -> Error {
    Error::Option { option: option.to_string(), reason: reason.into() }
}

/// Reads a whole number of at least 1.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("takes a whole number of at least 1".to_string()),
    }
}
