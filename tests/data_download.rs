//! Downloads, against a small HTTP server in this process: whole, resumed, from a second mirror, and failing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use outrigger::data::{Archive, DataError, Member, MirrorError, MirrorFailure, Progress};
use sha2::{Digest, Sha256};

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Answer {
    /// The file, or the range asked for.
    Whole,
    /// As `Whole`, but the connection ends after so many bytes.
    Cut(usize),
    /// The whole file, whatever range is asked for.
    IgnoreRange,
    /// As many bytes as the file has, of other contents.
    Wrong,
    /// A short page with status 200, as from a captive portal.
    Page,
    /// More bytes than the file has, without a length.
    Endless,
    /// A range that was not asked for.
    OtherRange,
    /// Only this status.
    Status(u16),
}

struct Server {
    url: String,
    /// The `Range` of each request so far.
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

/// Serves `file`: each request gets the next answer, and when they run out the server is gone.
fn serve(file: &[u8], answers: &[Answer]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/tiny.tar.gz", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let (file, answers, seen) = (file.to_vec(), answers.to_vec(), Arc::clone(&ranges));
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            // A client that hangs up early is its own affair.
            let _ = reply(stream, &file, answer, &seen);
        }
    });
    Server { url, ranges }
}

fn reply(mut stream: TcpStream, file: &[u8], answer: Answer, seen: &Mutex<Vec<Option<String>>>) -> std::io::Result<()> {
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("range")
        {
            range = Some(value.to_string());
        }
    }
    let start = range.as_ref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    seen.lock().unwrap().push(range);
    let total = file.len();
    let (status, headers, body) = match (answer, start) {
        (Answer::Whole | Answer::Cut(_), Some(start)) if start < total => (
            206,
            format!("Content-Length: {}\r\nContent-Range: bytes {start}-{}/{total}\r\n", total - start, total - 1),
            file[start..].to_vec(),
        ),
        (Answer::OtherRange, Some(_)) => {
            (206, format!("Content-Length: 1\r\nContent-Range: bytes 0-0/{total}\r\n"), file[..1].to_vec())
        }
        (Answer::Whole | Answer::Cut(_), Some(_)) => (416, String::new(), Vec::new()),
        (Answer::Wrong, _) => (200, format!("Content-Length: {total}\r\n"), vec![b'x'; total]),
        (Answer::Page, _) => (200, "Content-Length: 13\r\n".into(), b"please log in".to_vec()),
        (Answer::Endless, _) => (200, String::new(), [file, file].concat()),
        (Answer::Status(status), _) => (status, "Content-Length: 0\r\n".into(), Vec::new()),
        _ => (200, format!("Content-Length: {total}\r\n"), file.to_vec()),
    };
    let sent = if let Answer::Cut(n) = answer { n.min(body.len()) } else { body.len() };
    write!(stream, "HTTP/1.1 {status} X\r\n{headers}Connection: close\r\n\r\n")?;
    stream.write_all(&body[..sent])?;
    stream.flush()
}

