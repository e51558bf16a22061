//! The seed network: all variants, in every way of linking, against the JIT.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use outrigger::codegen::{Isa, Machine};
use outrigger::data::sample;
use outrigger::export::{ObjectOptions, object};
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::train::{ModelOptions, Recipe};
use outrigger::{Graph, Options, Store, Team, compile};

use super::{STRICT, available, has, read_floats, run, write_floats};

const CLASSES: usize = 10;

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
        let mut model = recipe.compile(ModelOptions { threads: Some(2), ..ModelOptions::default() }).unwrap();
        let data = sample().unwrap();
        for batch in recipe.training_batches(&Arc::new(data.train)).unwrap().epoch(0).take(20) {
            let batch = batch.unwrap();
            model.train_step(&batch, &batch).unwrap();
        }
        let mut images = Vec::new();
        for batch in recipe.test_batches(&Arc::new(data.test)).unwrap().epoch(0) {
            images.extend(batch.unwrap().inputs);
        }
        let graph = ResNetCifar::default().evaluation(1).unwrap().cone(&["logits"]).unwrap();
        let store = model.store().clone();
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

/// A directory with nothing but the seed network's library, a C program that runs all variants, and images.
fn with_seed(machine: Machine, images: usize) -> tempfile::TempDir {
    let (seed, dir) = (seed(), tempfile::tempdir().unwrap());
    let options = ObjectOptions { machine, ..ObjectOptions::new("seed") };
    object(&seed.graph, &seed.store, &options).unwrap().write(dir.path()).unwrap();
    std::fs::write(dir.path().join("variants.c"), include_str!("variants.c")).unwrap();
    write_floats(dir.path().join("images"), &seed.images[..images * 32 * 32 * 3]);
    dir
}

