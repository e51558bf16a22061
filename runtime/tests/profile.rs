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

/// Twice as long as [`slow`].
unsafe extern "C" fn slower(_: *const *mut u8, _: u64, _: *mut u8) {
    std::thread::sleep(std::time::Duration::from_millis(2));
}

#[test]
fn a_groups_time_is_divided_among_its_steps() {
    for threads in [1, 2] {
        let steps = vec![
            step("before", slow, 2, vec![]),
            step("one", slow, 6, vec![]),
            step("two", slower, 6, vec![]),
            step("after", slow, 2, vec![]),
        ];
        let mut plan = plan(0, steps);
        plan.groups.push(1..3);
        let profile = session(plan, threads, DebugOptions::default()).run_profiled().expect("a run");
        let [before, one, two, after] = &profile.steps[..] else { panic!("four steps") };
        for step in &profile.steps {
            assert_eq!(step.spans.iter().map(|span| span.chunks).sum::<u32>(), step.chunks);
        }
        // a chunk at a time, so that each is a span
        assert_eq!((one.spans.len(), two.spans.len()), (6, 6));
        let ends = |step: &StepProfile| {
            let spans = || step.spans.iter();
            (spans().map(|s| s.start_ns).min().expect("spans"), spans().map(|s| s.end_ns).max().expect("spans"))
        };
        let group = ends(two).1 - ends(one).0;
        assert!((group - 2..=group).contains(&(one.total_ns + two.total_ns)), "{one:?} {two:?}");
        let share = one.total_ns as f64 / group as f64;
        let busy = |step: &StepProfile| step.busy_ns.iter().sum::<u64>() as f64;
        assert!((share - busy(one) / (busy(one) + busy(two))).abs() < 1e-3, "{one:?} {two:?}");
        assert!(ends(before).1 <= ends(one).0 && ends(two).1 <= ends(after).0);
        assert!(profile.steps.iter().map(|step| step.total_ns).sum::<u64>() <= profile.total_ns);
    }
}

#[test]
fn the_table_is_sorted_and_has_sums() {
    let (_, profile) = profiled(2);
    let roof = Roof { gflops: 10.0, bandwidth: 1.0 };
    let table = profile.table(&roof);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[0], "test plan on 2 thread(s) of a machine that reaches 10 GFLOP/s and 1.0 GB/s");
    assert!(lines[1].contains("time ms share %  calls   GFLOP/s  peak %     GB/s  roof %"), "{table}");
    assert!(lines[2].ends_with(r#"the "slow" one\ "#), "{table}");
    let columns = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let number = |text: &str| text.parse::<f64>().expect("a number");
    // 4e6 operations and 2e6 bytes in at least 2 ms: the bytes would take 2 ms, the operations 0.4 ms
    let slow = columns(lines[2]);
    let ms = number(&slow[0]);
    assert!(ms >= 2.0 && slow[2] == "4" && slow[7] == "memory", "{table}");
    assert!((number(&slow[3]) - 4.0 / ms).abs() < 0.01 && (number(&slow[5]) - 2.0 / ms).abs() < 0.01, "{table}");
    assert!((number(&slow[4]) - 40.0 / ms).abs() < 0.1 && (number(&slow[6]) - 200.0 / ms).abs() < 1.0, "{table}");
    // the other two steps count nothing
    assert_eq!(columns(lines[3])[3..8], ["-", "-", "-", "-", "-"]);
    let kind = columns(lines[5]);
    assert_eq!((kind[2].as_str(), kind[10].as_str(), kind[11].as_str()), ("13", "all", "3"), "{table}");
    let total = lines[7];
    assert!(lines[6].ends_with("between steps") && total.ends_with("total") && total.contains(" 100.0 "), "{table}");
    assert_eq!(lines[8], "0.0 % of the run in convolution kernels");
}

#[test]
fn shares_are_of_the_whole_run() {
    let step = |kind: &str, total_ns, flops, bytes| StepProfile {
        name: kind.to_string(),
        kind: kind.to_string(),
        total_ns,
        busy_ns: vec![total_ns],
        chunks: 1,
        flops,
        bytes,
        spans: vec![],
    };
    let steps = vec![step("fused_conv2d", 40, 1000, 10), step("map", 30, 0, 100), step("matmul", 10, 10, 100)];
    let profile = Profile { plan: String::new(), threads: 1, total_ns: 100, steps };
    let roof = Roof { gflops: 50.0, bandwidth: 10.0 };
    assert_eq!(profile.convolution_share(), 0.4);
    assert_eq!(profile.share_bound_by(Bound::Compute, &roof), 0.4);
    assert_eq!(profile.share_bound_by(Bound::Memory, &roof), 0.4);
    // 20, 10 and 10 ns
    assert_eq!(profile.least_ns(&roof), 40.0);
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

/// Tells a process of this program to run sessions, and no tests.
const CHILD: &str = "OUTRIGGER_TEST_RUNS_SESSIONS";

/// What a program prints that runs three sessions, one of them never, with the trace in `path`.
fn program(path: &std::path::Path) -> String {
    let child = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_environment_asks_for_a_trace", "--nocapture"])
        .env(CHILD, "1")
        .env("OUTRIGGER_PROFILE", path)
        .output()
        .expect("a process");
    assert!(child.status.success(), "{child:?}");
    String::from_utf8(child.stderr).expect("UTF-8")
}

fn sessions() {
    for (threads, runs) in [(1, 3), (2, 12), (2, 0)] {
        let steps = vec![step("a", nothing, 1, vec![]), step("b", slow, 4, vec![])];
        let mut session = session(plan(0, steps), threads, DebugOptions::default());
        for _ in 0..runs {
            session.run().expect("a run");
        }
    }
    // a debug mode's checks are not given up for a measurement
    let poison = DebugOptions { poison: true, bounds: false };
    session(plan(0, vec![step("checked", nothing, 1, vec![])]), 1, poison).run().expect("a run");
}

#[test]
fn the_environment_asks_for_a_trace() {
    if std::env::var_os(CHILD).is_some() {
        return sessions();
    }
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join("trace.json");
    let said = program(&path);
    let trace = std::fs::read_to_string(&path).expect("a trace");
    let mut text = trace.chars().peekable();
    assert!(skip_json(&mut text).is_some() && text.next().is_none(), "{trace}");
    assert_eq!(trace.matches(r#""name":"process_name""#).count(), 2);
    assert!(trace.contains(r#""pid":2,"tid":1,"args":{"name":"thread 1"}"#), "{trace}");
    let events = |name: &str, pid: usize| {
        let start = format!("{{\"name\":\"{name}\",\"cat\":\"test\",\"ph\":\"X\",\"pid\":{pid},");
        trace.matches(&start).count()
    };
    // one chunk is one thread's; of four each thread may have some
    assert_eq!((events("a", 1), events("b", 1), events("a", 2)), (3, 3, 10));
    assert!((10..=20).contains(&events("b", 2)), "{trace}");
    assert!(!trace.contains("checked"));
    assert!(said.contains("the median of the last 3 of 3 run(s) of test plan on 1 thread(s)"), "{said}");
    assert!(said.contains("the median of the last 10 of 12 run(s) of test plan on 2 thread(s)"), "{said}");

    let said = program(&directory.join("missing/trace.json"));
    assert!(said.contains("warning: OUTRIGGER_PROFILE") && said.contains("missing/trace.json"), "{said}");
    assert!(!said.contains("median"), "{said}");
}
