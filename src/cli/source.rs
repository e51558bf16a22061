//! Which network a command is about: a known one by its name, or what a file holds.
//!
//! ```text
//!   --model NAME ───────────▶ Network ─┐
//!   --weights FILE ─ recipe ─▶   │     ├─▶ Chosen: graphs for any batch, Store
//!                  └─ tensors ─▶ Store │
//!   --weights FILE.outrigger ──────────┘
//! ```

use std::path::{Path, PathBuf};

use super::output::misuse;
use crate::codegen::Isa;
use crate::compile::Options;
use crate::error::Error;
use crate::export::inference::InferenceGraph;
use crate::formats::{Restore, WeightFile, read_weights};
use crate::graph::{Graph, Loss, Reduction};
use crate::models::{Classifier, by_name};
use crate::nn::{Mode, Network};
use crate::ops::Op;
use crate::store::Store;
use crate::train::{Model, Recipe};
use crate::types::{DType, Precision};

/// The network that nobody named.
const DEFAULT: &str = "resnet14";
/// Under what `train` writes the names of the data's classes, a JSON list.
pub(super) const CLASS_NAMES: &str = "class_names";

/// The options that name a network.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Source {
    /// A network's name; an unknown one is answered with the known ones [default: that of --weights, or resnet14]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Its weights: a file of train --save, Model::save, PyTorch, Keras or NumPy; or FILE.outrigger [default:
    /// first values]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

/// How a network is compiled.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Compiling {
    /// Instructions of the inner products: clif, avx2, avx512, avx512bf16 or amx [default: OUTRIGGER_ISA, or the
    /// fastest of this CPU]
    #[arg(long)]
    pub(super) isa: Option<Isa>,
    /// f32 or bf16 [default: as it was trained, or f32]
    #[arg(long)]
    pub(super) precision: Option<Precision>,
}

impl Compiling {
    pub(super) fn options(&self, network: &Chosen) -> Options {
        let precision = self.precision.unwrap_or(network.precision);
        Options { isa: self.isa, precision, ..Options::default() }
    }
}

enum Kind {
    Network(Box<Network>),
    Inference(Box<InferenceGraph>),
}

/// A network with its weights.
pub(super) struct Chosen {
    kind: Kind,
    /// What it is called in reports.
    pub(super) name: String,
    pub(super) store: Store,
    /// What it was trained in.
    precision: Precision,
    /// The recipe and its epochs, of a file that has one.
    pub(super) recipe: Option<(Recipe, u64)>,
    /// Names of the classes that it was trained on, of a file that has them.
    pub(super) class_names: Vec<String>,
    /// Names of the graph's inputs.
    pub(super) inputs: Vec<String>,
    /// Names of the graph's outputs.
    pub(super) outputs: Vec<String>,
}

impl Source {
    /// The network of a word that is a name or a file.
    pub(super) fn of_word(word: Option<&String>) -> Source {
        let file = word.map(PathBuf::from).filter(|path| path.exists() || path.extension().is_some());
        match file {
            Some(file) => Source { model: None, weights: Some(file) },
            None => Source { model: word.cloned(), weights: None },
        }
    }

    /// The file of weights, if one was named.
    pub(super) fn weights(&self) -> Option<&Path> {
        self.weights.as_deref()
    }

    /// Refuses to go on with first values.
    pub(super) fn require_weights(&self, command: &str) -> Result<(), Error> {
        match self.weights {
            Some(_) => Ok(()),
            None => {
                Err(misuse("--weights", format!("{command} needs trained weights; outrigger train --save makes some")))
            }
        }
    }

    /// Finds the network and fills its weights.
    pub(super) fn load(&self) -> Result<Chosen, Error> {
        if let Some(path) = &self.weights
            && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("outrigger"))
        {
            if self.model.is_some() {
                return Err(misuse("--model", format!("{} has its own network; leave the name out", path.display())));
            }
            return InferenceGraph::load(path).map(Chosen::of_inference);
        }
        let file = self.weights.as_deref().map(read_weights).transpose()?;
        let unnamed = file.as_ref().filter(|_| self.model.is_none());
        let whole = unnamed.map(Model::whole_network).transpose()?.flatten();
        let is_whole = whole.is_some();
        let recipe = unnamed.filter(|_| !is_whole).map(recipe).transpose()?;
        let network = match (&self.model, &recipe, whole) {
            (_, _, Some(network)) => network,
            (_, Some((recipe, _)), _) => recipe.model.network()?,
            (name, ..) => by_name(name.as_deref().unwrap_or(DEFAULT))?,
        };
        let inputs = network.input_names().into_iter().map(str::to_string).collect();
        // the name that classifiers have for it
        let outputs = match network.output_names()[..] {
            [_] => vec!["logits".to_string()],
            ref several => several.iter().map(|name| name.to_string()).collect(),
        };
        let store = Store::new(&network.graph(1, Mode::Evaluate)?, 0)?;
        if let Some(file) = &file {
            file.restore(&store, file.assumed_layout(), Restore::Model)?;
        }
        let name = match (&recipe, is_whole) {
            (Some((recipe, _)), _) => {
                let [a, b, c] = recipe.model.layers;
                format!("resnet [{a},{b},{c}]")
            }
            (None, true) => network.name().to_string(),
            (None, false) => self.model.clone().unwrap_or_else(|| DEFAULT.to_string()),
        };
        let precision = recipe.as_ref().map_or(Precision::F32, |(recipe, _)| recipe.precision);
        let class_names = file.as_ref().and_then(|file| file.metadata().get(CLASS_NAMES));
        let class_names = class_names.and_then(|names| serde_json::from_str(names).ok()).unwrap_or_default();
        let kind = Kind::Network(Box::new(network));
        Ok(Chosen { kind, name, store, precision, recipe, class_names, inputs, outputs })
    }
}

