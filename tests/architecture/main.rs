//! The rules of ARCHITECTURE.md, checked on the sources: which module may import which, where petgraph,
//! Cranelift and `unsafe` may appear, that nothing panics on purpose, that files stay readable.
//!
//! `rules` holds the tables; change them together with ARCHITECTURE.md. The second half of this file checks the
//! checker, on sources that break each rule.

mod rules;
mod source;

use std::path::{Path, PathBuf};

use source::{Source, blank};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every Rust file below `dir`, by path.
fn sources(dir: &str) -> Vec<Source> {
    let base = root().join(dir);
    let (mut waiting, mut found) = (vec![base.clone()], Vec::new());
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&base).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source::new(&name, &read(&path)));
            }
        }
    }
    assert!(found.len() > 5, "no sources in {dir}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Names that `lib.rs` re-exports, with the modules they come from.
fn reexports(lib: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for item in blank(lib).split("pub use ").skip(1).filter_map(|rest| rest.split(';').next().map(str::to_string)) {
        if let Some((module, list)) = item.split_once("::") {
            let module = if module == "outrigger_runtime" { "runtime" } else { module };
            for name in list.trim_matches(['{', '}']).split(',').map(str::trim).filter(|n| !n.is_empty()) {
                names.push((name.to_string(), module.to_string()));
            }
        }
    }
    names
}

fn library_roots() -> Vec<(String, String)> {
    let mut names = reexports(&read(&root().join("src/lib.rs")));
    // an exported macro stands at the root, whatever module it is written in
    names.push(("module".to_string(), "nn".to_string()));
    assert!(names.contains(&("Graph".to_string(), "graph".to_string())), "{names:?}");
    names
}

fn expect_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn modules_import_what_the_table_allows() {
    let roots = library_roots();
    let sources = sources("src");
    expect_none(sources.iter().filter(|s| !s.is_test()).flat_map(|s| rules::imports(s, &roots)).collect());
    for (module, allowed) in rules::IMPORTS {
        assert!(sources.iter().any(|s| s.module() == *module), "the table names `{module}`, which is not there");
        for name in *allowed {
            let known = ["*", "runtime"].contains(name) || rules::IMPORTS.iter().any(|(m, _)| m == name);
            assert!(known, "`{module}` is allowed `{name}`, which is not there");
        }
    }
}

#[test]
fn hidden_crates_stay_hidden() {
    // tests of a module included: they are inside it
    expect_none(sources("src").iter().flat_map(rules::hidden).collect());
}

#[test]
fn the_runtime_knows_neither_graph_nor_compiler() {
    let manifest = read(&root().join("runtime/Cargo.toml"));
    assert_eq!(rules::dependencies(&manifest, "dependencies"), ["libc", "thiserror"]);
    let mut bad = Vec::new();
    for source in sources("runtime/src") {
        for name in rules::HIDDEN.iter().map(|(name, _)| *name).chain(["outrigger"]) {
            bad.extend(source.lines_with(name).into_iter().map(|l| format!("{}:{l}: `{name}`", source.path)));
        }
    }
    expect_none(bad);
}

#[test]
fn unsafe_code_is_where_it_may_be_and_says_why() {
    let allowed = |s: &Source| rules::UNSAFE.contains(&s.path.as_str());
    expect_none(sources("src").iter().flat_map(|s| rules::unsafe_code(s, allowed(s))).collect());
    expect_none(sources("runtime/src").iter().flat_map(|s| rules::unsafe_code(s, true)).collect());
    for path in rules::UNSAFE {
        let source = Source::new(path, &read(&root().join("src").join(path)));
        assert!(!source.lines_with("unsafe").is_empty(), "{path} needs no permission any more");
    }
}

#[test]
fn nothing_outside_tests_panics_on_purpose() {
    for dir in ["src", "runtime/src"] {
        expect_none(sources(dir).iter().filter(|s| !s.is_test()).flat_map(rules::panics).collect());
    }
}

#[test]
fn files_have_one_subject_and_say_which() {
    for dir in ["src", "runtime/src"] {
        let sources = sources(dir);
        expect_none(sources.iter().flat_map(rules::length).chain(sources.iter().flat_map(rules::headed)).collect());
        expect_none(sources.iter().flat_map(rules::declared_tests).collect());
    }
}

#[test]
fn every_dependency_is_used_and_explained() {
    let sources = sources("src");
    let manifest = read(&root().join("Cargo.toml"));
    let contributing = read(&root().join("CONTRIBUTING.md"));
    let mut bad = Vec::new();
    for name in rules::dependencies(&manifest, "dependencies") {
        let path = name.replace('-', "_");
        if sources.iter().all(|s| s.lines_with(&path).is_empty()) {
            bad.push(format!("Cargo.toml: `{name}` is used nowhere in src"));
        }
    }
    for table in ["dependencies", "dev-dependencies"] {
        for name in rules::dependencies(&manifest, table) {
            if !contributing.contains(&format!("`{name}`")) {
                bad.push(format!("CONTRIBUTING.md: no word on `{name}`"));
            }
        }
    }
    expect_none(bad);
}

// The checker itself.

/// Lines that a rule complains about.
fn lines(violations: Vec<String>) -> Vec<usize> {
    violations.iter().map(|v| v.split(':').nth(1).and_then(|l| l.parse().ok()).unwrap_or(0)).collect()
}

#[test]
fn forbidden_imports_are_found() {
    let roots = vec![("Graph".to_string(), "graph".to_string()), ("Error".to_string(), "error".to_string())];
    let found = |path: &str, text: &str| lines(rules::imports(&Source::new(path, text), &roots));
    assert_eq!(found("codegen/conv.rs", "use crate::ops::Op;\nuse crate::graph::Graph;"), [2]);
    assert_eq!(found("codegen/conv.rs", "fn f(g: &crate::Graph) -> crate::Error {}"), [1]);
    assert_eq!(found("codegen/mod.rs", "use super::{plan, graph::Value};"), [1]);
    assert_eq!(found("codegen/x/y.rs", "use super::super::super::graph;\nuse super::super::graph;"), [1]);
    assert_eq!(found("ops/mod.rs", "use crate::{types, error::{a, b}, compile};"), [1]);
    assert_eq!(found("graph/mod.rs", "use outrigger_runtime::Team;"), [1]);
    assert_eq!(found("types.rs", "use super::error;"), [1]);
    assert_eq!(found("novelty.rs", ""), [1]);
    // what is no import
    assert_eq!(found("codegen/mod.rs", "// crate::graph\n/// [`crate::Graph`]\nlet s = \"crate::graph\";"), [0; 0]);
    assert_eq!(
        found("codegen/mod.rs", "#[cfg(test)]\nmod tests { use crate::graph::Graph; }\nuse crate::plan;"),
        [0; 0]
    );
    assert_eq!(found("graph/text.rs", "use crate::graph::Value;\nuse super::Node;"), [0; 0]);
}

#[test]
fn hidden_crates_are_found() {
    let found = |path: &str, text: &str| lines(rules::hidden(&Source::new(path, text)));
    assert_eq!(found("plan/mod.rs", "use petgraph::graph::DiGraph;"), [1]);
    assert_eq!(found("graph/mod.rs", "use petgraph::graph::DiGraph;\ncranelift_jit::f();"), [2]);
    assert_eq!(found("plan/mod.rs", "// petgraph\nlet petgraphs = 1;"), [0; 0]);
}

#[test]
fn unsafe_code_is_found() {
    let found = |text: &str, allowed| lines(rules::unsafe_code(&Source::new("team.rs", text), allowed));
    assert_eq!(found("// SAFETY: yes\nunsafe { f() }", false), [2]);
    assert_eq!(found("fn f() {\n    unsafe { f() }\n}", true), [2]);
    assert_eq!(
        found("// SAFETY: an older one\nlet a = 1;\nlet b = 2;\nlet c = 3;\nlet d = 4;\nunsafe { f() }", true),
        [6]
    );
    assert_eq!(found("/// Does.\nunsafe fn f() {}", true), [2]);
    assert_eq!(
        found("/// # Safety\n/// x\npub unsafe fn f() {}\n// SAFETY: x\n// more\nunsafe { f() };", true),
        [0; 0]
    );
    assert_eq!(found("// SAFETY: x\nlet a = b\n    .map(|c| unsafe { c.f() });\n// unsafe\n", true), [0; 0]);
}

#[test]
fn panics_are_found() {
    let found = |text: &str| lines(rules::panics(&Source::new("a.rs", text)));
    assert_eq!(found("a.unwrap();\nb\n    .expect(\"c\");\ntodo!()"), [4, 1, 3]);
    assert_eq!(found("self.expect(\"(\")?;\na.unwrap_or(b);\n/// a.unwrap()\nlet s = r#\"panic!(\"\"#;"), [0; 0]);
    assert_eq!(found("#[cfg(test)]\nmod tests {\n    fn f() { a.unwrap() }\n}\npanic!()"), [5]);
}

#[test]
fn long_and_nameless_files_are_found() {
    let long = "//! Long.\n".repeat(rules::LINES + 1);
    assert_eq!(lines(rules::length(&Source::new("plan/long.rs", &long))), [1]);
    let fits = "//! Long.\n".repeat(rules::LINES);
    assert_eq!(lines(rules::length(&Source::new("plan/long.rs", &fits))), [0; 0]);
    assert_eq!(lines(rules::headed(&Source::new("a.rs", "use b;"))), [1]);
    assert_eq!(lines(rules::declared_tests(&Source::new("a.rs", "\nmod tests;"))), [2]);
    assert_eq!(lines(rules::declared_tests(&Source::new("a.rs", "#[cfg(test)]\nmod tests;"))), [0; 0]);
}

#[test]
fn literals_and_comments_are_blanked_in_place() {
    let text = "a /* b /* c */ d */ e\n'\"' 'x' '\\'' &'a str \"f \\\" g\" b\"h\" r##\"i \"# j\"## k // l\nm";
    let code = blank(text);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "&'a", "str", "k", "m"]);
    assert_eq!((code.len(), code.matches('\n').count()), (text.len(), 2));
}
