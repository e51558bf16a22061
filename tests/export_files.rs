//! Damaged files: every prefix and thousands of mutations of `.outrigger` and weight files give an error or a valid
//! model, within the memory that `MEMORY_FACTOR` states, and never a panic.
//!
//! The checksum would refuse nearly all of them at the door, so most mutations are made behind it: of the graph's text,
//! of the header, of the tensors, with a checksum that is right again. This program has one test, since it counts all
//! memory that the process takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger::export::inference::{InferenceGraph, MEMORY_BASE, MEMORY_FACTOR};
use outrigger::graph::{ConvOptions, Graph, PoolOptions};
use outrigger::ops::Init;
use outrigger::train::{Storage, WeightFile};
use outrigger::{DType, Error, Padding, Store, Team, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The system's memory, and how much of it is taken.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting;

/// The most memory that `f` had beyond what there was before.
fn peak_of<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = f();
    (result, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

/// A convolution with batch norm, pooling, and a linear layer: a little of everything that a file holds.
fn tiny() -> InferenceGraph {
    let mut g = Graph::new("tiny");
    let x = g.input("x", DType::F32, [2, 4, 4, 2]).unwrap();
    let vector = |g: &mut Graph, name: &str, init| g.parameter(name, [3], init).unwrap();
    let w = g.parameter("conv.weight", [3, 3, 2, 3], Init::Normal(0.5)).unwrap();
    let y = g.conv2d(x, w, None, ConvOptions { padding: Padding::Same, ..ConvOptions::default() }).unwrap();
    let (gamma, beta) = (vector(&mut g, "gamma", Init::Uniform(2.0)), vector(&mut g, "beta", Init::Uniform(1.0)));
    let mean = g.buffer("mean", DType::F32, [3], Init::Uniform(1.0)).unwrap();
    let var = g.buffer("var", DType::F32, [3], Init::Constant(0.5)).unwrap();
    let y = g.batch_norm_eval(y, gamma, beta, [mean, var], 1e-3).unwrap();
    let y = g.relu(y).unwrap();
    let y = g.max_pool(y, PoolOptions::square(2)).unwrap();
    let y = g.flatten(y).unwrap();
    let w = g.parameter("fc.weight", [12, 4], Init::Normal(0.3)).unwrap();
    let y = g.linear(y, w, None).unwrap();
    let y = g.op(outrigger::ops::Op::Softmax(1), &[y]).unwrap();
    g.set_output("y", y).unwrap();
    InferenceGraph::export(&g, &Store::new(&g, 5).unwrap(), &["y"], Storage::Bf16).unwrap()
}

/// Changes one to four places: a byte, a bit, a digit, a piece taken out, doubled, or moved.
fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let length = rng.random_range(1..=24.min(bytes.len() - at));
        match rng.random_range(0..7) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = b"0123456789()[]{}%,:\".-"[rng.random_range(0..22)],
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let to = rng.random_range(0..=bytes.len() - length);
                bytes.copy_within(at..at + length, to);
            }
            _ => {
                // a number that asks for much
                let number: &[u8] = [&b"0"[..], b"4294967296", b"18446744073709551615", b"99999999", b"2147483647"]
                    [rng.random_range(0..5)];
                bytes.splice(at..at, number.iter().copied());
            }
        }
    }
}

/// Reads `bytes` within the bound, and runs what is valid, if it is small.
fn read(bytes: &[u8], team: &Arc<Team>) -> bool {
    let (read, peak) = peak_of(|| InferenceGraph::from_bytes(bytes, "mutated.outrigger"));
    let bound = MEMORY_FACTOR * bytes.len() + MEMORY_BASE;
    assert!(peak <= bound, "{peak} bytes for a file of {}", bytes.len());
    match read {
        Err(error) => {
            assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
            false
        }
        Ok(network) => {
            network.verify().unwrap();
            assert_eq!(
                InferenceGraph::from_bytes(&network.to_bytes().unwrap(), "again").unwrap().graph(),
                network.graph()
            );
            let graph = network.graph();
            let largest = graph.nodes().flat_map(|id| &graph.get(id).unwrap().results).map(|ty| ty.bytes()).max();
            if largest.unwrap() < 1 << 20 {
                // a graph of another meaning, but a graph: it compiles, or says why not
                let mut session = match network.session(team) {
                    Ok(session) => session,
                    Err(_) => return true,
                };
                let inputs = graph.inputs().map(|id| graph.get(id).unwrap());
                for node in inputs {
                    let ty = &node.results[0];
                    let zeros = Tensor::from_bytes(ty, &vec![0; ty.bytes()]).unwrap();
                    session.set(&node.name, &zeros).unwrap();
                }
                session.run().unwrap();
            }
            true
        }
    }
}

/// The file with its tensors and a part of its metadata changed, under a right checksum.
fn resigned(file: &WeightFile, tensors: Vec<(String, Tensor)>, key: &str, value: &[u8]) -> Option<Vec<u8>> {
    let mut metadata = file.metadata().clone();
    metadata.insert(key.to_string(), String::from_utf8(value.to_vec()).ok()?);
    WeightFile::new(tensors, metadata).stored_as(Storage::Bf16).ok()?.to_bytes().ok()
}

