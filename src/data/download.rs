//! Fetches the official archives of CIFAR-10 and CIFAR-100 into a cache directory, once.
//!
//! ```text
//!   mirrors ──(HTTP, resumed)──▶ NAME.tar.gz.part ──SHA-256──▶ unpack ──▶ FOLDER/*.bin
//!   by hand ───────────────────▶ NAME.tar.gz ────────┘
//! ```
//!
//! A cut download stays as the `.part` file, and the next attempt, call or mirror goes on from it. Nothing is
//! unpacked before its checksum is right. A lock file makes a second process wait for the first one's download
//! instead of writing into it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{DataError, MirrorError, MirrorFailure};
use super::{transfer, unpack};

/// A downloadable data set: where it is, how to recognise it, what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archive<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Addresses of the same file, in the order they are tried.
    pub mirrors: &'a [&'a str],
    /// The archive's file name, a gzipped tar.
    pub file: &'a str,
    /// Size of the archive in bytes.
    pub bytes: u64,
    /// SHA-256 of the archive, 64 hexadecimal digits.
    pub sha256: &'a str,
    /// The folder inside the archive, and in the cache directory.
    pub folder: &'a str,
    /// The files wanted from that folder.
    pub members: &'a [Member<'a>],
}

/// A file in an [`Archive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, without the folder.
    pub name: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
}

const fn member(name: &'static str, bytes: u64) -> Member<'static> {
    Member { name, bytes }
}

/// CIFAR-10: 60,000 images of 10 classes, 162 MiB to download and 176 MiB on disk.
pub const CIFAR10: Archive<'static> = Archive {
    name: "CIFAR-10",
    mirrors: &[
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
    ],
    file: "cifar-10-binary.tar.gz",
    bytes: 170_052_171,
    sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder: "cifar-10-batches-bin",
    members: &[
        member("data_batch_1.bin", 30_730_000),
        member("data_batch_2.bin", 30_730_000),
        member("data_batch_3.bin", 30_730_000),
        member("data_batch_4.bin", 30_730_000),
        member("data_batch_5.bin", 30_730_000),
        member("test_batch.bin", 30_730_000),
    ],
};

/// CIFAR-100: 60,000 images of 100 classes, 161 MiB to download and 176 MiB on disk.
pub const CIFAR100: Archive<'static> = Archive {
    name: "CIFAR-100",
    mirrors: &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
    file: "cifar-100-binary.tar.gz",
    bytes: 168_513_733,
    sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    folder: "cifar-100-binary",
    members: &[member("train.bin", 153_700_000), member("test.bin", 30_740_000)],
};

/// What [`Archive::fetch`] is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Bytes are arriving.
    Downloading {
        /// The mirror's address.
        url: &'a str,
        /// Bytes on disk, those of an earlier call included.
        received: u64,
        /// Bytes in the archive.
        total: u64,
    },
    /// The archive is complete and its checksum is being computed.
    Verifying,
    /// A file is being unpacked.
    Unpacking {
        /// Its name.
        file: &'a str,
    },
}

/// Fetches [`CIFAR10`] into `cache_dir` unless it is there, and returns the directory of its `.bin` files, for
/// [`load_dir`](super::load_dir).
///
/// Errors: as [`Archive::fetch`].
pub fn download(cache_dir: &Path) -> Result<PathBuf, DataError> {
    CIFAR10.fetch(cache_dir, &mut |_| {})
}

/// Where downloads go: `$OUTRIGGER_CACHE`, else `$XDG_CACHE_HOME/outrigger`, else `$HOME/.cache/outrigger`.
///
/// Errors: none of the three is set.
pub fn default_cache_dir() -> Result<PathBuf, DataError> {
    cache_dir(|name| env::var_os(name))
}

fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, DataError> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG specification has relative paths ignored.
    let xdg = || set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("outrigger"));
    let home = || set("HOME").map(|path| path.join(".cache/outrigger"));
    set("OUTRIGGER_CACHE").or_else(xdg).or_else(home).ok_or(DataError::NoCacheDir)
}

