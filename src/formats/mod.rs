//! Weight files of other programs and our own: reading, writing, converting, and loading by name.
//!
//! ```text
//!   .safetensors ─┐                                              ┌─▶ .safetensors
//!   .pt .pth .ckpt┤  read_weights      to_convention             ├─▶ .pt .pth .ckpt      write_weights
//!   .weights.h5   ├──────────────▶ WeightFile ──▶ WeightFile ────┼─▶ .weights.h5
//!   .keras .h5    │                    │      names and axes     └─▶ .npz
//!   .npz ─────────┘                    │
//!                                      └─ load_by_name ──▶ Store, LoadReport
//! ```
//!
//! | format | read | written | names, axes | what is left out |
//! |---|---|---|---|---|
//! | safetensors | yes | yes, with metadata and a checksum | as they are | nothing |
//! | PyTorch state dict, since 1.6 | yes, without running anything | yes | PyTorch's | optimizer, schedules |
//! | Keras 3 `.weights.h5`, `.keras` | yes | `.weights.h5` | Keras's | optimizer; the architecture is for `Model::load` |
//! | Keras 2 `.h5` | yes | no | Keras's | optimizer, architecture |
//! | NumPy `.npz` | yes, f64 as f32 | yes | as they are | metadata |
//!
//! Whatever a file holds, reading it ends with an error that names the file and the place, or with tensors whose
//! memory is bounded by the size of the file (see each format's file): archives do not unpack to more than 32 times
//! their size, nothing in them is run.

use std::path::Path;

use crate::error::Error;

mod archive;
pub(crate) mod atomic;
mod convention;
mod file;
mod hdf5;
mod hdf5_write;
mod keras;
mod layout;
mod load;
mod npz;
mod pickle;
mod safetensors;
mod storage;
#[cfg(test)]
mod tests;
mod torch;

pub use convention::Convention;
pub use file::WeightFile;
pub(crate) use hdf5::KERAS_ARCHITECTURE;
pub use layout::Layout;
pub(crate) use load::is_shape;
pub use load::{LoadOptions, LoadReport, Mismatched, Missing, Restore, load_by_name};
pub use storage::Storage;

/// Formats that are written, by the end of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Torch,
    Keras,
    Npz,
}

/// Ends of names, with their formats and the convention of those that have one.
const ENDS: [(&str, Format, Option<Convention>); 6] = [
    (".safetensors", Format::Safetensors, None),
    (".pt", Format::Torch, Some(Convention::Torch)),
    (".pth", Format::Torch, Some(Convention::Torch)),
    (".ckpt", Format::Torch, Some(Convention::Torch)),
    (".weights.h5", Format::Keras, Some(Convention::Keras)),
    (".npz", Format::Npz, None),
];

/// Whose names tensors must have in a file of this name: PyTorch's in `.pt`, Keras's in `.weights.h5`, anyone's in the
/// others.
pub(crate) fn convention_of(path: &Path) -> Result<Option<Convention>, Error> {
    Ok(format_of(path)?.1)
}

fn format_of(path: &Path) -> Result<(Format, Option<Convention>), Error> {
    let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().to_ascii_lowercase());
    let known = ENDS.iter().find(|(end, ..)| name.ends_with(end));
    known.map(|&(_, format, convention)| (format, convention)).ok_or_else(|| {
        let ends: Vec<&str> = ENDS.iter().map(|(end, ..)| *end).collect();
        let reason = format!("its name does not say how to write it; known ends are {}", ends.join(", "));
        Error::Checkpoint { file: path.display().to_string(), reason }
    })
}

/// Reads a weight file of any known format, which is told by its contents, whatever its name is.
///
/// ```no_run
/// use outrigger::formats::read_weights;
///
/// let weights = read_weights("resnet18.pth")?;
/// println!("{}", weights.tensor("conv1.weight")?.shape());
/// # Ok::<(), outrigger::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Checkpoint`], or [`Error::Data`] of an array of a `.npz`, when
/// it is of no known format, damaged, larger inside than out, or a program: names the file and the place.
pub fn read_weights(path: impl AsRef<Path>) -> Result<WeightFile, Error> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| Error::Io { file: file.clone(), source })?;
    parse_weights(&bytes, &file)
}

