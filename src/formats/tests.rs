//! Damaged and hostile files: an error or tensors, never a panic, a hang, or more memory than the file allows.

use std::time::{Duration, Instant};

use super::archive::pack;
use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name);
    std::fs::read(path).unwrap()
}

/// Reads a file, and checks that its tensors are as large as they say and bounded by the file.
fn read_all(bytes: &[u8]) -> Result<usize, Error> {
    let start = Instant::now();
    let file = parse_weights(bytes, "damaged");
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    let file = file?;
    let mut total = 0;
    for (name, entry) in &file.entries {
        assert_eq!(entry.shape.elements() * entry.size(), entry.bytes.len(), "{name}");
        total += entry.bytes.len();
        // values that do not fit are an error, not a panic
        let _ = file.tensor(name);
    }
    assert!(total <= (1 << 21) + 40 * bytes.len(), "{total} bytes of {}", bytes.len());
    let _ = file.to_convention(Convention::Keras).and_then(|file| file.to_convention(Convention::Torch));
    Ok(total)
}

/// Names and sizes of a few small files, one of each format.
fn valid() -> Vec<(&'static str, Vec<u8>)> {
    let net = parse_weights(&fixture("torch_net.ckpt"), "net").unwrap();
    let part = |prefix: &str| {
        let mut small = net.clone();
        small.entries.retain(|name, _| name.starts_with(prefix));
        small
    };
    vec![
        ("mixed.pt", fixture("torch_mixed.protocol4.pt")),
        ("net.ckpt", fixture("torch_net.ckpt")),
        ("written.pt", torch::write(&part("fc")).unwrap()),
        ("written.npz", npz::write(&part("fc")).unwrap()),
        ("written.weights.h5", hdf5_write::write(&part("bn").to_convention(Convention::Keras).unwrap()).unwrap()),
        ("net.keras", fixture("keras_net.keras")),
        ("net.weights.h5", fixture("keras_net.weights.h5")),
        ("small.h5", fixture("keras_small.h5")),
        ("net.safetensors", fixture("torch_net.safetensors")),
    ]
}

/// xorshift64*
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

#[test]
fn no_prefix_of_a_file_is_more_than_an_error() {
    for (name, bytes) in valid() {
        assert!(read_all(&bytes).unwrap() > 0, "{name}");
        // every length of the small ones and near both ends, and a sample of the others
        let step = 1 + bytes.len() / 4000;
        let near_end = |length: usize| length < 600 || length + 600 > bytes.len();
        for length in (0..bytes.len()).filter(|&length| length % step == 0 || near_end(length)) {
            let _ = read_all(&bytes[..length]);
        }
    }
}

#[test]
fn random_changes_of_a_file_are_errors_or_other_files() {
    let mut state = 88_172_645_463_325_252;
    for (name, bytes) in valid() {
        let mut refused = 0;
        for _ in 0..2000 {
            let mut changed = bytes.clone();
            for _ in 0..=random(&mut state) % 4 {
                let at = random(&mut state) as usize % changed.len();
                changed[at] = match random(&mut state) % 4 {
                    0 => 0,
                    1 => 0xff,
                    2 => changed[at] ^ (1 << (random(&mut state) % 8)),
                    _ => random(&mut state) as u8,
                };
            }
            refused += usize::from(read_all(&changed).is_err());
        }
        assert!(refused > 0, "{name}: no change was noticed");
    }
}

/// The pickles inside archives, which their checksums otherwise protect.
#[test]
fn random_changes_of_a_pickle_are_errors_or_other_pickles() {
    let mut state = 42;
    for name in ["torch_mixed.protocol2.pt", "torch_mixed.protocol5.pt", "torch_net.ckpt"] {
        let bytes = fixture(name);
        let mut archive = archive::Archive::open(&bytes, name).unwrap();
        let names = archive.names();
        let members: Vec<(String, Vec<u8>)> =
            names.iter().map(|name| (name.clone(), archive.read(name).unwrap())).collect();
        for _ in 0..2000 {
            let mut members = members.clone();
            let pickle = &mut members[0].1;
            for _ in 0..=random(&mut state) % 3 {
                let at = random(&mut state) as usize % pickle.len();
                pickle[at] = random(&mut state) as u8;
            }
            let _ = read_all(&pack(&members).unwrap());
        }
    }
}

fn with_pickle(pickle: &[u8]) -> Result<WeightFile, Error> {
    let members = [("x/data.pkl".to_string(), pickle.to_vec()), ("x/data/0".to_string(), vec![0; 64])];
    parse_weights(&pack(&members).unwrap(), "evil.pt")
}

#[test]
fn a_pickle_that_would_run_something_is_refused_by_name_and_place() {
    let cases: [(&[u8], &str); 7] = [
        (b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x02\x00\x00\x00ls\x85Rs.", "byte 9: names `os.system`"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.", "byte 17: names `posix.system`"),
        (b"\x80\x02(ibuiltins\neval\n.", "byte 3: makes an instance of `builtins.eval`"),
        (b"\x80\x02)(o.", "byte 4: makes an instance of a class"),
        (b"\x80\x02)\x81.", "byte 3: makes an instance of a class"),
        (b"\x80\x02})b.", "byte 4: sets the state of an object"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "calls RebuildTensor with 0 arguments"),
    ];
    for (pickle, part) in cases {
        let error = with_pickle(pickle).unwrap_err().to_string();
        assert!(error.starts_with("evil.pt, x/data.pkl: ") && error.contains(part), "{error}");
    }
}

