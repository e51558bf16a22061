//! Prints the class of each image in a file of floats, 32 × 32 × 3 of them an image, each 0 to 1.
//!
//! ```text
//! RESNET_WEIGHTS=FILE cargo run --release --manifest-path examples/native/rust/Cargo.toml -- IMAGES [THREADS]
//! ```

use std::ffi::c_void;
use std::process::ExitCode;

include!(concat!(env!("OUT_DIR"), "/resnet.rs"));

/// Floats of an image, and of its logits.
const IMAGE: usize = 32 * 32 * 3;
const CLASSES: usize = 10;

/// Memory of a run.
#[repr(align(64))]
#[derive(Clone)]
struct Workspace([u8; WORKSPACE_BYTES]);

unsafe extern "C" {
    /// `resnet.h` says what it does.
    fn resnet_run(images: *const f32, logits: *mut f32, workspace: *mut c_void) -> i32;
}

/// The logits of an image.
fn run(image: &[f32], logits: &mut [f32], workspace: &mut Workspace) -> Result<(), String> {
    assert_eq!((image.len(), logits.len()), (IMAGE, CLASSES));
    // SAFETY: the lengths are those of the network, the workspace has its size and alignment, and nothing overlaps.
    let code = unsafe { resnet_run(image.as_ptr(), logits.as_mut_ptr(), workspace.0.as_mut_ptr().cast()) };
    if code == 0 { Ok(()) } else { Err(format!("resnet_run returned {code}")) }
}

/// The logits of all images, on so many threads.
fn run_all(images: &[f32], threads: usize) -> Result<Vec<f32>, String> {
    let n = images.len() / IMAGE;
    let mut logits = vec![0.0; n * CLASSES];
    let share = n.div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let shares = images.chunks(share * IMAGE).zip(logits.chunks_mut(share * CLASSES));
        let work = |(images, logits): (&[f32], &mut [f32])| {
            // boxed, since it may be too large for a stack
            let mut workspace = vec![Workspace([0; WORKSPACE_BYTES])];
            let mut rows = images.chunks_exact(IMAGE).zip(logits.chunks_exact_mut(CLASSES));
            rows.try_for_each(|(image, logits)| run(image, logits, &mut workspace[0]))
        };
        let team: Vec<_> = shares.map(|share| scope.spawn(move || work(share))).collect();
        team.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_string())?)
    })?;
    Ok(logits)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let threads = args.get(2).map_or(Some(1), |word| word.parse().ok()).filter(|&n| n > 0);
    let (Some(path), Some(threads)) = (args.get(1), threads) else {
        eprintln!("usage: classify IMAGES [THREADS]");
        return ExitCode::FAILURE;
    };
    let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"));
    let floats = |bytes: Vec<u8>| bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let logits = bytes.map(floats).and_then(|images: Vec<f32>| run_all(&images, threads));
    match logits {
        Ok(logits) => {
            for row in logits.chunks(CLASSES) {
                let best = (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
                println!("{best}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
