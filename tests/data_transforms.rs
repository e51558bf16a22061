//! Transforms against their definitions, written as plainly as possible, and the promise that batches do not depend
//! on the number of workers.

use outrigger::data::{
    Array, ArrayDataset, Batch, BatchTransform, CenterCrop, ColorJitter, Compose, CutMix, Cutout, DataLoader,
    ImageDataGenerator, Interpolation, LoaderOptions, Mixup, Normalize, Pad, PaddingMode, Random, RandomCrop,
    RandomErasing, RandomHorizontalFlip, RandomRotation, Resize, Sample, Samples, Target, ToTensor, Transform, Values,
};
use proptest::prelude::*;

/// Bytes that all differ from their neighbours.
fn image(h: usize, w: usize, c: usize) -> Array {
    Array::new([h, w, c], (0..h * w * c).map(|i| (i * 37 + 11) as u8).collect::<Vec<u8>>()).unwrap()
}

fn bytes(array: &Array) -> &[u8] {
    let Values::Bytes(bytes) = array.values() else { panic!("no bytes") };
    bytes
}

/// [y][x] of an image of one channel.
fn grid(array: &Array) -> Vec<Vec<u8>> {
    bytes(array).chunks(array.shape()[1]).map(<[u8]>::to_vec).collect()
}

fn once(transform: impl Transform, input: &Array) -> Array {
    transform.apply(input.clone(), &mut Random::new(1)).unwrap()
}

