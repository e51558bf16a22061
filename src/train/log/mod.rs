//! What a run writes down: progress on a terminal, a history with its picture, CSV, and TensorBoard's event files.
//!
//! ```text
//!                                     ┌─▶ ProgressLine ─▶ terminal       38/38 ━━━━━━━━━━ 3s 80ms/step - loss: 1.9021
//!   training: (epoch or step, ────────┼─▶ History      ─▶ table, JSON, picture (SVG, PNG)
//!              [("loss", 1.9021), …]) ├─▶ CsvLogger    ─▶ FILE.csv
//!                                     └─▶ EventWriter  ─▶ DIR/events.out.tfevents.…
//!                         Graph, weights, images ──▲
//! ```
//!
//! Values are slices of name and number. Names are Keras's: `loss`, `accuracy`, `val_loss`, `learning_rate`. Nothing here
//! knows how training goes; callbacks and loops of one's own call these types alike.

mod csv;
mod history;
mod plot;
mod progress;
mod tensorboard;

pub use csv::CsvLogger;
pub use history::{History, higher_is_better};
pub use progress::{ProgressLine, Verbose};
pub use tensorboard::EventWriter;
