//! The checked modes find planted bugs and name the step.

mod common;

use std::process::Command;
use std::sync::Arc;

use common::*;
use outrigger_runtime::*;

const OFF: DebugOptions = DebugOptions { poison: false, bounds: false };
const POISON: DebugOptions = DebugOptions { poison: true, bounds: false };
const BOUNDS: DebugOptions = DebugOptions { poison: false, bounds: true };

/// args: f32[64]; writes 0/0 to element 5.
unsafe extern "C" fn make_nan(args: *const *mut u8, _: u64, _: *mut u8) {
    // SAFETY: the argument has 64 floats.
    unsafe { *(*args).cast::<f32>().add(5) = f32::NAN };
}

/// args: a buffer, 64 bytes of which nobody owns the last; writes one byte too many.
unsafe extern "C" fn one_too_many(args: *const *mut u8, chunk: u64, _: *mut u8) {
    if chunk == 0 {
        // SAFETY: not safe: byte 60 is not ours. It lies in the gap behind the buffer, though.
        unsafe { *(*args).add(60) = 0 };
    }
}

/// args: u32; adds the first word of the scratch.
unsafe extern "C" fn read_scratch(args: *const *mut u8, _: u64, scratch: *mut u8) {
    // SAFETY: the argument has 4 bytes, the scratch 64.
    unsafe { *(*args).cast::<u32>() = *scratch.cast::<u32>() };
}

/// Writes behind the scratch of 60 bytes.
unsafe extern "C" fn past_scratch(_: *const *mut u8, _: u64, scratch: *mut u8) {
    // SAFETY: not safe: byte 61 is not ours, but it is in the same line.
    unsafe { *scratch.add(61) = 0 };
}

/// args: bytes; reads 1 MiB beyond.
unsafe extern "C" fn far_read(args: *const *mut u8, _: u64, _: *mut u8) {
    // SAFETY: not safe at all: this must fault on the guard page.
    (0..1 << 20).for_each(|i| unsafe {
        std::ptr::read_volatile((*args).add(i));
    });
}

#[test]
fn the_first_nan_is_found() {
    let (a, b) = (BufferRef::Work(0), BufferRef::Work(256));
    let steps = vec![
        step("input", nothing, 3, vec![float(write(a, 256))]),
        step("net/bad", make_nan, 1, vec![float(read(b, 256)), float(write(a, 256))]),
        step("later", make_nan, 1, vec![float(write(b, 256))]),
    ];
    let mut steps = steps;
    steps[1].args.swap(0, 1); // the kernel writes to its first argument
    for threads in [1, 2] {
        let mut session = session(plan(512, steps.clone()), threads, OFF);
        session.run().expect("run() does not look");
        session.write_work(0, &[0; 512]).expect("in the arena");
        let error = session.run_checked().expect_err("a NaN");
        assert_eq!(error.to_string(), "main step 1 `net/bad` (test) made NaN at element 5 of argument 0");
        assert!(matches!(error, Error::NonFinite { value, from: None, .. } if value.is_nan()));
        // After an error the session goes on.
        session.run().expect("a run");
        assert!(session.run_checked().is_err());
    }
}

#[test]
fn infinity_from_outside_is_told_apart() {
    let mut plan = plan(64, vec![]);
    plan.prepare =
        vec![step("copy", copy_one, 1, vec![float(read(BufferRef::State(0), 4)), float(write(BufferRef::Work(0), 4))])];
    plan.states = vec![slot("weight", 4)];
    let mut session = session(plan, 1, OFF);
    session.run_checked().expect("zeros are finite");
    session.state().write("weight", &f32::NEG_INFINITY.to_ne_bytes()).expect("fits");
    session.run().expect("run() does not look");
    let message = session.run_checked().expect_err("infinity").to_string();
    assert!(message.starts_with("prepare step 0 `copy`"), "{message}");
    assert!(message.contains("made -inf") && message.ends_with("its input argument 0 was already not finite"));
}

#[test]
fn poison_shows_use_after_the_last_use() {
    let (a, b, c) = (BufferRef::Work(0), BufferRef::Work(64), BufferRef::Work(128));
    let copy = |name, from, to| step(name, copy_one, 1, vec![float(read(from, 4)), float(write(to, 4))]);
    let mut steps = vec![copy("first", a, b), copy("second", a, c)];
    steps[0].dead_after = vec![(0, 4)]; // wrong: `second` still needs it
    for threads in [1, 2] {
        for (debug, finds) in [(OFF, false), (POISON, true)] {
            let mut session = session(plan(192, steps.clone()), threads, debug);
            session.write_work(0, &1f32.to_ne_bytes()).expect("in the arena");
            match session.run_checked() {
                Err(Error::NonFinite { name, from, value, .. }) => {
                    assert!(finds && name == "second" && from == Some(0));
                    assert_eq!(value.to_bits(), 0x7fc0_dead);
                }
                other => assert!(!finds && other.is_ok(), "{other:?}"),
            }
        }
    }
}

