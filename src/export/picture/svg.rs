//! A drawing as SVG: boxes in layers, edges as curves, fused kernels as boxes around their parts, a legend.

use std::fmt::Write as _;

use super::layout::{Item, Layout, layout};
use super::text::{element, shortened, width, xml};
use super::{Block, Drawing, Kind};

const MARGIN: f64 = 24.0;
/// Height of a line of text, and of a part's box with the arrow to the next.
const LINE: f64 = 15.0;
const PART: f64 = 24.0;
const PART_GAP: f64 = 14.0;
/// Distance of an edge that enters a kernel from the side.
const SIDE: f64 = 16.0;
/// How far an edge goes straight down from a layer: as far as its label.
const STUB: f64 = 20.0;
/// Radius of a bend.
const BEND: f64 = 8.0;
/// Characters of a block's path.
const PATH: usize = 44;

const STYLE: &str = "text{font-family:'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif;fill:#1e293b}\
.title{font-size:17px;font-weight:bold}.op{font-size:12px;font-weight:bold}.part{font-size:11px}\
.path{font-size:10px;fill:#64748b}.line{font-size:10px}.type{font-size:10px;fill:#334155;paint-order:stroke;\
stroke:#fff;stroke-width:4px;stroke-linejoin:round}.edge{fill:none;stroke:#475569;stroke-width:1.4}\
.kernel{fill:#fbfcfe;stroke:#475569;stroke-width:1.4;stroke-dasharray:5 3}";

/// What a block looks like, without its place.
struct Shape {
    width: f64,
    height: f64,
    /// Edges that enter beside the first part.
    sides: usize,
}

/// The block's path as it is written in it: not where its title says it already.
fn path(block: &Block) -> String {
    if block.parts.is_empty() && block.title.ends_with(&block.path) {
        return String::new();
    }
    shortened(&block.path, PATH)
}

fn shape(block: &Block, sides: usize) -> Shape {
    let path = path(block);
    let lines = block.lines.iter().map(|line| width(line, 10.0));
    if block.parts.is_empty() {
        let widest = lines.chain([width(&block.title, 12.0), width(&path, 10.0)]).fold(70.0, f64::max);
        let rows = 1 + usize::from(!path.is_empty()) + block.lines.len();
        return Shape { width: widest + 20.0, height: rows as f64 * LINE + 12.0, sides: 0 };
    }
    let widest = block.parts.iter().map(|part| width(&part.text, 11.0) + 20.0).fold(width(&path, 10.0), f64::max);
    let rows = block.parts.len() as f64;
    Shape { width: widest + 24.0, height: LINE + 8.0 + rows * PART + (rows - 1.0) * PART_GAP + 10.0, sides }
}

pub(super) fn write(drawing: &Drawing) -> String {
    let mut sides = vec![0; drawing.blocks.len()];
    for edge in drawing.edges.iter().filter(|edge| edge.part > 0) {
        sides[edge.to] += 1;
    }
    let shapes: Vec<Shape> = drawing.blocks.iter().zip(sides).map(|(block, sides)| shape(block, sides)).collect();
    let item = |shape: &Shape| Item { width: shape.width + 2.0 * SIDE * shape.sides as f64, height: shape.height };
    let items: Vec<Item> = shapes.iter().map(item).collect();
    let edges: Vec<(usize, usize)> = drawing.edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let placed = layout(&items, &edges);

    let legend = legend(drawing);
    let top = MARGIN + 24.0 + 22.0 + 18.0;
    let full = (placed.width.max(legend.1).max(width(&drawing.title, 17.0)) + 2.0 * MARGIN).ceil();
    let left = (full - placed.width) / 2.0;
    let height = (top + placed.height + MARGIN).ceil();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" height=\"{height}\" viewBox=\"0 0 {full} {height}\">\n\
         <style>{STYLE}</style>\n<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0,0.6 L8,4 L0,7.4 z\" fill=\"#475569\"/></marker></defs>\n\
         <rect width=\"{full}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    element(&mut out, [MARGIN, MARGIN + 14.0], "start", "title", &drawing.title);
    let _ = writeln!(out, "<g transform=\"translate({MARGIN:.1},{:.1})\">\n{}</g>", MARGIN + 28.0, legend.0);
    let _ = writeln!(out, "<g transform=\"translate({left:.1},{top:.1})\">");
    for ((block, shape), &[x, y]) in drawing.blocks.iter().zip(&shapes).zip(&placed.places) {
        draw_block(&mut out, block, shape, [x - shape.width / 2.0, y]);
    }
    // over the boxes, since some edges end inside of one
    let mut labels = String::new();
    draw_edges(&mut out, &mut labels, drawing, &shapes, &placed);
    out + &labels + "</g>\n</svg>\n"
}

