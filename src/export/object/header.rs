//! The C header of native code.

use crate::codegen::{MISALIGNED, NativeCode, OK, UNSUPPORTED};
use crate::error::Error;
use crate::plan::{ALIGNMENT, Planned, Port};
use crate::types::DType;

/// Symbols of C begin with `name`.
///
/// # Errors
/// [`Error::Option`] for what is no identifier of C.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Ok(());
    }
    let reason = format!("\"{name}\" must be letters, digits and underscores, a digit not first, to name C functions");
    Err(Error::Option { option: "name".to_string(), reason })
}

/// An input or output as C has it.
struct Parameter<'p> {
    name: String,
    ty: &'static str,
    port: &'p Port,
}

/// Inputs, then outputs, with names of their own: `in_images`, `out_logits`.
fn parameters(planned: &Planned) -> Result<Vec<Parameter<'_>>, Error> {
    let inputs = planned.inputs.iter().map(|port| ("in", port));
    let mut parameters: Vec<Parameter<'_>> = Vec::new();
    for (prefix, port) in inputs.chain(planned.outputs.iter().map(|port| ("out", port))) {
        let ty = match port.placed.ty.dtype {
            DType::F32 => "float",
            DType::I32 => "int32_t",
            DType::U8 => "uint8_t",
            DType::Bf16 => {
                let option = format!("\"{}\"", port.name);
                return Err(Error::Option {
                    option,
                    reason: "is bf16, which C has no type for; cast it to f32".into(),
                });
            }
        };
        let plain: String = port.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut name = format!("{prefix}_{plain}");
        // the constants that are called after it are in capitals
        while parameters.iter().any(|p| p.name.eq_ignore_ascii_case(&name)) {
            name += &format!("_{}", parameters.len());
        }
        parameters.push(Parameter { name, ty, port });
    }
    Ok(parameters)
}

/// A name as it may stand in a comment of C, which it neither ends nor seems to begin.
fn in_comment(name: &str) -> String {
    name.escape_debug().to_string().replace("*/", "* /").replace("/*", "/ *")
}

/// The text of the header.
///
/// # Errors
/// [`Error::Option`] for an input or output of a type that C does not have.
pub(super) fn write(name: &str, planned: &Planned, code: &NativeCode) -> Result<String, Error> {
    let parameters = parameters(planned)?;
    let upper = name.to_ascii_uppercase();
    let pointers: Vec<String> = parameters
        .iter()
        .enumerate()
        .map(|(at, p)| {
            let constant = if at < planned.inputs.len() { "const " } else { "" };
            format!("{constant}{} *{}", p.ty, p.name)
        })
        .collect();
    let pointers = pointers.join(", ");
    let mut shapes = String::new();
    for Parameter { name: parameter, port, ty } in &parameters {
        let (shape, constant) = (&port.placed.ty.shape, format!("{upper}_{}", parameter.to_ascii_uppercase()));
        let extents = shape.0.iter().map(|extent| extent.to_string()).collect::<Vec<_>>().join(", ");
        let extents = if extents.is_empty() { "1".to_string() } else { extents };
        shapes += &format!(
            "\n/* \"{}\": {ty}, row-major. */\n\
             #define {constant}_RANK {}\n#define {constant}_SHAPE {{{extents}}}\n#define {constant}_ELEMENTS {}\n",
            in_comment(&port.name),
            shape.rank().max(1),
            shape.elements(),
        );
    }
    let variants = code.variants.iter().zip(1..);
    let levels: String = variants
        .clone()
        .map(|(isa, level)| format!("#define {upper}_{} {level}\n", isa.to_string().to_uppercase()))
        .collect();
    let forced: String =
        variants.map(|(isa, _)| format!("int {name}_run_{isa}({pointers}, void *workspace);\n")).collect();
    let text = TEMPLATE
        .replace("@FORCED@", &forced)
        .replace("@LEVELS@", &levels)
        .replace("@POINTERS@", &pointers)
        .replace("@BYTES@", &code.workspace_bytes.max(ALIGNMENT).to_string())
        .replace("@ALIGNMENT@", &ALIGNMENT.to_string())
        .replace("@OK@", &OK.to_string())
        .replace("@UNSUPPORTED@", &UNSUPPORTED.to_string())
        .replace("@MISALIGNED@", &MISALIGNED.to_string())
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@NAME@", name)
        .replace("@UPPER@", &upper)
        // last, since names may have any letters
        .replace("@SHAPES@", &shapes)
        .replace("@GRAPH@", &in_comment(&planned.name));
    Ok(text)
}

const TEMPLATE: &str = include_str!("template.h");
