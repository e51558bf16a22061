//! Training in mixed precision, on the images that are part of the program.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger::codegen::Isa;
use outrigger::data::{Images, sample};
use outrigger::models::ResNetCifar;
use outrigger::train::{Recipe, Restore, Trainer, TrainerOptions, WeightFile};
use outrigger::{Options, Precision, Store};

fn recipe(batch: usize, precision: Precision) -> Recipe {
    let model = ResNetCifar { layers: [1, 1, 1], ..ResNetCifar::default() };
    Recipe { model, batch, precision, ..Recipe::default() }
}

fn trainer(recipe: &Recipe, isa: Option<Isa>, threads: usize) -> Trainer<ResNetCifar> {
    let compile = Options { isa, precision: recipe.precision, ..Options::default() };
    let options = TrainerOptions { threads: Some(threads), compile, ..TrainerOptions::default() };
    Trainer::new(recipe.model, recipe.optimizer(), recipe.batch, options).unwrap()
}

/// The losses of `steps` steps.
fn losses(trainer: &mut Trainer<ResNetCifar>, recipe: &Recipe, data: &Arc<Images>, steps: usize) -> Vec<f64> {
    let batches = recipe.training_batches(data).unwrap();
    let batches = batches.epoch(0).take(steps).map(Result::unwrap);
    batches.map(|b| trainer.train_step(&b.inputs, &b.labels, 1e-3).unwrap().loss()).collect()
}

fn contents(store: &Store) -> Vec<(String, Vec<u8>)> {
    store.entries().iter().map(|(name, _)| (name.clone(), store.get(name).unwrap().to_bytes())).collect()
}

/// Both precisions learn alike: the mean loss of the last third of 75 steps, a quarter below the first, differs by less than
/// 3 %. (Two seeds differ by as much.)
#[test]
fn a_short_training_reaches_the_loss_of_f32() {
    let data = Arc::new(sample().unwrap().train);
    let run = |precision: Precision| {
        let recipe = recipe(50, precision);
        let losses = losses(&mut trainer(&recipe, None, 2), &recipe, &data, 75);
        (losses[0], losses[50..].iter().sum::<f64>() / 25.0)
    };
    let (f32, bf16) = (run(Precision::F32), run(Precision::Bf16));
    assert!(f32.1 < 0.85 * f32.0, "{f32:?}");
    assert!((bf16.1 / f32.1 - 1.0).abs() < 0.03, "{bf16:?}, f32 {f32:?}");
}

/// One path gives the same bits on any number of threads, whole batches and a smaller one.
#[test]
fn threads_change_no_bit() {
    let data = Arc::new(sample().unwrap().train);
    let recipe = recipe(7, Precision::Bf16);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let state = |threads: usize| {
            let mut trainer = trainer(&recipe, Some(isa), threads);
            losses(&mut trainer, &recipe, &data, 2);
            let images = vec![0.25; 3 * 32 * 32 * 3];
            trainer.train_step(&images, &[1, 2, 3], 1e-3).unwrap();
            contents(trainer.store())
        };
        let one = state(1);
        assert!(one == state(2) && one == state(3), "{isa}");
    }
}

/// Weights are f32 in either precision: a checkpoint of one serves the other.
#[test]
fn checkpoints_serve_both_precisions() {
    let data = Arc::new(sample().unwrap().train);
    let (narrow, wide) = (recipe(10, Precision::Bf16), recipe(10, Precision::F32));
    let mut first = trainer(&narrow, None, 1);
    losses(&mut first, &narrow, &data, 2);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    first.save(&path, narrow.layout(), BTreeMap::new()).unwrap();
    let mut second = trainer(&wide, None, 1);
    second.restore(&WeightFile::read(&path).unwrap(), Restore::Everything).unwrap();
    assert!(contents(first.store()) == contents(second.store()));
    // and gives nearly the same answers, of one image and of several at a time
    for images in [1, 10] {
        let pixels: Vec<f32> = data.images()[..images * 3072].iter().map(|&p| f32::from(p) / 255.0).collect();
        let [narrow, wide] = [&mut first, &mut second].map(|t| t.predict(&pixels, images).unwrap().to_f64());
        let largest = wide.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let apart = narrow.iter().zip(&wide).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
        assert!(apart > 0.0 && apart < 0.03 * largest, "{images}: {apart} of {largest}");
    }
    // activations take half the memory; sums, inputs and weights do not
    let arena = |t: &Trainer<ResNetCifar>| t.training_program(10).unwrap().summary().arena_bytes;
    assert!(arena(&first) as f64 <= 0.7 * arena(&second) as f64, "{} {}", arena(&first), arena(&second));
}
