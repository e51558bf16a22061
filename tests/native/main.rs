//! Exported native code, compiled into C programs and compared with the JIT.
//!
//! Needs `gcc` (and for some tests `g++`, `nm`, `valgrind`, `qemu-aarch64` with Debian's cross compiler); a test that
//! misses one says so and passes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use outrigger::codegen::Isa;

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod models;
mod seed;
mod suite;

/// Whether a program can be started; says so if not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: there is no {program}");
    }
    found
}

/// Runs a program in `directory`; its standard output.
#[track_caller]
fn run(directory: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(directory).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

const STRICT: [&str; 5] = ["-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// The variants that this CPU runs.
fn available() -> &'static [Isa] {
    let all = &[Isa::Clif, Isa::Avx2, Isa::Avx512];
    &all[..all.iter().filter(|isa| isa.available()).count()]
}

fn write_floats(path: PathBuf, floats: &[f32]) {
    let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    std::fs::write(path, bytes).unwrap();
}

fn read_floats(path: PathBuf) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}
