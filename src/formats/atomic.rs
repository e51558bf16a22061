//! Files that are either the old one or the new one, never a part of either.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells apart temporary files of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Writes `parts` one after another to a temporary file beside `path`, makes sure that it is on disk, and renames
/// it to `path`. After an error `path` is as it was.
pub(crate) fn write_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(".{}.{}-{number}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write_new(&temporary, parts).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // the first error is the one to report, whether or not anything was left to remove
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_directory(path);
    Ok(())
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()
}

/// Makes the rename itself durable. Not every file system can; the data is safe either way.
fn sync_directory(path: &Path) {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}