/// The kinds in use with their colours, and the width of it all.
fn legend(drawing: &Drawing) -> (String, f64) {
    let used = |kind: Kind| {
        drawing.blocks.iter().any(|b| (b.parts.is_empty() && b.kind == kind) || b.parts.iter().any(|p| p.kind == kind))
    };
    let (mut out, mut x) = (String::new(), 0.0);
    for kind in Kind::ALL.into_iter().filter(|&kind| used(kind)) {
        let [fill, edge] = kind.colours();
        let _ =
            writeln!(out, r#"<rect x="{x:.1}" y="0" width="16" height="12" rx="3" fill="{fill}" stroke="{edge}"/>"#);
        element(&mut out, [x + 21.0, 10.0], "start", "line", kind.name());
        x += 21.0 + width(kind.name(), 10.0) + 14.0;
    }
    if drawing.blocks.iter().any(|block| !block.parts.is_empty()) {
        let _ = writeln!(out, r#"<rect x="{x:.1}" y="0" width="16" height="12" rx="3" class="kernel"/>"#);
        element(&mut out, [x + 21.0, 10.0], "start", "line", "fused kernel");
        x += 21.0 + width("fused kernel", 10.0);
    }
    (out, x)
}

fn rectangle(out: &mut String, [x, y]: [f64; 2], [width, height]: [f64; 2], kind: Kind) {
    let [fill, edge] = kind.colours();
    let _ = writeln!(
        out,
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="5" fill="{fill}" stroke="{edge}"/>"#
    );
}

fn draw_block(out: &mut String, block: &Block, shape: &Shape, [x, y]: [f64; 2]) {
    let middle = x + shape.width / 2.0;
    let _ = writeln!(out, "<g><title>{} {}</title>", xml(&block.title), xml(&block.path));
    let path = path(block);
    if block.parts.is_empty() {
        rectangle(out, [x, y], [shape.width, shape.height], block.kind);
        element(out, [middle, y + 17.0], "middle", "op", &block.title);
        let path = [("path", &path)].into_iter().filter(|(_, path)| !path.is_empty());
        for (at, (class, line)) in path.chain(block.lines.iter().map(|line| ("line", line))).enumerate() {
            element(out, [middle, y + 17.0 + (at + 1) as f64 * LINE], "middle", class, line);
        }
    } else {
        let _ = writeln!(
            out,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" rx="8" class="kernel"/>"#,
            shape.width, shape.height
        );
        element(out, [middle, y + 15.0], "middle", "path", &path);
        for (at, part) in block.parts.iter().enumerate() {
            let top = part_top(y, at);
            rectangle(out, [x + 12.0, top], [shape.width - 24.0, PART], part.kind);
            element(out, [middle, top + 16.0], "middle", "part", &part.text);
            if at > 0 {
                let from = top - PART_GAP;
                let _ = writeln!(
                    out,
                    r#"<path d="M{middle:.1},{from:.1} V{top:.1}" class="edge" marker-end="url(#arrow)"/>"#
                );
            }
        }
    }
    out.push_str("</g>\n");
}

fn part_top(y: f64, part: usize) -> f64 {
    y + LINE + 8.0 + part as f64 * (PART + PART_GAP)
}

/// Where edges leave a block or enter it: spread over its width in the order of their other ends.
fn ports(count: usize, width: f64) -> impl Fn(usize) -> f64 {
    let step = (width * 0.7 / count.max(1) as f64).min(36.0);
    move |at| (at as f64 - (count as f64 - 1.0) / 2.0) * step
}

fn draw_edges(out: &mut String, labels: &mut String, drawing: &Drawing, shapes: &[Shape], placed: &Layout) {
    // the next point of an edge after its start, and the last before its end
    let next = |at: usize| placed.lanes[at].first().map_or(placed.places[drawing.edges[at].to][0], |lane| lane[0]);
    let before = |at: usize| placed.lanes[at].last().map_or(placed.places[drawing.edges[at].from][0], |lane| lane[0]);
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); shapes.len()];
    let mut entering: Vec<Vec<usize>> = vec![Vec::new(); shapes.len()];
    for (at, edge) in drawing.edges.iter().enumerate() {
        leaving[edge.from].push(at);
        entering[edge.to].push(at);
    }
    let mut start = vec![0.0; drawing.edges.len()];
    let mut end = vec![0.0; drawing.edges.len()];
    for block in 0..shapes.len() {
        let x = placed.places[block][0];
        leaving[block].sort_by(|&a, &b| next(a).total_cmp(&next(b)));
        let port = ports(leaving[block].len(), shapes[block].width);
        leaving[block].iter().enumerate().for_each(|(i, &at)| start[at] = x + port(i));
        entering[block].sort_by(|&a, &b| before(a).total_cmp(&before(b)));
        let (side, top): (Vec<usize>, Vec<usize>) = entering[block].iter().partition(|&&at| drawing.edges[at].part > 0);
        let port = ports(top.len(), shapes[block].width);
        top.iter().enumerate().for_each(|(i, &at)| end[at] = x + port(i));
        let half = shapes[block].width / 2.0;
        // beside the block, further out the further down it enters; from the left what comes from the left
        let (left, right): (Vec<usize>, Vec<usize>) = side.into_iter().partition(|&at| before(at) < x - 1.0);
        for (mut group, sign) in [(left, -1.0), (right, 1.0)] {
            group.sort_by_key(|&at| drawing.edges[at].part);
            group.iter().enumerate().for_each(|(i, &at)| end[at] = x + sign * (half + SIDE * (i as f64 + 0.8)));
        }
    }
    for (at, edge) in drawing.edges.iter().enumerate() {
        let [_, top] = placed.places[edge.from];
        let mut from = [start[at], top + shapes[edge.from].height];
        let mut path = format!("M{:.1},{:.1}", from[0], from[1]);
        // straight down past the label, then over
        let curve = |path: &mut String, from: [f64; 2], to: [f64; 2]| {
            let middle = (from[1] + STUB + to[1]) / 2.0;
            let _ = if (from[0] - to[0]).abs() < 0.5 {
                write!(path, " V{:.1}", to[1])
            } else {
                let [[x0, y0], [x1, y1]] = [from, to];
                write!(path, " V{:.1} C{x0:.1},{middle:.1} {x1:.1},{middle:.1} {x1:.1},{y1:.1}", y0 + STUB)
            };
        };
        for &[x, upper, lower] in &placed.lanes[at] {
            curve(&mut path, from, [x, upper]);
            let _ = write!(path, " V{lower:.1}");
            from = [x, lower];
        }
        let [x, y] = placed.places[edge.to];
        curve(&mut path, from, [end[at], y]);
        if edge.part > 0 {
            // down beside the kernel, then to the part that reads it
            let level = part_top(y, edge.part) + PART / 2.0;
            let sign = if end[at] < x { 1.0 } else { -1.0 };
            let inside = x - sign * (shapes[edge.to].width / 2.0 - 12.0);
            let (bend, turn) = (level - BEND, end[at] + sign * BEND);
            let _ = write!(path, " V{bend:.1} Q{:.1},{level:.1} {turn:.1},{level:.1} H{inside:.1}", end[at]);
        }
        let _ = writeln!(out, r#"<path d="{path}" class="edge" marker-end="url(#arrow)"/>"#);
        draw_labels(labels, drawing, at, &leaving[edge.from], start[at], placed, shapes);
    }
}

/// The value's type where it leaves the block, once for all edges that carry it, and again on each long edge.
fn draw_labels(
    labels: &mut String,
    drawing: &Drawing,
    at: usize,
    siblings: &[usize],
    x: f64,
    placed: &Layout,
    shapes: &[Shape],
) {
    let edge = &drawing.edges[at];
    let last = siblings.iter().rposition(|&s| drawing.edges[s].port == edge.port).map(|i| siblings[i]);
    if last == Some(at) {
        let y = placed.places[edge.from][1] + shapes[edge.from].height + 15.0;
        element(labels, [x + 6.0, y], "start", "type", &edge.label);
    }
    if let [.., _] = placed.lanes[at][..] {
        let [x, upper, lower] = placed.lanes[at][placed.lanes[at].len() / 2];
        element(labels, [x + 6.0, (upper + lower) / 2.0 + 3.0], "start", "type", &edge.label);
    }
}
