//! The arena over time: a rectangle a buffer, from the step that makes it to the last that needs it.
//!
//! ```text
//!   bytes │ ┌────────┐   ┌───────┐
//!         │ │ conv1  │   │  fc   │
//!         │ └────────┘   └───────┘
//!         │ ┌────────────────────┐
//!         │ │       images       │
//!         └─┴────────────────────┴──▶ step
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;

use super::kind::Kind;
use super::text::{element, shortened, width, xml};
use crate::plan::{Place, Placed, Planned, PlannedStep};

const STYLE: &str = "text{font-family:'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif;fill:#1e293b}\
.title{font-size:17px;font-weight:bold}.line{font-size:10px}.axis{font-size:10px;fill:#475569}\
.name{font-size:10px}.live{fill:none;stroke:#dc2626;stroke-width:1.5}.grid{stroke:#e2e8f0;stroke-width:1}";

/// Size of the plot, and the space around it.
const PLOT: [f64; 2] = [1060.0, 520.0];
const LEFT: f64 = 76.0;
const TOP: f64 = 74.0;

/// Memory from the first to the last step that needs it.
struct Buffer {
    name: String,
    kind: Kind,
    offset: usize,
    bytes: usize,
    first: usize,
    last: usize,
}

/// Buffers in the making: the newest one at each offset.
#[derive(Default)]
struct Buffers {
    all: Vec<Buffer>,
    newest: HashMap<Place, usize>,
}

impl Buffers {
    fn add(&mut self, placed: &Placed, name: &str, kind: Kind, [first, last]: [usize; 2], images: usize) {
        let (Place::Work(offset) | Place::Image(offset)) = placed.place else { return };
        let bytes = placed.ty.bytes() / images;
        self.newest.insert(placed.place, self.all.len());
        self.all.push(Buffer { name: name.to_string(), kind, offset, bytes, first, last });
    }
    fn until(&mut self, place: Place, step: usize) {
        if let Some(&at) = self.newest.get(&place) {
            self.all[at].last = self.all[at].last.max(step);
        }
    }
}

/// Steps of preparation and of a run with the number of images of their group, 1 outside of groups, and the first step
/// of the group.
fn steps(planned: &Planned) -> Vec<(&PlannedStep, usize, usize)> {
    let before = planned.prepare.len();
    let prepare = planned.prepare.iter().enumerate().map(|(at, step)| (step, 1, at));
    let run = planned.steps.iter().enumerate().map(|(at, step)| match planned.group(at) {
        Some(group) => (step, group.images, before + group.steps.start),
        None => (step, 1, before + at),
    });
    prepare.chain(run).collect()
}

/// The buffers of the arena and those of one worker's memory for an image.
fn buffers(planned: &Planned) -> [Vec<Buffer>; 2] {
    let steps = steps(planned);
    let end = steps.len().saturating_sub(1);
    let mut made = Buffers::default();
    for port in &planned.inputs {
        made.add(&port.placed, &port.name, Kind::Border, [0, end], 1);
    }
    let mut images = Vec::new();
    for (at, &(step, of, group)) in steps.iter().enumerate() {
        step.operands.iter().for_each(|operand| made.until(operand.place, at));
        for result in &step.results {
            // a result in an operand's place is the same memory
            let in_place = step.operands.iter().any(|operand| operand.place == result.place);
            let is_image = matches!(result.place, Place::Image(_));
            if !in_place {
                let first = if is_image { at } else { group };
                let divisor = if is_image { of } else { 1 };
                made.add(result, &step.name, Kind::of(&step.op), [first, at], divisor);
                if is_image {
                    images.push(made.all.len() - 1);
                }
            }
        }
        for &(offset, _) in &step.dead_after {
            made.until(Place::Work(offset), at);
            made.newest.remove(&Place::Work(offset));
        }
    }
    // what no step ends is kept: outputs, and what was prepared
    for (place, at) in made.newest {
        if matches!(place, Place::Work(_)) {
            made.all[at].last = end;
        }
    }
    let mut both = [Vec::new(), Vec::new()];
    for (at, buffer) in made.all.into_iter().enumerate() {
        both[usize::from(images.contains(&at))].push(buffer);
    }
    for (offset, bytes) in &planned.constants {
        let (name, kind, bytes) = ("constant".to_string(), Kind::Border, bytes.len());
        both[0].push(Buffer { name, kind, offset: *offset, bytes, first: 0, last: end });
    }
    both
}

