//! `outrigger export`: a network in the forms in which it is deployed or looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;

use super::data::DataArgs;
use super::output::{misuse, positive, say, say_json};
use super::pictures::{self, Picture};
use super::source::{Chosen, Compiling, Source};
use crate::codegen::Machine;
use crate::error::Error;
use crate::export::inference::{Certificate, InferenceGraph, Samples};
use crate::export::onnx::{self, DataFormat, OnnxOptions};
use crate::export::{ObjectOptions, object};
use crate::formats::{Layout, Storage, WeightFile};
use crate::nn::Form;
use crate::tensor::Tensor;

/// A form of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The folded inference graph with its weights and a certificate
    Outrigger,
    /// Native code: a static library NAME.a and its header NAME.h
    Object,
    /// For ONNX Runtime and whatever else reads ONNX
    Onnx,
    /// A picture of the graph for Graphviz, or a directory of them
    Dot,
    /// A picture of the graph, or a directory of them, with those of the memory
    Svg,
    /// Weights with the names and axes of the network's framework
    Safetensors,
}

impl Format {
    /// The end of a file's name.
    fn ending(self) -> &'static str {
        match self {
            Format::Outrigger => "outrigger",
            Format::Object => "a",
            Format::Onnx => "onnx",
            Format::Dot => "dot",
            Format::Svg => "svg",
            Format::Safetensors => "safetensors",
        }
    }
}

/// Write a network in another form.
///
/// Without --weights it has its first values.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outrigger export --weights w.safetensors --format outrigger --out resnet.outrigger --certify
  outrigger export --weights w.safetensors --format object --out build/resnet.a
  outrigger export --weights w.safetensors --format onnx --out resnet.onnx --channels-first
  outrigger export --format svg --out resnet.svg
  outrigger export --format svg --out pictures          before and after each pass, and memory over time
  outrigger export --format svg --out block --scope layer2.0")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// What to write; of pictures also a directory [default: the network's name with the format's end]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Images of a run; an ONNX file takes any number without it [default: 1]
    #[arg(long, value_parser = positive)]
    batch: Option<usize>,
    #[command(flatten)]
    compiling: Compiling,
    /// Of outrigger: f32, f16 or bf16 weights [default: f32]
    #[arg(long)]
    storage: Option<Storage>,
    /// Of outrigger: compare with the network before on the test images, and write down how far it is
    #[arg(long)]
    certify: bool,
    #[command(flatten)]
    data: DataArgs,
    /// Of object: host, x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu [default: host]
    #[arg(long)]
    machine: Option<Machine>,
    /// Of onnx: the input is [batch, channels, rows, columns], not [batch, rows, columns, channels]
    #[arg(long)]
    channels_first: bool,
    /// Of onnx: keep batch norms, instead of folding them into convolutions
    #[arg(long)]
    unfused: bool,
    /// Of pictures: only what is below this path, such as layer2.0
    #[arg(long, value_name = "PATH")]
    scope: Option<String>,
    /// One line of JSON: files (file, bytes), certificate (of outrigger)
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    args.check()?;
    let network = args.source.load()?;
    let out = args.out.clone().unwrap_or_else(|| {
        let name: String = network.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        PathBuf::from(format!("{}.{}", name.trim_end_matches('_'), args.format.ending()))
    });
    let mut certificate = None;
    let files = match args.format {
        Format::Outrigger => {
            let inference = args.inference(&network)?;
            inference.save(&out)?;
            certificate = Some(inference.certificate().clone());
            vec![out]
        }
        Format::Object => args.object(&network, &out)?.into(),
        Format::Onnx => {
            let data_format = if args.channels_first { DataFormat::ChannelsFirst } else { DataFormat::ChannelsLast };
            let (fused, dynamic_batch) = (!args.unfused, args.batch.is_none());
            let options = OnnxOptions { fused, data_format, dynamic_batch, ..OnnxOptions::default() };
            let graph = network.forward(args.batch.unwrap_or(1))?;
            onnx::export(&graph, &network.store, &network.output_names(), &options, &out)?;
            vec![out]
        }
        Format::Dot | Format::Svg => {
            let picture = if args.format == Format::Dot { Picture::Dot } else { Picture::Svg };
            let options = args.compiling.options(&network);
            pictures::write(&network, args.batch.unwrap_or(1), args.scope.as_deref(), picture, &options, &out)?
        }
        Format::Safetensors => {
            let layout = match network.network().map(|network| network.form()) {
                Some(Form::Torch) => Layout::Torch,
                Some(Form::Keras) | None => Layout::Native,
            };
            WeightFile::of_store(&network.store, layout, Default::default())?.write(&out)?;
            vec![out]
        }
    };
    report(&files, certificate, args.json)
}

