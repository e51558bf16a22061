//! Denormals are flushed in kernels, on every thread, and nowhere else.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

mod common;

use std::hint::black_box;

use common::*;
use outrigger_runtime::*;

/// The floating-point control register.
fn control() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut value = 0u32;
        // SAFETY: stores the register into our own variable.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack)) };
        // The low six bits are flags that say what happened, not how to compute.
        u64::from(value & !0x3f)
    }
    #[cfg(target_arch = "aarch64")]
    {
        let value: u64;
        // SAFETY: reads a register that user code may read.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nostack)) };
        value
    }
}

/// args: f32[chunks]; what a product of normal numbers that is denormal comes out as.
unsafe extern "C" fn underflow(args: *const *mut u8, chunk: u64, _: *mut u8) {
    // Long enough for the other threads to come and take chunks.
    std::thread::sleep(std::time::Duration::from_micros(200));
    let product = black_box(1e-20f32) * black_box(1e-20f32);
    // SAFETY: the argument has a float for each chunk.
    unsafe { *(*args).cast::<f32>().add(chunk as usize) = product };
}

#[test]
fn flushed_inside_and_restored_outside() {
    let out = BufferRef::Work(0);
    let before = control();
    for threads in [1, 2, 3] {
        let steps = vec![
            step("underflow", underflow, 16, vec![float(write(out, 64))]),
            step("again", underflow, 16, vec![float(write(out, 64))]),
        ];
        let mut session = session(plan(64, steps), threads, DebugOptions::default());
        session.write_work(0, &[1; 64]).expect("in the arena");
        let profile = session.run_profiled().expect("a run");
        if threads == 2 {
            assert!(profile.steps.iter().any(|step| step.spans.len() == 2), "nobody helped");
        }
        let mut values = [1; 64];
        session.read_work(0, &mut values).expect("in the arena");
        assert_eq!(values, [0; 64], "a denormal survived");
        assert_eq!(control(), before);
        assert!(black_box(1e-20f32) * black_box(1e-20f32) > 0.0);
    }
}

#[test]
fn restored_after_an_error_too() {
    unsafe extern "C" fn bad(args: *const *mut u8, _: u64, _: *mut u8) {
        // SAFETY: the argument has 4 bytes.
        unsafe { *(*args).cast::<f32>() = f32::INFINITY };
    }
    let before = control();
    let steps = vec![step("bad", bad, 1, vec![float(write(BufferRef::Work(0), 4))])];
    let mut session = session(plan(64, steps), 2, DebugOptions::default());
    assert!(session.run_checked().is_err());
    assert_eq!(control(), before);
}
