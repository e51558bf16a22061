//! The picture of a history: a panel a metric, training and validation in one, the learning rate last.
//!
//! ```text
//!   ┌─ loss ─────────┐ ┌─ accuracy ─────┐ ┌─ learning rate ┐
//!   │╲ __            │ │        ___---- │ │1e-3 ──┐        │
//!   │  ╲__ ‾‾──      │ │   __──         │ │       └──┐     │   logarithmic
//!   │     ‾‾───_____ │ │_──             │ │1e-4      └──── │
//!   └────────────────┘ └────────────────┘ └────────────────┘
//!
//!   History ─▶ panels ─▶ picture, four pixels a unit ─┬─▶ SVG
//!                                                     └─▶ mean of 2×2 ─▶ PNG
//! ```
//!
//! `plotters` lays everything out, in whole pixels, and its lines in bitmaps have hard edges. So both are drawn larger than
//! they are shown.

use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::register_font;

use super::history::{History, higher_is_better};
use crate::error::Error;
use crate::formats::atomic;

/// Width and height of a panel.
const PANEL: (u32, u32) = (420, 300);
/// How SVG viewers are to look for a font, and the name under which ours is known to `plotters`.
const FONT: &str = "Roboto, Helvetica, Arial, sans-serif";
const FONT_FILE: &[u8] = include_bytes!("font/Roboto-Regular.ttf");
/// Pixels drawn for a unit, in either direction.
const SCALE: u32 = 4;
/// Pixels drawn for one of a PNG, in either direction; two a unit are left, fit for screens of high density.
const OVERSAMPLING: usize = 2;
/// Up to so many epochs have a dot each.
const DOTS: usize = 30;

const TRAINING: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(214, 99, 20);
const TEXT: RGBColor = RGBColor(40, 40, 40);
const AXIS: RGBColor = RGBColor(140, 140, 140);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Draws `history` into a file.
pub(super) fn draw(history: &History, path: &Path) -> Result<(), Error> {
    let file = path.display().to_string();
    let fail = |reason: String| Error::Log { file: file.clone(), reason };
    let panels = panels(history);
    if panels.is_empty() {
        return Err(fail("the history has no number to draw".to_string()));
    }
    register_font(FONT, FontStyle::Normal, FONT_FILE).map_err(|_| fail("the font cannot be read".to_string()))?;
    let columns = columns(panels.len());
    let (width, height) = (PANEL.0 * columns as u32, PANEL.1 * panels.len().div_ceil(columns) as u32);
    let bytes = match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("svg") => svg(history, &panels, width, height),
        Some("png") => png(history, &panels, width, height),
        _ => Err("a picture's name ends with .svg or .png".to_string()),
    };
    atomic::write_file(path, &[&bytes.map_err(fail)?]).map_err(|source| Error::Io { file: file.clone(), source })
}

fn svg(history: &History, panels: &[Panel<'_>], width: u32, height: u32) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    let drawn = (SCALE * width, SCALE * height);
    picture(SVGBackend::with_string(&mut text, drawn).into_drawing_area(), history, panels)?;
    // the size on a page; the `viewBox` behind it says what was drawn
    let size = |(width, height)| format!("<svg width=\"{width}\" height=\"{height}\"");
    Ok(text.replacen(&size(drawn), &size((width, height)), 1).into_bytes())
}

fn png(history: &History, panels: &[Panel<'_>], width: u32, height: u32) -> Result<Vec<u8>, String> {
    let drawn = (SCALE * width, SCALE * height);
    let mut pixels = vec![0; 3 * drawn.0 as usize * drawn.1 as usize];
    picture(BitMapBackend::with_buffer(&mut pixels, drawn).into_drawing_area(), history, panels)?;
    let small = shrink(&pixels, drawn.0 as usize);
    let mut png = Vec::new();
    let [width, height] = [drawn.0, drawn.1].map(|extent| extent / OVERSAMPLING as u32);
    let written = PngEncoder::new(&mut png).write_image(&small, width, height, ExtendedColorType::Rgb8);
    written.map(|()| png).map_err(|error| error.to_string())
}

/// Means of squares of [`OVERSAMPLING`] pixels, in RGB; `width` is that of `pixels`.
fn shrink(pixels: &[u8], width: usize) -> Vec<u8> {
    let area = (OVERSAMPLING * OVERSAMPLING) as u32;
    let mut small = Vec::with_capacity(pixels.len() / (OVERSAMPLING * OVERSAMPLING));
    for rows in pixels.chunks_exact(3 * width * OVERSAMPLING) {
        for x in (0..width).step_by(OVERSAMPLING) {
            for channel in 0..3 {
                let square = (0..OVERSAMPLING).flat_map(|y| (0..OVERSAMPLING).map(move |dx| 3 * (y * width + x + dx)));
                let sum: u32 = square.map(|at| u32::from(rows[at + channel])).sum();
                small.push(((sum + area / 2) / area) as u8);
            }
        }
    }
    small
}

/// What is drawn in one system of axes.
struct Panel<'a> {
    title: String,
    curves: Vec<Curve<'a>>,
    /// Where the legend is least in the way.
    legend: SeriesLabelPosition,
    logarithmic: bool,
}

struct Curve<'a> {
    label: String,
    colour: RGBColor,
    values: &'a [f64],
}

