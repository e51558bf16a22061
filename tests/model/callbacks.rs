//! Callbacks: what each does, and that it would be missed.

use outrigger::Error;
use outrigger::data::{Array, ArrayDataset};
use outrigger::train::callback::{
    BackupAndRestore, CsvLog, EarlyStopping, LearningRateMonitor, LearningRateScheduler, ModelCheckpoint,
    ReduceLROnPlateau, TensorBoard, TerminateOnNaN,
};
use outrigger::train::log::Verbose;
use outrigger::train::optimizer::Adam;
use outrigger::train::schedule::{Mode, PlateauOptions, StepLR};
use outrigger::train::{Callback, FitOptions, Logs, Model};

use super::{CROSS_ENTROPY, classifier, noise, weights};

/// Reports these values as `val_loss`, one an epoch.
struct Report(Vec<f64>);

impl Callback for Report {
    fn on_epoch_end(&mut self, _: &mut Model, epoch: u64, logs: &mut Logs) -> Result<(), Error> {
        logs.set("val_loss", self.0[epoch as usize]);
        Ok(())
    }
}

fn data() -> ArrayDataset {
    let labels = (0..8).map(|i| i % 4).collect();
    ArrayDataset::classes(Array::new([8, 6, 6, 3], noise(8 * 108, 2)).unwrap(), labels, 4).unwrap()
}

fn options(epochs: u64, callbacks: Vec<Box<dyn Callback>>) -> FitOptions {
    FitOptions { epochs, batch_size: 4, callbacks, verbose: Verbose::Silent, ..FitOptions::default() }
}

fn compiled() -> Model {
    let mut model = classifier().unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
    model
}

#[test]
fn early_stopping_waits_and_gives_the_best_weights_back() {
    let stop = |patience, restore_best_weights, min_delta| {
        let stopping = EarlyStopping::new("val_loss").patience(patience).min_delta(min_delta);
        let stopping = if restore_best_weights { stopping.restore_best_weights() } else { stopping };
        let losses = Report(vec![3.0, 2.0, 2.5, 1.95, 2.2, 2.3, 2.4, 2.5]);
        let mut model = compiled();
        let history = model.fit(data(), options(8, vec![Box::new(losses), Box::new(stopping)])).unwrap();
        (history.epochs().len(), weights(&model))
    };
    // the third epoch is worse than the second
    assert_eq!(stop(1, false, 0.0).0, 3);
    // the fourth is best; two more are waited for
    assert_eq!(stop(2, false, 0.0).0, 6);
    // by a tenth, the second is best
    assert_eq!(stop(2, false, 0.1).0, 4);
    let mut four = compiled();
    four.fit(data(), options(4, vec![])).unwrap();
    assert_eq!(stop(2, true, 0.0).1, weights(&four));
    assert_ne!(stop(2, false, 0.0).1, weights(&four));
    // Keras's: where it ends with these losses
    let ends = |losses: &[f64], stopping: EarlyStopping| {
        let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(Report(losses.to_vec())), Box::new(stopping)];
        compiled().fit(data(), options(losses.len() as u64, callbacks)).unwrap().epochs().len()
    };
    let watch = || EarlyStopping::new("val_loss");
    assert_eq!(ends(&[1.0, 2.0, 3.0, 3.5, 4.0], watch().patience(1).start_from_epoch(2)), 4);
    assert_eq!(ends(&[3.0, 2.0, 1.5, 1.4, 1.3, 1.35], watch().patience(2).baseline(1.45)), 6, "reached in the end");
    assert_eq!(ends(&[3.0, 2.0, 1.9, 1.95, 1.0], watch().patience(2).baseline(1.45)), 4, "not reached in time");
    assert_eq!(ends(&[f64::NAN, 2.0, 1.0, 1.0, 0.5], watch()), 4);
    let unknown = EarlyStopping::new("val_los");
    let error = compiled().fit(data(), options(1, vec![Box::new(Report(vec![1.0])), Box::new(unknown)])).unwrap_err();
    assert!(error.to_string().contains("did you mean \"val_loss\""), "{error}");
}

