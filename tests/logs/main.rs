//! What a run writes down: event files read back by a parser of their own, CSV and histories by hand, progress lines
//! against what Keras prints.

mod csv;
mod events;
mod history;
mod progress;
mod tensorboard;
