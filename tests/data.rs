//! Data sets and loaders from outside: real CIFAR-10 records, directories and bad files, and the promises that a
//! loader makes about order, coverage and reproducibility.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use outrigger::data::{
    Batch, Compose, DataError, DataLoader, Images, Layout, LoaderOptions, RandomCrop, RandomHorizontalFlip, load_dir,
    read_bytes, read_file, sample,
};
use sha2::{Digest, Sha256};

/// The directory of real records, when it lies beside the checkout.
fn originals() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/cifar10/sample");
    let dir = std::env::var_os("OUTRIGGER_CIFAR10_SAMPLE").map_or(beside, PathBuf::from);
    let found = dir.is_dir();
    if !found {
        eprintln!("not checked: ../shared/cifar10/sample is not beside the checkout");
    }
    found.then_some(dir)
}

fn train() -> Arc<Images> {
    Arc::new(sample().unwrap().train)
}

/// Padding by 4, a crop, and a flip.
fn augment() -> Compose {
    Compose::new().then(RandomCrop { padding: 4, ..RandomCrop::new(32) }).then(RandomHorizontalFlip::default())
}

fn batches(loader: &DataLoader, epoch: u64) -> Vec<Batch> {
    loader.epoch(epoch).collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_record_is_read_as_it_lies_in_the_file() {
    let Some(dir) = originals() else { return };
    for name in ["data_batch_1.bin", "data_batch_3.bin", "test_batch.bin"] {
        let raw = fs::read(dir.join(name)).unwrap();
        let set = read_file(Layout::Cifar10, dir.join(name)).unwrap();
        assert_eq!(set.len(), raw.len() / 3073);
        for (n, record) in raw.chunks(3073).enumerate() {
            assert_eq!(set.labels()[n], record[0]);
            let image = set.image(n).unwrap();
            let planar: Vec<u8> = (0..3).flat_map(|c| (0..1024).map(move |p| image[p * 3 + c])).collect();
            assert!(planar == record[1..], "{name}, record {n}");
        }
    }
}

#[test]
fn the_embedded_sample_is_the_directory() {
    let Some(dir) = originals() else { return };
    assert!(load_dir(&dir).unwrap() == sample().unwrap());
}

#[test]
fn both_data_sets_are_found_in_place_and_in_their_folder() {
    let one = |label: &[u8], pixel: u8| [label, &[pixel; 3072]].concat();
    for folder in ["", "cifar-10-batches-bin"] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(folder);
        fs::create_dir_all(&place).unwrap();
        for k in 1..=5u8 {
            fs::write(place.join(format!("data_batch_{k}.bin")), one(&[k], k)).unwrap();
        }
        fs::write(place.join("test_batch.bin"), one(&[9], 9)).unwrap();
        let cifar = load_dir(dir.path()).unwrap();
        assert_eq!(cifar.train.labels(), [1, 2, 3, 4, 5]);
        assert_eq!(cifar.train.image(3).unwrap(), [4; 3072]);
        assert_eq!(cifar.test.labels(), [9]);

        fs::remove_file(place.join("data_batch_4.bin")).unwrap();
        let error = load_dir(dir.path()).unwrap_err();
        assert!(matches!(&error, DataError::Incomplete { missing, .. } if *missing == ["data_batch_4.bin"]), "{error}");
    }
    for folder in ["", "cifar-100-binary"] {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(folder);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("train.bin"), one(&[1, 70], 3)).unwrap();
        fs::write(place.join("test.bin"), one(&[2, 71], 4)).unwrap();
        let cifar = load_dir(dir.path()).unwrap();
        assert_eq!((cifar.train.labels(), cifar.test.labels()), (&[70][..], &[71][..]));
        assert_eq!(cifar.train.classes(), 100);
    }
}

#[test]
fn a_directory_without_data_says_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no directory").unwrap();
    for place in [dir.path(), &dir.path().join("nowhere"), &file] {
        let error = load_dir(place).unwrap_err().to_string();
        for part in [&place.display().to_string(), "data_batch_5.bin", "cifar-10-batches-bin/", "train.bin"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

/// A file longer than any official one is refused by its length, and is not read.
#[test]
fn oversized_files_are_refused_before_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let sized = |name: &str, length: u64| {
        let path = dir.path().join(name);
        fs::File::create(&path).unwrap().set_len(length).unwrap();
        path
    };
    for (layout, records, most) in [
        (Layout::Cifar10, 10_001, 10_000),
        (Layout::Cifar10, 1 << 28, 10_000),
        (Layout::Cifar100, 50_001, 50_000),
        (Layout::Cifar100Coarse, 1 << 28, 50_000),
    ] {
        let size = layout.record_size() as u64;
        let error = read_file(layout, sized("long.bin", records * size)).unwrap_err();
        let (length, most_bytes) = ((records * size).to_string(), (most * size).to_string());
        for part in ["long.bin", &length, &most.to_string(), &most_bytes] {
            assert!(error.to_string().contains(part), "{error} has no {part}");
        }
    }
    let full = read_file(Layout::Cifar10, sized("full.bin", 10_000 * 3073)).unwrap();
    assert_eq!(full.len(), 10_000);

    // the parts of CIFAR-100 differ in size: what the file for training may hold, that for tests may not
    sized("train.bin", 3074);
    sized("test.bin", 10_001 * 3074);
    let error = load_dir(dir.path()).unwrap_err();
    assert!(matches!(&error, DataError::Oversized { most: 10_000, .. }), "{error}");
    assert!(error.to_string().contains("test.bin"), "{error}");
}

#[test]
fn bad_files_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let error = |name: &str, bytes: Option<&[u8]>| {
        let path = dir.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let error = read_file(Layout::Cifar10, &path).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        error
    };
    let (two, five) = (vec![0; 2 * 3073], vec![5; 3073]);
    assert!(matches!(error("missing.bin", None), DataError::Io { .. }));
    assert!(matches!(error("empty.bin", Some(&[])), DataError::Empty { .. }));
    let cut = error("cut.bin", Some(&two[..two.len() - 1]));
    assert!(matches!(cut, DataError::Length { length: 6145, record: 3073, nearest: 2, .. }), "{cut}");
    let long = error("long.bin", Some(&[&two[..], &[0]].concat()));
    assert!(matches!(long, DataError::Length { length: 6147, nearest: 2, .. }), "{long}");
    let label = error("label.bin", Some(&[&two[..], &[10], &five[1..]].concat()));
    assert!(matches!(label, DataError::Label { record: 2, label: 10, classes: 10, .. }), "{label}");
    assert!(matches!(read_file(Layout::Cifar10, dir.path()), Err(DataError::Io { .. })));
    // A CIFAR-100 file read as CIFAR-10 fails by its length.
    assert!(matches!(read_bytes(Layout::Cifar10, &[0; 3074], "it"), Err(DataError::Length { .. })));
}

