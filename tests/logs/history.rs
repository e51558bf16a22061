//! Histories: what they answer, their table and JSON, and pictures whose curves are where the numbers are.

use std::fs;

use outrigger::Error;
use outrigger::train::log::{History, higher_is_better};

fn history() -> History {
    let mut history = History::default();
    history.push(0, &[("accuracy", 0.25), ("loss", 2.0)]);
    history.push(1, &[("accuracy", 0.5), ("loss", 1.0), ("val_loss", 1.5)]);
    history.push(3, &[("accuracy", 0.375), ("loss", f64::NAN), ("val_loss", 1.5)]);
    history
}

#[test]
fn it_answers() {
    let history = history();
    assert_eq!(history.epochs(), [0, 1, 3]);
    assert_eq!(history.metrics().map(|(name, _)| name).collect::<Vec<_>>(), ["accuracy", "loss", "val_loss"]);
    assert!(history.get("val_loss").unwrap()[0].is_nan(), "not measured in the first epoch");
    assert_eq!(history.last("loss").unwrap(), 1.0);
    assert_eq!(history.best("accuracy").unwrap(), (1, 0.5));
    assert_eq!(history.best("loss").unwrap(), (1, 1.0));
    assert_eq!(history.best("val_loss").unwrap(), (1, 1.5), "the first of equal ones, and NaN is none");
    let error = history.last("acuracy").unwrap_err();
    assert!(matches!(&error, Error::UnknownName { near, .. } if near[0] == "accuracy"), "{error}");

    let higher = ["val_accuracy", "top_5_accuracy", "auc", "f1", "precision", "recall"];
    assert!(higher.into_iter().all(higher_is_better));
    assert!(
        !["loss", "val_loss", "val_vaccine_loss", "mean_absolute_error", "learning_rate"]
            .into_iter()
            .any(higher_is_better)
    );
}

#[test]
fn a_name_given_twice_keeps_the_last_value() {
    let mut history = History::default();
    history.push(0, &[("loss", 1.0), ("loss", 2.0)]);
    assert_eq!(history.get("loss").unwrap(), [2.0]);
}

#[test]
fn the_table_and_json() {
    let mut history = history();
    history.push(4, &[("learning_rate", 1e-4)]);
    let table = "\
epoch  accuracy    loss  val_loss  learning_rate
    1    0.2500  2.0000         -              -
    2    0.5000  1.0000    1.5000              -
    4    0.3750       -    1.5000              -
    5         -       -         -       1.000e-4";
    assert_eq!(history.to_string(), table);
    let json = r#"{"epoch":[0,1,3,4],"history":{"accuracy":[0.25,0.5,0.375,null],"loss":[2.0,1.0,null,null],"#;
    assert!(history.to_json().starts_with(json), "{}", history.to_json());
    let value: serde_json::Value = serde_json::from_str(&history.to_json()).unwrap();
    assert_eq!(value["history"]["learning_rate"][3], 1e-4);
}

/// A line's colour and vertices.
type Line<'a> = (&'a str, Vec<[f64; 2]>);

/// Texts and lines of an SVG.
fn svg(text: &str) -> (Vec<&str>, Vec<Line<'_>>) {
    let inner = |tag: &str| {
        let begin = format!("<{tag} ");
        text.split(begin.as_str()).skip(1).map(|rest| rest.split_once('>').unwrap()).collect::<Vec<_>>()
    };
    fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
        tag.split_once(&format!(" {name}=\"")).unwrap().1.split_once('"').unwrap().0
    }
    let texts = inner("text").into_iter().map(|(_, rest)| rest.split_once('<').unwrap().0.trim()).collect();
    let point = |pair: &str| {
        let (x, y) = pair.split_once(',').unwrap();
        [x, y].map(|v| v.parse().unwrap())
    };
    let lines = inner("polyline")
        .into_iter()
        .map(|(tag, _)| (attribute(tag, "stroke"), attribute(tag, "points").split_whitespace().map(point).collect()));
    (texts, lines.collect())
}

