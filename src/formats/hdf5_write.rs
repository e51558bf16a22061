//! Writing the `.weights.h5` files that Keras 3 loads.
//!
//! ```text
//!   LAYER/kernel, LAYER/bias ──▶ Node: layers ▸ GROUP ▸ vars {0, 1}, name: LAYER ──▶ HDF5
//! ```
//!
//! Keras finds layers by their groups. Which group a layer has comes from the file that the tensors were read from or
//! from an architecture (see `keras`). Otherwise the group is called as the layer, if Keras could have called it so, or
//! after its class, by its variables, and numbered in the order of names; both are right only where a model's layers of
//! a class come in this order. f16 and bf16 are written as f32.

use std::collections::{BTreeMap, BTreeSet};

use hdf5_pure::{
    AttrValue, Datatype, FileBuilder, FinishedGroup, make_f32_type, make_f64_type, make_i8_type, make_i16_type,
    make_i32_type, make_i64_type, make_u8_type, make_u16_type, make_u32_type, make_u64_type,
};
use safetensors::Dtype;

use super::file::{Entry, WeightFile};
use super::keras;
use crate::error::Error;

/// Variables of a layer, and the groups in its group.
#[derive(Default)]
struct Node {
    children: BTreeMap<String, Node>,
    /// The layer's name, if it is one.
    layer: Option<String>,
    variables: Vec<(String, Entry)>,
}

/// The `.weights.h5` file that Keras 3 would write of the tensors.
///
/// # Errors
/// [`Error::Checkpoint`] for elements of a type that is not written, and two layers in one group.
pub(super) fn write(weights: &WeightFile) -> Result<Vec<u8>, Error> {
    let groups = groups(weights);
    let mut root = Node::default();
    for (name, entry) in &weights.entries {
        let (layer, variable) = name.rsplit_once('/').unwrap_or(("", name));
        let (group, depth_multiplier) = groups.get(layer).map_or(("", 1), |(group, n)| (group.as_str(), *n));
        let node = root.at(group, layer);
        let node =
            node.ok_or_else(|| weights.error(format!("tensor \"{name}\" cannot be in the group \"{group}\"")))?;
        node.variables.push((variable.to_string(), as_keras_has_it(group, depth_multiplier, variable, entry)));
    }
    let failed = |reason: String| weights.error(format!("cannot be written as HDF5: {reason}"));
    let mut file = FileBuilder::new();
    root.fill(&mut file).map_err(failed)?;
    file.finish().map_err(|e| failed(e.to_string()))
}

/// The group of every layer: the one that is known, or that has the layer's name if this is one that Keras gives, or
/// the next of the layer's class.
fn groups(weights: &WeightFile) -> BTreeMap<String, keras::Place> {
    let mut variables: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    for (name, entry) in &weights.entries {
        let (layer, variable) = name.rsplit_once('/').unwrap_or(("", name));
        variables.entry(layer).or_default().push((variable, entry.shape.rank()));
    }
    let mut groups = weights.groups();
    groups.retain(|layer, _| variables.contains_key(layer.as_str()));
    let mut layers: Vec<&str> = variables.keys().copied().filter(|layer| !layer.is_empty()).collect();
    layers.sort_by_key(|layer| keras::natural_order(layer));
    for layer in layers.iter().filter(|layer| keras::is_class(keras::stem(layer))) {
        groups.entry((*layer).to_string()).or_insert_with(|| (format!("layers/{layer}"), 1));
    }
    let mut used: BTreeSet<String> = groups.values().map(|(group, _)| group.clone()).collect();
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for layer in layers {
        if groups.contains_key(layer) {
            continue;
        }
        let class = variables.get(layer).and_then(|variables| keras::class_of(variables)).unwrap_or("layer");
        let count = next.entry(class).or_insert(0);
        let group = loop {
            let group = if *count == 0 { format!("layers/{class}") } else { format!("layers/{class}_{count}") };
            *count += 1;
            if used.insert(group.clone()) {
                break group;
            }
        };
        groups.insert(layer.to_string(), (group, 1));
    }
    groups
}

