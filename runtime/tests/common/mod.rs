//! Kernels written in Rust, and short ways to make plans of them.

#![allow(dead_code)] // each test file uses its own part

use std::sync::Arc;

use outrigger_runtime::*;

/// Numbers in the buffers of [`mix`].
pub const N: usize = 64;
pub const MIX_BYTES: usize = N * 4;

/// args: input u32[N], output u32[N], [chunks, salt]. Every output depends on inputs of other chunks,
/// so a step that starts too early gives a wrong number.
pub unsafe extern "C" fn mix(args: *const *mut u8, chunk: u64, scratch: *mut u8) {
    // SAFETY: the plan gives these arguments in these sizes.
    unsafe {
        let (input, output) = ((*args).cast::<u32>(), (*args.add(1)).cast::<u32>());
        let (chunks, salt) = (*(*args.add(2)).cast::<u32>() as usize, *(*args.add(2)).cast::<u32>().add(1));
        let (from, to) = (N * chunk as usize / chunks, N * (chunk as usize + 1) / chunks);
        for i in from..to {
            *scratch.cast::<u32>() = mixed(i, salt, |j| *input.add(j));
            *output.add(i) = *scratch.cast::<u32>();
        }
    }
}

pub fn mixed(i: usize, salt: u32, input: impl Fn(usize) -> u32) -> u32 {
    input(i)
        .wrapping_mul(31)
        .wrapping_add(input((i * 7 + 1) % N).rotate_left(5))
        .wrapping_add(input((i + N / 2) % N))
        .wrapping_add(salt)
}

/// args: f32 to copy from, f32 to copy to.
pub unsafe extern "C" fn copy_one(args: *const *mut u8, _: u64, _: *mut u8) {
    // SAFETY: both arguments have at least 4 bytes.
    unsafe { *(*args.add(1)).cast::<f32>() = *(*args).cast::<f32>() };
}

/// args: u32 that is increased by one.
pub unsafe extern "C" fn count(args: *const *mut u8, _: u64, _: *mut u8) {
    // SAFETY: the argument has 4 bytes, and the step one chunk.
    unsafe { *(*args).cast::<u32>() += 1 };
}

/// Nothing.
pub unsafe extern "C" fn nothing(_: *const *mut u8, _: u64, _: *mut u8) {}

pub fn read(buffer: BufferRef, bytes: usize) -> Argument {
    Argument { buffer, bytes, write: false, float: false }
}

pub fn write(buffer: BufferRef, bytes: usize) -> Argument {
    Argument { buffer, bytes, write: true, float: false }
}

pub fn float(arg: Argument) -> Argument {
    Argument { float: true, ..arg }
}

pub fn step(name: &str, kernel: KernelFn, chunks: u32, args: Vec<Argument>) -> Step {
    let (name, kind) = (name.to_string(), "test".to_string());
    Step { name, kind, kernel, args, chunks, flops: 0, bytes: 0, dead_after: vec![] }
}

pub fn plan(work_bytes: usize, steps: Vec<Step>) -> Plan {
    Plan {
        name: "test plan".to_string(),
        prepare: vec![],
        steps,
        work_bytes,
        scratch_bytes: 64,
        image_bytes: 0,
        groups: Vec::new(),
        states: vec![],
        constants: vec![],
        code: Arc::new(()),
        writes_states: false,
    }
}

pub fn slot(name: &str, bytes: usize) -> StateSlot {
    StateSlot { name: name.to_string(), bytes }
}

pub fn no_state() -> Arc<State> {
    Arc::new(State::new::<&str>(&[]).expect("memory"))
}

pub fn team(threads: usize) -> Arc<Team> {
    Arc::new(Team::new(threads).expect("threads"))
}

/// A session of its own state and team, without the environment's debug modes.
pub fn session(plan: Plan, threads: usize, debug: DebugOptions) -> Session {
    let slots: Vec<_> = plan.states.iter().map(|s| (s.name.clone(), s.bytes)).collect();
    let state = Arc::new(State::with_debug(&slots, debug).expect("memory"));
    Session::with_debug(Arc::new(plan), state, team(threads), debug).expect("a valid plan")
}

pub fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&word| u32::from_ne_bytes(word)).collect()
}

pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `steps` times [`mix`], with all sorts of chunk counts. The input lies at 0, the output where the
/// second value says.
pub fn mix_plan(steps: usize) -> (Plan, usize) {
    let buffer = |i: usize| BufferRef::Work(i * MIX_BYTES);
    let mut plan = plan((steps + 1) * MIX_BYTES + steps * 64, vec![]);
    for i in 0..steps {
        let chunks = [2, 1, 64, 3, 5, 1, 1, 16, 7, 33][i % 10];
        let constant = (steps + 1) * MIX_BYTES + i * 64;
        plan.constants.push(Constant { offset: constant, bytes: bytes(&[chunks, i as u32]) });
        let args =
            vec![read(buffer(i), MIX_BYTES), write(buffer(i + 1), MIX_BYTES), read(BufferRef::Work(constant), 8)];
        plan.steps.push(step(&format!("mix{i}"), mix, chunks, args));
    }
    (plan, steps * MIX_BYTES)
}

/// What a plan of [`mix_plan`] computes.
pub fn mix_expected(steps: usize, input: &[u32]) -> Vec<u32> {
    (0..steps).fold(input.to_vec(), |x, s| (0..N).map(|i| mixed(i, s as u32, |j| x[j])).collect())
}