impl Archive<'_> {
    /// Fetches the archive into `cache_dir` unless its files are there already, and returns their directory.
    ///
    /// An archive that was put into `cache_dir` by hand is used instead of the network. `progress` is called for
    /// each block that arrives. Errors: no mirror delivers the file (all are named, with where to put the file by
    /// hand), a file put there by hand has another checksum, the archive lacks a file, the disk refuses.
    pub fn fetch(&self, cache_dir: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, DataError> {
        let target = cache_dir.join(self.folder);
        if self.complete(&target) {
            return Ok(target);
        }
        fs::create_dir_all(cache_dir).map_err(DataError::io("create", cache_dir))?;
        let _lock = lock(&cache_dir.join(format!("{}.lock", self.file)))?;
        // Whoever held the lock before may have done the work.
        if self.complete(&target) {
            return Ok(target);
        }

        let by_hand = cache_dir.join(self.file);
        if by_hand.is_file() {
            self.verify(&by_hand, progress)?;
            unpack::unpack(self, &by_hand, &target, progress)?;
        } else {
            let part = cache_dir.join(format!("{}.part", self.file));
            self.receive(cache_dir, &part, progress)?;
            unpack::unpack(self, &part, &target, progress)?;
            fs::remove_file(&part).map_err(DataError::io("remove", &part))?;
        }
        Ok(target)
    }

    /// Whether every member lies in `target` with its full size.
    fn complete(&self, target: &Path) -> bool {
        let whole = |member: &Member| {
            fs::metadata(target.join(member.name)).is_ok_and(|found| found.is_file() && found.len() == member.bytes)
        };
        self.members.iter().all(whole)
    }

    /// Makes `part` the whole archive with the right checksum.
    fn receive(&self, cache_dir: &Path, part: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), DataError> {
        let agent = transfer::agent();
        let mut failures = Vec::new();
        for &url in self.mirrors {
            match self.receive_from(&agent, url, part, progress)? {
                Ok(()) => return Ok(()),
                Err(reason) => failures.push(MirrorFailure { url: url.into(), reason }),
            }
        }
        Err(DataError::Download {
            name: self.name.into(),
            mirrors: failures,
            by_hand: format!(
                "To go on without this download, put {} ({} bytes, SHA-256 {}) into {}, or its files {} into {}.",
                self.file,
                self.bytes,
                self.sha256,
                cache_dir.display(),
                self.members.iter().map(|member| member.name).collect::<Vec<_>>().join(", "),
                cache_dir.join(self.folder).display(),
            ),
        })
    }

    /// Tries one mirror until it has delivered, or two attempts in a row brought nothing, or there were too many.
    fn receive_from(
        &self,
        agent: &ureq::Agent,
        url: &str,
        part: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Result<(), MirrorError>, DataError> {
        const ATTEMPTS: usize = 20;
        let mut failure = MirrorError::Unreachable("not tried".into());
        let mut fruitless = 0;
        for _ in 0..ATTEMPTS {
            let before = transfer::length(part)?;
            let outcome = transfer::attempt(self, agent, url, part, progress)?;
            match outcome {
                Ok(()) => match self.verify(part, progress) {
                    Ok(()) => return Ok(Ok(())),
                    Err(DataError::Checksum { expected, found, .. }) => {
                        fs::remove_file(part).map_err(DataError::io("remove", part))?;
                        failure = MirrorError::Checksum { expected, found };
                        // What an earlier attempt left may be to blame: then this mirror gets a fresh start.
                        if before == 0 {
                            return Ok(Err(failure));
                        }
                    }
                    Err(other) => return Err(other),
                },
                Err(reason @ MirrorError::Cut { .. }) => {
                    fruitless = if transfer::length(part)? > before { 0 } else { fruitless + 1 };
                    failure = reason;
                    if fruitless == 2 {
                        break;
                    }
                }
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Err(failure))
    }

    /// Errors unless the file at `path` has this archive's checksum.
    fn verify(&self, path: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), DataError> {
        progress(Progress::Verifying);
        let found = sha256(path).map_err(DataError::io("read", path))?;
        if found.eq_ignore_ascii_case(self.sha256) {
            return Ok(());
        }
        Err(DataError::Checksum { path: path.to_path_buf(), expected: self.sha256.into(), found })
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Waits until no other process is downloading; the lock goes with the file that is returned.
fn lock(path: &Path) -> Result<File, DataError> {
    let mut options = File::options();
    let file = options.create(true).append(true).open(path).map_err(DataError::io("create", path))?;
    match file.lock() {
        // Some network file systems have no locks. There the checksum is what guards.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        locked => locked.map(|()| file).map_err(DataError::io("lock", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_directory_follows_the_environment() {
        let dir = |set: &[(&str, &str)]| {
            let set: Vec<(String, OsString)> = set.iter().map(|(n, v)| (n.to_string(), OsString::from(v))).collect();
            cache_dir(move |name| set.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
        };
        let home = ("HOME", "/home/me");
        let path = |set: &[(&str, &str)]| dir(set).unwrap().display().to_string();
        assert_eq!(path(&[home]), "/home/me/.cache/outrigger");
        assert_eq!(path(&[home, ("XDG_CACHE_HOME", "/xdg")]), "/xdg/outrigger");
        assert_eq!(path(&[home, ("XDG_CACHE_HOME", "xdg")]), "/home/me/.cache/outrigger");
        assert_eq!(path(&[home, ("XDG_CACHE_HOME", "/xdg"), ("OUTRIGGER_CACHE", "/here")]), "/here");
        assert_eq!(path(&[home, ("OUTRIGGER_CACHE", "")]), "/home/me/.cache/outrigger");
        assert!(matches!(dir(&[]), Err(DataError::NoCacheDir)));
    }

    #[test]
    fn the_published_numbers_fit_together() {
        for archive in [CIFAR10, CIFAR100] {
            assert_eq!(archive.sha256.len(), 64);
            assert!(archive.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            let images: u64 = archive.members.iter().map(|m| m.bytes).sum();
            let record = if archive.members.len() == 6 { 3073 } else { 3074 };
            assert_eq!(images, 60_000 * record);
        }
    }
}
