//! Progress lines, against the output of `keras.utils.Progbar` of Keras 3.15 on the same times. Keras also prints
//! backspaces in front of each `\r` and an empty white part of a full bar, which no one sees; they are left out.

use std::time::Duration;

use outrigger::train::log::{ProgressLine, Verbose};

type Logs<'a> = &'a [(&'a str, f64)];

const LAST: Logs<'_> = &[("accuracy", 0.2913), ("loss", 1.9021), ("val_accuracy", 0.38), ("val_loss", 1.7)];

/// What is written for one of `epochs` epochs with these (step, seconds, values), and (seconds, values) at its end.
fn shown(
    verbose: Verbose,
    terminal: bool,
    epochs: u64,
    steps: Option<usize>,
    updates: &[(usize, f64, Logs<'_>)],
    end: (f64, Logs<'_>),
) -> String {
    let mut out = Vec::new();
    let mut line =
        if terminal { ProgressLine::terminal(&mut out, verbose) } else { ProgressLine::new(&mut out, verbose) };
    line.begin_epoch(0, epochs, steps).unwrap();
    for &(step, seconds, logs) in updates {
        line.step(step, Duration::from_secs_f64(seconds), logs).unwrap();
    }
    line.end_epoch(Duration::from_secs_f64(end.0), end.1).unwrap();
    String::from_utf8(out).unwrap()
}

const EPOCH: &[(usize, f64, Logs<'_>)] = &[
    (1, 5.0, &[("accuracy", 0.1), ("loss", 2.3)]),
    // so soon after the first that it is not drawn
    (2, 5.01, &[("accuracy", 0.1), ("loss", 2.2)]),
    (19, 5.5, &[("accuracy", 0.2), ("loss", 2.1)]),
    (38, 8.0, &[("accuracy", 0.29), ("loss", 1.9)]),
];

#[test]
fn a_terminal_shows_the_bar_in_place() {
    let expected = concat!(
        "Epoch 1/24\n",
        "\r\x1b[1m 1/38\x1b[0m \x1b[37m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m3:05\x1b[0m 5s/step",
        " - accuracy: 0.1000 - loss: 2.3000",
        "\r\x1b[1m19/38\x1b[0m \x1b[32m━━━━━━━━━━\x1b[0m\x1b[37m━━━━━━━━━━\x1b[0m \x1b[1m0s\x1b[0m 28ms/step",
        " - accuracy: 0.2000 - loss: 2.1000",
        "\r\x1b[1m38/38\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m0s\x1b[0m 81ms/step",
        " - accuracy: 0.2900 - loss: 1.9000",
        "\r\x1b[1m38/38\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m8s\x1b[0m 95ms/step",
        " - accuracy: 0.2913 - loss: 1.9021 - val_accuracy: 0.3800 - val_loss: 1.7000\n",
    );
    assert_eq!(shown(Verbose::Bar, true, 24, Some(38), EPOCH, (8.5, LAST)), expected);
}

#[test]
fn a_file_gets_the_last_bar_only_and_no_colours() {
    let expected = "Epoch 1/24\n38/38 ━━━━━━━━━━━━━━━━━━━━ 8s 95ms/step\
                    \x20- accuracy: 0.2913 - loss: 1.9021 - val_accuracy: 0.3800 - val_loss: 1.7000\n";
    assert_eq!(shown(Verbose::Bar, false, 24, Some(38), EPOCH, (8.5, LAST)), expected);
}

#[test]
fn verbose_2_is_a_line_an_epoch_and_0_is_nothing() {
    let expected =
        "38/38 - 3s - 80ms/step - accuracy: 0.2913 - loss: 1.9021 - val_accuracy: 0.3800 - val_loss: 1.7000\n";
    for terminal in [true, false] {
        let line = shown(Verbose::Line, terminal, 24, Some(38), EPOCH, (3.04, LAST));
        assert_eq!(line, format!("Epoch 1/24\n{expected}"));
        assert_eq!(
            shown(Verbose::Line, terminal, 1, Some(38), EPOCH, (3.04, LAST)),
            expected,
            "one epoch has no heading"
        );
        assert_eq!(shown(Verbose::Silent, terminal, 24, Some(38), EPOCH, (3.04, LAST)), "");
    }
    let small = shown(Verbose::Line, false, 1, Some(5000), &[], (0.5, &[("loss", -0.00012), ("x", 0.001)]));
    assert_eq!(small, "5000/5000 - 0s - 100us/step - loss: -1.2000e-04 - x: 1.0000e-03\n");
}

#[test]
fn unknown_lengths_and_long_epochs() {
    let updates: &[(usize, f64, Logs<'_>)] =
        &[(1, 0.5, &[("accuracy", 0.1), ("loss", 2.3)]), (9, 4.25, &[("accuracy", 0.1), ("loss", 0.0005)])];
    let expected = concat!(
        "\r      1/Unknown \x1b[1m0s\x1b[0m 500ms/step - accuracy: 0.1000 - loss: 2.3000",
        "\r      9/Unknown \x1b[1m4s\x1b[0m 469ms/step - accuracy: 0.1000 - loss: 5.0000e-04",
        "\r\x1b[1m9/9\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m4s\x1b[0m 500ms/step",
        " - accuracy: 0.2913 - loss: 1.9021\n",
    );
    assert_eq!(shown(Verbose::Bar, true, 1, None, updates, (4.5, &LAST[..2])), expected);

    let updates: &[(usize, f64, Logs<'_>)] = &[(1, 9.0, &[]), (2, 19.0, &[]), (900, 5000.0, &[])];
    let expected = concat!(
        "\r\x1b[1m   1/1000\x1b[0m \x1b[37m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m2:29:51\x1b[0m 9s/step",
        "\r\x1b[1m   2/1000\x1b[0m \x1b[37m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m2:46:20\x1b[0m 10s/step",
        // the rest of the longer line before is blanked
        "\r\x1b[1m 900/1000\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━\x1b[0m\x1b[37m━━\x1b[0m \x1b[1m9:15\x1b[0m 6s/step    ",
        "\r\x1b[1m1000/1000\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m \x1b[1m6000s\x1b[0m 6s/step - loss: nan\n",
    );
    assert_eq!(shown(Verbose::Bar, true, 1, Some(1000), updates, (6000.0, &[("loss", f64::NAN)])), expected);
}

#[test]
fn levels_are_those_of_keras() {
    let levels = [0, 1, 2].map(|level| Verbose::try_from(level).unwrap());
    assert_eq!(levels, [Verbose::Silent, Verbose::Bar, Verbose::Line]);
    let error = Verbose::try_from(3).unwrap_err().to_string();
    assert_eq!(error, "verbose: takes 0 (nothing), 1 (a bar) or 2 (a line an epoch), got 3");
}

#[test]
fn a_closed_pipe_is_an_error() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = ProgressLine::new(Closed, Verbose::Bar).begin_epoch(0, 2, None).unwrap_err();
    assert_eq!(error.to_string(), "progress output: broken pipe");
}
