//! Event files, field by field. With `OUTRIGGER_EVENTS=DIR` the file of the first test is written there, for
//! `tests/tensorboard/check`, which opens it with TensorBoard itself.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use outrigger::ops::{BatchNorm, Init, Op, Unary};
use outrigger::train::log::EventWriter;
use outrigger::{DType, Error, Graph};

use crate::events::{Field, Message, records};

/// A batch norm, whose second result is read, and two nodes of one name.
fn graph() -> Result<Graph, Error> {
    let mut g = Graph::new("net");
    let x = g.input("x", DType::F32, [8, 2])?;
    g.enter("layer1");
    g.enter("bn");
    let (gamma, beta) = (g.parameter("weight", [2], Init::ONES)?, g.parameter("bias", [2], Init::ZEROS)?);
    let mean = g.buffer("running_mean", DType::F32, [2], Init::ZEROS)?;
    let variance = g.buffer("running_var", DType::F32, [2], Init::ONES)?;
    let attributes = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    let normalized = g.batch_norm(x, gamma, beta, [mean, variance], attributes)?;
    g.leave();
    let centred = g.sub(normalized.y, normalized.mean)?;
    let once = g.add(Op::Unary(Unary::Relu), &[centred], "act")?;
    let twice = g.add(Op::Unary(Unary::Relu), &[once.result(0)], "act")?;
    g.leave();
    g.set_output("y", twice.result(0))?;
    Ok(g)
}

fn values() -> Vec<f32> {
    (0..1000).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect()
}

/// Red, green; blue, white.
const PIXELS: [u8; 12] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255];

fn write(dir: &Path) -> Result<Vec<Message>, Error> {
    let mut events = EventWriter::new(dir)?;
    events.graph(&graph()?)?;
    for step in 0..5 {
        events.scalar("loss", step, 2.0 / (1 + step) as f64)?;
    }
    events.histogram("weights/conv1", 4, &values())?;
    events.image("sample", 4, 2, 2, 3, &PIXELS)?;
    events.text("setup", 0, "Adam, *batches* of 100")?;
    events.flush()?;
    let file = fs::read(events.path()).unwrap();
    Ok(records(&file).iter().map(|record| Message::parse(record)).collect())
}

/// The only value of an event's summary.
fn value(event: &Message) -> Message {
    event.message(5).message(1)
}

#[test]
fn events_are_those_of_tensorflow() {
    let temporary = tempfile::tempdir().unwrap();
    let given = std::env::var_os("OUTRIGGER_EVENTS");
    let dir = given.as_ref().map_or(temporary.path(), Path::new);
    let events = write(dir).unwrap();
    assert_eq!(events.len(), 10);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(events.iter().all(|event| (now - 60.0..=now).contains(&event.double(1))), "wall times");
    assert_eq!(events[0].text(3), "brain.Event:2");

    for (step, event) in events[2..7].iter().enumerate() {
        let value = value(event);
        let scalar = Field::Float((2.0 / (1 + step) as f64) as f32);
        assert_eq!((event.integer(2), value.text(1), value.all(2).next()), (step as u64, "loss", Some(&scalar)));
    }

    let (step, histogram) = (events[7].integer(2), value(&events[7]));
    assert_eq!((step, histogram.text(1)), (4, "weights/conv1"));
    check_histogram(&histogram.message(5), &values());

    let image = value(&events[8]).message(4);
    assert_eq!([1, 2, 3].map(|field| image.integer(field)), [2, 2, 3]);
    let png = image::load_from_memory_with_format(image.bytes(4), image::ImageFormat::Png).unwrap();
    assert_eq!(png.to_rgb8().into_raw(), PIXELS);

    let text = value(&events[9]);
    assert_eq!(text.message(9).message(1).text(1), "text");
    let tensor = text.message(8);
    assert_eq!((tensor.integer(1), tensor.message(2).message(2).integer(1)), (7, 1), "one string");
    assert_eq!(tensor.text(8), "Adam, *batches* of 100");
}

fn check_histogram(histogram: &Message, values: &[f32]) {
    let exact = values.iter().map(|&v| f64::from(v));
    let expected = [
        exact.clone().fold(f64::INFINITY, f64::min),
        exact.clone().fold(f64::NEG_INFINITY, f64::max),
        values.len() as f64,
        exact.clone().sum(),
        exact.clone().map(|v| v * v).sum(),
    ];
    for (field, expected) in (1..).zip(expected) {
        assert!((histogram.double(field) - expected).abs() <= 1e-9, "field {field}: {expected}");
    }
    let (limits, counts) = (histogram.doubles(6), histogram.doubles(7));
    assert_eq!(limits.len(), counts.len());
    let mut low = f64::NEG_INFINITY;
    for (&end, &count) in limits.iter().zip(&counts) {
        assert_eq!(exact.clone().filter(|&v| low <= v && v < end).count() as f64, count, "{low}..{end}");
        // a bucket that holds something is a tenth of its end wide, but for those next to zero
        if count > 0.0 && end.abs() > 1e-11 {
            assert!(((end - low).abs() / end.abs().max(low.abs()) - 1.0 / 11.0).abs() < 1e-9, "{low}..{end}");
        }
        low = end;
    }
    assert_eq!(counts.iter().sum::<f64>(), values.len() as f64);
}

