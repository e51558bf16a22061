//! One row an epoch in a CSV file, as Keras's `CSVLogger` writes it.
//!
//! ```text
//!   epoch,accuracy,loss,val_accuracy,val_loss
//!   0,0.2913,1.9021,0.38,1.7
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, nearest};

/// What a [`CsvLogger`] writes for a column that an epoch has no value of.
const MISSING: &str = "NA";

/// A CSV file that gets a row an epoch. The first row settles the columns: `epoch`, counted from 0, and the names of the
/// values in alphabetical order; if none begins with `val_`, each gets a `val_` column too, since validation may begin
/// later. A value that is missing later is `NA`. Numbers are the shortest decimals that read back the same.
///
/// ```
/// use outrigger::train::log::CsvLogger;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("outrigger-log-{}.csv", std::process::id()));
/// let mut csv = CsvLogger::create(&path, ',')?;
/// csv.row(0, &[("loss", 1.9021), ("val_loss", 1.7)])?;
/// csv.row(1, &[("loss", 1.5)])?;
/// assert_eq!(std::fs::read_to_string(&path)?, "epoch,loss,val_loss\n0,1.9021,1.7\n1,1.5,NA\n");
///
/// // a resumed run goes on under the same header
/// let mut csv = CsvLogger::append(&path, ',')?;
/// csv.row(2, &[("loss", 1.4), ("val_loss", 1.6)])?;
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CsvLogger {
    path: PathBuf,
    file: File,
    separator: char,
    /// Without `epoch`; empty until the first row.
    columns: Vec<String>,
}

impl CsvLogger {
    /// A new file; one that is there is replaced.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Option`] for a separator that a number or a quoted name could hold.
    pub fn create(path: impl AsRef<Path>, separator: char) -> Result<CsvLogger, Error> {
        let path = path.as_ref();
        check_separator(separator)?;
        let file = File::create(path).map_err(|source| io_error(path, source))?;
        Ok(CsvLogger { path: path.to_path_buf(), file, separator, columns: Vec::new() })
    }

    /// Continues a file under its header; one that is missing or empty is begun.
    ///
    /// # Errors
    /// As [`CsvLogger::create`]; [`Error::Log`] for a file whose first column is not `epoch`.
    pub fn append(path: impl AsRef<Path>, separator: char) -> Result<CsvLogger, Error> {
        let path = path.as_ref();
        check_separator(separator)?;
        let before = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|source| io_error(path, source))?,
        };
        let mut file = File::options().create(true).append(true).open(path).map_err(|source| io_error(path, source))?;
        let mut columns = Vec::new();
        if let Some(header) = before.lines().next() {
            columns = fields(header, separator);
            if columns.first().is_none_or(|first| first != "epoch") {
                let reason = format!("the header must begin with \"epoch{separator}\", got \"{header}\"");
                return Err(Error::Log { file: path.display().to_string(), reason });
            }
            columns.remove(0);
            if !before.ends_with('\n') {
                // the row before was cut off; ours is whole
                file.write_all(b"\n").map_err(|source| io_error(path, source))?;
            }
        }
        Ok(CsvLogger { path: path.to_path_buf(), file, separator, columns })
    }

    /// Writes the row of an epoch (from 0), after the header if this is the first.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::UnknownName`] for a value whose column the header does not have.
    pub fn row(&mut self, epoch: u64, logs: &[(impl AsRef<str>, f64)]) -> Result<(), Error> {
        let mut text = String::new();
        if self.columns.is_empty() {
            self.columns = columns(logs);
            let header = ["epoch"].into_iter().chain(self.columns.iter().map(String::as_str));
            text = self.line(header);
        }
        for name in logs.iter().map(|(name, _)| name.as_ref()) {
            if !self.columns.iter().any(|column| column == name) {
                let near = nearest(name, self.columns.iter().map(String::as_str));
                return Err(Error::UnknownName { what: "column", name: name.to_string(), near });
            }
        }
        let value = |column: &String| match logs.iter().find(|(name, _)| name.as_ref() == column) {
            Some((_, value)) => format!("{value:?}"),
            None => MISSING.to_string(),
        };
        let cells: Vec<String> = [epoch.to_string()].into_iter().chain(self.columns.iter().map(value)).collect();
        text += &self.line(cells.iter().map(String::as_str));
        self.file.write_all(text.as_bytes()).map_err(|source| io_error(&self.path, source))
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>) -> String {
        let cells: Vec<String> = cells.map(|cell| quoted(cell, self.separator)).collect();
        cells.join(&self.separator.to_string()) + "\n"
    }
}

fn check_separator(separator: char) -> Result<(), Error> {
    if separator.is_alphanumeric() || "\"\r\n.+-_".contains(separator) {
        let reason = format!("{separator:?} is part of names or numbers; take a comma, a semicolon or a tab");
        return Err(Error::Option { option: "separator".to_string(), reason });
    }
    Ok(())
}

/// Names in order, with `val_` ones if there are none.
fn columns(logs: &[(impl AsRef<str>, f64)]) -> Vec<String> {
    let mut columns: Vec<String> = logs.iter().map(|(name, _)| name.as_ref().to_string()).collect();
    columns.sort();
    if !columns.iter().any(|name| name.starts_with("val_")) {
        let validation: Vec<String> = columns.iter().map(|name| format!("val_{name}")).collect();
        columns.extend(validation);
    }
    columns
}

/// A cell, in quotes where it needs them (RFC 4180).
fn quoted(cell: &str, separator: char) -> String {
    if cell.contains([separator, '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_string()
    }
}

/// The cells of a line.
fn fields(line: &str, separator: char) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut inside = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, cells.last_mut()) {
            ('"', Some(cell)) if inside && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            ('"', _) => inside = !inside,
            (c, _) if c == separator && !inside => cells.push(String::new()),
            (c, Some(cell)) => cell.push(c),
            (_, None) => {}
        }
    }
    cells
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io { file: path.display().to_string(), source }
}
