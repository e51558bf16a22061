//! What Keras calls the variables of a layer, and where it puts them in a `.weights.h5` file.
//!
//! ```text
//!   layers/conv2d_1/vars  (name: "stem")     ◀─▶   stem/kernel  [3, 3, 3, 16]
//!     0  [3, 3, 3, 16]                             stem/bias    [16]
//!     1  [16]
//! ```
//!
//! A group is numbered by its class, in the order of the model's layers, and its variables in the order in which the
//! layer made them. What people know a layer by is its name, an attribute of the group; older files do not have it,
//! and then the architecture beside the weights (`config.json` of a `.keras` archive) tells, or else the group's own
//! name has to do. The order of layers is Keras's: a group's number need not be that of the layer in it (of a residual
//! block, `conv2d_6` may lie in the group `conv2d_7`), so a file of another network in this form needs the groups
//! of its architecture, [`WeightFile::with_keras_architecture`].

use std::collections::BTreeMap;

use serde_json::Value;

use super::file::{Entry, WeightFile};
use crate::error::Error;
use crate::store::{Store, is_training_state};

/// Metadata key of the groups: a JSON dictionary, layer to [`Place`].
const GROUPS: &str = "keras_groups";

/// The deepest nesting of models that is followed.
const DEEPEST: usize = 16;

/// Names of the variables of a class, by the stem of its group's name, in Keras's order. Of fewer variables than names
/// the first are meant (no bias).
const VARIABLES: [(&[&str], &[&str]); 6] = [
    (
        &["conv1d", "conv2d", "conv3d", "dense", "einsum_dense", "depthwise_conv1d", "depthwise_conv2d"],
        &["kernel", "bias"],
    ),
    (&["conv1d_transpose", "conv2d_transpose", "conv3d_transpose"], &["kernel", "bias"]),
    (&["separable_conv1d", "separable_conv2d"], &["depthwise_kernel", "pointwise_kernel", "bias"]),
    (&["embedding"], &["embeddings"]),
    (&["p_re_lu"], &["alpha"]),
    (&["lstm_cell", "gru_cell", "simple_rnn_cell"], &["kernel", "recurrent_kernel", "bias"]),
];

/// Where variables stand that are not numbered by a list above: batch norms, and of others the first two, which may be
/// lacking.
const NORM: [&str; 4] = ["gamma", "beta", "moving_mean", "moving_variance"];

/// A layer of an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) name: String,
    /// Of a normalisation, whether it has a scale and a shift.
    pub(super) scale: bool,
    pub(super) center: bool,
    /// Of a depthwise convolution: output channels for each input channel.
    depth_multiplier: usize,
}

/// Where a layer is in a file: its group, and its depth multiplier, 1 for any but depthwise convolutions.
pub(super) type Place = (String, usize);

/// The class in a group's name: `conv2d` of `conv2d_12`.
pub(super) fn stem(group: &str) -> &str {
    match group.rsplit_once('_') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => group,
    }
}

/// The name of variable `index` of `count` in a group. A variable of an unknown class keeps its number.
///
/// A batch norm of three variables has no scale, as those of Keras's own applications, unless `layer` says otherwise.
pub(super) fn variable(group: &str, index: usize, count: usize, layer: Option<&Layer>) -> String {
    let names: Vec<&str> = match stem(group) {
        "layer_normalization" | "group_normalization" => {
            let (scale, center) = layer.map_or((true, true), |layer| (layer.scale, layer.center));
            NORM.iter().zip([scale, center]).filter(|(_, has)| *has).map(|(name, _)| *name).collect()
        }
        "batch_normalization" => {
            let (scale, center) = layer.map_or((count > 3, count > 2), |layer| (layer.scale, layer.center));
            let has = [scale, center, true, true];
            NORM.iter().zip(has).filter(|(_, has)| *has).map(|(name, _)| *name).collect()
        }
        stem => {
            let known = VARIABLES.iter().find(|(stems, _)| stems.contains(&stem));
            known.map_or(Vec::new(), |(_, names)| names.to_vec())
        }
    };
    match names.get(index) {
        Some(name) if count <= names.len() => (*name).to_string(),
        _ => index.to_string(),
    }
}

/// Whether groups of this stem are of a class with known variables.
pub(super) fn is_class(stem: &str) -> bool {
    stem.ends_with("_normalization") || VARIABLES.iter().any(|(stems, _)| stems.contains(&stem))
}

/// A class that has such variables, given with their numbers of axes.
pub(super) fn class_of(variables: &[(&str, usize)]) -> Option<&'static str> {
    let axes = |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, axes)| *axes);
    match (axes("kernel"), axes("gamma").or(axes("beta")), axes("moving_mean")) {
        (Some(2), ..) => Some("dense"),
        (Some(3), ..) => Some("conv1d"),
        (Some(4), ..) => Some("conv2d"),
        (Some(5), ..) => Some("conv3d"),
        (_, _, Some(_)) => Some("batch_normalization"),
        (_, Some(_), None) => Some("layer_normalization"),
        _ => axes("embeddings").map(|_| "embedding"),
    }
}

/// Sorts `layer10` behind `layer9`.
pub(super) fn natural_order(name: &str) -> Vec<(u64, String)> {
    let pieces = name.split_inclusive(|c: char| !c.is_ascii_digit());
    pieces
        .map(|piece| (piece.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0), piece.to_string()))
        .collect()
}