fn class(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

/// Logits of `variants.c`, a part for each of `variants`, one for `run` and one for `run_batch`, are those of the JIT
/// within 1e-4, with the same classes. Where both have a fused multiply-add they are the same bit for bit.
#[track_caller]
fn compare(logits: &[f32], images: usize, variants: &[Isa]) {
    let expected = &seed().logits[..images * CLASSES];
    assert_eq!(logits.len(), (variants.len() + 2) * expected.len());
    let widest = variants[variants.len() - 1];
    let taken = variants.iter().chain([&widest, &widest]);
    for (variant, logits) in taken.zip(logits.chunks(expected.len())) {
        if *variant != Isa::Clif {
            assert!(logits.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{variant}");
        }
        for (image, (ours, theirs)) in logits.chunks(CLASSES).zip(expected.chunks(CLASSES)).enumerate() {
            let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{variant}, image {image}: off by {worst:e}");
            assert_eq!(class(ours), class(theirs), "{variant}, image {image}");
        }
    }
}

/// Compiles `variants.c` with the library beside it.
#[track_caller]
fn compile_variants(directory: &Path, compiler: &str, more: &[&str]) {
    let args = ["-std=c99", "variants.c", "seed.a", "-pthread", "-o", "variants"];
    run(directory, compiler, &[&STRICT[..], more, &args].concat());
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
    compile_variants(dir.path(), "gcc", &[]);
    let time = run(dir.path(), "./variants", &["images", "logits", "201"]);
    println!("a run: {time}the session's: {:.1} us", session_time());
    compare(&read_floats(dir.path().join("logits")), images, available());
}

/// Median time of the JIT's session on one thread, in microseconds.
fn session_time() -> f64 {
    let seed = seed();
    let program = compile(&seed.graph, &Options { isa: Some(Isa::detect().vectors()), ..Options::default() }).unwrap();
    let mut session = program.session(&seed.store, &Arc::new(Team::new(1).unwrap())).unwrap();
    session.set_f32("images", &seed.images[..32 * 32 * 3]).unwrap();
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..201 {
        let start = Instant::now();
        session.run().unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The object file refers to nothing outside of itself, and shows nothing but its own functions.
#[test]
fn it_needs_no_other_symbol() {
    if !has("nm") {
        return;
    }
    let dir = with_seed(Machine::Host, 0);
    let undefined = run(dir.path(), "nm", &["--undefined-only", "--format=posix", "seed.a"]);
    assert_eq!(undefined.lines().filter(|line| !line.ends_with(':') && !line.is_empty()).count(), 0, "{undefined}");
    let shown = run(dir.path(), "nm", &["--extern-only", "--defined-only", "--format=posix", "seed.a"]);
    let names: Vec<&str> = shown.lines().filter_map(|line| line.split_once(' ').map(|(name, _)| name)).collect();
    assert!(names.contains(&"seed_run") && names.iter().all(|name| name.starts_with("seed_")), "{shown}");
    // writable: the answer of CPUID only
    let writable = run(dir.path(), "nm", &["--format=posix", "seed.a"]);
    let writable: Vec<&str> =
        writable.lines().filter(|line| line.split(' ').nth(1).is_some_and(|kind| "bBdD".contains(kind))).collect();
    assert!(matches!(writable[..], [line] if line.starts_with("seed.isa ")), "{writable:?}");
}

/// The object is small beside its weights.
#[test]
fn it_is_small() {
    let library = object(&seed().graph, &seed().store, &ObjectOptions::new("seed")).unwrap();
    let weights: usize = seed().store.entries().iter().map(|(_, ty)| ty.bytes()).sum();
    assert!(library.object().len() < (2 << 20) + weights, "{} bytes", library.object().len());
}

/// Position independent, without relocations in the code.
#[test]
fn it_can_be_a_shared_library() {
    if !has("gcc") {
        return;
    }
    let dir = with_seed(Machine::Host, 3);
    let whole = ["-Wl,--whole-archive", "seed.a", "-Wl,--no-whole-archive"];
    let shared = [&["-shared", "-Wl,-z,text", "-Wl,-z,noexecstack", "-o", "libseed.so"][..], &whole].concat();
    run(dir.path(), "gcc", &shared);
    std::fs::remove_file(dir.path().join("seed.a")).unwrap();
    let link = ["-std=c99", "variants.c", "-L.", "-lseed", "-Wl,-rpath,$ORIGIN", "-pthread", "-o", "variants"];
    run(dir.path(), "gcc", &[&STRICT[..], &link].concat());
    run(dir.path(), "./variants", &["images", "logits"]);
    compare(&read_floats(dir.path().join("logits")), 3, available());
}

/// The address sanitizer and the one for undefined behaviour find nothing in the caller, nor beside its memory.
#[test]
fn sanitizers_find_nothing() {
    if !has("gcc") {
        return;
    }
    let dir = with_seed(Machine::Host, 2);
    compile_variants(dir.path(), "gcc", &["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    run(dir.path(), "./variants", &["images", "logits"]);
    compare(&read_floats(dir.path().join("logits")), 2, available());
}

/// Under valgrind, which knows no AVX-512: the CPU that it simulates has AVX2 at most. It follows every read of the
/// kernels, also of numbers that nobody wrote.
#[test]
fn valgrind_finds_nothing() {
    if !has("gcc") || !has("valgrind") || Isa::detect() == Isa::Clif {
        return;
    }
    let dir = with_seed(Machine::Host, 1);
    compile_variants(dir.path(), "gcc", &["-g"]);
    let args = ["--quiet", "--error-exitcode=9", "--leak-check=full", "./variants", "images", "logits"];
    run(dir.path(), "valgrind", &args);
    compare(&read_floats(dir.path().join("logits")), 1, &[Isa::Clif, Isa::Avx2]);
}

/// The examples in C and C++, each in a directory with the library only.
#[test]
fn the_examples_print_the_classes() {
    let (seed, images) = (seed(), 100);
    let expected: String = seed.logits.chunks(CLASSES).take(images).map(|row| format!("{}\n", class(row))).collect();
    let examples = [
        ("gcc", "main.c", "-std=c99", include_str!("../../examples/native/c/main.c")),
        ("g++", "main.cpp", "-std=c++17", include_str!("../../examples/native/cpp/main.cpp")),
    ];
    for (compiler, file, standard, source) in examples {
        if !has(compiler) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        object(&seed.graph, &seed.store, &ObjectOptions::new("resnet")).unwrap().write(dir.path()).unwrap();
        std::fs::write(dir.path().join(file), source).unwrap();
        write_floats(dir.path().join("images"), &seed.images[..images * 32 * 32 * 3]);
        run(dir.path(), compiler, &[&STRICT[..], &[standard, file, "resnet.a", "-pthread", "-o", "it"]].concat());
        for threads in ["1", "3"] {
            assert_eq!(run(dir.path(), "./it", &["images", threads]), expected, "{file}, {threads} threads");
        }
    }
}

/// CPUs that lack something take a narrower variant, or refuse: emulated ones of 2006, 2008 and 2013.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_cpu_decides() {
    if !has("gcc") || !has("qemu-x86_64") {
        return;
    }
    let dir = with_seed(Machine::Host, 1);
    compile_variants(dir.path(), "gcc", &["-static"]);
    let variants: [(&str, &[Isa]); 3] =
        [("core2duo", &[]), ("Nehalem", &[Isa::Clif]), ("Haswell", &[Isa::Clif, Isa::Avx2])];
    for (cpu, variants) in variants {
        run(dir.path(), "qemu-x86_64", &["-cpu", cpu, "./variants", "images", "logits"]);
        let logits = read_floats(dir.path().join("logits"));
        match variants {
            [] => assert!(logits.is_empty(), "{cpu}"),
            _ => compare(&logits, 1, variants),
        }
    }
}

/// Code for 64-bit ARM, on whatever machine this is.
#[test]
#[cfg(feature = "cross")]
fn it_runs_on_arm() {
    if !has("aarch64-linux-gnu-gcc") || !has("qemu-aarch64") {
        return;
    }
    let dir = with_seed(Machine::Aarch64Linux, 2);
    compile_variants(dir.path(), "aarch64-linux-gnu-gcc", &["-static"]);
    run(dir.path(), "qemu-aarch64", &["./variants", "images", "logits"]);
    compare(&read_floats(dir.path().join("logits")), 2, &[Isa::Clif]);
}

/// Whoever calls it wrongly is told how it would be right.
#[test]
fn mistakes_are_named() {
    let says = |graph: &Graph, options: ObjectOptions, part: &str| {
        let store = Store::new(graph, 0).unwrap();
        let error = object(graph, &store, &options).map(drop).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    for name in ["", "1st", "a-b", "café"] {
        says(&seed().graph, ObjectOptions::new(name), "to name C functions");
    }
    if cfg!(all(target_arch = "x86_64", not(feature = "cross"))) {
        let options = ObjectOptions { machine: Machine::Aarch64Linux, ..ObjectOptions::new("seed") };
        says(&seed().graph, options, "cargo feature \"cross\"");
    }
    let training = ResNetCifar { layers: [1, 1, 1], ..ResNetCifar::default() }.training(2).unwrap();
    says(&training, ObjectOptions::new("training"), "export a graph for evaluation");
    assert!("riscv".parse::<Machine>().unwrap_err().to_string().contains("aarch64-unknown-linux-gnu"));
    let empty = Store::new(&Graph::new("empty"), 0).unwrap();
    assert!(object(&seed().graph, &empty, &ObjectOptions::new("seed")).is_err());
}
