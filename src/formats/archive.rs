//! Zip archives, within bounds: what a small file unpacks to is limited.

use std::io::{Cursor, Read, Write};

use zip::read::{ArchiveOffset, Config};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::Error;

/// An archive may unpack to this many times its size, and [`SLACK`]. Weights hardly shrink at all.
const MOST_GROWTH: u64 = 32;
/// Bytes that the smallest archive may unpack to.
const SLACK: u64 = 1 << 20;

/// An archive in memory.
pub(super) struct Archive<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
    file: String,
    /// Bytes that may still be unpacked.
    left: u64,
}

impl<'b> Archive<'b> {
    pub(super) fn open(bytes: &'b [u8], file: &str) -> Result<Archive<'b>, Error> {
        // PyTorch puts records of 76 bytes between the directory and its end, which the crate's search for a start
        // takes for a part of the directory where the first entry has 76 bytes
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(bytes)).map_err(|e| Error::Checkpoint {
            file: file.to_string(),
            reason: format!("not a whole zip archive ({} bytes): {e}", bytes.len()),
        })?;
        let left = (bytes.len() as u64).saturating_mul(MOST_GROWTH).saturating_add(SLACK);
        Ok(Archive { zip, file: file.to_string(), left })
    }

    /// Names of the members, in the archive's order; those that are no text are left out.
    pub(super) fn names(&self) -> Vec<String> {
        self.zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// Unpacks a member.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        let file = self.file.clone();
        let failed = |reason: String| Error::Checkpoint { file: format!("{file}, {name}"), reason };
        let mut bytes = Vec::new();
        let member = self.zip.by_name(name).map_err(|e| failed(e.to_string()))?;
        let read = member.take(self.left.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|e| failed(format!("after {} bytes: {e}", bytes.len())))?;
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => self.left = left,
            None => return Err(failed(format!("unpacks to more than {MOST_GROWTH} times the size of the archive"))),
        }
        Ok(bytes)
    }

    /// An error about a member.
    pub(super) fn error(&self, member: &str, reason: impl Into<String>) -> Error {
        Error::Checkpoint { file: format!("{}, {member}", self.file), reason: reason.into() }
    }
}

/// An archive of `members` as they are, without compression, the same bytes for the same members. Their contents
/// begin at multiples of 64 bytes, so that they can be used from a mapped file.
pub(super) fn pack(members: &[(String, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let large = bytes.len() as u64 >= u64::from(u32::MAX);
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(name.as_str(), options.with_alignment(64).large_file(large))?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}