/// Reads the bytes of a weight file of any known format; `file` names it in errors.
///
/// ```
/// use outrigger::formats::parse_weights;
///
/// let error = parse_weights(b"\x80\x04\x95", "old.pt").unwrap_err();
/// assert!(error.to_string().starts_with("old.pt: "));
/// ```
///
/// # Errors
/// As [`read_weights`].
pub fn parse_weights(bytes: &[u8], file: &str) -> Result<WeightFile, Error> {
    let refuse = |reason: &str| Err(Error::Checkpoint { file: file.to_string(), reason: reason.to_string() });
    if bytes.starts_with(b"PK") {
        let mut archive = archive::Archive::open(bytes, file)?;
        let names = archive.names();
        let pickle = names.iter().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
        return match pickle {
            Some(pickle) => torch::read(&mut archive, pickle, bytes.len(), file),
            None if names.iter().any(|name| name == hdf5::WEIGHTS) => hdf5::read_archive(&mut archive, file),
            None if names.iter().all(|name| name.ends_with(".npy")) => npz::read(&mut archive, file),
            None => refuse(
                "is a zip archive, but neither of PyTorch (data.pkl) nor of Keras (model.weights.h5) nor of arrays",
            ),
        };
    }
    if hdf5_pure::is_hdf5_bytes(bytes) {
        return hdf5::read(bytes, file);
    }
    if matches!(bytes, [0x80, 2..=5, ..]) {
        return refuse(
            "is a bare pickle: a file of PyTorch before 1.6, or of Python; load it in PyTorch and save its `state_dict()` again",
        );
    }
    WeightFile::parse(bytes, file)
}

/// Writes a weight file in the format that the end of its name says: `.safetensors`, `.pt`, `.pth`, `.ckpt`,
/// `.weights.h5` or `.npz`. Names and axes stay as they are in `weights`; [`WeightFile::to_convention`] and [`convert`]
/// change them.
///
/// ```no_run
/// use std::collections::BTreeMap;
///
/// use outrigger::formats::{Layout, WeightFile, write_weights};
/// # fn save(store: &outrigger::Store) -> Result<(), outrigger::Error> {
/// // `model.load_state_dict(torch.load("trained.pt"))`
/// write_weights("trained.pt", &WeightFile::of_store(store, Layout::Torch, BTreeMap::new())?)
/// # }
/// ```
///
/// # Errors
/// [`Error::Io`], and a file that was there before is then unchanged; [`Error::Checkpoint`] for another end, and for
/// elements of a type that the format does not have.
pub fn write_weights(path: impl AsRef<Path>, weights: &WeightFile) -> Result<(), Error> {
    let path = path.as_ref();
    let bytes = match format_of(path)?.0 {
        Format::Safetensors => return weights.write(path),
        Format::Torch => torch::write(weights)?,
        Format::Keras => hdf5_write::write(weights)?,
        Format::Npz => npz::write(weights)?,
    };
    atomic::write_file(path, &[&bytes]).map_err(|source| Error::Io { file: path.display().to_string(), source })
}

/// Reads `from` and writes its weights to `to`, under the names and with the axes that `to`'s format has: PyTorch's in
/// `.pt`, Keras's in `.weights.h5`. The other formats have those of `from`, or of `convention` if it is given. State of
/// training, such as Adam's moments, is left out. Returns what was written.
///
/// ```no_run
/// use outrigger::formats::{Convention, convert};
///
/// convert("model.weights.h5", "model.pt", None)?;
/// convert("model.pt", "model.npz", Some(Convention::Keras))?;
/// # Ok::<(), outrigger::Error>(())
/// ```
///
/// # Errors
/// Those of [`read_weights`], [`WeightFile::to_convention`] and [`write_weights`]; [`Error::Option`] for a `convention`
/// that `to` cannot have.
pub fn convert(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    convention: Option<Convention>,
) -> Result<WeightFile, Error> {
    let to = to.as_ref();
    let fixed = format_of(to)?.1;
    if let (Some(fixed), Some(wanted)) = (fixed, convention)
        && fixed != wanted
    {
        let reason = format!("{} has the names of {fixed:?}, not of {wanted:?}", to.display());
        return Err(Error::Option { option: "convention".to_string(), reason });
    }
    let weights = read_weights(from)?;
    let target = fixed.or(convention).unwrap_or_else(|| weights.convention());
    let weights = weights.to_convention(target)?;
    write_weights(to, &weights)?;
    Ok(weights)
}
