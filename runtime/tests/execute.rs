//! Results are exact, whatever the number of threads, chunks, sessions and teams.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::*;
use outrigger_runtime::*;

const OFF: DebugOptions = DebugOptions { poison: false, bounds: false };
const ALL: DebugOptions = DebugOptions { poison: true, bounds: true };

fn check_mix(session: &mut Session, steps: usize, output: usize, round: u32) {
    let input: Vec<u32> = (0..N as u32).map(|i| i.wrapping_mul(0x9e37_79b9) ^ round).collect();
    session.write_work(0, &bytes(&input)).expect("in the arena");
    session.run().expect("a run");
    let mut out = vec![0; MIX_BYTES];
    session.read_work(output, &mut out).expect("in the arena");
    assert_eq!(words(&out), mix_expected(steps, &input), "round {round}");
}

#[test]
fn dependent_steps_are_exact_with_any_number_of_threads() {
    let (plan, output) = mix_plan(40);
    for threads in [1, 2, 3, 4, 7] {
        let mut session = session(plan.clone(), threads, OFF);
        for round in 0..2000 {
            check_mix(&mut session, 40, output, round);
        }
    }
}

/// Threads are interrupted in the middle of steps, so that late ones meet steps long done.
#[test]
fn interrupted_threads_change_nothing() {
    unsafe extern "C" fn hesitant(args: *const *mut u8, chunk: u64, scratch: *mut u8) {
        match chunk % 7 {
            2 => std::thread::yield_now(),
            5 => std::thread::sleep(std::time::Duration::from_micros(20)),
            _ => {}
        }
        // SAFETY: as this function's own promise.
        unsafe { mix(args, chunk, scratch) };
    }
    let (mut plan, output) = mix_plan(20);
    plan.steps.iter_mut().for_each(|step| step.kernel = hesitant);
    for threads in [2, 3, 4, 7, 9] {
        let mut session = session(plan.clone(), threads, OFF);
        for round in 0..60 {
            check_mix(&mut session, 20, output, round);
        }
    }
}

#[test]
fn workers_that_slept_come_back() {
    let (plan, output) = mix_plan(20);
    let mut session = session(plan, 3, OFF);
    for round in 0..40 {
        std::thread::sleep(std::time::Duration::from_micros(u64::from(round % 4) * 150));
        check_mix(&mut session, 20, output, round);
    }
}

#[test]
fn debug_modes_change_no_result() {
    let (plan, output) = mix_plan(30);
    for threads in [1, 3] {
        let mut session = session(plan.clone(), threads, ALL);
        for round in 0..50 {
            check_mix(&mut session, 30, output, round);
            session.run_checked().expect("no floats, no damage");
            session.run_profiled().expect("a run");
        }
    }
}

#[test]
fn every_chunk_runs_once_and_slow_ones_are_waited_for() {
    /// args: u32 per chunk. Chunk 0 dawdles until its thread falls asleep at the barrier's other end.
    unsafe extern "C" fn dawdle(args: *const *mut u8, chunk: u64, _: *mut u8) {
        if chunk == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // SAFETY: the argument has a word for each chunk.
        unsafe { *(*args).cast::<u32>().add(chunk as usize) += 1 };
    }
    for (threads, chunks) in [(2, 3), (4, 2), (7, 5), (3, 100)] {
        let work = write(BufferRef::Work(0), chunks as usize * 4);
        let steps = (0..5).map(|_| step("slow", dawdle, chunks, vec![work.clone()])).collect();
        let mut session = session(plan(chunks as usize * 4, steps), threads, OFF);
        for round in 1..=5 {
            session.run().expect("a run");
            let mut counts = vec![0; chunks as usize * 4];
            session.read_work(0, &mut counts).expect("in the arena");
            assert_eq!(words(&counts), vec![round * 5; chunks as usize]);
        }
    }
}