#[test]
fn an_epoch_holds_every_image_once_in_another_order() {
    let data = train();
    let mut expected = BTreeMap::new();
    for n in 0..data.len() {
        *expected.entry((data.image(n).unwrap().to_vec(), data.labels()[n])).or_insert(0) += 1;
    }
    let options = LoaderOptions { batch_size: 64, workers: 2, seed: 11, ..LoaderOptions::default() };
    let loader = DataLoader::new(data.clone(), options).unwrap();
    let mut labels = Vec::new();
    for epoch in 0..2 {
        let mut found = BTreeMap::new();
        let batches = batches(&loader, epoch);
        assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [vec![64; 58], vec![38]].concat());
        for batch in &batches {
            for (image, &label) in batch.inputs.chunks(3072).zip(&batch.labels) {
                let bytes: Vec<u8> = image.iter().map(|v| (v * 255.0).round() as u8).collect();
                *found.entry((bytes, label as u8)).or_insert(0) += 1;
            }
        }
        assert!(found == expected, "epoch {epoch}");
        labels.push(batches.iter().flat_map(|b| b.labels.clone()).collect::<Vec<_>>());
    }
    assert_ne!(labels[0], labels[1]);
}

#[test]
fn batches_do_not_depend_on_the_workers() {
    let data = train();
    let options = LoaderOptions { batch_size: 100, seed: 3, ..Default::default() };
    let with = |workers, prefetch| {
        DataLoader::new(data.clone(), LoaderOptions { workers, prefetch, ..options }).unwrap().transform(augment())
    };
    let expected = batches(&with(0, 0), 4);
    for (workers, prefetch) in [(1, 0), (1, 2), (2, 1), (2, 8), (4, 4), (64, 100)] {
        let loader = with(workers, prefetch);
        assert!(batches(&loader, 4) == expected, "{workers} workers, {prefetch} ahead");
    }
    // An epoch is the same after others and with recycled memory.
    let loader = with(2, 2);
    loader.epoch(0).take(9).for_each(|batch| loader.recycle(batch.unwrap()));
    assert!(batches(&loader, 4) == expected);
}

#[test]
fn augmentation_does_not_depend_on_the_batch_size_or_the_order() {
    let data = Arc::new(train().select(&(0..50).collect::<Vec<_>>()).unwrap());
    let options = LoaderOptions { seed: 8, ..LoaderOptions::default() };
    let images = |batch_size, shuffle| {
        let loader = DataLoader::new(data.clone(), LoaderOptions { batch_size, shuffle, ..options }).unwrap();
        let loader = loader.transform(augment());
        let all: Vec<f32> = batches(&loader, 1).into_iter().flat_map(|b| b.inputs).collect();
        let mut all: Vec<Vec<u32>> = all.chunks(3072).map(|i| i.iter().map(|v| v.to_bits()).collect()).collect();
        all.sort();
        all
    };
    let expected = images(50, false);
    assert!(images(7, true) == expected);
    assert!(images(1, true) == expected);
}

/// The same seed gives the same bits on every machine and in every version: a change here is a breaking one.
#[test]
fn the_bits_of_a_batch_stay() {
    let options = LoaderOptions { batch_size: 100, seed: 42, ..Default::default() };
    let batch = DataLoader::new(train(), options).unwrap().transform(augment()).epoch(1).next().unwrap().unwrap();
    let mut hash = Sha256::new();
    batch.inputs.iter().for_each(|v| hash.update(v.to_le_bytes()));
    batch.labels.iter().for_each(|v| hash.update(v.to_le_bytes()));
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "b00b046d57e4a111");
}

#[test]
fn leaving_an_epoch_early_ends_its_threads() {
    let data = train();
    let loader = DataLoader::new(data.clone(), LoaderOptions { workers: 4, ..LoaderOptions::default() }).unwrap();
    for taken in [0, 1, 10] {
        let mut epoch = loader.epoch(0);
        epoch.by_ref().take(taken).for_each(|batch| assert_eq!(batch.unwrap().len(), 32));
        drop(epoch);
    }
    drop(loader);
    // The threads are gone, and with them their hold on the data.
    assert_eq!(Arc::strong_count(&data), 1);
}

#[test]
fn errors_can_cross_threads() {
    fn sendable<T: Send + Sync + 'static>() {}
    sendable::<DataError>();
    sendable::<DataLoader>();
}
