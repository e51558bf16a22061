//! Text in pictures: what must be escaped, and how wide it is.

use std::fmt::Write as _;

/// Text inside an XML element or attribute. Characters that XML has not are left out.
pub(super) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\t' | '\n' | '\r' => escaped.push(' '),
            c if c < ' ' || ('\u{fffe}'..='\u{ffff}').contains(&c) => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// About how many pixels wide `text` is in a sans-serif font of `size` pixels; rather more than less.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| if "il.,:;|'[]()1 ".contains(c) { 0.42 } else { 0.63 }).sum::<f64>() * size
}

/// `text` with its middle left out, so that it is at most `most` characters long.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_string();
    }
    let (front, back) = (most / 2, most - most / 2 - 1);
    text.chars().take(front).chain(['…']).chain(text.chars().skip(count - back)).collect()
}

/// One text element; `anchor` is `start`, `middle` or `end`.
pub(super) fn element(out: &mut String, [x, y]: [f64; 2], anchor: &str, class: &str, text: &str) {
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#, xml(text));
}
