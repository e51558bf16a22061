//! Files that are either the old one or the new one, never a part of either.
//!
//! Only files are replaced. A link goes on naming what it names, and a device or a pipe is written to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells apart temporary files of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Writes `parts` one after another to a temporary file beside `path`, makes sure that it is on disk, and renames
/// it to `path`. After an error `path` is as it was. Where `path` is no file, `/dev/stdout` say, they are written to it.
pub(crate) fn write_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => replace(&fs::canonicalize(path)?, parts),
        Ok(there) if !there.is_dir() => {
            let mut open = File::options().write(true).open(path)?;
            parts.iter().try_for_each(|part| open.write_all(part))
        }
        // a new file; a directory refuses to be renamed onto
        _ => replace(path, parts),
    }
}

fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let [far, link] = ["far/w", "link"].map(|name| dir.path().join(name));
        fs::create_dir(dir.path().join("far")).unwrap();
        fs::write(&far, "old").unwrap();
        std::os::unix::fs::symlink("far/w", &link).unwrap();
        write_file(&link, &[b"ne", b"w"]).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&far).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left there");
    }

    #[test]
    fn a_pipe_stays_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // both ends, so that nobody waits for the other
        let mut end = File::options().read(true).write(true).open(&pipe).unwrap();
        write_file(&pipe, &[b"ne", b"w"]).unwrap();
        let mut got = [0; 3];
        assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
        io::Read::read_exact(&mut end, &mut got).unwrap();
        assert_eq!(&got, b"new");
    }

    #[test]
    fn a_directory_is_refused_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_file(&taken, &[b"new"]).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