/// The number of a variable among those of its layer, to sort them by: Keras's order.
pub(super) fn rank(variable: &str) -> usize {
    const ORDER: [&str; 10] = [
        "kernel",
        "embeddings",
        "alpha",
        "depthwise_kernel",
        "pointwise_kernel",
        "recurrent_kernel",
        "bias",
        "gamma",
        "beta",
        "moving_mean",
    ];
    let known = ORDER.iter().position(|name| *name == variable);
    known.unwrap_or_else(|| ORDER.len() + variable.parse().unwrap_or(0))
}

/// The variables of each layer, in Keras's order.
fn variables<'n>(names: impl Iterator<Item = &'n str>) -> BTreeMap<&'n str, Vec<&'n str>> {
    let mut layers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (layer, variable) in names.filter_map(|name| name.rsplit_once('/')) {
        layers.entry(layer).or_default().push(variable);
    }
    layers.values_mut().for_each(|variables| variables.sort_by_key(|variable| rank(variable)));
    layers
}

/// Keras's `to_snake_case`, which makes group names of class names: `Conv2DTranspose` is `conv2d_transpose`.
pub(super) fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut name = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let (before, after) = (i.checked_sub(1).map(|i| letters[i]), letters.get(i + 1));
        let starts_word = letter.is_uppercase() && after.is_some_and(|c| c.is_lowercase());
        let ends_word = letter.is_uppercase() && before.is_some_and(char::is_lowercase);
        if before.is_some_and(|c| c != '_') && (starts_word || ends_word) {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The layers of an architecture by the paths of their groups, such as `layers/conv2d_1`.
///
/// # Errors
/// A text that is no JSON of a Keras model.
pub(super) fn groups(architecture: &str) -> Result<BTreeMap<String, Layer>, String> {
    let model: Value = serde_json::from_str(architecture).map_err(|e| format!("is no JSON: {e}"))?;
    if !model["config"]["layers"].is_array() {
        return Err("has no \"config\" with \"layers\"".to_string());
    }
    let mut found = BTreeMap::new();
    collect(&model, "", 0, &mut found);
    Ok(found)
}

fn collect(model: &Value, path: &str, depth: usize, found: &mut BTreeMap<String, Layer>) {
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    for layer in model["config"]["layers"].as_array().into_iter().flatten() {
        let config = &layer["config"];
        let stem = snake_case(layer["class_name"].as_str().unwrap_or(""));
        let count = used.entry(stem.clone()).or_insert(0);
        let group = if *count == 0 { format!("{path}layers/{stem}") } else { format!("{path}layers/{stem}_{count}") };
        *count += 1;
        let flag = |key: &str| config[key].as_bool().unwrap_or(true);
        if let Some(name) = config["name"].as_str() {
            let depth_multiplier =
                config["depth_multiplier"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
            let (name, scale, center) = (name.to_string(), flag("scale"), flag("center"));
            found.insert(group.clone(), Layer { name, scale, center, depth_multiplier });
        }
        if depth < DEEPEST {
            collect(layer, &format!("{group}/"), depth + 1, found);
        }
    }
}

impl WeightFile {
    /// Remembers where Keras looks for the layers of a model, for a `.weights.h5` file of these tensors.
    /// `architecture` is what Keras's `model.to_json()` returns. Files that Keras wrote need no such thing.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a text that is no such architecture.
    pub fn with_keras_architecture(mut self, architecture: &str) -> Result<WeightFile, Error> {
        let found = groups(architecture).map_err(|reason| self.error(format!("the architecture {reason}")))?;
        // a layer within a model has that model's name before its own
        let full = |group: &str| {
            let parents = group.match_indices("/layers/").map(|(end, _)| &group[..end]).chain([group]);
            let names = parents.filter_map(|path| Some(found.get(path)?.name.as_str()));
            names.collect::<Vec<_>>().join("/")
        };
        let places = found.iter().map(|(group, layer)| (full(group), (group.clone(), layer.depth_multiplier)));
        self.set_groups(places.collect());
        Ok(self)
    }

    /// The tensors of a file of Keras, which only numbers the variables of a layer, under the names that `store` has for
    /// them: a normalisation may be without a scale or without a shift.
    pub(crate) fn with_variables_of(mut self, store: &Store) -> WeightFile {
        if !self.metadata.contains_key(GROUPS) {
            return self;
        }
        let names = store.entries().iter().map(|(name, _)| name.as_str());
        let model = variables(names.filter(|name| !is_training_state(name)));
        let mut renamed: Vec<[String; 2]> = Vec::new();
        for (layer, own) in variables(self.names()) {
            let names = model.get(layer).filter(|names| names.len() == own.len());
            let pairs = own.iter().zip(names.into_iter().flatten()).filter(|(old, new)| old != new);
            renamed.extend(pairs.map(|(old, new)| [old, new].map(|variable| format!("{layer}/{variable}"))));
        }
        let moved: Vec<(String, Entry)> =
            renamed.into_iter().filter_map(|[old, new]| Some((new, self.entries.remove(&old)?))).collect();
        self.entries.extend(moved);
        self
    }

    /// Groups by the names of their layers, as far as they are known.
    pub(super) fn groups(&self) -> BTreeMap<String, Place> {
        self.metadata.get(GROUPS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(super) fn set_groups(&mut self, groups: BTreeMap<String, Place>) {
        self.metadata.insert(GROUPS.to_string(), serde_json::json!(groups).to_string());
    }
}