#[test]
fn a_graph_has_scopes_shapes_and_all_edges() {
    let dir = tempfile::tempdir().unwrap();
    let events = write(dir.path()).unwrap();
    let nodes = Message::parse(events[1].bytes(4)).messages(1);
    let described: Vec<String> = nodes
        .iter()
        .map(|node| {
            let operands = node.all(3).map(|field| match field {
                Field::Bytes(bytes) => std::str::from_utf8(bytes).unwrap(),
                other => panic!("{other:?}"),
            });
            format!("{} = {}({})", node.text(1), node.text(2), operands.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let expected = [
        "x = input()",
        "layer1/bn/weight = parameter()",
        "layer1/bn/bias = parameter()",
        "layer1/bn/running_mean = buffer()",
        "layer1/bn/running_var = buffer()",
        "layer1/bn/batch_norm = batch_norm(x, layer1/bn/weight, layer1/bn/bias, layer1/bn/running_mean, \
         layer1/bn/running_var)",
        "layer1/sub = sub(layer1/bn/batch_norm, layer1/bn/batch_norm:1)",
        "layer1/act = relu(layer1/sub)",
        "layer1/act_1 = relu(layer1/act)",
        "output/y = output(layer1/act_1)",
        "layer1/bn/running_mean/update = update(layer1/bn/running_mean, layer1/bn/batch_norm:3)",
        "layer1/bn/running_var/update = update(layer1/bn/running_var, layer1/bn/batch_norm:4)",
    ];
    assert_eq!(described, expected);

    let attribute = |node: &Message, name: &str| {
        let entries = node.messages(5);
        entries.iter().find(|entry| entry.text(1) == name).map(|entry| entry.message(2))
    };
    let shapes = attribute(&nodes[5], "_output_shapes").unwrap().message(1).messages(7);
    let extents = |shape: &Message| shape.messages(2).iter().map(|dim| dim.integer(1)).collect::<Vec<_>>();
    assert_eq!(shapes.iter().map(extents).collect::<Vec<_>>(), [vec![8, 2], vec![2], vec![2], vec![2], vec![2]]);
    assert_eq!(attribute(&nodes[5], "T").unwrap().integer(6), 1, "f32");
    assert!(attribute(&nodes[5], "attributes").unwrap().text(2).contains("unbiased:true"));
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = EventWriter::new(dir.path().join("deep/run")).unwrap();
    let file = events.path().display().to_string();
    let refused = |result: Result<(), Error>, reason: &str| {
        assert_eq!(result.unwrap_err().to_string(), format!("{file}: {reason}"));
    };
    refused(events.histogram("w", 0, &[1.0, f32::NAN]), "\"w\": value 1 of 2 is NaN, not a finite number");
    refused(events.histogram("w", 0, &[]), "\"w\": a histogram needs a value at least");
    refused(events.image("i", 0, 2, 2, 3, &[0; 11]), "\"i\": an image of 2×2×3 has one byte each, got 11");
    refused(events.image("i", 0, 2, 2, 2, &[0; 8]), "\"i\": an image has 1, 3 or 4 channels, got 2");
    refused(events.image("i", 0, 0, 2, 1, &[]), "\"i\": an image of 0×2 has no pixels");
    refused(
        events.image("i", 0, usize::MAX, usize::MAX, 3, &[]),
        &format!("\"i\": an image of {0}×{0}×3 has one byte each, got 0", usize::MAX),
    );
    events.flush().unwrap();
    assert_eq!(records(&fs::read(events.path()).unwrap()).len(), 1, "nothing of what was refused is written");

    fs::write(dir.path().join("file"), "").unwrap();
    let error = EventWriter::new(dir.path().join("file")).unwrap_err().to_string();
    assert!(error.starts_with(&dir.path().join("file").display().to_string()), "{error}");
}

#[test]
fn writers_of_one_second_have_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (EventWriter::new(dir.path()).unwrap(), EventWriter::new(dir.path()).unwrap());
    assert_ne!(first.path(), second.path());
    let name = first.path().file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("events.out.tfevents."), "{name}");
}
