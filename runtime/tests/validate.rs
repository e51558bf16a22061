//! Every rule of `Plan::validate` refuses a plan that breaks it, and names the culprit.

mod common;

use common::*;
use outrigger_runtime::*;

/// A valid plan that uses everything: a constant at 0, prepared memory at 64, activations from 128.
fn good() -> Plan {
    let work = BufferRef::Work;
    let mut plan = plan(
        512,
        vec![
            step("first", nothing, 2, vec![read(work(64), 64), write(work(128), 100)]),
            step(
                "second",
                nothing,
                1,
                vec![
                    read(work(128), 100),
                    write(work(128), 100), // in place
                    write(work(256), 256),
                    write(BufferRef::State(1), 8),
                ],
            ),
        ],
    );
    plan.prepare = vec![
        step("temp", nothing, 1, vec![read(BufferRef::State(0), 16), write(work(128), 64)]),
        step("pack", nothing, 1, vec![read(work(0), 8), read(work(128), 64), write(work(64), 64)]),
    ];
    plan.prepare[1].dead_after = vec![(128, 64)];
    plan.steps[1].dead_after = vec![(128, 100)];
    plan.constants = vec![Constant { offset: 0, bytes: vec![1; 8] }];
    plan.states = vec![slot("w", 16), slot("n", 8)];
    plan.writes_states = true;
    plan
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Plan), words: &[&str]) {
    let mut plan = good();
    change(&mut plan);
    let message = plan.validate().expect_err("broken on purpose").to_string();
    for word in words.iter().chain(&["test plan"]) {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn the_good_plan_is_valid() {
    good().validate().expect("valid");
}

#[test]
fn bounds_and_alignment() {
    refused(|p| p.work_bytes = 511, &["main step 1 `second`, argument 2", "256..512", "511 bytes"]);
    refused(|p| p.steps[0].args[1].bytes = usize::MAX, &["main step 0 `first`, argument 1"]);
    refused(
        |p| p.steps[0].args[1].buffer = BufferRef::Work(132),
        &["`first`, argument 1", "132 is not a multiple of 64"],
    );
    refused(|p| p.prepare[0].args[0].bytes = 17, &["prepare step 0 `temp`", "slot `w` of 16"]);
    refused(|p| p.states.truncate(1), &["argument 3: state 1 does not exist, the plan has 1"]);
    refused(
        |p| p.prepare[0].args[0].buffer = BufferRef::StateAt { slot: 0, offset: 8 },
        &["offset 8 is not a multiple", "8..24"],
    );
    refused(|p| p.steps[0].dead_after = vec![(448, 65)], &["`first`, dead range", "448..513"]);
    refused(|p| p.constants[0].offset = 510, &["constant 0", "510..518"]);
}

#[test]
fn chunks_and_names() {
    refused(|p| p.steps[0].chunks = 0, &["`first` has no chunks"]);
    refused(|p| p.states.push(slot("w", 4)), &["two state slots are named `w`"]);
}

#[test]
fn overlaps() {
    refused(|p| p.steps[1].args[1].bytes = 64, &["`second`: arguments 0 (bytes 128..228) and 1 (bytes 128..192)"]);
    refused(|p| p.steps[1].args.push(read(BufferRef::State(1), 4)), &["arguments 3 (bytes 0..8) and 4 (bytes 0..4)"]);
    let mut plan = good();
    // Two reads may overlap as they like.
    plan.steps[0].args.push(read(BufferRef::Work(0), 128));
    plan.validate().expect("valid");
}

#[test]
fn what_must_survive() {
    refused(|p| p.steps[0].args[1].buffer = BufferRef::Work(0), &["writes to a constant"]);
    refused(|p| p.steps[0].dead_after = vec![(0, 8)], &["`first` declares a constant dead"]);
    refused(|p| p.constants.push(Constant { offset: 0, bytes: vec![1] }), &["constant 1 overlaps another constant"]);
    refused(|p| p.prepare[1].dead_after.clear(), &["`first`, argument 1", "`prepare` filled"]);
    refused(|p| p.steps[0].dead_after = vec![(64, 64)], &["`first` declares memory dead that `prepare` filled"]);
}

#[test]
fn states_and_prepare() {
    refused(|p| p.writes_states = false, &["`second`, argument 3 writes to a state"]);
    refused(|p| p.prepare[0].args[0].write = true, &["`temp`, argument 0", "must not"]);
    refused(|p| p.prepare[0].args.push(read(BufferRef::Work(448), 64)), &["`temp`, argument 2 reads work memory"]);
}

#[test]
fn all_problems_are_listed() {
    refused(
        |p| {
            p.steps[0].chunks = 0;
            p.steps[1].chunks = 0;
        },
        &["`first` has no chunks", "`second` has no chunks"],
    );
}

#[test]
fn a_session_refuses_an_invalid_plan() {
    let mut plan = good();
    plan.steps[0].chunks = 0;
    let state = std::sync::Arc::new(State::for_plan(&plan).expect("memory"));
    let session = Session::new(std::sync::Arc::new(plan), state, team(1));
    assert!(matches!(session, Err(Error::InvalidPlan { .. })));
}

/// Two steps of a group that pass a part on in the worker's memory.
fn grouped() -> Plan {
    let own = BufferRef::Image(0);
    let mut plan = plan(
        512,
        vec![
            step("make", nothing, 3, vec![read(BufferRef::Work(0), 192), write(own, 64)]),
            step("take", nothing, 3, vec![read(own, 64), write(BufferRef::Work(192), 192)]),
        ],
    );
    plan.image_bytes = 64;
    plan.groups.push(0..2);
    plan
}

#[test]
fn groups() {
    grouped().validate().expect("valid");
    let refused = |change: &dyn Fn(&mut Plan), word: &str| {
        let mut plan = grouped();
        change(&mut plan);
        let message = plan.validate().expect_err("broken on purpose").to_string();
        assert!(message.contains(word), "`{word}` is not in: {message}");
    };
    refused(&|p| p.groups.clear(), "at most 32 can be, in a group");
    refused(&|p| p.groups = vec![0..2, 1..2], "group 1..2 is empty, overlaps");
    refused(&|p| p.groups[0] = 0..3, "leaves the 2 steps");
    refused(&|p| p.steps[1].chunks = 4, "`make` has 3 chunks, `take` 4");
    refused(&|p| p.image_bytes = 0, "leave the worker's memory of 0 bytes");
    refused(&|p| p.steps[0].dead_after = vec![(0, 192)], "other chunks may use");
    refused(&|p| p.steps[1].args[1].buffer = BufferRef::Work(128), "`make` and `take` overlap in part");
    refused(&|p| p.prepare = vec![p.steps[0].clone()], "prepare step 0 `make`");
    refused(&|p| p.steps[1].args.extend(vec![read(BufferRef::Work(0), 64); 31]), "has 33 arguments");
}
