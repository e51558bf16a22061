//! Compiles the network into a static library that the program is linked with.
//!
//! The weights are those of the file that `RESNET_WEIGHTS` names (`outrigger train --save FILE` makes one); without it
//! they are random.

use std::error::Error;
use std::path::{Path, PathBuf};

use outrigger::Store;
use outrigger::export::{ObjectOptions, object};
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::train::{Layout, Restore, WeightFile, network};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=RESNET_WEIGHTS");
    let weights = std::env::var_os("RESNET_WEIGHTS").map(PathBuf::from);
    let file = weights.as_deref().map(read).transpose()?;
    let model = match &file {
        Some(file) => {
            let (layers, form) = network(file)?;
            ResNetCifar { layers, form, ..ResNetCifar::default() }
        }
        None => ResNetCifar::default(),
    };
    let graph = model.evaluation(1)?.cone(&["logits"])?;
    let store = Store::new(&graph, 0)?;
    if let Some(file) = &file {
        file.restore(&store, file.layout().unwrap_or(Layout::Native), Restore::Model)?;
    }

    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let library = object(&graph, &store, &ObjectOptions::new("resnet"))?;
    library.write(&out)?;
    let constants = format!("pub const WORKSPACE_BYTES: usize = {};\n", library.workspace_bytes());
    std::fs::write(out.join("resnet.rs"), constants)?;
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static:+verbatim=resnet.a");
    Ok(())
}

fn read(path: &Path) -> Result<WeightFile, outrigger::Error> {
    println!("cargo::rerun-if-changed={}", path.display());
    WeightFile::read(path)
}