#[test]
fn sessions_share_a_team_and_a_state_from_two_threads() {
    let mut counting = plan(0, vec![]);
    counting.states = vec![slot("count", 4)];
    counting.steps =
        (0..10).map(|i| step(&format!("count{i}"), count, 1, vec![write(BufferRef::State(0), 4)])).collect();
    counting.writes_states = true;
    let (mut mixing, output) = mix_plan(20);
    mixing.states = vec![slot("other", 8)];
    let state = Arc::new(State::new(&[("other", 8), ("count", 4)]).expect("memory"));
    let team = team(2);
    let make = |plan: &Plan| {
        let plan = Arc::new(plan.clone());
        Session::with_debug(plan, state.clone(), team.clone(), OFF).expect("a valid plan")
    };
    let (counting, mixing) = (&counting, &mixing);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (mut counts, mut mixes) = (make(counting), make(mixing));
            scope.spawn(move || (0..500).for_each(|_| counts.run().expect("a run")));
            scope.spawn(move || (0..500).for_each(|r| check_mix(&mut mixes, 20, output, r)));
        }
        for _ in 0..100 {
            let count = words(&state.read("count").expect("there"))[0];
            assert_eq!(count % 10, 0, "a state was read in the middle of a run");
        }
    });
    assert_eq!(words(&state.read("count").expect("there")), [10_000]);
    assert_eq!(state.version(), 1000);
}

#[test]
fn parts_of_a_plan_make_a_run() {
    for (threads, debug) in [(1, OFF), (2, OFF), (3, OFF), (2, ALL)] {
        let (plan, output) = mix_plan(20);
        let mut session = session(plan, threads, debug);
        let input: Vec<u32> = (0..N as u32).collect();
        session.write_work(0, &bytes(&input)).expect("fits");
        // steps of one chunk and of many, forwards and backwards; the last three in order
        for range in [3..9, 5..6, 0..0, 1..20, 0..7, 7..8, 8..20] {
            session.run_steps(range).expect("steps of the plan");
        }
        let mut out = vec![0; MIX_BYTES];
        session.read_work(output, &mut out).expect("in the arena");
        assert_eq!(words(&out), mix_expected(20, &input));
        session.run().expect("a run after parts");

        for (start, end) in [(0, 21), (21, 21), (5, 4), (0, usize::MAX)] {
            let message = session.run_steps(start..end).expect_err("not in the plan").to_string();
            assert!(message.contains("0..20"), "{message}");
        }
    }
}

#[test]
fn prepare_runs_only_after_a_change_from_outside() {
    static PREPARED: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn prepare(args: *const *mut u8, chunk: u64, scratch: *mut u8) {
        PREPARED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as this function's own promise.
        unsafe { copy_one(args, chunk, scratch) };
    }
    // packed = weight (prepare); out = packed, count += 1 (each run)
    let packed = BufferRef::Work(0);
    let mut plan = plan(
        128,
        vec![
            step("use", copy_one, 1, vec![read(packed, 4), write(BufferRef::Work(64), 4)]),
            step("count", count, 1, vec![write(BufferRef::State(1), 4)]),
        ],
    );
    plan.prepare = vec![step("pack", prepare, 1, vec![read(BufferRef::State(0), 4), write(packed, 4)])];
    plan.states = vec![slot("weight", 4), slot("count", 4)];
    plan.writes_states = true;
    let state = Arc::new(State::for_plan(&plan).expect("memory"));
    let (plan, team) = (Arc::new(plan), team(2));
    let make = || Session::with_debug(plan.clone(), state.clone(), team.clone(), OFF).expect("a valid plan");
    let (mut one, mut two) = (make(), make());
    let prepared = || PREPARED.load(Ordering::Relaxed);
    let out = |session: &Session| {
        let mut out = [0; 4];
        session.read_work(64, &mut out).expect("in the arena");
        f32::from_ne_bytes(out)
    };
    for _ in 0..5 {
        one.run().expect("a run");
    }
    assert_eq!(prepared(), 1);
    state.write("weight", &2.5f32.to_ne_bytes()).expect("fits");
    for _ in 0..5 {
        one.run().expect("a run");
    }
    assert_eq!((prepared(), out(&one)), (2, 2.5));
    two.run().expect("a run"); // its own first run
    one.run().expect("a run"); // `two` has written to the state
    one.run().expect("a run");
    assert_eq!(prepared(), 4);
    one.run_checked().expect("finite"); // always prepares, to check that too
    one.run_profiled().expect("a run");
    assert_eq!((prepared(), state.version()), (5, 16));
}

