//! Pictures of a network: one of its exported graph, or a directory with those of every stage and of the memory.

use std::fs;
use std::path::{Path, PathBuf};

use super::output::at;
use super::source::Chosen;
use crate::compile::{Options, compile};
use crate::error::Error;
use crate::export::inference::InferenceGraph;
use crate::export::picture::{Drawing, arena, stages};
use crate::formats::Storage;
use crate::graph::Graph;
use crate::models::Classifier;
use crate::nn::Form;
use crate::train::Method;
use crate::train::optimizer::{LOSS, training_graph};

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    Dot,
    Svg,
}

/// Writes the fused inference graph to the file `out`; to a directory, which is a path without an end, also the graph
/// before and after each pass, and as SVG the memory of inference and of a training step. Returns the files.
pub(super) fn write(
    network: &Chosen,
    batch: usize,
    scope: Option<&str>,
    picture: Picture,
    options: &Options,
    out: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let ending = if picture == Picture::Dot { "dot" } else { "svg" };
    let graph = network.forward(batch)?;
    let draw = |title: String, graph: &Graph| {
        let drawing = Drawing::of(graph).titled(title);
        let drawing = scope.map_or(Ok(drawing.clone()), |scope| drawing.scope(scope))?;
        Ok::<_, Error>(if picture == Picture::Dot { drawing.dot() } else { drawing.svg() })
    };
    let name = &network.name;
    let inference = InferenceGraph::export(&graph, &network.store, &network.output_names(), Storage::F32)?;
    let fused = draw(format!("{name}, exported and fused"), &inference.fused()?)?;
    if out.extension().is_some() && !out.is_dir() {
        fs::write(out, fused).map_err(at(out))?;
        return Ok(vec![out.to_path_buf()]);
    }
    let mut pictures = vec![(format!("inference.{ending}"), fused)];
    for (at, (pass, graph)) in stages(&graph, &options.passes)?.iter().enumerate() {
        let title = if at == 0 { name.clone() } else { format!("{name} after {pass}") };
        pictures.push((format!("{at:02}-{pass}.{ending}"), draw(title, graph)?));
    }
    if picture == Picture::Svg {
        pictures.push(("inference-arena.svg".to_string(), arena(inference.program(options)?.planned())));
        if let Some(layers) = network.network().filter(|layers| layers.outputs().len() == 1) {
            let forward = layers.training(batch)?;
            let loss = forward.output(LOSS)?;
            let training = training_graph(forward, loss, &Method::Adam.optimizer(Form::Torch))?;
            pictures.push(("training-arena.svg".to_string(), arena(compile(&training, options)?.planned())));
        }
    }
    fs::create_dir_all(out).map_err(at(out))?;
    let written = pictures.into_iter().map(|(name, text)| {
        let path = out.join(name);
        fs::write(&path, text).map_err(at(&path)).map(|()| path)
    });
    written.collect()
}
