//! Exported native code, compiled into C programs and compared with the JIT.
//!
//! Needs `gcc` (and for some tests `g++`, `valgrind`, `qemu-aarch64` with Debian's cross compiler); a test that misses
//! one says so and passes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use outrigger::codegen::{Isa, Machine};
use outrigger::data::sample;
use outrigger::export::{ObjectOptions, object, subgraph};
use outrigger::model::{Model, ResNetCifar};
use outrigger::train::{Recipe, Trainer, TrainerOptions};
use outrigger::{Error, Graph, Options, Store, Team, compile};

const CLASSES: usize = 10;

/// Whether a program can be started; says so if not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: there is no {program}");
    }
    found
}

/// Runs a program in `directory`; its standard output.
#[track_caller]
fn run(directory: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(directory).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// The seed network after some steps of training, what the JIT makes of the sample's test images, and those.
struct Seed {
    graph: Graph,
    store: Store,
    images: Vec<f32>,
    logits: Vec<f32>,
}

fn seed() -> &'static Seed {
    static SEED: OnceLock<Seed> = OnceLock::new();
    SEED.get_or_init(|| {
        let recipe = Recipe::default();
        let options = TrainerOptions { threads: Some(2), ..TrainerOptions::default() };
        let mut trainer = Trainer::new(recipe.model, recipe.optimizer(), recipe.batch, options).unwrap();
        let data = sample().unwrap();
        for batch in recipe.training_batches(&Arc::new(data.train)).unwrap().epoch(0).take(20) {
            let batch = batch.unwrap();
            trainer.train_step(&batch.inputs, &batch.labels, 1e-3).unwrap();
        }
        let mut images = Vec::new();
        for batch in recipe.test_batches(&Arc::new(data.test)).unwrap().epoch(0) {
            images.extend(batch.unwrap().inputs);
        }
        let graph = subgraph(&ResNetCifar::default().evaluation(1).unwrap(), &["logits"]).unwrap();
        let store = trainer.store().clone();
        let program = compile(&graph, &Options::default()).unwrap();
        let mut session = program.session(&store, &Arc::new(Team::new(1).unwrap())).unwrap();
        let mut logits = Vec::new();
        for image in images.chunks(32 * 32 * 3) {
            session.set_f32("images", image).unwrap();
            session.run().unwrap();
            logits.extend_from_slice(session.get("logits").unwrap().as_f32().unwrap());
        }
        Seed { graph, store, images, logits }
    })
}

fn write_floats(path: PathBuf, floats: &[f32]) {
    let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    std::fs::write(path, bytes).unwrap();
}

fn read_floats(path: PathBuf) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// A directory with nothing but the seed network's library, a C program that runs all variants, and images.
fn with_seed(machine: Machine, images: usize) -> tempfile::TempDir {
    let (seed, dir) = (seed(), tempfile::tempdir().unwrap());
    let options = ObjectOptions { machine, ..ObjectOptions::new("seed") };
    object(&seed.graph, &seed.store, &options).unwrap().write(dir.path()).unwrap();
    std::fs::write(dir.path().join("variants.c"), include_str!("native/variants.c")).unwrap();
    write_floats(dir.path().join("images"), &seed.images[..images * 32 * 32 * 3]);
    dir
}

const STRICT: [&str; 5] = ["-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn class(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

/// Logits of all variants are those of the JIT within 1e-4, with the same classes.
#[track_caller]
fn compare(logits: &[f32], images: usize, variants: usize) {
    let expected = &seed().logits[..images * CLASSES];
    assert_eq!(logits.len(), variants * expected.len());
    for (variant, logits) in logits.chunks(expected.len()).enumerate() {
        for (image, (ours, theirs)) in logits.chunks(CLASSES).zip(expected.chunks(CLASSES)).enumerate() {
            let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "variant {variant}, image {image}: off by {worst:e}");
            assert_eq!(class(ours), class(theirs), "variant {variant}, image {image}");
        }
    }
}

/// What `variants.c` writes on this CPU: a part a variant, `run`, and `run_batch`.
fn parts() -> usize {
    2 + [Isa::Clif, Isa::Avx2, Isa::Avx512].iter().filter(|isa| isa.available()).count()
}

/// All 750 test images of the sample, in a directory with the library and a C program only.
#[test]
fn the_seed_network_gives_the_jits_logits() {
    if !has("gcc") {
        return;
    }
    let images = seed().logits.len() / CLASSES;
    let start = Instant::now();
    let library = object(&seed().graph, &seed().store, &ObjectOptions::new("seed")).unwrap();
    println!(
        "{} ms, {} bytes, {} of them data, workspace of {} bytes",
        start.elapsed().as_millis(),
        library.object().len(),
        library.data_bytes(),
        library.workspace_bytes()
    );
    let dir = with_seed(Machine::Host, images);
    let args = [&STRICT[..], &["-std=c99", "variants.c", "seed.a", "-pthread", "-o", "variants"]].concat();
    run(dir.path(), "gcc", &args);
    let time = run(dir.path(), "./variants", &["images", "logits", "201"]);
    println!("run: {time}");
    compare(&read_floats(dir.path().join("logits")), images, parts());
}
