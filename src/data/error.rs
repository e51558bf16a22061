//! What can go wrong between a file, a server or an option and a batch: one error type, whose messages name the
//! file, the numbers found, and what would be right.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// An error of reading, downloading or loading a data set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "create", …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A data file with nothing in it.
    #[error("{origin} is empty: expected {record}-byte {layout} records")]
    Empty {
        /// The file, or what else the bytes came from.
        origin: String,
        /// The layout it was read as.
        layout: &'static str,
        /// Bytes in one record.
        record: usize,
    },

    /// A data file that is cut short, too long, or of another layout.
    #[error(
        "{origin} holds {length} bytes, which is no whole number of {record}-byte {layout} records: the nearest is \
         {nearest} records, {} bytes", nearest * (*record as u64)
    )]
    Length {
        /// The file, or what else the bytes came from.
        origin: String,
        /// The layout it was read as.
        layout: &'static str,
        /// Bytes found.
        length: u64,
        /// Bytes in one record.
        record: usize,
        /// The whole number of records nearest to `length`.
        nearest: u64,
    },

    /// A data file with more records than any official one.
    #[error(
        "{} holds {length} bytes, more than the official file: at most {most} records, {} bytes",
        path.display(), most * (*record as u64)
    )]
    Oversized {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        length: u64,
        /// The most records that it may hold.
        most: u64,
        /// Bytes in one record.
        record: usize,
    },

    /// A label that names no class.
    #[error(
        "{origin}: record {record} has the label {label}, but the {classes} classes are numbered 0 to {}",
        classes.saturating_sub(1)
    )]
    Label {
        /// The file, or what else the bytes came from.
        origin: String,
        /// Index of the record, from 0.
        record: usize,
        /// The label found.
        label: i64,
        /// How many classes there are.
        classes: usize,
    },

    /// A directory without a data set.
    #[error("no data set in {}: looked for {looked_for}", dir.display())]
    NotFound {
        /// The directory asked for.
        dir: PathBuf,
        /// The files that were looked for, and where.
        looked_for: String,
    },

    /// A directory with a part of a data set.
    #[error("{} is incomplete: it lacks {}", dir.display(), missing.join(", "))]
    Incomplete {
        /// The directory that holds the files.
        dir: PathBuf,
        /// The missing files.
        missing: Vec<String>,
    },

    /// Images, labels and classes that do not belong together.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// What disagrees.
        what: &'static str,
        /// What would be right.
        expected: String,
        /// What there is.
        found: String,
    },

    /// A file that is damaged, or of another format.
    #[error("{file}: {reason}")]
    Format {
        /// The file, or what else the bytes came from.
        file: String,
        /// What is wrong, and where.
        reason: String,
    },

    /// What went wrong with one sample.
    #[error("{origin}: {source}")]
    At {
        /// The sample: its file, or its index.
        origin: String,
        /// What went wrong.
        source: Box<DataError>,
    },

    /// An option outside its range.
    #[error("{option} = {value}: {allowed}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        allowed: String,
    },

    /// No mirror delivered an archive.
    #[error("cannot download {name}:{}\n{by_hand}", failures(mirrors))]
    Download {
        /// The data set.
        name: String,
        /// Every mirror tried, with its failure.
        mirrors: Vec<MirrorFailure>,
        /// Which files to put where by hand.
        by_hand: String,
    },

    /// A file whose contents are not the published ones.
    #[error(
        "{} has the SHA-256 {found}, expected {expected}: replace it, or remove it to download it again",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The published checksum, in hexadecimal.
        expected: String,
        /// The file's checksum.
        found: String,
    },

    /// An archive that does not hold what it should.
    #[error("cannot unpack {}: {reason}", path.display())]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// No directory for downloads can be derived from the environment.
    #[error("no cache directory: set OUTRIGGER_CACHE, XDG_CACHE_HOME or HOME to a directory's absolute path")]
    NoCacheDir,

    /// The sample inside this library does not decode, so the library was damaged or badly built.
    #[error("the embedded CIFAR-10 sample is damaged: {0}")]
    Sample(String),

    /// A thread of a loader failed.
    #[error("the loader failed at batch {batch}: {reason}")]
    Worker {
        /// Index of the batch in its epoch, from 0.
        batch: usize,
        /// Why: the panic's message, or the system's.
        reason: String,
    },
}

impl DataError {
    /// An index beyond the last sample.
    pub(super) fn index(index: usize, samples: usize) -> DataError {
        DataError::option("index", index, format!("the data set has {samples} samples"))
    }

    /// An option outside its range.
    pub(super) fn option(option: &'static str, value: impl ToString, allowed: impl Into<String>) -> DataError {
        DataError::Option { option, value: value.to_string(), allowed: allowed.into() }
    }

    /// A function that wraps an [`io::Error`] with what was tried on which path, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError {
        move |source| DataError::Io { action, path: path.to_path_buf(), source }
    }
}

/// Why one mirror did not deliver an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorFailure {
    /// The address asked.
    pub url: String,
    /// What went wrong.
    pub reason: MirrorError,
}

/// A way for a mirror to fail.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// No answer: no network, no such host, a refused connection, a timeout.
    #[error("{0}")]
    Unreachable(String),
    /// An answer without the file.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The connection ended too early.
    #[error("the connection ended after {received} of {expected} bytes: {reason}")]
    Cut {
        /// Bytes on disk, which a later call goes on from.
        received: u64,
        /// Bytes in the archive.
        expected: u64,
        /// What the connection said.
        reason: String,
    },
    /// The server offers a file of another size.
    #[error("the server offers a file of {found} bytes, expected {expected}")]
    Size {
        /// Bytes in the archive.
        expected: u64,
        /// Bytes offered, or the first count that was too many.
        found: u64,
    },
    /// A range was asked for, and another came.
    #[error("asked for the bytes from {asked}, got the content range {got:?}")]
    Range {
        /// The first byte asked for.
        asked: u64,
        /// The answer's `Content-Range`.
        got: String,
    },
    /// The file came whole and is not the published one.
    #[error("checksum mismatch (SHA-256 {found}, expected {expected}); the download was deleted")]
    Checksum {
        /// The published checksum, in hexadecimal.
        expected: String,
        /// The checksum of what came.
        found: String,
    },
}

/// One line a mirror, indented.
fn failures(mirrors: &[MirrorFailure]) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        if mirrors.is_empty() {
            write!(f, " no mirror is known")?;
        }
        for failure in mirrors {
            write!(f, "\n  {}: {}", failure.url, failure.reason)?;
        }
        Ok(())
    })
}
