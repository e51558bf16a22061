//! The CSV log, byte for byte as Keras's `CSVLogger` lays it out.

use std::fs;

use outrigger::Error;
use outrigger::train::log::CsvLogger;

const NONE: &[(&str, f64)] = &[];

#[test]
fn columns_are_those_of_the_first_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.csv");
    let mut csv = CsvLogger::create(&path, ',').unwrap();
    csv.row(0, &[("val_loss", 1.7), ("loss", 1.9021), ("learning_rate", 1e-7)]).unwrap();
    // each row is there at once
    let first = "epoch,learning_rate,loss,val_loss\n0,1e-7,1.9021,1.7\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    csv.row(1, &[("loss".to_string(), f64::NAN)]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{first}1,NA,NaN,NA\n"));

    let error = csv.row(2, &[("val_los", 1.0)]).unwrap_err();
    assert!(matches!(&error, Error::UnknownName { near, .. } if near[0] == "val_loss"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3, "nothing of a refused row is written");
}

#[test]
fn validation_may_begin_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.tsv");
    let mut csv = CsvLogger::create(&path, '\t').unwrap();
    csv.row(0, &[("loss", 2.0), ("accuracy", 0.25)]).unwrap();
    csv.row(1, &[("loss", 1.0), ("accuracy", 0.5), ("val_loss", 1.5), ("val_accuracy", 0.375)]).unwrap();
    let expected = "epoch\taccuracy\tloss\tval_accuracy\tval_loss\n0\t0.25\t2.0\tNA\tNA\n1\t0.5\t1.0\t0.375\t1.5\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn a_resumed_run_goes_on_under_the_same_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.csv");
    let odd = "a \"b\", c";
    CsvLogger::append(&path, ',').unwrap().row(0, &[("loss", 2.0), (odd, 1.0), ("val_loss", 3.0)]).unwrap();
    // cut off within a row
    fs::write(&path, fs::read_to_string(&path).unwrap().trim_end()).unwrap();
    CsvLogger::append(&path, ',').unwrap().row(1, &[("val_loss", 2.5), (odd, 0.5), ("loss", 1.5)]).unwrap();
    let expected = "epoch,\"a \"\"b\"\", c\",loss,val_loss\n0,1.0,2.0,3.0\n1,0.5,1.5,2.5\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);

    CsvLogger::create(&path, ',').unwrap().row(0, &[("loss", 1.0)]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss,val_loss\n0,1.0,NA\n", "replaced without `append`");
}

#[test]
fn what_cannot_be_a_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.csv");
    fs::write(&path, "name,age\n").unwrap();
    let error = CsvLogger::append(&path, ',').unwrap_err().to_string();
    assert_eq!(error, format!("{}: the header must begin with \"epoch,\", got \"name,age\"", path.display()));
    assert!(CsvLogger::create(&path, '.').unwrap_err().to_string().starts_with("separator: '.' is part of"));
    let missing = dir.path().join("none/log.csv");
    let error = CsvLogger::create(&missing, ',').unwrap_err().to_string();
    assert!(error.starts_with(&missing.display().to_string()), "{error}");
    let mut csv = CsvLogger::create(&path, ',').unwrap();
    csv.row(0, NONE).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "epoch\n0\n");
}
