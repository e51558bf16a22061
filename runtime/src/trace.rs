//! A profile in the Trace Event Format that `chrome://tracing` and Perfetto read.
//!
//! Source: "Trace Event Format", Google, section "Complete Events" (`ph: "X"`, times in µs).

use std::fmt::Write as _;

use crate::profile::Profile;

/// What stands before the events of a file, and after them.
pub(crate) const HEAD: &str = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
/// As [`HEAD`].
pub(crate) const TAIL: &str = "\n]}\n";

/// A whole file with one run.
pub(crate) fn write(profile: &Profile) -> String {
    let mut events = names(1, &profile.plan, profile.threads);
    events.extend(spans(1, profile, 0));
    format!("{HEAD}{}{TAIL}", events.join(",\n"))
}

/// Events that name the process `pid` and its threads. A process of a trace is a session.
pub(crate) fn names(pid: usize, name: &str, threads: usize) -> Vec<String> {
    let threads = (0..threads).map(|thread| name_event("thread_name", pid, thread, &format!("thread {thread}")));
    [name_event("process_name", pid, 0, name)].into_iter().chain(threads).collect()
}

/// An event for each step and thread of a run that began `start_ns` after the file's time 0.
pub(crate) fn spans(pid: usize, profile: &Profile, start_ns: u64) -> Vec<String> {
    let mut events = Vec::new();
    for step in &profile.steps {
        for span in &step.spans {
            events.push(format!(
                "{{\"name\":{},\"cat\":{},\"ph\":\"X\",\"pid\":{pid},\"tid\":{},\"ts\":{},\"dur\":{},\
                 \"args\":{{\"kernel\":{},\"chunks\":{},\"of\":{},\"flops\":{},\"bytes\":{}}}}}",
                quote(&step.name),
                quote(&step.kind),
                span.thread,
                microseconds(start_ns + span.start_ns),
                microseconds(span.end_ns - span.start_ns),
                quote(&step.kind),
                span.chunks,
                step.chunks,
                step.flops,
                step.bytes,
            ));
        }
    }
    events
}

fn name_event(what: &str, pid: usize, thread: usize, name: &str) -> String {
    format!("{{\"name\":\"{what}\",\"ph\":\"M\",\"pid\":{pid},\"tid\":{thread},\"args\":{{\"name\":{}}}}}", quote(name))
}

/// Exact: a float would lose digits in long runs.
fn microseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1000, ns % 1000)
}

/// A JSON string (RFC 8259, section 7).
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_times() {
        assert_eq!(quote("a\"b\\c\n\t\u{1}é"), r#""a\"b\\c\n\t\u0001é""#);
        assert_eq!(microseconds(1_002_003), "1002.003");
        assert_eq!(microseconds(7), "0.007");
    }
}
