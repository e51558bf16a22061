//! A drawing as DOT: one node a block or part, one cluster a fused kernel.

use std::fmt::Write as _;

use super::{Block, Drawing, Kind};

/// A quoted string; a line end is `\n`.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], "\\n").replace('\0', "");
    format!("\"{escaped}\"")
}

fn node(out: &mut String, id: &str, label: &str, kind: Kind) {
    let [fill, edge] = kind.colours();
    let _ = writeln!(out, "    {id} [label={}, fillcolor=\"{fill}\", color=\"{edge}\"];", quoted(label));
}

pub(super) fn write(drawing: &Drawing) -> String {
    let mut out = format!(
        "digraph {} {{\n  rankdir=TB;\n  bgcolor=\"white\";\n  \
         node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];\n  \
         edge [fontname=\"Helvetica\", fontsize=9, color=\"#475569\"];\n",
        quoted(&drawing.title)
    );
    for (at, block) in drawing.blocks.iter().enumerate() {
        if block.parts.is_empty() {
            let path = Some(&block.path).filter(|path| !block.title.ends_with(*path));
            let label =
                [&block.title].into_iter().chain(path).chain(&block.lines).cloned().collect::<Vec<_>>().join("\n");
            node(&mut out, &format!("n{at}"), &label, block.kind);
            continue;
        }
        let _ = writeln!(out, "  subgraph cluster_{at} {{\n    label={};", quoted(&block.path));
        out += "    style=\"rounded,dashed\"; color=\"#475569\"; fontname=\"Helvetica\"; fontsize=10;\n";
        for (index, part) in block.parts.iter().enumerate() {
            node(&mut out, &name(at, block, index), &part.text, part.kind);
        }
        let chain: Vec<String> = (0..block.parts.len()).map(|index| name(at, block, index)).collect();
        if chain.len() > 1 {
            let _ = writeln!(out, "    {};", chain.join(" -> "));
        }
        out += "  }\n";
    }
    for edge in &drawing.edges {
        let (from, to) = (&drawing.blocks[edge.from], &drawing.blocks[edge.to]);
        let from = name(edge.from, from, from.parts.len().saturating_sub(1));
        let _ = writeln!(out, "  {from} -> {} [label={}];", name(edge.to, to, edge.part), quoted(&edge.label));
    }
    out + "}\n"
}

/// The DOT node of a block, or of one of its parts.
fn name(at: usize, block: &Block, part: usize) -> String {
    if block.parts.is_empty() { format!("n{at}") } else { format!("n{at}_{part}") }
}