#[test]
fn poison_fills_fresh_arena_and_scratch_but_no_constant() {
    let mut plan = plan(192, vec![step("scratch", read_scratch, 1, vec![write(BufferRef::Work(128), 4)])]);
    plan.constants = vec![Constant { offset: 64, bytes: vec![7; 8] }];
    let mut session = session(plan, 2, POISON);
    session.run().expect("a run");
    let mut arena = vec![0; 192];
    session.read_work(0, &mut arena).expect("in the arena");
    let arena = words(&arena);
    assert_eq!(arena[0], 0x7fc0_dead);
    assert_eq!(arena[16..18], [0x0707_0707; 2]);
    assert_eq!(arena[32], 0x7fc0_dead, "the scratch");
}

#[test]
fn canaries_name_the_step() {
    let (first, second) = (BufferRef::Work(0), BufferRef::Work(64));
    let good = || step("good", nothing, 4, vec![write(second, 60)]);
    // 60 bytes, then 4 that nobody owns.
    let steps = vec![good(), step("bad", one_too_many, 4, vec![write(first, 60)]), good()];
    for threads in [1, 3] {
        let mut session = session(plan(128, steps.clone()), threads, BOUNDS);
        for _ in 0..2 {
            let message = session.run().expect_err("damage").to_string();
            assert_eq!(message, "main step 1 `bad` (test) wrote outside its buffers: the work arena, byte 60");
        }
    }
    let mut session = session(plan(128, steps), 2, OFF);
    session.run().expect("nobody looks");
}

#[test]
fn canaries_guard_scratch_and_state() {
    let mut scratch = plan(0, vec![step("bad", past_scratch, 1, vec![])]);
    scratch.scratch_bytes = 60;
    let message = session(scratch, 2, BOUNDS).run().expect_err("damage").to_string();
    assert!(message.ends_with("the scratch of thread 0, byte 61"), "{message}");

    let mut state = plan(0, vec![step("bad", one_too_many, 1, vec![write(BufferRef::State(0), 60)])]);
    state.states = vec![slot("a", 60), slot("b", 64)];
    state.writes_states = true;
    let message = session(state, 2, BOUNDS).run().expect_err("damage").to_string();
    assert!(message.ends_with("the state, byte 60"), "{message}");
}

#[test]
fn an_input_that_no_step_reads_is_no_damage() {
    let steps = vec![step("good", nothing, 1, vec![write(BufferRef::Work(64), 64)])];
    let mut session = session(plan(128, steps), 2, BOUNDS);
    session.write_work(0, &[1; 64]).expect("in the arena");
    session.run().expect("no damage");
}

/// Dies on purpose, in a process of its own: see the next test.
#[test]
#[ignore = "run by reading_past_the_arena_faults"]
fn reads_past_the_arena() {
    let steps = vec![step("far", far_read, 1, vec![read(BufferRef::Work(0), 64)])];
    let debug = DebugOptions::parse(&std::env::var("TEST_DEBUG").unwrap_or_default()).expect("known");
    session(plan(4 << 20, steps.clone()), 1, debug).run().expect("inside the arena");
    println!("first done");
    session(plan(64, steps), 1, debug).run().expect("never");
    println!("second done");
}

#[cfg(unix)]
#[test]
fn reading_past_the_arena_faults() {
    use std::os::unix::process::ExitStatusExt;
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["reads_past_the_arena", "--exact", "--ignored", "--nocapture"])
        .env("TEST_DEBUG", "bounds")
        .output()
        .expect("a child process");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("first done") && !text.contains("second done"), "{text}");
    let signal = output.status.signal();
    assert!(signal == Some(libc::SIGSEGV) || signal == Some(libc::SIGBUS), "{signal:?}");
}

/// Run alone, with a wrong word in the environment.
#[test]
#[ignore = "run by a_wrong_word_in_the_environment_is_an_error"]
fn meets_a_wrong_word() {
    let error = State::new(&[("a", 4)]).expect_err("a wrong word");
    assert!(matches!(&error, Error::UnknownDebugWord { word, .. } if word == "bonds"), "{error}");
    let state = Arc::new(State::with_debug(&[("a", 4)], OFF).expect("memory"));
    assert!(Session::new(Arc::new(plan(0, vec![])), state, team(1)).is_err());
}

#[test]
fn a_wrong_word_in_the_environment_is_an_error() {
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args(["meets_a_wrong_word", "--exact", "--ignored"])
        .env("OUTRIGGER_DEBUG", "poison,bonds")
        .status()
        .expect("a child process");
    assert!(status.success());
}
