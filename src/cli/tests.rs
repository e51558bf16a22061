//! Options and reports, from inside.

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};

use super::train::progress::{Progress, Reporter};
use super::{Cli, Command, train};
use crate::error::Error;
use crate::train::Logs;

fn train_args<T: AsRef<std::ffi::OsStr>>(words: &[T]) -> train::Args {
    let all = ["outrigger".as_ref(), "train".as_ref()].into_iter().chain(words.iter().map(AsRef::as_ref));
    match Cli::try_parse_from(all).unwrap().command {
        Command::Train(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn clap_finds_no_contradiction() {
    Cli::command().debug_assert();
}

/// Outputs that cannot be written are noticed before the run, by name; those that can leave no trace.
#[test]
fn outputs_are_tried_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let check = |option: &str, path: &Path| -> Result<(), String> {
        train_args(&[Path::new(option), path]).check_outputs().map_err(|e: Error| e.to_string())
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
    let args = train_args(&["--epochs", "18446744073709551615"]);
    let mut reporter = Reporter::new(args.epochs, 0, 50_000, true);
    reporter.epoch(0);
    reporter.step(Progress { images: 100, loss: 1.0, accuracy: 0.01 }).unwrap();
    reporter.epoch_done(&Logs::new(vec![("loss".to_string(), 1.0)]), 1.0).unwrap();
}
