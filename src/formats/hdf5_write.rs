//! Writing the `.weights.h5` files that Keras 3 loads.
//!
//! ```text
//!   LAYER/kernel, LAYER/bias ──▶ Node: layers ▸ GROUP ▸ vars {0, 1}, name: LAYER ──▶ HDF5
//! ```
//!
//! Keras finds layers by their groups. Which group a layer has comes from the file that the tensors were read from or
//! from an architecture (see `keras`); otherwise the group is called as the layer, which is right where layers have
//! the names that Keras gives them and come in the order of their numbers. f16 and bf16 are written as f32.

use std::collections::BTreeMap;

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
    let groups = weights.groups();
    let mut root = Node::default();
    for (name, entry) in &weights.entries {
        let (layer, variable) = name.rsplit_once('/').unwrap_or(("", name));
        let group = match groups.get(layer) {
            Some(group) => group.clone(),
            None if layer.is_empty() => String::new(),
            None => format!("layers/{layer}"),
        };
        let mut parts = group.split('/').filter(|part| !part.is_empty());
        let node = parts.try_fold(&mut root, |node, part| {
            if part == "vars" { None } else { Some(node.children.entry(part.to_string()).or_default()) }
        });
        let own = layer.rsplit('/').next().unwrap_or(layer);
        let Some(node) = node.filter(|node| node.layer.as_deref().is_none_or(|other| other == own)) else {
            return Err(weights.error(format!("tensor \"{name}\" cannot be in the group \"{group}\"")));
        };
        node.layer = Some(own.to_string());
        node.variables.push((variable.to_string(), as_keras_has_it(&group, variable, entry)));
    }
    let failed = |reason: String| weights.error(format!("cannot be written as HDF5: {reason}"));
    let mut file = FileBuilder::new();
    root.fill(&mut file).map_err(failed)?;
    file.finish().map_err(|e| failed(e.to_string()))
}

/// Depthwise kernels with their channels on an axis of their own, as for a depth multiplier of 1.
fn as_keras_has_it(group: &str, variable: &str, entry: &Entry) -> Entry {
    let mut entry = if matches!(entry.dtype, Dtype::F16 | Dtype::BF16) { entry.widened() } else { entry.clone() };
    let class = keras::stem(group.rsplit('/').next().unwrap_or(""));
    let depthwise = variable == "depthwise_kernel" || (variable == "kernel" && class == "depthwise_conv2d");
    if let ([rows, columns, 1, channels], true) = (&entry.shape.0[..], depthwise) {
        entry.shape.0 = vec![*rows, *columns, *channels, 1];
    }
    entry
}

impl Node {
    fn fill(self, file: &mut FileBuilder) -> Result<(), String> {
        if self.layer.is_some() {
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