fn report(files: &[PathBuf], certificate: Option<Certificate>, json: bool) -> Result<(), Error> {
    let sized = files.iter().map(|path| {
        let bytes = std::fs::metadata(path).map_err(super::output::at(path))?.len();
        Ok((path.display().to_string(), bytes))
    });
    let sized: Vec<(String, u64)> = sized.collect::<Result<_, Error>>()?;
    if json {
        let files: Vec<_> =
            sized.iter().map(|(file, bytes)| serde_json::json!({ "file": file, "bytes": bytes })).collect();
        return say_json(&serde_json::json!({ "files": files, "certificate": certificate }));
    }
    sized.iter().try_for_each(|(file, bytes)| say(format_args!("{file}: {bytes} bytes")))?;
    certificate.map_or(Ok(()), |certificate| say(certificate.to_string().trim_end()))
}

impl Args {
    /// Refuses options of other formats.
    fn check(&self) -> Result<(), Error> {
        let picture = matches!(self.format, Format::Dot | Format::Svg);
        let compiled = picture || self.format == Format::Object;
        let given = [
            ("--data or --download", self.data.given(), self.certify),
            ("--isa", self.compiling.isa.is_some(), picture),
            ("--precision", self.compiling.precision.is_some(), compiled),
            ("--batch", self.batch.is_some(), self.format != Format::Safetensors),
            ("--storage", self.storage.is_some(), self.format == Format::Outrigger),
            ("--certify", self.certify, self.format == Format::Outrigger),
            ("--machine", self.machine.is_some(), self.format == Format::Object),
            ("--channels-first", self.channels_first, self.format == Format::Onnx),
            ("--unfused", self.unfused, self.format == Format::Onnx),
            ("--scope", self.scope.is_some(), picture),
        ];
        match given.iter().find(|(_, given, fits)| *given && !fits) {
            Some((option @ "--data or --download", ..)) => Err(misuse(option, "is for --certify only")),
            Some((option, ..)) => Err(misuse(option, format!("is not for --format {:?}", self.format).to_lowercase())),
            None => Ok(()),
        }
    }

    fn inference(&self, network: &Chosen) -> Result<InferenceGraph, Error> {
        let batch = self.batch.unwrap_or(1);
        let (graph, storage) = (network.forward(batch)?, self.storage.unwrap_or(Storage::F32));
        let mut inference = InferenceGraph::export(&graph, &network.store, &network.output_names(), storage)?;
        if self.certify {
            let (test, _) = self.data.test(network)?;
            let [rows, columns, channels] = test.shape();
            let pixels = test.images().iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
            let images = Tensor::f32([test.len(), rows, columns, channels], pixels)?;
            let labels: Vec<i32> = test.labels().iter().map(|&label| label.into()).collect();
            let samples = Samples { inputs: &[(network.ends()?[0], &images)], labels: Some(&labels) };
            inference.certify(&graph, &network.store, samples, &Arc::new(super::eval::team(None)?))?;
        }
        Ok(inference)
    }

    /// `NAME.a` and `NAME.h` beside it; NAME is what their functions begin with.
    fn object(&self, network: &Chosen, out: &Path) -> Result<[PathBuf; 2], Error> {
        let name = out.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.filter(|_| out.extension().is_some_and(|e| e == "a"));
        let name =
            name.ok_or_else(|| misuse("--out", format!("takes NAME.a for native code, got {}", out.display())))?;
        let dir = match out.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(dir).map_err(super::output::at(dir))?;
        let graph = network.forward(self.batch.unwrap_or(1))?;
        let options = ObjectOptions {
            machine: self.machine.unwrap_or_default(),
            compile: self.compiling.options(network),
            ..ObjectOptions::new(name)
        };
        object(&graph, &network.store, &options)?.write(dir)
    }
}