#[test]
fn checkpoints_are_written_when_due() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let callbacks: Vec<Box<dyn Callback>> = vec![
        Box::new(Report(vec![3.0, 2.0, 2.5, 2.2])),
        Box::new(ModelCheckpoint::best(&path("best.safetensors"), "val_loss")),
        Box::new(ModelCheckpoint::every(&path("epoch_{epoch}.safetensors"), 2)),
    ];
    let mut model = compiled();
    model.fit(data(), options(4, callbacks)).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["best.safetensors", "epoch_2.safetensors", "epoch_4.safetensors"]);
    let loaded = |name: &str| {
        let mut model = classifier().unwrap();
        model.load_weights(path(name)).unwrap();
        weights(&model)
    };
    assert_eq!(loaded("best.safetensors"), loaded("epoch_2.safetensors"));
    assert_eq!(loaded("epoch_4.safetensors"), weights(&model));
    // the other way round, where a name does not say it
    let callbacks: Vec<Box<dyn Callback>> = vec![
        Box::new(Report(vec![1.0, 3.0, 2.5, 0.5])),
        Box::new(ModelCheckpoint::best(&path("most.safetensors"), "val_loss").mode(Mode::Max)),
    ];
    compiled().fit(data(), options(4, callbacks)).unwrap();
    assert_eq!(loaded("most.safetensors"), loaded("epoch_2.safetensors"));
    // into folders that are not there yet
    let (there, backup) = (path("new/a/w_{epoch}.pt"), path("new/b/backup.safetensors"));
    let callbacks: Vec<Box<dyn Callback>> =
        vec![Box::new(ModelCheckpoint::every(&there, 1)), Box::new(BackupAndRestore::new(&backup))];
    compiled().fit(data(), options(1, callbacks)).unwrap();
    assert!(dir.path().join("new/a/w_1.pt").is_file() && dir.path().join("new/b").is_dir());
    // a format that is none is found out before the first epoch
    let mut model = compiled();
    let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(ModelCheckpoint::every(&path("w.tar"), 1))];
    let error = model.fit(data(), options(1, callbacks)).unwrap_err().to_string();
    assert!(error.contains("w.tar") && model.steps() == 0, "{error}");
}