#[test]
fn damaged_files_are_refused_or_valid() {
    let network = tiny();
    let bytes = network.to_bytes().unwrap();
    let team = Arc::new(Team::new(1).unwrap());
    assert!(read(&bytes, &team));
    assert!(bytes.len() < 4000, "{}", bytes.len());
    for length in 0..bytes.len() {
        assert!(!read(&bytes[..length], &team), "a file of {length} of {} bytes", bytes.len());
        assert!(WeightFile::parse(&bytes[..length], "w").is_err());
    }

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let file = WeightFile::parse(&bytes, "tiny.outrigger").unwrap();
    let tensors: Vec<_> = file.names().map(|name| (name.to_string(), file.tensor(name).unwrap())).collect();
    let mut valid = BTreeMap::new();
    for n in 0..18_000 {
        // the file as a whole (10,000 times); its header with the checksum gone; the graph; the certificate; a tensor and
        // the version
        let (what, mutated) = match n % 9 {
            0..5 => {
                let mut all = bytes.clone();
                mutate(&mut all, &mut rng);
                ("file", Some(all))
            }
            5 => {
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
                let text =
                    String::from_utf8(bytes[8..8 + length].to_vec()).unwrap().replace("\"sha256\"", "\"unsaid\"");
                let mut header = text.into_bytes();
                mutate(&mut header, &mut rng);
                ("header", Some([&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]].concat()))
            }
            6 | 7 => {
                let key = if n % 9 == 6 || n % 2 == 0 { "graph" } else { "certificate" };
                let mut text = file.meta(key).unwrap().as_bytes().to_vec();
                mutate(&mut text, &mut rng);
                (key, resigned(&file, tensors.clone(), key, &text))
            }
            _ => {
                let mut changed = tensors.clone();
                let at = rng.random_range(0..changed.len());
                let shape = changed[at].1.shape().clone();
                let wider: Vec<usize> = [1].into_iter().chain(shape.0.iter().copied()).collect();
                match rng.random_range(0..4) {
                    0 => drop(changed.remove(at)),
                    1 => changed[at].0 += "x",
                    2 => changed[at].1 = Tensor::f32(wider, changed[at].1.as_f32().unwrap().to_vec()).unwrap(),
                    _ => changed[at].1 = Tensor::full(shape, f32::NAN),
                }
                let version = rng.random_range(0..3u32).to_string();
                ("tensors", resigned(&file, changed, "version", version.as_bytes()))
            }
        };
        if let Some(mutated) = mutated {
            *valid.entry(what).or_insert(0) += usize::from(read(&mutated, &team));
            // a weight file of the same damage is read, or refused, without a graph
            let _ = WeightFile::parse(&mutated, "w").map(|w| w.names().filter(|n| w.tensor(n).is_ok()).count());
        }
    }
    println!("valid after a mutation: {valid:?}");
    assert!(valid["graph"] > 0 && valid["file"] < 100 && valid["tensors"] == 0, "{valid:?}");

    // shapes that claim more than there is, and texts that are long for their own sake
    let absurd = [
        ("[2,4,4,2]", "[2,4,4,1152921504606846976]"),
        ("[2,4,4,2]", "[536870911,4,4,2]"),
        ("Softmax(1)", "Softmax(18446744073709551615)"),
        ("Softmax(1)", "Reshape([0])"),
        ("Softmax(1)", &format!("Reshape({}2{})", "[".repeat(100_000), "]".repeat(100_000))),
        ("  output", &"  output \"a\" = %0\n".repeat(70_000)),
        ("  output", &"  %99 = Unary(Relu) (%0) \"\" : f32[2,4,4,2]\n".repeat(20_000)),
        ("  output", &format!("  output \"{}", "\\u0000".repeat(50_000))),
    ];
    for (from, to) in absurd {
        let text = file.meta("graph").unwrap().replace(from, to);
        let bytes = resigned(&file, tensors.clone(), "graph", text.as_bytes()).unwrap();
        assert!(!read(&bytes, &team), "{from} → {}", &to[..to.len().min(40)]);
    }
    // many small things are within the bound, too
    let text = file.meta("graph").unwrap();
    let nodes = text.lines().filter(|line| line.trim_start().starts_with('%')).count();
    let line = |i: usize| format!("  %{} = Unary(Relu) (%0) \"\" : f32[2,4,4,2]\n  output \"{i}\" = %0\n", nodes + i);
    let many: String = (0..20_000).map(line).collect();
    let text = text.replacen("  output", &format!("{many}  output"), 1);
    assert!(Graph::parse(&text).is_ok());
    let bytes = resigned(&file, tensors, "graph", text.as_bytes()).unwrap();
    let (read, peak) = peak_of(|| InferenceGraph::from_bytes(&bytes, "many"));
    assert!(read.is_ok() && peak < MEMORY_FACTOR * bytes.len(), "{peak} bytes for {}", bytes.len());
    println!("{peak} bytes for a file of {} with 20,000 small operations", bytes.len());
}
