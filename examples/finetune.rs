//! Fine-tuning: a ResNet that knows ten classes learns to tell animals from vehicles. Its layers are taken by name from a
//! file, all but the last are frozen, and a new head is trained on the other labels.
//!
//! ```sh
//! cargo run --release --example finetune
//! ```

use outrigger::data::Images;
use outrigger::formats::LoadOptions;
use outrigger::prelude::*;

/// The same images, of two classes: 0 for vehicles, 1 for animals.
fn relabelled(images: &Images) -> Result<Images, Error> {
    const VEHICLES: [&str; 4] = ["airplane", "automobile", "ship", "truck"];
    let is_animal = |&label: &u8| u8::from(!VEHICLES.contains(&images.class_names()[usize::from(label)].as_str()));
    let labels = images.labels().iter().map(is_animal).collect();
    let names = ["vehicle", "animal"].map(str::to_string).into();
    Ok(Images::new(images.images().to_vec(), labels, images.shape(), names)?)
}

fn main() -> Result<(), Error> {
    let cifar10 = data::sample()?;
    let path = std::env::temp_dir().join("outrigger_finetune.safetensors");

    // a network that was trained before
    let network = models::resnet_cifar([2, 2, 2]).network()?;
    let mut base = Model::of(network.clone(), ModelOptions::default())?;
    base.compile(Adam::default().lr(0.001), Loss::cross_entropy(), [Accuracy::new()])?;
    base.fit(cifar10.train.clone(), FitOptions { epochs: 3, batch_size: 100, ..FitOptions::default() })?;
    base.save_weights(&path)?;

    // its features under another head
    let features = network.symbol("flatten")?;
    let logits = Linear::new(2).name("head").call(&features)?;
    let mut model = Model::new(&network.inputs()[0], &logits)?;
    println!("{}", model.load_weights_by_name(&path, &LoadOptions::default())?);

    // only the head learns
    let frozen = model.freeze("*")?;
    model.unfreeze("head")?;
    println!("{} of {frozen} layers are frozen", frozen - 1);
    model.compile(Adam::default().lr(0.01), Loss::cross_entropy(), [Accuracy::new()])?;
    let validation_data = Some(relabelled(&cifar10.test)?.into());
    let options = FitOptions { epochs: 3, batch_size: 100, validation_data, ..FitOptions::default() };
    model.fit(relabelled(&cifar10.train)?, options)?;
    Ok(())
}