#[test]
fn arguments_reach_into_slots_and_borders_are_checked() {
    let into = BufferRef::StateAt { slot: 0, offset: 128 };
    let mut plan = plan(64, vec![step("get", copy_one, 1, vec![read(into, 4), write(BufferRef::Work(0), 4)])]);
    plan.states = vec![slot("table", 132)];
    let mut session = session(plan.clone(), 1, OFF);
    let table: Vec<u8> = (0..132).collect();
    session.state().write("table", &table).expect("fits");
    session.run().expect("a run");
    let mut out = [0; 4];
    session.read_work(0, &mut out).expect("in the arena");
    assert_eq!(out, [128, 129, 130, 131]);

    for (offset, bytes) in [(61, 4), (65, 0), (usize::MAX, 2)] {
        let message = session.write_work(offset, &vec![0; bytes]).expect_err("outside").to_string();
        assert!(message.contains("64 bytes"), "{message}");
        assert!(session.read_work(offset, &mut vec![0; bytes]).is_err());
    }
    let plan = Arc::new(plan);
    let wrong = Arc::new(State::new(&[("table", 128)]).expect("memory"));
    assert!(matches!(
        Session::with_debug(plan.clone(), wrong, team(1), OFF),
        Err(Error::StateSize { expected: 128, given: 132, .. })
    ));
    assert!(matches!(
        Session::with_debug(plan, no_state(), team(1), OFF),
        Err(Error::UnknownState { name, .. }) if name == "table"
    ));
}

#[test]
fn a_plan_without_steps_runs() {
    for threads in [1, 2] {
        let mut session = session(plan(0, vec![]), threads, ALL);
        session.run().expect("a run");
        session.run_checked().expect("a run");
        assert!(session.run_profiled().expect("a run").steps.is_empty());
    }
}

/// A chunk of a group goes through all its steps in one worker's memory: the sums are those of the chunk alone.
#[test]
fn groups_take_a_chunk_through_all_steps() {
    /// args: u32 to read, u32 to write, one a chunk.
    unsafe extern "C" fn add_chunk(args: *const *mut u8, chunk: u64, _: *mut u8) {
        let at = chunk as usize;
        // SAFETY: both arguments have an element for this chunk at its place in the whole tensor.
        unsafe { *(*args.add(1)).cast::<u32>().add(at) = *(*args).cast::<u32>().add(at) * 3 + chunk as u32 };
    }
    const CHUNKS: usize = 40;
    let whole = CHUNKS * 4;
    let part = |offset| BufferRef::Image(offset);
    let steps = vec![
        step("first", add_chunk, CHUNKS as u32, vec![read(BufferRef::Work(0), whole), write(part(0), 4)]),
        step("second", add_chunk, CHUNKS as u32, vec![read(part(0), 4), write(part(64), 4)]),
        step("third", add_chunk, CHUNKS as u32, vec![read(part(64), 4), write(BufferRef::Work(192), whole)]),
        step(
            "alone",
            add_chunk,
            CHUNKS as u32,
            vec![read(BufferRef::Work(192), whole), write(BufferRef::Work(384), whole)],
        ),
    ];
    let mut plan = plan(576, steps);
    plan.image_bytes = 128;
    plan.groups.push(0..3);
    for (threads, debug) in [(1, OFF), (2, OFF), (5, OFF), (1, ALL), (3, ALL)] {
        let mut session = session(plan.clone(), threads, debug);
        for round in 0..200 {
            let input: Vec<u32> = (0..CHUNKS as u32).map(|i| i * 7 + round).collect();
            session.write_work(0, &bytes(&input)).expect("in the arena");
            session.run().expect("a run");
            let mut out = vec![0; whole];
            session.read_work(384, &mut out).expect("in the arena");
            let once = |i: usize, x: u32| x * 3 + i as u32;
            let want: Vec<u32> =
                input.iter().enumerate().map(|(i, &x)| once(i, once(i, once(i, once(i, x))))).collect();
            assert_eq!(words(&out), want, "{threads} threads, round {round}");
        }
    }
}
