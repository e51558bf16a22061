//! `OUTRIGGER_PROFILE`: the runs of every session of a process in one trace file.
//!
//! ```text
//!   Session 1 ─ run, run, … ─▶ Recording (the last runs) ─ drop ─▶ events ─┐
//!   Session 2 ─ run, run, … ─▶ Recording                 ─ drop ─▶ events ─┴─▶ TraceFile: HEAD ev, ev, … TAIL
//!                                                             └──▶ table on stderr          each time valid JSON
//! ```
//!
//! Nothing here fails a run: what cannot be written is said on stderr, and the program goes on.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::profile::Profile;
use crate::roof::Roof;
use crate::trace;

/// Holds the path of the trace. Empty is as if it were not there.
const VARIABLE: &str = "OUTRIGGER_PROFILE";

/// So many last runs of a session are kept: a few to compare, and a file that Perfetto opens at once (a training step
/// has some hundred events).
const RUNS: usize = 10;

/// The runs of one session; written down when dropped.
pub(crate) struct Recording {
    trace: &'static Trace,
    /// Each with its start, in ns since the trace's.
    runs: VecDeque<(u64, Profile)>,
    total: usize,
}

/// The process's trace.
struct Trace {
    path: OsString,
    origin: Instant,
    file: Mutex<TraceFile<File>>,
}

impl Recording {
    /// A recording if the environment asks for one and its file can be written.
    pub(crate) fn from_env() -> Option<Recording> {
        static TRACE: OnceLock<Option<Trace>> = OnceLock::new();
        let path = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let trace = TRACE.get_or_init(|| path().and_then(Trace::create)).as_ref()?;
        Some(Recording { trace, runs: VecDeque::with_capacity(RUNS), total: 0 })
    }

    /// Notes a run that began at `start`.
    pub(crate) fn add(&mut self, start: Instant, profile: &Profile) {
        if self.runs.len() == RUNS {
            self.runs.pop_front();
        }
        let since = start.saturating_duration_since(self.trace.origin).as_nanos();
        self.runs.push_back((u64::try_from(since).unwrap_or(u64::MAX), profile.clone()));
        self.total += 1;
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let mut by_time: Vec<_> = self.runs.iter().map(|(_, profile)| profile).collect();
        by_time.sort_by_key(|profile| profile.total_ns);
        let Some(median) = by_time.get(by_time.len() / 2) else { return };
        let written = {
            let mut file = self.trace.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.append(&median.plan, median.threads, &self.runs)
        };
        if let Err(error) = written {
            warn(&self.trace.path, &error);
        }
        let table = median.table(&Roof::measure(median.threads));
        say(&format!("\nthe median of the last {} of {} run(s) of {table}", self.runs.len(), self.total));
    }
}

impl Trace {
    /// Tries the file at once, so that a wrong path is noticed before a long run and not after it.
    fn create(path: OsString) -> Option<Trace> {
        match File::create(&path).and_then(TraceFile::new) {
            Ok(file) => Some(Trace { path, origin: Instant::now(), file: Mutex::new(file) }),
            Err(error) => {
                warn(&path, &error);
                None
            }
        }
    }
}

fn warn(path: &OsStr, error: &io::Error) {
    say(&format!("warning: {VARIABLE}: the trace cannot be written to {}: {error}", path.display()));
}

/// Unlike `eprintln!`, does not panic where there is no stderr.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A trace that grows and is complete after every [`append`](Self::append).
struct TraceFile<W> {
    out: W,
    /// Where the events end and the tail begins.
    end: u64,
    sessions: usize,
}

impl<W: Write + Seek> TraceFile<W> {
    fn new(mut out: W) -> io::Result<TraceFile<W>> {
        out.write_all(format!("{}{}", trace::HEAD, trace::TAIL).as_bytes())?;
        Ok(TraceFile { out, end: trace::HEAD.len() as u64, sessions: 0 })
    }

    /// Adds a session: its name, and its runs with their starts. If it fails, the file may be cut off.
    fn append(&mut self, name: &str, threads: usize, runs: &VecDeque<(u64, Profile)>) -> io::Result<()> {
        let pid = self.sessions + 1;
        let mut events = trace::names(pid, name, threads);
        events.extend(runs.iter().flat_map(|(start, profile)| trace::spans(pid, profile, *start)));
        let separator = if self.sessions == 0 { "" } else { ",\n" };
        let events = format!("{separator}{}", events.join(",\n"));
        self.out.seek(SeekFrom::Start(self.end))?;
        self.out.write_all(format!("{events}{}", trace::TAIL).as_bytes())?;
        self.end += events.len() as u64;
        self.sessions += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_complete_after_every_session() {
        let profile = |plan: &str| Profile { plan: plan.to_string(), threads: 1, total_ns: 5, steps: Vec::new() };
        let mut file = TraceFile::new(io::Cursor::new(Vec::new())).expect("memory");
        let text =
            |file: &TraceFile<io::Cursor<Vec<u8>>>| String::from_utf8(file.out.get_ref().clone()).expect("UTF-8");
        assert_eq!(text(&file), format!("{}{}", trace::HEAD, trace::TAIL));
        file.append("one", 1, &VecDeque::from([(0, profile("one"))])).expect("memory");
        let first = text(&file);
        assert!(first.starts_with(trace::HEAD) && first.ends_with(trace::TAIL), "{first}");
        file.append("two", 1, &VecDeque::new()).expect("memory");
        let second = text(&file);
        let before = first.strip_suffix(trace::TAIL).expect("a tail");
        assert!(second.starts_with(&format!("{before},\n")) && second.ends_with(trace::TAIL), "{second}");
        assert_eq!(second.matches("process_name").count(), 2);
        assert!(second.contains("\"pid\":2"), "{second}");
    }
}
