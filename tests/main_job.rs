//! The main job's command line and its reports, from outside.

// the example uses what these tests do not
#[allow(dead_code)]
#[path = "../examples/train_cifar10/options.rs"]
mod options;
#[allow(dead_code)]
#[path = "../examples/train_cifar10/progress.rs"]
mod progress;

use std::fs;
use std::path::Path;

use clap::Parser;
use options::Args;
use progress::Reporter;

/// Outputs that cannot be written are noticed before the run, by name; those that can leave no trace.
#[test]
fn outputs_are_tried_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let check = |option: &str, path: &Path| {
        let args = Args::try_parse_from([Path::new("train"), Path::new(option), path]).unwrap();
        args.check_outputs().map_err(|e| e.to_string())
    };
    let long = dir.path().join(format!("{}.svg", "n".repeat(300)));
    let (old, new) = (dir.path().join("old.svg"), dir.path().join("new.svg"));
    fs::write(&old, "kept").unwrap();
    for option in ["--json", "--save", "--plot"] {
        for bad in [&long, &old.join("new.svg"), &dir.path().join("missing/new.svg"), &dir.path().join("..")] {
            let error = check(option, bad).unwrap_err();
            assert!(error.contains(&bad.display().to_string()), "{error}");
        }
        check(option, &new).unwrap();
        check(option, &old).unwrap();
    }
    check("--plot", &dir.path().join("new.PNG")).unwrap();
    assert!(check("--plot", &dir.path().join("new.jpg")).unwrap_err().contains("ends with .svg or .png"));
    assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");

    let mut permissions = fs::metadata(&old).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&old, permissions).unwrap();
    // a superuser may write it all the same
    if fs::File::options().append(true).open(&old).is_err() {
        check("--json", &old).unwrap_err();
    }
}

/// The largest number of epochs that the command line takes does not overflow.
#[test]
fn any_number_of_epochs_is_counted() {
    let args = Args::try_parse_from(["train", "--epochs", "18446744073709551615"]).unwrap();
    let mut reporter = Reporter::new(args.epochs, 0, 50_000);
    reporter.epoch(0);
    let done = outrigger::train::Outcome { images: 100, correct: 1, loss_sum: 1.0 };
    reporter.step(&done, 100).unwrap();
    reporter.epoch_done(&done, &done, 1.0).unwrap();
}
