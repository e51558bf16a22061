//! Reading Rust without a compiler: just enough to see which paths and words a file really uses.
//!
//! ```text
//!   text ──▶ code: comments and literals blanked, lines kept ──▶ without `#[cfg(test)]` items ──▶ words
//! ```

use std::collections::BTreeSet;

/// A file under `src` (or any other root).
#[derive(Clone, Debug)]
pub struct Source {
    /// Path below the root, with `/`.
    pub path: String,
    /// As it is in the file.
    pub text: String,
    /// Comments, strings and items under `#[cfg(test)]` replaced by blanks.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = without_tests(&blank(text));
        Source { path: path.to_string(), text: text.to_string(), code }
    }

    /// Whether the whole file is a test module, by its name.
    pub fn is_test(&self) -> bool {
        let file = self.path.rsplit('/').next().unwrap_or("");
        file == "tests.rs" || file.ends_with("_tests.rs") || self.path.split('/').any(|dir| dir == "tests")
    }

    /// The top-level module that the file belongs to: `graph` for `graph/text.rs`.
    pub fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or("").trim_end_matches(".rs")
    }

    /// How many `super::` lead from here to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("mod.rs") { parts - 1 } else { parts }
    }

    /// First segments after the crate's root, of `crate::…` and of `super::…` that climbs so far, with
    /// their lines. `roots` says which module a name re-exported at the root comes from.
    pub fn imports(&self, roots: &[(String, String)]) -> BTreeSet<(String, usize)> {
        let mut found = BTreeSet::new();
        let climb = "super::".repeat(self.depth());
        for root in ["crate::", climb.as_str()] {
            for at in word_positions(&self.code, root) {
                if self.code[..at].ends_with("super::") || self.code[..at].ends_with("::") {
                    continue;
                }
                for name in first_segments(&self.code[at + root.len()..]) {
                    let module = roots.iter().find(|(n, _)| *n == name).map_or(name, |(_, m)| m.clone());
                    found.insert((module, line_of(&self.code, at)));
                }
            }
        }
        found
    }

    /// Lines on which `word` occurs in code, as a word of its own.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        word_positions(&self.code, word).into_iter().map(|at| line_of(&self.code, at)).collect()
    }
}

/// From 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` begins, not in the middle of a longer word.
pub fn word_positions(code: &str, word: &str) -> Vec<usize> {
    let starts_word = word.starts_with(is_word);
    let ends_word = word.ends_with(is_word);
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| !starts_word || !code[..at].ends_with(is_word))
        .filter(|&at| !ends_word || !code[at + word.len()..].starts_with(is_word))
        .collect()
}

/// `graph` of `graph::Value`; `graph` and `ops` of `{graph, ops::Op}`.
fn first_segments(rest: &str) -> Vec<String> {
    let word = |s: &str| s.trim_start().chars().take_while(|&c| is_word(c)).collect::<String>();
    let Some(list) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut names = vec![word(list)];
    let mut depth = 0;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(&list[at + 1..])),
            _ => {}
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

/// Replaces comments and the insides of literals by blanks; every line keeps its number and every byte
/// its place, so that positions are those of the text.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment(bytes, at),
            b'"' => string(bytes, at),
            b'r' | b'b' | b'c' if at == 0 || !is_word(char::from(bytes[at - 1])) => match raw_string(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character(text, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The first `what` from `from` on, or the end.
fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes[from..].windows(what.len()).position(|w| w == what).map_or(bytes.len(), |p| from + p)
}

fn block_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `b'…'`.
fn raw_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + usize::from(bytes[start] != b'r');
    if bytes.get(at) == Some(&b'"') {
        return Some(string(bytes, at));
    }
    at += usize::from(bytes.get(at) == Some(&b'r'));
    let hashes = bytes[at..].iter().take_while(|&&b| b == b'#').count();
    if at == start || bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    Some((find(bytes, at + hashes + 1, &close) + close.len()).min(bytes.len()))
}

/// The end of a character literal, or `None` for a lifetime.
fn character(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start + 1..];
    let first = rest.chars().next()?;
    if first == '\\' {
        let close = rest[2..].find('\'')?;
        return Some(start + 1 + 2 + close + 1);
    }
    rest[first.len_utf8()..].starts_with('\'').then(|| start + 1 + first.len_utf8() + 1)
}

/// Blanks the items under `#[cfg(test)]` and `#[cfg(all(test, …))]`: up to the brace that closes them, or the semicolon.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let plain = code.match_indices("#[cfg(test)]");
    for (start, _) in plain.chain(code.match_indices("#[cfg(all(test,")) {
        let Some(close) = code[start..].find(")]") else { continue };
        let from = start + close + 2;
        let (mut depth, mut end) = (0usize, code.len());
        for (at, c) in code[from..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => {
                    end = from + at + 1;
                    break;
                }
                '}' => depth -= 1,
                ';' if depth == 0 => {
                    end = from + at + 1;
                    break;
                }
                _ => {}
            }
        }
        for byte in &mut out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
