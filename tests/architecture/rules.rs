//! The rules of ARCHITECTURE.md as data, and one check for each. A check returns a line for every
//! violation, `file:line: what is wrong`.

use crate::source::{Source, line_of, word_positions};

/// What each module of `src` may import of ours. `runtime` is the crate `outrigger-runtime`.
///
/// Three entries are wider than the layer they belong to. `passes` folds constants by asking the definition of
/// every operation, `reference`. `error` knows `data` and `runtime` because the one
/// [`outrigger::Error`] carries their errors; both import nothing of ours. `compile` and `session` know each
/// other: they are the two halves of what a caller holds, a program and its running instance.
pub const IMPORTS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("data", &[]),
    ("error", &["types", "data", "runtime"]),
    ("tensor", &["types", "error"]),
    ("ops", &["types", "error", "tensor"]),
    ("graph", &["types", "error", "tensor", "ops"]),
    ("reference", &["types", "error", "tensor", "ops", "graph"]),
    ("autodiff", &["types", "error", "tensor", "ops", "graph"]),
    ("passes", &["types", "error", "tensor", "ops", "graph", "reference"]),
    ("plan", &["types", "error", "tensor", "ops", "graph"]),
    ("codegen", &["types", "error", "ops", "plan", "runtime"]),
    ("store", &["types", "error", "tensor", "ops", "graph", "runtime"]),
    ("session", &["types", "error", "tensor", "plan", "compile", "store", "runtime"]),
    ("compile", &["types", "error", "graph", "passes", "plan", "codegen", "session", "store", "runtime"]),
    ("formats", &["types", "error", "tensor", "store", "data"]),
    ("nn", &["types", "error", "tensor", "ops", "graph"]),
    ("models", &["types", "error", "tensor", "ops", "graph", "nn"]),
    (
        "train",
        &[
            "types", "error", "tensor", "ops", "graph", "autodiff", "compile", "session", "store", "nn", "models",
            "data", "formats", "runtime",
        ],
    ),
    ("prelude", &["*"]),
    (
        "export",
        &[
            "types",
            "error",
            "tensor",
            "ops",
            "graph",
            "reference",
            "passes",
            "plan",
            "codegen",
            "compile",
            "session",
            "store",
            "formats",
            "runtime",
        ],
    ),
    ("bench", &["types", "error", "tensor", "autodiff", "session", "runtime"]),
    ("cli", &["*"]),
    ("bin", &["cli"]),
    ("lib", &["*"]),
];

/// Crates that one module hides from all others.
pub const HIDDEN: &[(&str, &str)] = &[
    ("petgraph", "graph"),
    ("cranelift_codegen", "codegen"),
    ("cranelift_frontend", "codegen"),
    ("cranelift_jit", "codegen"),
    ("cranelift_module", "codegen"),
    ("cranelift_native", "codegen"),
    ("cranelift_object", "codegen"),
    ("iced_x86", "codegen"),
    ("ureq", "data"),
    ("tar", "data"),
    ("flate2", "data"),
    ("rayon", "data"),
    ("plotters", "train"),
    ("crc32c", "train"),
    ("criterion", "bench"),
    ("clap", "cli"),
    ("clap_complete", "cli"),
    ("indicatif", "cli"),
    ("hdf5_pure", "formats"),
    ("ar_archive_writer", "export"),
];

/// The longest that a file may be.
pub const LINES: usize = 450;

/// Where `unsafe` may be written in `src`.
pub const UNSAFE: &[&str] = &["codegen/code.rs"];

/// Ways to end the process that a user's input could reach.
const PANICS: &[&str] =
    &["panic!", "todo!", "unimplemented!", "unreachable!", ".unwrap()", ".expect(", ".unwrap_err()"];

