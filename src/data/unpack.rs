//! Takes the wanted files, and nothing else, out of a downloaded `.tar.gz`.
//!
//! A path in the archive is only compared, never used: the files written are named by the [`Archive`]. Sizes are
//! bounded before anything is written, and a file gets its name once it is whole.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path};

use flate2::bufread::GzDecoder;
use tar::EntryType;

use super::download::{Archive, Member, Progress};
use super::error::DataError;

/// How much more than the wanted files an archive may hold: tar headers and a few small texts.
const SLACK: u64 = 16 << 20;

/// Unpacks the members of `archive` from the file at `path` into the directory `target`.
///
/// Errors: the file is no gzipped tar or is damaged, a member is missing, doubled, of another size or no plain
/// file, the disk refuses.
pub(super) fn unpack(
    archive: &Archive<'_>,
    path: &Path,
    target: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DataError> {
    let bad = |reason: String| DataError::Unpack { path: path.to_path_buf(), reason };
    let unreadable = |error: io::Error| bad(error.to_string());
    let file = File::open(path).map_err(DataError::io("read", path))?;
    fs::create_dir_all(target).map_err(DataError::io("create", target))?;

    let limit = archive.members.iter().map(|member| member.bytes).sum::<u64>().saturating_add(SLACK);
    let plain = GzDecoder::new(BufReader::with_capacity(1 << 16, file)).take(limit);
    let mut tar = tar::Archive::new(plain);
    let mut missing: Vec<&Member> = archive.members.iter().collect();
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.into_owned();
        let Some(member) = archive.members.iter().find(|member| is_member(&name, archive.folder, member.name)) else {
            continue;
        };
        let Some(at) = missing.iter().position(|other| other.name == member.name) else {
            return Err(bad(format!("it holds {} twice", member.name)));
        };
        if entry.header().entry_type() != EntryType::Regular {
            return Err(bad(format!("{} is no plain file", member.name)));
        }
        if entry.size() != member.bytes {
            return Err(bad(format!("{} has {} bytes, expected {}", member.name, entry.size(), member.bytes)));
        }
        progress(Progress::Unpacking { file: member.name });
        write(&mut entry, member, target).map_err(|failure| match failure {
            Failure::Archive(reason) => bad(format!("{}: {reason}", member.name)),
            Failure::Disk(error) => error,
        })?;
        missing.remove(at);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|member| format!("{}/{}", archive.folder, member.name)).collect();
    Err(bad(format!("it lacks {}", names.join(", "))))
}

enum Failure {
    Archive(String),
    Disk(DataError),
}

/// Writes an entry beside its place, and renames it into place once it is on the disk.
fn write(entry: &mut impl Read, member: &Member<'_>, target: &Path) -> Result<(), Failure> {
    let place = target.join(member.name);
    let part = target.join(format!("{}.part", member.name));
    let disk = |error: io::Error| Failure::Disk(DataError::io("write", &part)(error));
    let mut file = File::create(&part).map_err(disk)?;
    let mut block = vec![0; 1 << 16];
    let mut written = 0;
    loop {
        let n = match entry.read(&mut block) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Archive(error.to_string())),
        };
        io::Write::write_all(&mut file, &block[..n]).map_err(disk)?;
        written += n as u64;
    }
    if written != member.bytes {
        return Err(Failure::Archive(format!("cut short after {written} of {} bytes", member.bytes)));
    }
    file.sync_all().map_err(disk)?;
    drop(file);
    fs::rename(&part, &place).map_err(|error| Failure::Disk(DataError::io("create", &place)(error)))
}

/// Whether `path` is `folder/name`, with or without a leading `./`.
fn is_member(path: &Path, folder: &str, name: &str) -> bool {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    let mut next_is = |text: &str| parts.next() == Some(Component::Normal(text.as_ref()));
    next_is(folder) && next_is(name) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::path::PathBuf;

    const ARCHIVE: Archive<'static> = Archive {
        name: "tiny",
        mirrors: &[],
        file: "tiny.tar.gz",
        bytes: 0,
        sha256: "",
        folder: "tiny",
        members: &[Member { name: "a.bin", bytes: 5 }, Member { name: "b.bin", bytes: 3 }],
    };

    type Entry<'a> = (&'a str, EntryType, &'a [u8]);
    const A: Entry<'static> = ("tiny/a.bin", EntryType::Regular, b"aaaaa");
    const B: Entry<'static> = ("./tiny/b.bin", EntryType::Regular, b"bbb");

    fn tar_gz(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            // Written by hand: the library refuses to make the names that an attacker would.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn run(bytes: &[u8]) -> (tempfile::TempDir, Result<Vec<String>, String>) {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("tiny.tar.gz");
        let target = dir.path().join("cache/tiny");
        fs::write(&path, bytes).unwrap();
        let mut seen = Vec::new();
        let result = unpack(&ARCHIVE, &path, &target, &mut |progress| {
            if let Progress::Unpacking { file } = progress {
                seen.push(file.to_string());
            }
        });
        (dir, result.map(|()| seen).map_err(|error| error.to_string()))
    }

    #[test]
    fn only_the_members_are_written() {
        let readme = ("tiny/readme.html", EntryType::Regular, &b"hello"[..]);
        let deep = ("tiny/deep/a.bin", EntryType::Regular, &b"wrong"[..]);
        let outside = ("../evil", EntryType::Regular, &b"evil"[..]);
        let folder = ("tiny/", EntryType::Directory, &b""[..]);
        let (dir, result) = run(&tar_gz(&[folder, readme, outside, deep, B, A]));
        assert_eq!(result.unwrap(), ["b.bin", "a.bin"]);
        let target = dir.path().join("cache/tiny");
        assert_eq!(fs::read(target.join("a.bin")).unwrap(), b"aaaaa");
        assert_eq!(fs::read(target.join("b.bin")).unwrap(), b"bbb");
        assert_eq!(fs::read_dir(target).unwrap().count(), 2);
        assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fails = |bytes: &[u8], part: &str| {
            let error = run(bytes).1.unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        fails(&tar_gz(&[A]), "it lacks tiny/b.bin");
        fails(&tar_gz(&[A, A, B]), "it holds a.bin twice");
        fails(&tar_gz(&[("tiny/a.bin", EntryType::Regular, b"aaaa"), B]), "a.bin has 4 bytes, expected 5");
        fails(&tar_gz(&[("tiny/a.bin", EntryType::Symlink, b""), B]), "a.bin is no plain file");
        fails(b"no archive at all", "cannot unpack");
        let whole = tar_gz(&[A, B]);
        fails(&whole[..whole.len() / 2], "cannot unpack");
    }
}