#[test]
fn a_picture_shows_every_metric_and_its_curve() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.svg");
    let mut history = History::default();
    for (epoch, rate) in [1e-2, 1e-2, 1e-3, 1e-4].into_iter().enumerate() {
        let loss = 1.0 - 0.25 * epoch as f64;
        history.push(epoch as u64, &[("learning_rate", rate), ("loss", loss), ("val_loss", 1.0), ("accuracy", 0.5)]);
    }
    history.plot(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (texts, lines) = svg(&text);
    for title in ["loss", "accuracy", "learning rate", "training", "validation", "epoch", "1e-3", "0.5"] {
        assert!(texts.contains(&title), "no \"{title}\" in {texts:?}");
    }
    // loss first: equal steps to the right and down, since both are linear
    let curves: Vec<_> = lines.iter().filter(|(colour, points)| *colour == "#1F77B4" && points.len() == 4).collect();
    assert_eq!(curves.len(), 3, "a training curve for each metric");
    let steps = |curve: &[[f64; 2]], axis: usize| curve.windows(2).map(|p| p[1][axis] - p[0][axis]).collect::<Vec<_>>();
    let near = |a: f64, b: f64| (a - b).abs() <= 2.0;
    let loss = &curves[0].1;
    assert!(steps(loss, 0).iter().all(|&s| s > 100.0 && near(s, steps(loss, 0)[0])), "{loss:?}");
    assert!(steps(loss, 1).iter().all(|&s| s > 100.0 && near(s, steps(loss, 1)[0])), "{loss:?}");
    // the rate last: a decade is as high as the next one
    let rate = &curves[2].1;
    assert!(rate[0][0] > curves[1].1[3][0], "the panel is right of the others");
    let decades = steps(rate, 1);
    assert!(decades[0] == 0.0 && decades[1] > 100.0 && near(decades[1], decades[2]), "{rate:?}");
    assert!(lines.iter().any(|(colour, points)| *colour == "#D66314" && points.len() == 4), "no validation curve");
}

#[test]
fn a_png_has_letters_and_curves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.PNG");
    let mut history = history();
    history.plot(&path).unwrap();
    let picture = image::load_from_memory(&fs::read(&path).unwrap()).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (2 * 2 * 420, 2 * 300), "two panels, two pixels a unit");
    let like = |wanted: [u8; 3]| picture.pixels().filter(|p| p.0 == wanted).count();
    assert!(like([31, 119, 180]) > 500 && like([214, 99, 20]) > 100, "no curves");
    // the title of the first panel is dark, and nothing else is so far up
    let title = picture.rows().take(60).flatten().filter(|p| p.0 == [40, 40, 40]).count();
    assert!(title > 50, "{title} pixels of a title");

    // one epoch, a constant, a rate of zero: all have an axis
    history = History::default();
    history.push(0, &[("loss", 0.0), ("learning_rate", 0.0), ("accuracy", f64::INFINITY)]);
    history.plot(&path).unwrap();
    // and what differs in the last bit has one too
    history.push(1, &[("accuracy", 0.5f64)]);
    history.push(2, &[("accuracy", 0.5f64.next_up())]);
    history.plot(&path).unwrap();
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let jpeg = dir.path().join("run.jpg");
    let error = history().plot(&jpeg).unwrap_err().to_string();
    assert_eq!(error, format!("{}: a picture's name ends with .svg or .png", jpeg.display()));
    let svg = dir.path().join("run.svg");
    let error = History::default().plot(&svg).unwrap_err().to_string();
    assert_eq!(error, format!("{}: the history has no number to draw", svg.display()));
    assert!(!jpeg.exists() && !svg.exists());
    let missing = dir.path().join("none/run.png");
    let error = history().plot(&missing).unwrap_err().to_string();
    assert!(error.starts_with(&missing.display().to_string()), "{error}");
}
