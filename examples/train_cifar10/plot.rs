//! The picture of a run: loss on the left axis, accuracies on the right one, over the epochs.

use std::path::Path;

use plotters::prelude::*;

use crate::EpochRecord;

/// Draws the epochs so far into an SVG file.
pub fn draw(path: &Path, records: &[EpochRecord]) -> Result<(), Box<dyn std::error::Error>> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Ok(());
    };
    // one epoch still needs an axis of some length
    let epochs = (first.epoch as f64 - 0.5).max(0.5)..last.epoch as f64 + 0.5;
    let top = records.iter().map(|r| r.loss).fold(0.0, f64::max) * 1.05;
    let root = SVGBackend::new(path, (760, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .right_y_label_area_size(48)
        .build_cartesian_2d(epochs.clone(), 0.0..top)?
        .set_secondary_coord(epochs, 0.0..100.0);
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(records.len().min(10))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("epoch")
        .y_desc("training loss")
        .draw()?;
    chart.configure_secondary_axes().y_desc("accuracy, %").y_label_formatter(&|y| format!("{y:.0}")).draw()?;

    let (loss, train, test) = (RGBColor(60, 60, 60), RGBColor(31, 119, 180), RGBColor(214, 99, 20));
    let legend = |colour: RGBColor| move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2));
    let points = |f: fn(&EpochRecord) -> f64| records.iter().map(move |r| (r.epoch as f64, f(r)));
    chart.draw_series(LineSeries::new(points(|r| r.loss), loss.stroke_width(2)))?.label("loss").legend(legend(loss));
    for (label, colour, value) in [
        ("training accuracy", train, (|r| 100.0 * r.train_acc) as fn(&EpochRecord) -> f64),
        ("test accuracy", test, |r| 100.0 * r.test_acc),
    ] {
        let line = LineSeries::new(points(value), colour.stroke_width(2)).point_size(2);
        chart.draw_secondary_series(line)?.label(label).legend(legend(colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
