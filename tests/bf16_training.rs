//! Training in mixed precision, on the images that are part of the program.

use std::sync::Arc;

use outrigger::codegen::Isa;
use outrigger::data::{Batch, Images, sample};
use outrigger::models::ResNetCifar;
use outrigger::train::{Model, ModelOptions, Recipe, WeightFile};
use outrigger::{Options, Precision, Store};

fn recipe(batch: usize, precision: Precision) -> Recipe {
    let model = ResNetCifar { layers: [1, 1, 1], ..ResNetCifar::default() };
    Recipe { model, batch, precision, ..Recipe::default() }
}

fn model(recipe: &Recipe, isa: Option<Isa>, threads: usize) -> Model {
    let compile = Options { isa, ..Options::default() };
    recipe.compile(ModelOptions { threads: Some(threads), compile, ..ModelOptions::default() }).unwrap()
}

/// The losses of `steps` steps.
fn losses(model: &mut Model, recipe: &Recipe, data: &Arc<Images>, steps: usize) -> Vec<f64> {
    let batches = recipe.training_batches(data).unwrap();
    let batches = batches.epoch(0).take(steps).map(Result::unwrap);
    batches.map(|b| model.train_step(&b, &b).unwrap().into()).collect()
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
        let losses = losses(&mut model(&recipe, None, 2), &recipe, &data, 75);
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
            let mut model = model(&recipe, Some(isa), threads);
            losses(&mut model, &recipe, &data, 2);
            let inputs = vec![0.25; 3 * 32 * 32 * 3];
            let batch = Batch { shape: vec![3, 32, 32, 3], inputs, labels: vec![1, 2, 3], targets: Vec::new() };
            model.train_step(&batch, &batch).unwrap();
            contents(model.store())
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
    let mut first = model(&narrow, None, 1);
    losses(&mut first, &narrow, &data, 2);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    narrow.save(&first, &path, 0, &[]).unwrap();
    let mut second = model(&wide, None, 1);
    wide.restore(&mut second, &WeightFile::read(&path).unwrap()).unwrap();
    assert!(contents(first.store()) == contents(second.store()));
    // and gives nearly the same answers, of one image and of several at a time
    for images in [1, 10] {
        let indices: Vec<usize> = (0..images).collect();
        let few = Arc::new(data.select(&indices).unwrap());
        let [narrow, wide] =
            [&mut first, &mut second].map(|model| model.predict(few.clone(), images).unwrap()[0].to_f64());
        let largest = wide.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let apart = narrow.iter().zip(&wide).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
        assert!(apart > 0.0 && apart < 0.03 * largest, "{images}: {apart} of {largest}");
    }
    // activations take half the memory; sums, inputs and weights do not
    let arena = |model: &Model| model.training_program(10).unwrap().summary().arena_bytes;
    assert!(arena(&first) as f64 <= 0.7 * arena(&second) as f64, "{} {}", arena(&first), arena(&second));
}