const FOLDER: &str = "tiny-batches";
const MEMBERS: &[Member<'_>] = &[Member { name: "a.bin", bytes: 40_000 }, Member { name: "b.bin", bytes: 3 }];

/// Contents that do not compress, so that an archive of them is worth cutting.
fn contents(member: &Member<'_>) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(member.bytes as usize).collect()
}

fn tar_gz() -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for member in MEMBERS {
        let mut header = tar::Header::new_gnu();
        header.set_size(member.bytes);
        tar.append_data(&mut header, format!("{FOLDER}/{}", member.name), &contents(member)[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fetches the archive `file` from `mirrors` into `cache`.
fn fetch(file: &[u8], cache: &Path, mirrors: &[&str]) -> Result<std::path::PathBuf, DataError> {
    let sha256 = digest(file);
    let bytes = file.len() as u64;
    let archive = Archive {
        name: "tiny",
        mirrors,
        file: "tiny.tar.gz",
        bytes,
        sha256: &sha256,
        folder: FOLDER,
        members: MEMBERS,
    };
    let mut last = 0;
    let result = archive.fetch(cache, &mut |progress| {
        if let Progress::Downloading { received, total, .. } = progress {
            assert!(received <= total);
            last = received;
        }
    });
    if result.is_ok() {
        assert!(last == 0 || last == bytes, "{last}");
    }
    result
}

/// All is as it should be after a fetch, and a further one needs no server.
fn assert_fetched(file: &[u8], cache: &Path, result: Result<std::path::PathBuf, DataError>) {
    assert_eq!(result.unwrap(), cache.join(FOLDER));
    for member in MEMBERS {
        assert_eq!(fs::read(cache.join(FOLDER).join(member.name)).unwrap(), contents(member));
    }
    assert!(!cache.join("tiny.tar.gz.part").exists());
    assert_eq!(fs::read_dir(cache.join(FOLDER)).unwrap().count(), MEMBERS.len());
    assert_eq!(fetch(file, cache, &[]).unwrap(), cache.join(FOLDER));
}

fn failures(result: Result<std::path::PathBuf, DataError>) -> (Vec<MirrorFailure>, String) {
    let error = result.unwrap_err();
    let text = error.to_string();
    match error {
        DataError::Download { mirrors, .. } => (mirrors, text),
        other => panic!("{other}"),
    }
}

#[test]
fn a_whole_download_is_unpacked() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let cache = cache.path().join("not/yet/there");
    let server = serve(&file, &[Answer::Whole]);
    assert_fetched(&file, &cache, fetch(&file, &cache, &[&server.url]));
    assert_eq!(*server.ranges.lock().unwrap(), [None]);
}

#[test]
fn a_cut_download_goes_on_where_it_was() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let server = serve(&file, &[Answer::Cut(10_000), Answer::Cut(5_000), Answer::Whole]);
    assert_fetched(&file, cache.path(), fetch(&file, cache.path(), &[&server.url]));
    let ranges = server.ranges.lock().unwrap();
    assert_eq!(*ranges, [None, Some("bytes=10000-".into()), Some("bytes=15000-".into())]);
}

#[test]
fn a_later_call_and_another_mirror_go_on_where_it_was() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let server = serve(&file, &[Answer::Cut(10_000), Answer::Cut(0), Answer::Cut(0)]);
    let (mirrors, _) = failures(fetch(&file, cache.path(), &[&server.url]));
    let expected = file.len() as u64;
    let cut = |reason: &MirrorError| matches!(reason, MirrorError::Cut { received: 10_000, expected: e, .. } if *e == expected);
    assert!(cut(&mirrors[0].reason), "{mirrors:?}");

    let server = serve(&file, &[Answer::Whole]);
    assert_fetched(&file, cache.path(), fetch(&file, cache.path(), &[&server.url]));
    assert_eq!(*server.ranges.lock().unwrap(), [Some("bytes=10000-".to_string())]);
}

#[test]
fn a_server_that_ignores_the_range_starts_again() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let server = serve(&file, &[Answer::Cut(10_000), Answer::IgnoreRange]);
    assert_fetched(&file, cache.path(), fetch(&file, cache.path(), &[&server.url]));
    assert_eq!(server.ranges.lock().unwrap().len(), 2);
}

#[test]
fn a_range_that_was_not_asked_for_is_refused() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let server = serve(&file, &[Answer::Cut(10_000), Answer::OtherRange]);
    let (mirrors, _) = failures(fetch(&file, cache.path(), &[&server.url]));
    assert!(matches!(mirrors[0].reason, MirrorError::Range { asked: 10_000, .. }), "{mirrors:?}");
}

#[test]
fn a_server_without_that_range_starts_again() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    fs::write(cache.path().join("tiny.tar.gz.part"), b"from before").unwrap();
    let server = serve(&file, &[Answer::Status(416), Answer::Whole]);
    assert_fetched(&file, cache.path(), fetch(&file, cache.path(), &[&server.url]));
}