/// Depthwise kernels with input channels and depth multiplier as two axes.
fn as_keras_has_it(group: &str, depth_multiplier: usize, variable: &str, entry: &Entry) -> Entry {
    let mut entry = if matches!(entry.dtype, Dtype::F16 | Dtype::BF16) { entry.widened() } else { entry.clone() };
    let class = keras::stem(group.rsplit('/').next().unwrap_or(""));
    let depthwise = variable == "depthwise_kernel" || (variable == "kernel" && class == "depthwise_conv2d");
    if let ([rows, columns, 1, channels], true) = (&entry.shape.0[..], depthwise) {
        let multiplier = if channels.is_multiple_of(depth_multiplier) { depth_multiplier.max(1) } else { 1 };
        entry.shape.0 = vec![*rows, *columns, channels / multiplier, multiplier];
    }
    entry
}

impl Node {
    /// The node of a group; those on the way to it get the names of the layers that hold the layer. `None` where they
    /// have other names already.
    fn at(&mut self, group: &str, layer: &str) -> Option<&mut Node> {
        let segments: Vec<&str> = group.split('/').filter(|segment| !segment.is_empty()).collect();
        let deep = segments.iter().filter(|segment| **segment != "layers").count();
        let mut names = layer.splitn(deep.max(1), '/');
        let mut node = self;
        for segment in segments {
            if segment == "vars" {
                return None;
            }
            node = node.children.entry(segment.to_string()).or_default();
            if segment != "layers" {
                let name = names.next()?;
                if node.layer.get_or_insert_with(|| name.to_string()) != name {
                    return None;
                }
            }
        }
        Some(node)
    }

    fn fill(self, file: &mut FileBuilder) -> Result<(), String> {
        if !self.variables.is_empty() {
            let vars = variables(file, self.layer.as_deref(), self.variables)?;
            file.add_group(vars);
        }
        for (name, child) in self.children {
            let group = child.group(&name, file)?;
            file.add_group(group);
        }
        Ok(())
    }

    fn group(self, name: &str, file: &mut FileBuilder) -> Result<FinishedGroup, String> {
        let mut group = file.create_group(name);
        if self.layer.is_some() {
            group.add_group(variables(file, self.layer.as_deref(), self.variables)?);
        }
        for (name, child) in self.children {
            group.add_group(child.group(&name, file)?);
        }
        Ok(group.finish())
    }
}

/// The group `vars` of a layer: its variables, numbered in Keras's order.
fn variables(
    file: &mut FileBuilder,
    layer: Option<&str>,
    mut variables: Vec<(String, Entry)>,
) -> Result<FinishedGroup, String> {
    let mut vars = file.create_group("vars");
    if let Some(layer) = layer.filter(|layer| !layer.is_empty()) {
        vars.set_attr("name", AttrValue::String(layer.to_string()));
    }
    variables.sort_by_key(|(name, _)| keras::rank(name));
    for (index, (name, entry)) in variables.into_iter().enumerate() {
        let (datatype, count) = (datatype(entry.dtype), entry.shape.elements() as u64);
        let datatype = datatype.ok_or_else(|| format!("{name} has elements of type {:?}", entry.dtype))?;
        let shape: Vec<u64> = entry.shape.0.iter().map(|&extent| extent as u64).collect();
        vars.create_dataset(&index.to_string()).with_raw_data(datatype, entry.bytes, count).with_shape(&shape);
    }
    Ok(vars.finish())
}

fn datatype(dtype: Dtype) -> Option<Datatype> {
    match dtype {
        Dtype::F32 => Some(make_f32_type()),
        Dtype::F64 => Some(make_f64_type()),
        Dtype::I64 => Some(make_i64_type()),
        Dtype::I32 => Some(make_i32_type()),
        Dtype::I16 => Some(make_i16_type()),
        Dtype::I8 => Some(make_i8_type()),
        Dtype::U64 => Some(make_u64_type()),
        Dtype::U32 => Some(make_u32_type()),
        Dtype::U16 => Some(make_u16_type()),
        Dtype::U8 => Some(make_u8_type()),
        _ => None,
    }
}