/// What a file says of its network.
fn recipe(file: &WeightFile) -> Result<(Recipe, u64), Error> {
    Recipe::from_file(file).map_err(|_| {
        file.error(
            "does not say which network it is of, as those of train --save and Model::save do; name it with --model",
        )
    })
}

impl Chosen {
    fn of_inference(inference: InferenceGraph) -> Chosen {
        let graph = inference.graph();
        Chosen {
            name: graph.name().to_string(),
            inputs: graph.inputs().filter_map(|id| Some(graph.get(id)?.name.clone())).collect(),
            outputs: graph.outputs().iter().map(|(name, _)| name.clone()).collect(),
            store: inference.store().clone(),
            kind: Kind::Inference(Box::new(inference)),
            precision: Precision::F32,
            recipe: None,
            class_names: Vec::new(),
        }
    }

    /// The network of layers, where it is one.
    pub(super) fn network(&self) -> Option<&Network> {
        match &self.kind {
            Kind::Network(network) => Some(network),
            Kind::Inference(_) => None,
        }
    }
    /// The exported graph, where it is one.
    pub(super) fn inference(&self) -> Option<&InferenceGraph> {
        match &self.kind {
            Kind::Network(_) => None,
            Kind::Inference(inference) => Some(inference),
        }
    }

    /// Names of the outputs, as exporting takes them.
    pub(super) fn output_names(&self) -> Vec<&str> {
        self.outputs.iter().map(String::as_str).collect()
    }
    /// Names of the input and of the output.
    ///
    /// # Errors
    /// [`Error::Option`] where there are several.
    pub(super) fn ends(&self) -> Result<[&str; 2], Error> {
        match (&self.inputs[..], &self.outputs[..]) {
            ([input], [output]) => Ok([input, output]),
            (inputs, outputs) => {
                let found = format!("{} has {} inputs and {} outputs", self.name, inputs.len(), outputs.len());
                Err(misuse("--weights", format!("{found}; this takes a classifier, with one of each")))
            }
        }
    }

    /// Inputs to outputs, for `batch` samples.
    pub(super) fn forward(&self, batch: usize) -> Result<Graph, Error> {
        match &self.kind {
            Kind::Network(network) if self.outputs.len() > 1 => network.graph(batch, Mode::Evaluate),
            Kind::Network(network) => network.evaluation(batch)?.cone(&self.output_names()),
            Kind::Inference(inference) => Ok(inference.with_batch(batch)?.graph().clone()),
        }
    }
    /// The same with `labels` and their `loss`.
    pub(super) fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        match &self.kind {
            Kind::Network(network) => network.evaluation(batch),
            Kind::Inference(_) => {
                let mut graph = self.forward(batch)?;
                let scores = graph.output(self.ends()?[1])?;
                let loss = match self.gives_probabilities() {
                    true => Loss::categorical_cross_entropy(),
                    false => Loss::cross_entropy(),
                };
                let labels = graph.input("labels", DType::I32, [batch])?;
                let loss = graph.loss(loss, scores, labels, Reduction::Mean)?;
                graph.set_output("loss", loss)?;
                Ok(graph)
            }
        }
    }

    /// Whether the scores are probabilities, not logits.
    fn gives_probabilities(&self) -> bool {
        match &self.kind {
            Kind::Network(network) => network.ends_in_softmax(),
            Kind::Inference(inference) => {
                let graph = inference.graph();
                let last = self
                    .ends()
                    .and_then(|[_, output]| graph.output(output))
                    .ok()
                    .and_then(|scores| graph.get(scores.node));
                last.is_some_and(|node| matches!(node.op, Op::Softmax(_)))
            }
        }
    }
    /// The probabilities that a row of scores stands for.
    pub(super) fn probabilities(&self, scores: &[f32]) -> Vec<f64> {
        let scores = scores.iter().map(|&x| f64::from(x));
        if self.gives_probabilities() {
            return scores.collect();
        }
        let top = scores.clone().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scores.map(|x| (x - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|x| x / sum).collect()
    }

    /// Numbers that the output has for each image.
    pub(super) fn classes(&self) -> Result<usize, Error> {
        let graph = self.forward(1)?;
        let ty = graph.value_type(graph.output(self.ends()?[1])?).cloned();
        Ok(ty.map_or(0, |ty| ty.shape.last()))
    }

    /// Rows, columns and channels of an image.
    ///
    /// # Errors
    /// [`Error::Option`] for a network of something else.
    pub(super) fn image(&self) -> Result<[usize; 3], Error> {
        let graph = self.forward(1)?;
        let ty = graph.value_type(graph.source(self.ends()?[0])?).cloned();
        match ty.as_ref().map(|ty| &ty.shape.0[..]) {
            Some(&[_, rows, columns, channels]) if channels == 1 || channels == 3 => Ok([rows, columns, channels]),
            _ => Err(misuse("--model", format!("{} takes no images of one or three channels", self.name))),
        }
    }
}
