//! Bad input through a model: the message names the file and the place.

use std::io::Write;
use std::path::Path;

use outrigger::data::{Array, ArrayDataset, ImageFolder, LoaderOptions, Mixup, Resize, Sample, Samples, Target};
use outrigger::data::{DataLoader, to_categorical};
use outrigger::nn::Network;
use outrigger::train::log::Verbose;
use outrigger::train::metrics::{Average, f1};
use outrigger::train::optimizer::Adam;
use outrigger::train::{FitOptions, Model};
use outrigger::{Error, Tensor};

use super::{CROSS_ENTROPY, classifier, weights};

fn contains<T>(result: Result<T, impl ToString>, parts: &[&str]) {
    let Err(error) = result else { panic!("must be refused: {parts:?}") };
    let error = error.to_string();
    parts.iter().for_each(|part| assert!(error.contains(part), "{error}: no {part}"));
}

fn quiet() -> FitOptions {
    FitOptions { batch_size: 2, verbose: Verbose::Silent, ..FitOptions::default() }
}

fn compiled() -> Model {
    let mut model = classifier().unwrap();
    model.compile(Adam::default(), CROSS_ENTROPY, ()).unwrap();
    model
}

#[test]
fn weights_that_are_cut_or_would_run_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = classifier().unwrap();
    let before = weights(&model);
    for end in [".pt", ".weights.h5", ".npz", ".safetensors"] {
        let path = dir.path().join(format!("cut{end}"));
        model.save_weights(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        contains(model.load_weights(&path), &[path.to_str().unwrap()]);
    }
    // posix.system("echo"), as `torch.save` would keep it
    let pickle = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.";
    let path = dir.path().join("foreign.pt");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    archive.start_file("archive/data.pkl", stored).unwrap();
    archive.write_all(pickle).unwrap();
    archive.finish().unwrap();
    contains(model.load_weights(&path), &[path.to_str().unwrap(), "data.pkl", "byte 2", "posix.system"]);
    assert_eq!(weights(&model), before);
}

#[test]
fn an_architecture_of_another_version() {
    let json = classifier().unwrap().network().to_json().unwrap();
    assert!(Network::from_json(&json).is_ok());
    contains(
        Network::from_json(&json.replace("\"version\":1", "\"version\":9")).map(drop),
        &["version", "9", "reads 1"],
    );
    contains(Network::from_json(&json[..json.len() - 9]).map(drop), &["line 1"]);
}

fn png(path: &Path) {
    image::RgbImage::from_pixel(7, 9, image::Rgb([10, 20, 30])).save(path).unwrap();
}

#[test]
fn folders_and_images() {
    let dir = tempfile::tempdir().unwrap();
    contains(ImageFolder::new(dir.path()), &[dir.path().to_str().unwrap(), "no classes"]);
    for class in ["cat", "dog", "emu", "fox"] {
        std::fs::create_dir(dir.path().join(class)).unwrap();
        png(&dir.path().join(class).join("1.png"));
    }
    let bad = dir.path().join("dog").join("2.jpg");
    let options = LoaderOptions { batch_size: 2, shuffle: false, workers: 2, ..LoaderOptions::default() };
    let fit = |data: ImageFolder| {
        let loader = DataLoader::new(data, options)?.transform(Resize::exactly([6, 6]));
        compiled().fit(loader, quiet())
    };
    assert_eq!(fit(ImageFolder::new(dir.path()).unwrap()).unwrap().epochs(), [0]);
    std::fs::write(&bad, b"no image").unwrap();
    contains(fit(ImageFolder::new(dir.path()).unwrap()), &[bad.to_str().unwrap(), "does not decode"]);
}

#[test]
fn labels_without_a_class() {
    let inputs = || Array::new([4, 6, 6, 3], vec![0.5f32; 432]).unwrap();
    contains(ArrayDataset::classes(inputs(), vec![0, 1, 4, 0], 4), &["record 2", "label 4", "4 classes"]);
    contains(to_categorical(&[0, -1], 4), &["record 1", "-1"]);
    // a network with fewer classes than the data
    let data = ArrayDataset::classes(inputs(), vec![0, 1, 9, 0], 10).unwrap();
    let options = FitOptions { shuffle: false, ..quiet() };
    contains(compiled().fit(data.clone(), options), &["target/fc", "[0] is 9", "0..4"]);
    contains(compiled().evaluate(data, 4), &["target/fc", "[2] is 9"]);
    // a metric for other classes than the network's is named
    let mut other = classifier().unwrap();
    other.compile(Adam::default(), CROSS_ENTROPY, [f1(3, Average::Macro)]).unwrap();
    let good = || ArrayDataset::classes(inputs(), vec![0, 1, 2, 0], 4).unwrap();
    contains(other.fit(good(), quiet()), &["prediction of f1_score", "f32[2,3]", "f32[2,4]"]);
    // targets are mixed in a batch
    let loader = DataLoader::new(good(), LoaderOptions { batch_size: 2, shuffle: false, ..LoaderOptions::default() });
    let loader = loader.unwrap().batch_transform(Mixup::new(2));
    contains(loader.epoch(0).collect::<Result<Vec<_>, _>>(), &["batch 1", "label 2", "2 classes"]);
    // a loader that does not know how many there are
    let sample = |label| -> Result<Sample, outrigger::data::DataError> {
        Ok(Sample { input: Array::new([6, 6, 3], vec![0u8; 108])?, target: Target::Class(label) })
    };
    let data = Samples::collect([0, 7].map(sample)).unwrap();
    contains(compiled().predict(data.clone(), 2).and_then(|_| compiled().evaluate(data, 2)), &["[1] is 7", "0..4"]);
}

#[test]
fn batches_that_do_not_fit() {
    let mut model = compiled();
    let wide = Tensor::full([2, 3, 6, 7], 0.0);
    contains(model.predict(wide.clone(), 2), &["[2, 3, 6, 6]", "[2,3,6,7]"]);
    contains(model.predict_on_batch(&[wide.clone(), wide]), &["takes 1 tensors, got 2"]);
    let images = || Tensor::full([2, 3, 6, 6], 0.0);
    let three = Tensor::i32([3], vec![0; 3]).unwrap();
    contains(model.train_on_batch(&[images()], &three), &["a row a sample, 2", "[3]"]);
    let rows = Tensor::full([2, 5], 0.2);
    contains(model.train_on_batch(&[images()], &rows), &["f32[2,4]", "f32[2,5]"]);
    let small = ArrayDataset::classes(Array::new([2, 5, 6, 3], vec![0u8; 180]).unwrap(), vec![0, 1], 4).unwrap();
    contains(model.fit(small, quiet()), &["[6, 6, 3]", "[5, 6, 3]"]);
    let unlabelled = ArrayDataset::unlabelled(Array::new([2, 6, 6, 3], vec![0u8; 216]).unwrap()).unwrap();
    contains(model.fit(unlabelled, quiet()), &["1 losses take a target each, got 0"]);
    assert!(matches!(model.fit((images(), images()), quiet()), Err(Error::Operands { .. })));
}
