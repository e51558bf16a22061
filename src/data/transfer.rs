//! One HTTP request that brings a partly downloaded file nearer to its end.
//!
//! What the server answers decides where the bytes go: 206 appends them, 200 means that it ignored the range and the
//! file starts again. A server that offers a file of another size is refused before a byte is written, so that its
//! error page does not end up in the middle of the archive.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode, header};

use super::download::{Archive, Progress};
use super::error::{DataError, MirrorError};

/// An HTTP client that gives up on silence, but not on slowness.
pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(30)))
        // A status is an answer that names the mirror's trouble, not an error of the client.
        .http_status_as_error(false)
        .build()
        .new_agent()
}

/// Bytes in the file at `path`, 0 if there is none.
pub(super) fn length(path: &Path) -> Result<u64, DataError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(DataError::io("read", path)(error)),
    }
}

/// Asks `url` for what `part` lacks, and writes it there. `Ok(Ok(()))`: `part` now has the archive's size.
///
/// The outer error is the disk's and ends the download, the inner one is the mirror's.
pub(super) fn attempt(
    archive: &Archive<'_>,
    agent: &ureq::Agent,
    url: &str,
    part: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Result<(), MirrorError>, DataError> {
    let mut file = File::options().create(true).append(true).open(part).map_err(DataError::io("create", part))?;
    let restart = |file: &File| file.set_len(0).map_err(DataError::io("write", part));
    let mut start = length(part)?;
    if start > archive.bytes {
        restart(&file)?;
        start = 0;
    }
    if start == archive.bytes {
        return Ok(Ok(()));
    }

    let mut response = match request(agent, url, start) {
        Ok(response) => response,
        Err(error) => return Ok(Err(MirrorError::Unreachable(error.to_string()))),
    };
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && start > 0 {
        restart(&file)?;
        start = 0;
        response = match request(agent, url, start) {
            Ok(response) => response,
            Err(error) => return Ok(Err(MirrorError::Unreachable(error.to_string()))),
        };
    }
    match accept(response.status(), response.headers(), start, archive.bytes) {
        Ok(from) if from == start => {}
        Ok(_) => {
            restart(&file)?;
            start = 0;
        }
        Err(reason) => return Ok(Err(reason)),
    }

    let mut received = start;
    let mut body = response.body_mut().as_reader();
    let mut block = vec![0; 1 << 16];
    loop {
        progress(Progress::Downloading { url, received, total: archive.bytes });
        let cut = |reason: &str| MirrorError::Cut { received, expected: archive.bytes, reason: reason.into() };
        let n = match body.read(&mut block) {
            Ok(0) if received == archive.bytes => return Ok(Ok(())),
            Ok(0) => return Ok(Err(cut("end of the answer"))),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(cut(&error.to_string()))),
        };
        if received + n as u64 > archive.bytes {
            // Nothing of it can be trusted, and a later attempt must not find a file of the right size.
            restart(&file)?;
            return Ok(Err(MirrorError::Size { expected: archive.bytes, found: received + n as u64 }));
        }
        file.write_all(&block[..n]).map_err(DataError::io("write", part))?;
        received += n as u64;
    }
}

fn request(agent: &ureq::Agent, url: &str, start: u64) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let mut request = agent.get(url);
    if start > 0 {
        request = request.header(header::RANGE, format!("bytes={start}-"));
    }
    request.call()
}

/// The position that an answer's bytes start from, when the bytes from `asked` were asked for.
fn accept(status: StatusCode, headers: &HeaderMap, asked: u64, expected: u64) -> Result<u64, MirrorError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match status {
        StatusCode::OK => {
            let found = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
            match found {
                Some(found) if found != expected => Err(MirrorError::Size { expected, found }),
                _ => Ok(0),
            }
        }
        StatusCode::PARTIAL_CONTENT => {
            let got = text(header::CONTENT_RANGE).unwrap_or_default();
            match content_range(got) {
                Some((_, Some(found))) if found != expected => Err(MirrorError::Size { expected, found }),
                Some((start, _)) if start == asked => Ok(start),
                _ => Err(MirrorError::Range { asked, got: got.into() }),
            }
        }
        other => Err(MirrorError::Status(other.as_u16())),
    }
}

/// The first byte and the total of `bytes FIRST-LAST/TOTAL`; the total may be `*`, unknown.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "bytes 5-9", "bytes a-9/10", "bytes 5-9/x", "lines 5-9/10"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