#[test]
fn a_bad_checksum_deletes_the_download() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let server = serve(&file, &[Answer::Wrong]);
    let (mirrors, text) = failures(fetch(&file, cache.path(), &[&server.url]));
    let found = digest(&vec![b'x'; file.len()]);
    assert_eq!(mirrors[0].reason, MirrorError::Checksum { expected: digest(&file), found });
    assert!(text.contains("the download was deleted"), "{text}");
    assert!(!cache.path().join("tiny.tar.gz.part").exists());
    assert!(!cache.path().join(FOLDER).exists());
}

#[test]
fn bad_remains_of_an_earlier_call_do_not_spoil_a_good_mirror() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let part = cache.path().join("tiny.tar.gz.part");
    for remains in [vec![b'x'; 100], vec![b'x'; file.len()], vec![b'x'; 2 * file.len()]] {
        let cache = cache.path().join(remains.len().to_string());
        fs::create_dir_all(&cache).unwrap();
        fs::write(cache.join(part.file_name().unwrap()), &remains).unwrap();
        let server = serve(&file, &[Answer::Whole, Answer::Whole]);
        assert_fetched(&file, &cache, fetch(&file, &cache, &[&server.url]));
    }
}

#[test]
fn the_second_mirror_is_asked_when_the_first_has_no_file() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    for answer in [Answer::Status(404), Answer::Page, Answer::Endless, Answer::Wrong] {
        let (first, second) = (serve(&file, &[answer]), serve(&file, &[Answer::Whole]));
        let cache = cache.path().join(first.url.replace(['/', ':'], "-"));
        assert_fetched(&file, &cache, fetch(&file, &cache, &[&first.url, &second.url]));
        assert_eq!(*second.ranges.lock().unwrap(), [None]);
    }
}

#[test]
fn without_a_server_the_error_says_what_to_do() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    // A port that was free a moment ago, and a server that has no file.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (gone, empty) = (format!("http://{free}/tiny.tar.gz"), serve(&file, &[Answer::Status(503)]));
    let (mirrors, text) = failures(fetch(&file, cache.path(), &[&gone, &empty.url, "no address"]));
    assert!(matches!(mirrors[0].reason, MirrorError::Unreachable(_)), "{mirrors:?}");
    assert_eq!(mirrors[1].reason, MirrorError::Status(503));
    assert!(matches!(mirrors[2].reason, MirrorError::Unreachable(_)), "{mirrors:?}");
    let place = cache.path().display().to_string();
    for part in [&gone, &empty.url, "status 503", "tiny.tar.gz", &digest(&file), &place, FOLDER, "a.bin, b.bin"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(fetch(&file, cache.path(), &[]).unwrap_err().to_string().contains("no mirror is known"));
}

#[test]
fn an_archive_put_there_by_hand_is_used_and_kept() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let place = cache.path().join("tiny.tar.gz");
    fs::write(&place, b"something else").unwrap();
    let error = fetch(&file, cache.path(), &[]).unwrap_err();
    assert!(matches!(error, DataError::Checksum { .. }), "{error}");
    assert!(error.to_string().contains(&place.display().to_string()));
    assert!(place.exists());

    fs::write(&place, &file).unwrap();
    assert_fetched(&file, cache.path(), fetch(&file, cache.path(), &[]));
    assert!(place.exists());
}

#[test]
fn a_damaged_cache_is_mended() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let server = serve(&file, &[Answer::Whole, Answer::Whole]);
    assert_fetched(&file, cache.path(), fetch(&file, cache.path(), &[&server.url]));
    fs::write(cache.path().join(FOLDER).join("a.bin"), b"cut").unwrap();
    assert_fetched(&file, cache.path(), fetch(&file, cache.path(), &[&server.url]));
}

#[test]
fn two_at_a_time_download_once() {
    let (file, cache) = (tar_gz(), tempfile::tempdir().unwrap());
    let server = serve(&file, &[Answer::Whole]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(fetch(&file, cache.path(), &[&server.url]).unwrap(), cache.path().join(FOLDER)));
        }
    });
    assert_eq!(server.ranges.lock().unwrap().len(), 1);
}