/// Modules import only what [`IMPORTS`] allows. `roots` are the names that `lib.rs` re-exports, with their modules.
pub fn imports(source: &Source, roots: &[(String, String)]) -> Vec<String> {
    let module = source.module();
    let Some((_, allowed)) = IMPORTS.iter().find(|(m, _)| *m == module) else {
        return vec![format!("{}:1: module `{module}` is not in the table of imports", source.path)];
    };
    let mut used = source.imports(roots);
    used.extend(source.lines_with("outrigger_runtime").into_iter().map(|line| ("runtime".to_string(), line)));
    used.into_iter()
        .filter(|(name, _)| name != module && !allowed.contains(&"*") && !allowed.contains(&name.as_str()))
        .map(|(name, line)| format!("{}:{line}: `{module}` may not import `{name}`", source.path))
        .collect()
}

/// Crates appear only in the module that hides them.
pub fn hidden(source: &Source) -> Vec<String> {
    let mut bad = Vec::new();
    for (name, home) in HIDDEN.iter().filter(|(_, home)| *home != source.module()) {
        for line in source.lines_with(name) {
            bad.push(format!("{}:{line}: `{name}` belongs to `{home}`", source.path));
        }
    }
    bad
}

/// `unsafe` appears only where it may, and always with its reason.
pub fn unsafe_code(source: &Source, allowed: bool) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut bad = Vec::new();
    for at in word_positions(&source.code, "unsafe") {
        let line = line_of(&source.code, at);
        let rest = source.code[at + "unsafe".len()..].trim_start();
        // a type says what a caller must promise in its own documentation
        let (wanted, is_type) =
            (if rest.starts_with("fn") { "# Safety" } else { "SAFETY:" }, rest.starts_with("extern"));
        if !allowed {
            bad.push(format!("{}:{line}: no `unsafe` here", source.path));
        } else if !is_type && !explained(&lines[..line - 1], wanted) {
            bad.push(format!("{}:{line}: `unsafe` without `{wanted}` above it", source.path));
        }
    }
    bad
}

/// Whether `wanted` is in the comments above: over attributes and the first lines of the same statement.
fn explained(before: &[&str], wanted: &str) -> bool {
    let mut statement = 0;
    let mut comments = false;
    for line in before.iter().rev().map(|l| l.trim()) {
        if line.starts_with("//") {
            comments = true;
            if line.contains(wanted) {
                return true;
            }
        } else if comments || statement == 3 || line.is_empty() {
            return false;
        } else if !line.starts_with("#[") {
            statement += 1;
        }
    }
    false
}

/// Nothing outside tests panics on purpose. A method of our own that is called `expect` returns a result, so a
/// `?` follows it.
pub fn panics(source: &Source) -> Vec<String> {
    let mut bad = Vec::new();
    for word in PANICS {
        for at in word_positions(&source.code, word) {
            let call = &source.code[at..];
            let own = *word == ".expect(" && call.find(')').is_some_and(|end| call[end + 1..].starts_with('?'));
            if !own {
                bad.push(format!("{}:{}: `{word}` outside tests", source.path, line_of(&source.code, at)));
            }
        }
    }
    bad
}

/// Files have one subject.
pub fn length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= LINES { Vec::new() } else { vec![format!("{}:1: {lines} lines, more than {LINES}", source.path)] }
}

/// Every file says what it is.
pub fn headed(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") {
        Vec::new()
    } else {
        vec![format!("{}:1: a file opens with `//!` and what it is", source.path)]
    }
}

/// What is called a test is compiled as one only.
pub fn declared_tests(source: &Source) -> Vec<String> {
    let mut bad = Vec::new();
    for line in source.lines_with("mod tests;") {
        bad.push(format!("{}:{line}: `mod tests;` without `#[cfg(test)]`", source.path));
    }
    bad
}

/// Dependencies of a manifest's table `[name]`.
pub fn dependencies(manifest: &str, table: &str) -> Vec<String> {
    let header = format!("[{table}]");
    let lines = manifest.lines().skip_while(|l| l.trim() != header).skip(1).take_while(|l| !l.starts_with('['));
    lines.filter_map(|l| l.split_once('=')).map(|(name, _)| name.trim().to_string()).collect()
}
