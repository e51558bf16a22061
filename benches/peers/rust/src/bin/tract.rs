//! tract: inference of the ONNX files that `onnx_export.py` has written into the folder PEERS_CACHE.

use std::path::PathBuf;

use peers::{Arguments, Result, inference, noise, version};
use serde_json::json;
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    println!("loaded");
    if arguments.threads > 1 {
        set_default_executor(Executor::multithread(arguments.threads));
    }
    let folder = PathBuf::from(std::env::var("PEERS_CACHE")?);
    let prepare = |batch: usize| -> Result<_> {
        let model = tract_onnx::onnx().model_for_path(folder.join(format!("network_{batch}.onnx")))?;
        let plan = model.into_optimized()?.into_runnable()?;
        let images = Tensor::from_shape(&[batch, 3, 32, 32], &noise(batch * 3 * 32 * 32))?;
        Ok((plan, images))
    };
    let (all, one) = (prepare(arguments.batch)?, prepare(1)?);
    let mut result = json!({ "version": version("tract-onnx") });
    inference(&arguments, &mut result, |batch| {
        let (plan, images) = if batch == 1 { &one } else { &all };
        plan.run(tvec!(images.clone().into()))?;
        Ok(())
    })?;
    println!("{result}");
    Ok(())
}
