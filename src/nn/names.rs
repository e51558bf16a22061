//! How the layers of a network get their names.
//!
//! In this order: the layer's own name; in PyTorch's form its path in the module that the network was made of, or
//! behind the numbered class of a module that was called (`block_1.conv1`); else its class and number in Keras's
//! spelling, in the order of first calls (`conv2d`, `conv2d_1`, `max_pooling2d`).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::form::Form;
use super::layer::Definition;
use super::module::{Paths, join};
use super::symbol::{Maker, Symbol};
use crate::error::Error;

/// Names of layers by their identity. `inputs` know the paths in the module that the network was made of.
pub(super) fn names(inputs: &[Symbol], calls: &[Symbol], form: Form) -> Result<HashMap<u64, String>, Error> {
    let mut counts = Counts::default();
    let paths = match form {
        Form::Torch => paths(inputs, calls, &mut counts),
        Form::Keras => Paths::default(),
    };
    let mut names: HashMap<u64, String> = HashMap::new();
    for definition in calls.iter().filter_map(definition) {
        if let Entry::Vacant(slot) = names.entry(definition.id) {
            let known = definition.name.as_deref().or(paths.get(definition.id));
            let name = match known {
                Some(name) => name.to_string(),
                None => counts.next(definition.kind.class(Form::Keras)),
            };
            slot.insert(name);
        }
    }
    let mut seen = HashSet::new();
    for name in names.values() {
        if !seen.insert(name) {
            return Err(Error::DuplicateName { what: "layer", name: name.clone() });
        }
    }
    Ok(names)
}

pub(super) fn definition(call: &Symbol) -> Option<&Definition> {
    match &call.0.maker {
        Maker::Layer { definition, .. } => Some(definition),
        Maker::Input(_) | Maker::Module { .. } => None,
    }
}

/// Paths of the whole module, and of modules that were called by themselves.
fn paths(inputs: &[Symbol], calls: &[Symbol], counts: &mut Counts) -> Paths {
    let mut all = inputs.first().map(|input| input.0.context.paths.clone()).unwrap_or_default();
    // a module is noted when its forward pass is over, so an outer one stands behind those in it
    let mut outer = Vec::new();
    let mut inside: HashSet<u64> = all.iter().map(|(id, _)| id).collect();
    for call in calls.iter().rev() {
        if let Maker::Module { class, paths } = &call.0.maker
            && paths.iter().any(|(id, _)| !inside.contains(&id))
        {
            inside.extend(paths.iter().map(|(id, _)| id));
            outer.push((class, paths));
        }
    }
    for (class, paths) in outer.into_iter().rev() {
        let prefix = counts.next(class);
        for (id, path) in paths.iter() {
            all.insert(id, &join(&prefix, path));
        }
    }
    all
}

/// Numbers names of a class: `conv2d`, `conv2d_1`, …
#[derive(Default)]
struct Counts(HashMap<String, usize>);

impl Counts {
    fn next(&mut self, class: &str) -> String {
        let name = snake(class);
        let count = self.0.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { name } else { format!("{name}_{}", *count - 1) }
    }
}

/// Keras's spelling of a class as a name (`keras.utils.naming.to_snake_case`): `Conv2D` is `conv2d`, `MaxPooling2D`
/// `max_pooling2d`, `ReLU` `re_lu`.
pub(super) fn snake(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut name = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(i + 1);
        // a capital starts a word after a small letter, or where a small letter follows a row of capitals
        let starts = letter.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase() || (!b.is_ascii_digit() && after.is_some_and(char::is_ascii_lowercase))
            });
        if starts {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Whether `name` fits `pattern`, in which `*` stands for anything.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::snake;

    /// The names that Keras 3 gives the first layer of each class.
    #[test]
    fn classes_are_spelled_as_keras_does() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("Conv1D", "conv1d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("MaxPooling2D", "max_pooling2d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("ReLU", "re_lu"),
            ("Dense", "dense"),
            ("UpSampling2D", "up_sampling2d"),
            ("ZeroPadding2D", "zero_padding2d"),
            ("ResidualBlock", "residual_block"),
        ] {
            assert_eq!(snake(class), name);
        }
    }
}