/// Loss first, then metrics in their order, rates last. A metric without a finite number is left out.
fn panels(history: &History) -> Vec<Panel<'_>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    let shown = |(_, values): &(&str, &[f64])| values.iter().any(|v| v.is_finite());
    for (name, values) in history.metrics().filter(shown) {
        let (base, part) = match name.strip_prefix("val_") {
            Some(base) => (base, ("validation", VALIDATION)),
            None => (name, ("training", TRAINING)),
        };
        let title = base.replace('_', " ");
        let curve = Curve { label: part.0.to_string(), colour: part.1, values };
        if let Some(panel) = panels.iter_mut().find(|panel| panel.title == title) {
            panel.curves.push(curve);
            continue;
        }
        let rate = base.starts_with("learning_rate");
        let legend =
            if higher_is_better(base) { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight };
        let positive = values.iter().all(|&v| v > 0.0 || v.is_nan());
        panels.push(Panel { title, curves: vec![curve], legend, logarithmic: rate && positive });
    }
    panels.sort_by_key(|panel| match panel.title.as_str() {
        "loss" => 0,
        title if title.starts_with("learning rate") => 2,
        _ => 1,
    });
    panels
}

/// Three side by side; more in a square.
fn columns(panels: usize) -> usize {
    if panels <= 3 { panels } else { (panels as f64).sqrt().ceil() as usize }
}

/// Draws all panels.
fn picture<B: DrawingBackend>(
    root: DrawingArea<B, Shift>,
    history: &History,
    panels: &[Panel<'_>],
) -> Result<(), String> {
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    let columns = columns(panels.len());
    for (area, panel) in root.split_evenly((panels.len().div_ceil(columns), columns)).iter().zip(panels) {
        let values = || panel.curves.iter().flat_map(|curve| curve.values).copied().filter(|v| v.is_finite());
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        let drawn = if panel.logarithmic {
            // half a decade at least, or there would be no line of the grid
            let room = (1.8 / (high / low).sqrt()).max(1.15);
            axes(area, history, panel, (low / room..high * room).log_scale())
        } else {
            // what differs by rounding only is constant: `plotters` would step over its ticks for ever
            let size = high.abs().max(low.abs());
            let room = 0.05 * if high - low > 1e-9 * size { high - low } else { size.max(1.0) };
            axes(area, history, panel, low - room..high + room)
        };
        drawn.map_err(|error| error.to_string())?;
    }
    root.present().map_err(|error| error.to_string())
}

/// Draws one panel over the values `y`.
fn axes<B, Y>(
    area: &DrawingArea<B, Shift>,
    history: &History,
    panel: &Panel<'_>,
    y: Y,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>>
where
    B: DrawingBackend,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let font = |size: u32| (FONT, size * SCALE).into_font().color(&TEXT);
    let epochs: Vec<i64> = history.epochs().iter().map(|&e| i64::try_from(e).unwrap_or(i64::MAX - 2) + 1).collect();
    let (first, last) = epochs.iter().fold((i64::MAX, i64::MIN), |(a, b), &e| (a.min(e), b.max(e)));
    // one epoch still needs an axis of some length
    let x = if first < last { first..last } else { first - 1..last + 1 };
    let mut chart = ChartBuilder::on(area)
        .margin(10 * SCALE)
        .margin_right(18 * SCALE)
        .caption(&panel.title, font(18))
        .x_label_area_size(38 * SCALE)
        .y_label_area_size(56 * SCALE)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(SCALE))
        .light_line_style(TRANSPARENT)
        .max_light_lines(1)
        .axis_style(AXIS.stroke_width(SCALE))
        .label_style(font(15))
        .axis_desc_style(font(15))
        .set_all_tick_mark_size(4 * SCALE)
        .x_labels(8)
        .y_labels(6)
        .y_label_formatter(&|value| number(*value))
        .x_desc("epoch")
        .draw()?;
    for curve in &panel.curves {
        let style = curve.colour.stroke_width(2 * SCALE);
        let dots = if epochs.len() <= DOTS { 3 * SCALE } else { 0 };
        let points: Vec<(i64, f64)> = epochs.iter().copied().zip(curve.values.iter().copied()).collect();
        // a line ends where there is no number
        for (part, line) in points.split(|(_, value)| !value.is_finite()).filter(|line| !line.is_empty()).enumerate() {
            let alone = if line.len() == 1 { 3 * SCALE } else { dots };
            let filled = LineSeries::new(line.iter().copied(), style.filled()).point_size(alone);
            let series = chart.draw_series(filled)?;
            if part == 0 {
                let length = 18 * SCALE as i32;
                let key = move |(x, y)| PathElement::new(vec![(x, y), (x + length, y)], style);
                series.label(curve.label.as_str()).legend(key);
            }
        }
    }
    if panel.curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(panel.legend.clone())
            .margin(8 * SCALE)
            .legend_area_size(26 * SCALE)
            .label_font(font(15))
            .background_style(WHITE.mix(0.85))
            .border_style(GRID.stroke_width(SCALE))
            .draw()?;
    }
    Ok(())
}

/// A number at an axis: as short as it can be.
fn number(value: f64) -> String {
    // ticks are multiples of a step, with the rounding noise of the multiplication
    let rounded = format!("{value:.6e}").parse().unwrap_or(value);
    if rounded != 0.0 && !(1e-2..1e5).contains(&f64::abs(rounded)) {
        format!("{rounded:e}")
    } else {
        format!("{rounded}")
    }
}
