//! What a profile says, and that it can be written down.

mod common;

use common::*;
use outrigger_runtime::*;

/// About a millisecond in each of 4 chunks.
unsafe extern "C" fn slow(_: *const *mut u8, _: u64, _: *mut u8) {
    std::thread::sleep(std::time::Duration::from_millis(1));
}

fn profiled(threads: usize) -> (Session, Profile) {
    let mut steps = vec![
        step("quick", nothing, 8, vec![]),
        step("the \"slow\" one\\\n", slow, 4, vec![]),
        step("last", nothing, 1, vec![]),
    ];
    (steps[1].flops, steps[1].bytes) = (4_000_000, 2_000_000);
    let off = DebugOptions::default();
    let mut session = session(plan(0, steps), threads, off);
    assert!(session.last_profile().is_none());
    let profile = session.run_profiled().expect("a run");
    (session, profile)
}

#[test]
fn times_add_up() {
    for threads in [1, 2, 5] {
        let (session, profile) = profiled(threads);
        assert_eq!((profile.threads, profile.steps.len()), (threads, 3));
        let mut end = 0;
        for step in &profile.steps {
            assert_eq!(step.spans.iter().map(|span| span.chunks).sum::<u32>(), step.chunks);
            assert_eq!(step.busy_ns.len(), threads);
            let busy: u64 = step.spans.iter().map(|span| span.busy_ns).sum();
            assert_eq!(step.busy_ns.iter().sum::<u64>(), busy);
            for span in &step.spans {
                assert!(end <= span.start_ns, "a step starts before the one before it ends");
                assert!(span.busy_ns <= span.end_ns - span.start_ns);
            }
            end = step.spans.iter().map(|span| span.end_ns).max().expect("some thread ran it");
        }
        assert!(end <= profile.total_ns);
        assert!(profile.steps.iter().map(|step| step.total_ns).sum::<u64>() <= profile.total_ns);
        assert!(profile.steps[1].busy_ns.iter().sum::<u64>() >= 4_000_000);
        assert_eq!(session.last_profile().map(|last| last.total_ns), Some(profile.total_ns));
    }
}

#[test]
fn the_table_is_sorted_and_has_a_total() {
    let (_, profile) = profiled(2);
    let table = profile.table();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[0], "test plan on 2 thread(s)");
    assert!(lines[1].contains("time ms share %   GFLOP/s     GB/s"), "{table}");
    assert!(lines[2].ends_with(r#"the "slow" one\ "#), "{table}");
    let total = lines.last().expect("lines");
    assert!(total.ends_with("total") && total.contains(" 100.0 "), "{table}");
}

/// Accepts exactly the JSON grammar; enough to know that a reader will.
fn skip_json(text: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<()> {
    let skip_space = |text: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        while text.next_if(|c| c.is_ascii_whitespace()).is_some() {}
    };
    skip_space(text);
    match text.next()? {
        '"' => loop {
            match text.next()? {
                '"' => break,
                '\\' => match text.next()? {
                    'u' => (0..4).try_for_each(|_| text.next_if(char::is_ascii_hexdigit).map(drop))?,
                    c => "\"\\/bfnrt".contains(c).then_some(())?,
                },
                c => (c >= ' ').then_some(())?,
            }
        },
        open @ ('{' | '[') => {
            let close = if open == '{' { '}' } else { ']' };
            loop {
                if open == '{' {
                    skip_json(text)?;
                    text.next_if_eq(&':')?;
                }
                skip_json(text)?;
                skip_space(text);
                if text.next_if_eq(&close).is_some() {
                    break;
                }
                text.next_if_eq(&',')?;
            }
        }
        '0'..='9' => while text.next_if(|c| c.is_ascii_digit() || *c == '.').is_some() {},
        _ => return None,
    }
    skip_space(text);
    Some(())
}

#[test]
fn the_trace_is_json_with_an_event_for_each_span() {
    let (_, profile) = profiled(2);
    let trace = profile.chrome_trace();
    let mut text = trace.chars().peekable();
    assert!(skip_json(&mut text).is_some() && text.next().is_none(), "{trace}");
    let spans: usize = profile.steps.iter().map(|step| step.spans.len()).sum();
    assert_eq!(trace.matches("\"ph\":\"X\"").count(), spans);
    assert!(trace.contains(r#""name":"the \"slow\" one\\\n","cat":"test""#), "{trace}");
}