/// The memory of a plan as SVG: bytes over steps, one rectangle a buffer, and the sum of live bytes as a line. A plan that
/// takes images one by one has a second plot, of a worker's memory for an image.
pub fn arena(planned: &Planned) -> String {
    let [work, image] = buffers(planned);
    let live: Vec<f64> = planned.live_per_step().iter().map(|&bytes| bytes as f64).collect();
    let mut plots = vec![("arena, shared by all workers", work, planned.work_bytes, live)];
    if !image.is_empty() {
        plots.push(("memory of each worker for one image", image, planned.image_bytes, Vec::new()));
    }
    let steps = planned.prepare.len() + planned.steps.len();
    let (full, height) = (LEFT + PLOT[0] + 30.0, TOP + plots.len() as f64 * (PLOT[1] + 70.0));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" height=\"{height}\" viewBox=\"0 0 {full} {height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"{full}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let title = format!("{}: {} steps, {}", planned.name, steps, planned.memory_line());
    element(&mut out, [LEFT, 28.0], "start", "title", &title);
    legend(&mut out, &plots.iter().flat_map(|plot| &plot.1).map(|buffer| buffer.kind).collect::<Vec<_>>());
    for (at, (name, buffers, bytes, live)) in plots.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate({LEFT},{:.1})\">", TOP + at as f64 * (PLOT[1] + 70.0));
        plot(&mut out, name, buffers, [steps.max(1), *bytes.max(&1)], planned.prepare.len());
        if !live.is_empty() {
            let point = |(step, bytes): (usize, &f64)| {
                let (x, y) = (PLOT[0] / live.len() as f64, PLOT[1] * (1.0 - bytes / planned.work_bytes.max(1) as f64));
                format!("{:.1},{y:.1} {:.1},{y:.1}", step as f64 * x, (step + 1) as f64 * x)
            };
            let points = live.iter().enumerate().map(point).collect::<Vec<_>>().join(" ");
            let _ = writeln!(out, r#"<polyline points="{points}" class="live"/>"#);
        }
        out.push_str("</g>\n");
    }
    out + "</svg>\n"
}

fn legend(out: &mut String, used: &[Kind]) {
    let mut x = LEFT;
    for kind in Kind::ALL.into_iter().filter(|kind| used.contains(kind)) {
        let [fill, edge] = kind.colours();
        let _ =
            writeln!(out, r#"<rect x="{x:.1}" y="40" width="16" height="12" rx="2" fill="{fill}" stroke="{edge}"/>"#);
        let name = if kind == Kind::Border { "input, constant" } else { kind.name() };
        element(out, [x + 21.0, 50.0], "start", "line", name);
        x += 21.0 + width(name, 10.0) + 14.0;
    }
    let _ = writeln!(out, r#"<path d="M{x:.1},46 h18" class="live"/>"#);
    element(out, [x + 23.0, 50.0], "start", "line", "sum of live buffers");
}

/// Axes and rectangles. `extent` is the number of steps and of bytes.
fn plot(out: &mut String, name: &str, buffers: &[Buffer], extent: [usize; 2], prepared: usize) {
    let [x, y] = [PLOT[0] / extent[0] as f64, PLOT[1] / extent[1] as f64];
    let tick = nice(extent[1] as f64 / 8.0);
    for n in 0..=(extent[1] as f64 / tick) as usize {
        let at = PLOT[1] - n as f64 * tick * y;
        let _ = writeln!(out, r#"<path d="M0,{at:.1} H{:.1}" class="grid"/>"#, PLOT[0]);
        element(out, [-6.0, at + 3.5], "end", "axis", &size(n as f64 * tick));
    }
    let tick = nice(extent[0] as f64 / 12.0).max(1.0);
    for n in 0..=(extent[0] as f64 / tick) as usize {
        let step = n as f64 * tick;
        element(out, [step * x, PLOT[1] + 15.0], "middle", "axis", &format!("{step}"));
    }
    element(out, [PLOT[0] / 2.0, PLOT[1] + 32.0], "middle", "axis", &format!("step ({name})"));
    for buffer in buffers {
        let [fill, edge] = buffer.kind.colours();
        let (left, top) = (buffer.first as f64 * x, PLOT[1] - (buffer.offset + buffer.bytes) as f64 * y);
        let (wide, high) = ((buffer.last + 1 - buffer.first) as f64 * x, buffer.bytes as f64 * y);
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" fill=\"{fill}\" stroke=\"{edge}\" \
             stroke-width=\"0.7\"><title>{}: {} at {}, steps {} to {}</title></rect>",
            xml(&buffer.name),
            size(buffer.bytes as f64),
            buffer.offset,
            buffer.first,
            buffer.last
        );
        // as much of the name as fits, or none
        let room = ((wide - 6.0) / 6.6).max(0.0) as usize;
        if high >= 11.0 && room >= 6 {
            let at = [left + wide / 2.0, top + high / 2.0 + 3.5];
            element(out, at, "middle", "name", &shortened(&buffer.name, room));
        }
    }
    let _ = writeln!(out, r##"<path d="M0,0 V{:.1} H{:.1}" fill="none" stroke="#475569"/>"##, PLOT[1], PLOT[0]);
    if prepared > 0 {
        let at = prepared as f64 * x;
        let _ = writeln!(out, r##"<path d="M{at:.1},-8 V{:.1}" stroke="#475569" stroke-dasharray="4 3"/>"##, PLOT[1]);
        element(out, [at - 4.0, -3.0], "end", "axis", "prepared once");
        element(out, [at + 4.0, -3.0], "start", "axis", "each run");
    }
}

/// The nearest of 1, 2 and 5 times a power of ten above.
fn nice(x: f64) -> f64 {
    let power = 10f64.powf(x.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|&n| n >= x).unwrap_or(10.0 * power)
}

fn size(bytes: f64) -> String {
    match bytes {
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b if b >= 1e3 => format!("{:.1} kB", b / 1e3),
        b => format!("{b} B"),
    }
}
