//! A profile in the Trace Event Format that `chrome://tracing` and Perfetto read.
//!
//! Source: "Trace Event Format", Google, section "Complete Events" (`ph: "X"`, times in µs).

use std::fmt::Write as _;

use crate::profile::Profile;

/// The whole file.
pub(crate) fn write(profile: &Profile) -> String {
    let mut events = vec![name_event("process_name", 0, &profile.plan)];
    for thread in 0..profile.threads {
        events.push(name_event("thread_name", thread, &format!("thread {thread}")));
    }
    for step in &profile.steps {
        for span in &step.spans {
            events.push(format!(
                "{{\"name\":{},\"cat\":{},\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{},\"dur\":{},\
                 \"args\":{{\"kernel\":{},\"chunks\":{},\"of\":{},\"flops\":{},\"bytes\":{}}}}}",
                quote(&step.name),
                quote(&step.kind),
                span.thread,
                microseconds(span.start_ns),
                microseconds(span.end_ns - span.start_ns),
                quote(&step.kind),
                span.chunks,
                step.chunks,
                step.flops,
                step.bytes,
            ));
        }
    }
    format!("{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
}

fn name_event(what: &str, thread: usize, name: &str) -> String {
    format!("{{\"name\":\"{what}\",\"ph\":\"M\",\"pid\":1,\"tid\":{thread},\"args\":{{\"name\":{}}}}}", quote(name))
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
