//! The seed's Keras program: a functional network, `compile`, `fit` on a generator of shifted and mirrored images,
//! `evaluate`, and saving.
//!
//! ```sh
//! cargo run --release --example keras_fit
//! ```

use outrigger::prelude::*;

#[path = "functional.rs"]
#[allow(dead_code, reason = "a program of its own")]
mod functional;

fn main() -> Result<(), Error> {
    let cifar10 = data::sample()?;
    let datagen = ImageDataGenerator {
        width_shift_range: 0.125,
        height_shift_range: 0.125,
        horizontal_flip: true,
        rescale: 1.0 / 255.0,
        ..ImageDataGenerator::default()
    };
    let options = LoaderOptions { batch_size: 128, workers: 2, ..LoaderOptions::default() };

    let mut model = Model::of(functional::keras_residual([2, 2, 2])?, ModelOptions::default())?;
    print!("{}", model.summary()?);
    model.compile(Optimizer::keras_adam().lr(0.001), Loss::categorical_cross_entropy(), [Accuracy::new()])?;
    let history = model.fit(
        datagen.flow(cifar10.train, options)?,
        FitOptions { epochs: 3, validation_data: Some(cifar10.test.clone().into()), ..FitOptions::default() },
    )?;
    history.plot(std::env::temp_dir().join("history.svg"))?;

    // the accuracy on the test data
    let logs = model.evaluate(cifar10.test, 128)?;
    println!("accuracy {:.4}", logs.get("accuracy").unwrap_or(f64::NAN));

    // the weights; a network made alike takes them
    let path = std::env::temp_dir().join("cifar10model_weights.safetensors");
    model.save_weights(&path)?;
    model.load_weights(&path)
}