/// A tensor `a`, with its storage's element count, offset, shape and strides as texts of instructions.
fn tensor(count: &[u8], offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu";
    [head, count, b"tQ", offset, shape, strides, b"\x89NtRs."].concat()
}

/// Count, offset, shape and strides of a tensor, as pickled, and what is said of them.
type View = (&'static [u8], &'static [u8], &'static [u8], &'static [u8], &'static str);

#[test]
fn a_view_stays_within_its_storage_and_its_share() {
    let whole = with_pickle(&tensor(b"K\x10", b"K\x00", b"K\x04K\x04\x86", b"K\x01K\x04\x86")).unwrap();
    assert_eq!(whole.shape("a").unwrap().0, [4, 4]);
    let cases: [View; 7] = [
        (b"K\x11", b"K\x00", b"K\x04\x85", b"K\x01\x85", "storage of 17 elements, of which 64 bytes"),
        (b"K\x10", b"K\x0d", b"K\x04\x85", b"K\x01\x85", "beyond its storage"),
        (b"K\x10", b"K\x00", b"K\x05\x85", b"K\x04\x85", "beyond its storage"),
        (b"K\x10", b"J\xff\xff\xff\xff", b"K\x01\x85", b"K\x01\x85", "offset -1"),
        (b"K\x10", b"K\x00", b"K\x04\x85", b"J\xff\xff\xff\xff\x85", "strides"),
        (b"K\x10", b"K\x00", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"K\x00K\x00\x86", "repeats the elements"),
        (b"K\x10", b"K\x00", b"K\x04\x85", b")", "1 extents and 0 strides"),
    ];
    for (count, offset, shape, strides, part) in cases {
        let error = with_pickle(&tensor(count, offset, shape, strides)).unwrap_err().to_string();
        assert!(error.contains(part), "{error} has no {part}");
    }
}

#[test]
fn dictionaries_that_contain_themselves_or_each_other_end() {
    // {0: itself}
    assert!(with_pickle(b"\x80\x02}q\x00K\x00h\x00s.").is_err());
    // each of 40 dictionaries holds the one before twice: 2^40 paths
    let mut doubled = b"\x80\x02}".to_vec();
    for i in 0..40u8 {
        doubled.extend([b'q', i, b'0', b'}', b'K', 0, b'h', i, b's', b'K', 1, b'h', i, b's']);
    }
    doubled.push(b'.');
    assert!(with_pickle(&doubled).is_err());
    let many = [&b"\x80\x02"[..], &vec![b']'; (1 << 20) + 9]].concat();
    assert!(with_pickle(&many).unwrap_err().to_string().contains("more than 1048576 objects"));
}

#[test]
fn big_endian_storages_are_turned_around() {
    let file = parse_weights(&fixture("torch_net.ckpt"), "net").unwrap();
    let written = torch::write(&file).unwrap();
    let mut archive = archive::Archive::open(&written, "net.pt").unwrap();
    let names = archive.names();
    let turned = names.iter().map(|name| {
        let mut bytes = archive.read(name).unwrap();
        // all are of four bytes but the counter
        if name.ends_with("byteorder") {
            bytes = b"big".to_vec();
        } else if name.contains("/data/") {
            let size = if bytes.len() == 8 && names.len() > 1 && is_counter(&bytes) { 8 } else { 4 };
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        (name.clone(), bytes)
    });
    let turned = pack(&turned.collect::<Vec<_>>()).unwrap();
    let back = parse_weights(&turned, "big.pt").unwrap();
    assert_eq!(back.entries, file.entries);
}

/// The only integer of the file: no step was taken.
fn is_counter(bytes: &[u8]) -> bool {
    bytes == [0; 8]
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
    let mut header = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    header.extend(format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (16777216,), }").bytes());
    zip.write_all(&header).unwrap();
    for _ in 0..64 {
        zip.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    let error = parse_weights(&bytes, "bomb.npz").unwrap_err().to_string();
    assert!(error.starts_with("bomb.npz, a.npy: unpacks to more than 32 times"), "{error}");
}

#[test]
fn names_follow_keras() {
    for (class, group) in [
        ("Conv2D", "conv2d"),
        ("Conv2DTranspose", "conv2d_transpose"),
        ("BatchNormalization", "batch_normalization"),
        ("PReLU", "p_re_lu"),
        ("LSTMCell", "lstm_cell"),
        ("GlobalAveragePooling1D", "global_average_pooling1d"),
    ] {
        assert_eq!(keras::snake_case(class), group);
    }
    assert_eq!(keras::variable("batch_normalization_1", 0, 3, None), "beta");
    assert_eq!(keras::variable("conv2d", 1, 2, None), "bias");
    assert_eq!(keras::variable("my_layer", 1, 2, None), "1");
    assert!(keras::natural_order("layer9.x") < keras::natural_order("layer10.x"));
    assert_eq!(keras::stem("conv2d_12"), "conv2d");
}