fn refused(transform: impl Transform, input: &Array, part: &str) {
    let error = transform.apply(input.clone(), &mut Random::new(1)).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

/// An image padded by `p` zeros.
fn padded(array: &Array, p: usize) -> Vec<Vec<u8>> {
    let rows = grid(array);
    let width = rows[0].len();
    let mut out = vec![vec![0; width + 2 * p]; rows.len() + 2 * p];
    for (y, row) in rows.iter().enumerate() {
        out[y + p][p..p + width].copy_from_slice(row);
    }
    out
}

#[test]
fn padding_is_as_defined() {
    let line = Array::new([1, 4, 1], vec![1u8, 2, 3, 4]).unwrap();
    assert_eq!(grid(&once(Pad::new(2), &image(5, 3, 1))), padded(&image(5, 3, 1), 2));
    let square = Array::new([3, 3, 1], vec![1u8, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
    let middle = |mode| grid(&once(Pad { padding: 2, mode }, &square))[2].clone();
    assert_eq!(middle(PaddingMode::Edge), [1, 1, 1, 2, 3, 3, 3]);
    assert_eq!(middle(PaddingMode::Reflect), [3, 2, 1, 2, 3, 2, 1]);
    assert_eq!(middle(PaddingMode::Symmetric), [2, 1, 1, 2, 3, 3, 2]);
    assert_eq!(middle(PaddingMode::Constant(7.0)), [7, 7, 1, 2, 3, 7, 7]);
    refused(Pad { padding: 1, mode: PaddingMode::Reflect }, &line, "padding = 1");
    refused(Pad::new(usize::MAX), &line, "padding");
    refused(Pad::new(1), &Array::new([3], vec![0u8; 3]).unwrap(), "[height, width, channels]");
}

#[test]
fn a_random_crop_is_some_crop_and_each_comes() {
    let input = image(4, 5, 1);
    let all = padded(&input, 1);
    let mut random = Random::new(3);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let crop = RandomCrop { size: [3, 5], padding: 1, mode: PaddingMode::default() };
        let crop = grid(&crop.apply(input.clone(), &mut random).unwrap());
        let places = (0..=3).flat_map(|y| (0..=2).map(move |x| (y, x)));
        let place = places.clone().find(|&(y, x)| (0..3).all(|row| all[y + row][x..x + 5] == crop[row][..]));
        seen.insert(place.expect("no crop of the image"));
    }
    assert_eq!(seen.len(), 12);
    refused(RandomCrop::new(6), &input, "axis 0");
}

#[test]
fn center_crops_and_flips_keep_whole_pixels() {
    let input = image(5, 6, 1);
    let middle: Vec<Vec<u8>> = grid(&input)[1..4].iter().map(|row| row[2..5].to_vec()).collect();
    // (6 − 3) / 2 rounds to 2, as in torchvision
    assert_eq!(grid(&once(CenterCrop::new(3), &input)), middle);
    assert_eq!(grid(&once(CenterCrop { size: [7, 8] }, &input)), padded(&input, 1));
    refused(CenterCrop::new(0), &input, "size");
    let input = image(2, 3, 2);
    let flipped = once(RandomHorizontalFlip { p: 1.0 }, &input);
    let pixel = |a: &Array, y: usize, x: usize| bytes(a)[(y * 3 + x) * 2..][..2].to_vec();
    assert!((0..6).all(|i| pixel(&input, i / 3, i % 3) == pixel(&flipped, i / 3, 2 - i % 3)));
    assert_eq!(once(RandomHorizontalFlip { p: 0.0 }, &input), input);
    refused(RandomHorizontalFlip { p: 1.5 }, &input, "p = 1.5");
}

#[test]
fn halving_is_a_triangle_and_a_plane_stays_a_plane() {
    let line = Array::new([1, 8, 1], vec![0., 8., 16., 24., 80., 40., 48., 56.]).unwrap();
    // weights 1, 3, 3, 1 of 8, cut and normalised at the ends
    let half = once(Resize::exactly([1, 4]), &line).into_floats();
    let expected = [(0. * 3. + 8. * 3. + 16.) / 7., (8. + 48. + 72. + 80.) / 8., (24. + 240. + 120. + 48.) / 8., 0.];
    assert!(half.iter().zip(&expected[..3]).all(|(a, b)| (a - b).abs() < 1e-4), "{half:?}");
    let ramp: Vec<f32> = (0..6 * 5).map(|i| (i % 5) as f32 * 2.0 + (i / 5) as f32).collect();
    let big = once(Resize::exactly([12, 10]), &Array::new([6, 5, 1], ramp).unwrap()).into_floats();
    for y in 1..11 {
        for x in 1..9 {
            let (sy, sx) = ((y as f32 + 0.5) / 2.0 - 0.5, (x as f32 + 0.5) / 2.0 - 0.5);
            assert!((big[y * 10 + x] - (2.0 * sx + sy)).abs() < 1e-4);
        }
    }
    assert_eq!(once(Resize::shorter_side(6), &image(4, 9, 3)).shape(), [6, 13, 3]);
    assert_eq!(once(Resize::shorter_side(2), &image(9, 4, 3)).shape(), [4, 2, 3]);
    refused(Resize::exactly([0, 3]), &image(2, 2, 1), "size");
    refused(Resize::shorter_side(usize::MAX), &image(2, 3, 1), "size");
}

#[test]
fn rotations_by_nothing_and_by_far() {
    let input = image(5, 5, 1);
    assert_eq!(once(RandomRotation::new(0.0), &input), input);
    for interpolation in [Interpolation::Nearest, Interpolation::Bilinear] {
        // a disc of one value looks the same from every side
        let disc: Vec<u8> =
            (0..441).map(|i| if (i / 21 - 10i32).pow(2) + (i % 21 - 10).pow(2) < 60 { 9 } else { 0 }).collect();
        let disc = Array::new([21, 21, 1], disc).unwrap();
        let turned = once(RandomRotation { degrees: 180.0, interpolation, fill: 0.0 }, &disc);
        let differ = bytes(&turned).iter().zip(bytes(&disc)).filter(|(a, b)| a != b).count();
        assert!(differ < 60, "{differ}");
        assert_eq!(grid(&turned)[10][10], 9);
    }
    // a pixel right of the middle goes where the angle, counter-clockwise, takes it: y points down
    let mut dot = vec![0u8; 441];
    dot[10 * 21 + 19] = 255;
    let dot = Array::new([21, 21, 1], dot).unwrap();
    for seed in 0..30 {
        let angle = Random::new(seed).uniform(-90.0, 90.0).to_radians();
        let turned = RandomRotation { interpolation: Interpolation::Bilinear, ..RandomRotation::new(90.0) };
        let turned = grid(&turned.apply(dot.clone(), &mut Random::new(seed)).unwrap());
        let (y, x) = (10.0 - 9.0 * angle.sin(), 10.0 + 9.0 * angle.cos());
        let value = |y: f64, x: f64| f64::from(turned[y as usize][x as usize]);
        let around = [(y.floor(), x.floor()), (y.floor(), x.ceil()), (y.ceil(), x.floor()), (y.ceil(), x.ceil())];
        assert!(around.into_iter().map(|(y, x)| value(y, x)).sum::<f64>() > 150.0, "{angle}");
    }
    refused(RandomRotation::new(-1.0), &input, "degrees = -1");
}

#[test]
fn normalising_and_scaling() {
    let input = Array::new([1, 1, 2], vec![0u8, 255]).unwrap();
    assert_eq!(once(ToTensor, &input).into_floats(), [0.0, 1.0]);
    assert_eq!(once(Normalize::new([0.5, 0.5], [0.5, 0.25]), &input).into_floats(), [-1.0, 2.0]);
    refused(Normalize::new([0.5], [0.5]), &input, "2 channels");
    refused(Normalize::new([0.5, 0.5], [0.5, 0.0]), &input, "std = 0");
}

#[test]
fn colours_keep_what_they_should() {
    let input = once(ToTensor, &image(6, 7, 3));
    let same = once(ColorJitter::default(), &input);
    assert_eq!(same, input);
    let extremes =
        |pixel: &[f32]| [pixel.iter().cloned().fold(0.0, f32::max), pixel.iter().cloned().fold(1.0, f32::min)];
    let turned = once(ColorJitter { hue: 0.5, ..Default::default() }, &input).into_floats();
    assert_ne!(turned, input.clone().into_floats());
    for (a, b) in turned.chunks(3).zip(input.clone().into_floats().chunks(3)) {
        let (a, b) = (extremes(a), extremes(b));
        assert!((a[0] - b[0]).abs() < 1e-5 && (a[1] - b[1]).abs() < 1e-5);
    }
    // brightness is one factor for all values that stay below 1
    let dark = Array::new([1, 3, 1], vec![0.1, 0.2, 0.3]).unwrap();
    let out = once(ColorJitter { brightness: 0.5, ..Default::default() }, &dark).into_floats();
    assert!((out[1] / out[0] - 2.0).abs() < 1e-5 && (out[2] / out[0] - 3.0).abs() < 1e-5);
    assert!((0.05..=0.15).contains(&out[0]));
    // contrast keeps the mean, saturation keeps the grey
    let out = once(ColorJitter { contrast: 0.5, ..Default::default() }, &dark).into_floats();
    assert!((out.iter().sum::<f32>() - 0.6).abs() < 1e-5 && out[0] != 0.1);
    let grey = |p: &[f32]| 0.2989 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    let pixel = Array::new([1, 1, 3], vec![0.4, 0.5, 0.6]).unwrap();
    let out = once(ColorJitter { saturation: 0.9, ..Default::default() }, &pixel).into_floats();
    assert!((grey(&out) - grey(&[0.4, 0.5, 0.6])).abs() < 1e-3 && out[0] != 0.4);
    refused(ColorJitter { hue: 0.6, ..Default::default() }, &input, "hue = 0.6");
    refused(ColorJitter::default(), &image(2, 2, 2), "1 or 3");
}

#[test]
fn erasures_are_rectangles_of_the_promised_size() {
    let input = Array::new([20, 30, 1], vec![1u8; 600]).unwrap();
    let rectangle = |array: &Array| {
        let zeros: Vec<_> = (0..600).filter(|&i| bytes(array)[i] == 0).map(|i| (i / 30, i % 30)).collect();
        let (h, w) = [|p: &(usize, usize)| p.0, |p: &(usize, usize)| p.1]
            .map(|axis| zeros.iter().map(axis).max().map_or(0, |max| max + 1 - zeros.iter().map(axis).min().unwrap()))
            .into();
        assert_eq!(zeros.len(), h * w);
        (h, w)
    };
    let mut random = Random::new(4);
    for _ in 0..50 {
        let out = RandomErasing { p: 1.0, ..Default::default() }.apply(input.clone(), &mut random).unwrap();
        let (h, w) = rectangle(&out);
        assert!((5..=230).contains(&(h * w)), "{h}×{w}");
        let (h, w) = rectangle(&Cutout::new(6).apply(input.clone(), &mut random).unwrap());
        assert!((3..=6).contains(&h) && (3..=6).contains(&w), "{h}×{w}");
    }
    assert_eq!(once(RandomErasing { p: 0.0, ..Default::default() }, &input), input);
    assert_eq!(bytes(&once(Cutout::new(1000), &input)), [0; 600]);
    refused(RandomErasing { scale: [0.5, 0.2], ..Default::default() }, &input, "scale");
}

/// Four images of one value each, and their classes.
fn four() -> Batch {
    let inputs = (0..4).flat_map(|i| vec![i as f32; 64]).collect();
    Batch { shape: vec![4, 8, 8, 1], inputs, labels: vec![0, 1, 2, 2], targets: vec![] }
}

#[test]
fn mixed_batches_have_mixed_targets() {
    for seed in 0..20 {
        let (mut mixed, mut cut) = (four(), four());
        Mixup::new(3).apply(&mut mixed, &mut Random::new(seed)).unwrap();
        CutMix::new(3).apply(&mut cut, &mut Random::new(seed)).unwrap();
        for batch in [&mixed, &cut] {
            assert_eq!(batch.labels, four().labels);
            for i in 0..4 {
                let before = (i + 3) % 4;
                let mean = batch.inputs[i * 64..][..64].iter().sum::<f32>() / 64.0;
                // λ from the pixels, and the same from the targets
                let lambda = (mean - before as f32) / (i as f32 - before as f32);
                let mut row = [0.0; 3];
                row[four().labels[i] as usize] += lambda;
                row[four().labels[before] as usize] += 1.0 - lambda;
                let found = &batch.targets[i * 3..][..3];
                assert!(found.iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} {row:?}");
            }
        }
        assert!(cut.inputs.iter().all(|v| v.fract() == 0.0));
    }
    let error = Mixup::new(2).apply(&mut four(), &mut Random::new(0)).unwrap_err().to_string();
    assert!(error.contains("record 2 has the label 2"), "{error}");
    assert!(Mixup { classes: 3, alpha: 0.0 }.apply(&mut four(), &mut Random::new(0)).is_err());
}

#[test]
fn keras_generator_flows_without_end() {
    let data = || ArrayDataset::classes(Array::new([5, 4, 4, 1], vec![100u8; 80]).unwrap(), vec![0; 5], 1).unwrap();
    let options = LoaderOptions { batch_size: 2, ..LoaderOptions::default() };
    let plain = ImageDataGenerator::default();
    let sizes: Vec<usize> = plain.flow(data(), options).unwrap().take(7).map(|b| b.unwrap().len()).collect();
    assert_eq!(sizes, [2, 2, 1, 2, 2, 1, 2]);
    assert!(plain.flow(data(), options).unwrap().next().unwrap().unwrap().inputs.iter().all(|&v| v == 100.0));
    // a plain field looks the same however it is moved, since its edge goes on
    let moved = ImageDataGenerator {
        rotation_range: 90.0,
        width_shift_range: 0.5,
        shear_range: 20.0,
        zoom_range: 0.3,
        rescale: 0.01,
        horizontal_flip: true,
        vertical_flip: true,
        ..plain
    };
    let batch = moved.flow(data(), options).unwrap().next().unwrap().unwrap();
    assert!(batch.inputs.iter().all(|v| (v - 1.0).abs() < 1e-5), "{:?}", batch.inputs);
    let standard = ImageDataGenerator { samplewise_center: true, samplewise_std_normalization: true, ..plain };
    let out = once(standard, &image(4, 4, 1)).into_floats();
    assert!(out.iter().sum::<f32>().abs() < 1e-3);
    assert!((out.iter().map(|v| v * v).sum::<f32>() / 16.0 - 1.0).abs() < 1e-3);
    refused(ImageDataGenerator { zoom_range: 1.0, ..plain }, &image(2, 2, 1), "zoom_range = 1");
}

/// What Keras 3.15 makes of this image with the numbers that seed 5 draws. (Its shift along the height is given as that
/// along the width and the other way round: it has exchanged the two since 2019.)
#[test]
fn keras_generator_moves_pixels_as_keras_does() {
    let generator = ImageDataGenerator {
        rotation_range: 40.0,
        width_shift_range: 0.2,
        height_shift_range: 0.3,
        shear_range: 30.0,
        zoom_range: 0.3,
        channel_shift_range: 30.0,
        horizontal_flip: true,
        vertical_flip: true,
        rescale: 0.5,
        ..ImageDataGenerator::default()
    };
    let image = Array::new([5, 5, 1], (0..25u32).map(|i| (i * i * 7 % 251) as u8).collect::<Vec<_>>()).unwrap();
    let found = generator.apply(image, &mut Random::new(5)).unwrap().into_floats();
    let expected = [
        [13.2248, 36.9029, 43.8835, 34.0163, 27.9264],
        [95.4614, 24.6762, 31.3936, 40.2329, 38.9569],
        [74.2836, 68.0197, 30.9951, 67.8457, 95.4614],
        [46.7893, 29.7065, 19.4899, 22.8741, 82.3714],
        [49.6432, 31.7450, 18.9444, 11.2414, 8.4264],
    ];
    for (found, expected) in found.iter().zip(expected.as_flattened()) {
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }
}

#[test]
fn errors_name_the_sample() {
    let samples = |shapes: &'static [usize]| {
        Samples::collect(
            shapes.iter().map(|&n| Ok(Sample { input: Array::new([n], vec![0.0; n])?, target: Target::None })),
        )
    };
    let options = LoaderOptions { shuffle: false, workers: 3, batch_size: 2, ..LoaderOptions::default() };
    let loader = DataLoader::new(samples(&[1, 1, 1, 2]).unwrap(), options).unwrap();
    let all: Vec<_> = loader.epoch(0).collect();
    assert!(all[0].is_ok() && all.len() == 2);
    let error = all[1].as_ref().unwrap_err().to_string();
    assert!(error.starts_with("sample 3: input of a batch"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_number_of_workers_makes_the_same_batches(
        n in 1usize..40, batch_size in 1usize..9, workers in 1usize..6, prefetch in 0usize..5, seed in any::<u64>(),
        epoch in 0u64..3, shuffle in any::<bool>(),
    ) {
        let pixels: Vec<u8> = (0..n * 8 * 8 * 3).map(|i| ((i * i) >> 3) as u8).collect();
        let labels = (0..n).map(|i| (i % 4) as i32).collect();
        let data = ArrayDataset::classes(Array::new([n, 8, 8, 3], pixels).unwrap(), labels, 4).unwrap();
        let batches = |workers, prefetch| {
            let options = LoaderOptions { batch_size, workers, prefetch, seed, shuffle, drop_last: false };
            let transform = Compose::new()
                .then(RandomCrop { padding: 2, ..RandomCrop::new(8) })
                .then(RandomHorizontalFlip::default())
                .then(RandomRotation { interpolation: Interpolation::Bilinear, ..RandomRotation::new(30.0) })
                .then(ColorJitter { brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.1 })
                .then(RandomErasing::default());
            let loader = DataLoader::new(data.clone(), options).unwrap();
            let loader = loader.transform(transform).batch_transform(Mixup::new(4)).batch_transform(CutMix::new(4));
            loader.epoch(epoch).collect::<Result<Vec<Batch>, _>>().unwrap()
        };
        prop_assert!(batches(workers, prefetch) == batches(0, 0));
    }
}
