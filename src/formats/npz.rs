//! NumPy's archives (`.npz`): arrays under the tensors' names.
//!
//! Arrays are read by [`data::read_npz`](crate::data::read_npz)'s reader: f64 becomes f32. The type bf16, which NumPy
//! does not have, is written as f32. An archive has no metadata, so names say how tensors lie
//! ([`WeightFile::assumed_layout`]).

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::archive::{Archive, pack};
use super::file::{Entry, WeightFile};
use crate::data::{Npy, Numbers};
use crate::error::Error;

/// NumPy's names of element types.
const TYPES: [(Dtype, &str); 12] = [
    (Dtype::F32, "<f4"),
    (Dtype::F64, "<f8"),
    (Dtype::F16, "<f2"),
    (Dtype::I64, "<i8"),
    (Dtype::I32, "<i4"),
    (Dtype::I16, "<i2"),
    (Dtype::I8, "|i1"),
    (Dtype::U64, "<u8"),
    (Dtype::U32, "<u4"),
    (Dtype::U16, "<u2"),
    (Dtype::U8, "|u1"),
    (Dtype::BOOL, "|b1"),
];

/// Reads all arrays of an archive.
pub(super) fn read(archive: &mut Archive<'_>, file: &str) -> Result<WeightFile, Error> {
    let mut entries = BTreeMap::new();
    for member in archive.names() {
        let bytes = archive.read(&member)?;
        let (shape, numbers) = Npy::parse(&bytes[..], format!("{file}, {member}"))?.into_parts();
        let (dtype, bytes) = match numbers {
            Numbers::Bytes(values) => (Dtype::U8, values),
            Numbers::Floats(values) => (Dtype::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Numbers::Integers(values) => {
                match values.iter().map(|&x| i32::try_from(x)).collect::<Result<Vec<_>, _>>() {
                    Ok(small) => (Dtype::I32, small.iter().flat_map(|x| x.to_le_bytes()).collect()),
                    Err(_) => (Dtype::I64, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
                }
            }
        };
        let entry = Entry::new(dtype, shape, bytes).map_err(|reason| archive.error(&member, reason))?;
        entries.insert(member.strip_suffix(".npy").unwrap_or(&member).to_string(), entry);
    }
    Ok(WeightFile::of_entries(file, entries, BTreeMap::new()))
}

/// The file that `numpy.savez` would write.
///
/// # Errors
/// [`Error::Checkpoint`] for elements of a type that NumPy does not have.
pub(super) fn write(weights: &WeightFile) -> Result<Vec<u8>, Error> {
    let mut members = Vec::new();
    for (name, entry) in &weights.entries {
        let widened = if entry.dtype == Dtype::BF16 { entry.widened() } else { entry.clone() };
        let Some((_, descr)) = TYPES.iter().find(|(dtype, _)| *dtype == widened.dtype) else {
            return Err(weights.error(format!("tensor \"{name}\" of {:?} has no type in NumPy", entry.dtype)));
        };
        members.push((format!("{name}.npy"), npy(descr, &widened)));
    }
    pack(&members).map_err(|e| weights.error(format!("cannot be packed: {e}")))
}

/// An array with the header of version 1.0, padded so that the elements begin at a multiple of 64 bytes.
fn npy(descr: &str, entry: &Entry) -> Vec<u8> {
    let extents: String = entry.shape.0.iter().map(|extent| format!("{extent}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", extents.trim_end());
    let before = 10;
    let length = (before + header.len() + 1).next_multiple_of(64) - before;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(&entry.bytes);
    bytes
}
