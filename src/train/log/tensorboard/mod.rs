//! Event files for TensorBoard: `tensorboard --logdir DIR` shows what is written here, also while it is written.
//!
//! ```text
//!   scalar, histogram, image, text, graph ─▶ Event (protobuf) ─▶ record (length, checksums) ─▶ DIR/events.out.tfevents.…
//! ```

mod graph;
mod histogram;
mod proto;
mod record;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use prost::Message;

use crate::error::Error;
use crate::graph::Graph;
use proto::{
    Content, Dim, Event, Image, PluginData, Summary, SummaryMetadata, SummaryValue, TensorProto, TensorShapeProto, What,
};

/// Tells apart files that one process opens within a second.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An event file of one run. TensorBoard takes each directory for a run; a tag such as `weights/conv1` is shown in the
/// group `weights`. `step` is whatever the horizontal axis is to count: optimizer steps, or epochs.
///
/// What is written is complete in the file after [`EventWriter::flush`], or when the writer is dropped; an error
/// then is lost, so flush first.
///
/// ```
/// use outrigger::train::log::EventWriter;
/// use outrigger::{DType, Graph};
///
/// # fn main() -> Result<(), outrigger::Error> {
/// # let dir = std::env::temp_dir().join(format!("outrigger-events-{}", std::process::id()));
/// let mut graph = Graph::new("net");
/// let x = graph.input("x", DType::F32, [8, 2])?;
/// let y = graph.relu(x)?;
/// graph.set_output("y", y)?;
///
/// let mut events = EventWriter::new(&dir)?;
/// events.graph(&graph)?;
/// for (step, loss) in [2.3, 1.9, 1.7].into_iter().enumerate() {
///     events.scalar("loss", step as u64, loss)?;
/// }
/// events.histogram("weights/conv1", 2, &[-0.5, 0.0, 0.25])?;
/// events.image("sample", 2, 1, 2, 3, &[255, 0, 0, 0, 0, 255])?;
/// events.text("setup", 0, "Adam, batches of *100*")?;
/// events.flush()?;
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    out: BufWriter<File>,
}

impl EventWriter {
    /// A new file in `dir`, which is made if need be: `events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER`.
    ///
    /// # Errors
    /// [`Error::Io`] with the directory or file.
    pub fn new(dir: impl AsRef<Path>) -> Result<EventWriter, Error> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(|source| io_error(dir, source))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (seconds, process) = (now().as_secs(), std::process::id());
        let path = dir.join(format!("events.out.tfevents.{seconds:010}.{}.{process}.{number}", host()));
        let file =
            File::options().write(true).create_new(true).open(&path).map_err(|source| io_error(&path, source))?;
        let mut writer = EventWriter { path, out: BufWriter::new(file) };
        writer.event(0, What::FileVersion("brain.Event:2".to_string()))?;
        // a run without values yet is a run too
        writer.flush()?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number. Files hold f32; NaN and infinities are kept, and TensorBoard marks them.
    ///
    /// # Errors
    /// [`Error::Io`], as of all these methods.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<(), Error> {
        self.summary(tag, step, Content::Scalar(value as f32), None)
    }

    /// How `values` are distributed: their counts in TensorBoard's exponential buckets (each 1.1 times as far from zero
    /// as the one before), extremes, sum and sum of squares.
    ///
    /// # Errors
    /// [`Error::Log`] without values and for one that is NaN or infinite, as in TensorFlow.
    pub fn histogram(&mut self, tag: &str, step: u64, values: &[f32]) -> Result<(), Error> {
        if values.is_empty() {
            return Err(self.refuse(tag, "a histogram needs a value at least".to_string()));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(
                self.refuse(tag, format!("value {at} of {} is {}, not a finite number", values.len(), values[at]))
            );
        }
        self.summary(tag, step, Content::Histogram(histogram::histogram(values)), None)
    }

    /// An image, stored as PNG: `pixels` are `height` rows of `width` pixels with 1 (grey), 3 (RGB) or 4 (RGBA)
    /// `channels`, interleaved.
    ///
    /// # Errors
    /// [`Error::Log`] when extents, channels and the number of bytes do not fit together.
    pub fn image(
        &mut self,
        tag: &str,
        step: u64,
        height: usize,
        width: usize,
        channels: usize,
        pixels: &[u8],
    ) -> Result<(), Error> {
        let colour = match channels {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            4 => ExtendedColorType::Rgba8,
            _ => return Err(self.refuse(tag, format!("an image has 1, 3 or 4 channels, got {channels}"))),
        };
        let expected = [height, width, channels].into_iter().try_fold(1usize, usize::checked_mul);
        let (Ok(rows), Ok(columns), true) =
            (i32::try_from(height), i32::try_from(width), expected == Some(pixels.len()))
        else {
            let got = pixels.len();
            return Err(
                self.refuse(tag, format!("an image of {height}×{width}×{channels} has one byte each, got {got}"))
            );
        };
        if pixels.is_empty() {
            return Err(self.refuse(tag, format!("an image of {height}×{width} has no pixels")));
        }
        let mut png = Vec::new();
        // both extents fit 31 bits
        if let Err(error) = PngEncoder::new(&mut png).write_image(pixels, width as u32, height as u32, colour) {
            return Err(self.refuse(tag, error.to_string()));
        }
        let image = Image { height: rows, width: columns, colorspace: channels as i32, encoded_image_string: png };
        self.summary(tag, step, Content::Image(image), None)
    }

    /// A text, which TensorBoard reads as Markdown.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<(), Error> {
        let tensor = TensorProto {
            dtype: 7,
            tensor_shape: Some(TensorShapeProto { dim: vec![Dim { size: 1 }] }),
            string_val: vec![text.as_bytes().to_vec()],
        };
        self.summary(tag, step, Content::Tensor(tensor), Some("text"))
    }

    /// The graph, for TensorBoard's "Graphs": one node an operation, boxes for scopes, shapes on the edges, and a node
    /// for each output and each update of state.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn graph(&mut self, graph: &Graph) -> Result<(), Error> {
        self.event(0, What::GraphDef(graph::graph_def(graph).encode_to_vec()))
    }

    /// Hands all that was written to the system.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.out.flush().map_err(|source| io_error(&self.path, source))
    }

    fn summary(&mut self, tag: &str, step: u64, content: Content, plugin: Option<&str>) -> Result<(), Error> {
        let metadata =
            plugin.map(|name| SummaryMetadata { plugin_data: Some(PluginData { plugin_name: name.to_string() }) });
        let value = SummaryValue { tag: tag.to_string(), metadata, content: Some(content) };
        self.event(step, What::Summary(Summary { value: vec![value] }))
    }

    fn event(&mut self, step: u64, what: What) -> Result<(), Error> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let event = Event { wall_time: now().as_secs_f64(), step, what: Some(what) };
        record::write(&mut self.out, &event.encode_to_vec()).map_err(|source| io_error(&self.path, source))
    }

    fn refuse(&self, tag: &str, reason: String) -> Error {
        Error::Log { file: self.path.display().to_string(), reason: format!("\"{tag}\": {reason}") }
    }
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io { file: path.display().to_string(), source }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// This machine's name where the system has it in a file. It only tells files apart that several machines write.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    let name = name.unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let name: String = name.trim().chars().filter(plain).collect();
    if name.is_empty() { "localhost".to_string() } else { name }
}