#[test]
fn a_run_that_was_broken_off_goes_on_bit_for_bit() {
    /// Ends training with an error after its third epoch.
    struct Crash;
    impl Callback for Crash {
        fn on_epoch_begin(&mut self, _: &mut Model, epoch: u64) -> Result<(), Error> {
            if epoch < 3 {
                return Ok(());
            }
            Err(Error::Option { option: "crash".to_string(), reason: "on purpose".to_string() })
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup.safetensors");
    let schedule = || LearningRateScheduler::epochs(StepLR { lr: 0.01, step_size: 2, gamma: 0.1 });
    let backup = || Box::new(BackupAndRestore::new(&path));

    let mut whole = compiled();
    whole.fit(data(), options(5, vec![Box::new(schedule())])).unwrap();
    let mut first = compiled();
    let broken = first.fit(data(), options(5, vec![backup(), Box::new(schedule()), Box::new(Crash)]));
    assert!(broken.is_err() && path.exists());
    let mut second = compiled();
    let history = second.fit(data(), options(5, vec![backup(), Box::new(schedule())])).unwrap();
    assert_eq!(history.epochs(), [3, 4]);
    assert_eq!(weights(&second), weights(&whole));
    assert_eq!((second.steps(), second.epochs()), (10, 5));
    assert!(!path.exists(), "what is over needs no backup");
}

#[test]
fn the_rate_follows_a_schedule_and_is_logged() {
    let mut model = compiled();
    let callbacks: Vec<Box<dyn Callback>> =
        vec![Box::new(LearningRateScheduler::epochs(StepLR { lr: 0.1, step_size: 1, gamma: 0.5 }))];
    let history = model.fit(data(), options(3, callbacks)).unwrap();
    assert_eq!(history.get("learning_rate").unwrap(), [0.1, 0.05, 0.025]);
    // two batches an epoch
    let batches = LearningRateScheduler::batches(|step: u64| 1e-3 * (1 + step) as f64);
    let history = compiled().fit(data(), options(2, vec![Box::new(batches)])).unwrap();
    assert_eq!(history.get("learning_rate").unwrap(), [3e-3, 5e-3]);
    let history = compiled().fit(data(), options(1, vec![Box::new(LearningRateMonitor)])).unwrap();
    assert_eq!(history.get("learning_rate").unwrap(), [1e-3]);
    assert!(compiled().fit(data(), options(1, vec![])).unwrap().get("learning_rate").is_err());
}

#[test]
fn the_rate_falls_on_a_plateau() {
    let plateau = PlateauOptions { patience: 1, factor: 0.5, ..PlateauOptions::default() };
    let callbacks: Vec<Box<dyn Callback>> =
        vec![Box::new(Report(vec![2.0, 1.0, 1.0, 1.0, 1.0])), Box::new(ReduceLROnPlateau::new("val_loss", plateau))];
    let mut model = compiled();
    let history = model.fit(data(), options(5, callbacks)).unwrap();
    assert_eq!(history.get("learning_rate").unwrap(), [1e-3, 1e-3, 1e-3, 1e-3, 5e-4]);
    // or when it has stopped rising
    let plateau = PlateauOptions { patience: 0, factor: 0.5, ..PlateauOptions::default() };
    let rising = ReduceLROnPlateau::new("val_loss", plateau).mode(Mode::Max);
    let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(Report(vec![1.0, 2.0, 3.0, 2.0, 4.0])), Box::new(rising)];
    let history = compiled().fit(data(), options(5, callbacks)).unwrap();
    assert_eq!(history.get("learning_rate").unwrap(), [1e-3, 1e-3, 1e-3, 1e-3, 5e-4]);
}

#[test]
fn a_loss_that_is_no_number_ends_training() {
    let mut inputs = noise(8 * 108, 2);
    inputs[3] = f32::NAN;
    let labels = (0..8).map(|i| i % 4).collect();
    let bad = ArrayDataset::classes(Array::new([8, 6, 6, 3], inputs).unwrap(), labels, 4).unwrap();
    let mut model = compiled();
    let history = model.fit(bad.clone(), options(5, vec![Box::new(TerminateOnNaN)])).unwrap();
    assert_eq!(history.epochs().len(), 1);
    assert_eq!(compiled().fit(bad, options(5, vec![])).unwrap().epochs().len(), 5);
}

#[test]
fn values_are_written_as_csv_and_for_tensorboard() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("log.csv");
    let board = dir.path().join("board");
    let callbacks = || -> Vec<Box<dyn Callback>> {
        vec![
            Box::new(Report(vec![2.0, 1.0, 0.5])),
            Box::new(CsvLog::new(&csv).separator(';').append()),
            Box::new(TensorBoard::new(&board).histograms(1)),
        ]
    };
    compiled().fit(data(), options(2, callbacks())).unwrap();
    compiled().fit(data(), FitOptions { initial_epoch: 2, ..options(3, callbacks()) }).unwrap();
    let text = std::fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("epoch;loss;val_loss", 4));
    assert!(lines[1].starts_with("0;") && lines[1].ends_with(";2.0") && lines[3].starts_with("2;"), "{text}");
    for (part, tags) in
        [("train", &["epoch_loss", "epoch_learning_rate", "fc.weight"][..]), ("validation", &["epoch_loss"])]
    {
        let files: Vec<_> = std::fs::read_dir(board.join(part)).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "{part}");
        let bytes = std::fs::read(&files[0]).unwrap();
        for tag in tags {
            assert!(bytes.windows(tag.len()).any(|window| window == tag.as_bytes()), "{part}: {tag}");
        }
    }
}
