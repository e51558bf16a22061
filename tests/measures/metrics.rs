//! Metrics over batches of uneven sizes, against counting by hand over the whole.

use outrigger::train::metrics::{
    Accuracy, Auc, Average, ClassScore, ConfusionMatrix, Mean, MeanAbsoluteError, Metric, TopK, f1, precision, recall,
};
use outrigger::{Error, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Samples of `width` scores, few values so that many are equal, and labels below `classes`.
struct Samples {
    width: usize,
    scores: Vec<f32>,
    labels: Vec<i32>,
}

const SIZES: [usize; 5] = [7, 1, 13, 0, 4];

impl Samples {
    fn new(seed: u64, width: usize, classes: i32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let samples: usize = SIZES.iter().sum();
        let scores = (0..samples * width).map(|_| rng.random_range(0..8) as f32 / 8.0).collect();
        let labels = (0..samples).map(|_| rng.random_range(0..classes)).collect();
        Samples { width, scores, labels }
    }
    /// Adds all batches.
    fn feed(&self, mut update: impl FnMut(&Tensor, &Tensor) -> Result<(), Error>) {
        let mut at = 0;
        for size in SIZES {
            let scores = self.scores[at * self.width..(at + size) * self.width].to_vec();
            let labels = Tensor::i32([size], self.labels[at..at + size].to_vec()).unwrap();
            update(&Tensor::f32([size, self.width], scores).unwrap(), &labels).unwrap();
            at += size;
        }
    }
    fn value(&self, metric: &mut dyn Metric) -> f64 {
        assert!(metric.value().is_nan() || metric.value() == 0.0);
        self.feed(|p, t| metric.update(p, t));
        let value = metric.value();
        metric.reset();
        self.feed(|p, t| metric.update(p, t));
        assert_eq!(metric.value(), value, "after a reset");
        value
    }
    fn rows(&self) -> impl Iterator<Item = (&[f32], usize)> {
        self.scores.chunks(self.width).zip(&self.labels).map(|(row, &label)| (row, label as usize))
    }
    /// Classes of a sample, the best first.
    fn order(row: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        order
    }
    fn share(&self, hit: impl Fn(&[f32], usize) -> bool) -> f64 {
        self.rows().filter(|&(row, label)| hit(row, label)).count() as f64 / self.labels.len() as f64
    }
}

#[test]
fn accuracy_and_top_k() {
    for seed in 0..5 {
        let samples = Samples::new(seed, 6, 6);
        let want = samples.share(|row, label| Samples::order(row)[0] == label);
        assert_eq!(samples.value(&mut Accuracy::new()), want);
        for k in 0..8 {
            let want = samples.share(|row, label| Samples::order(row).iter().take(k).any(|&class| class == label));
            assert_eq!(samples.value(&mut TopK::new(k)), want, "k = {k}");
        }
        let binary = Samples::new(seed, 1, 2);
        let want = binary.share(|row, label| usize::from(row[0] > 0.5) == label);
        assert_eq!(binary.value(&mut Accuracy::new()), want);
        let want = binary.share(|row, label| usize::from(row[0] > 0.25) == label);
        assert_eq!(binary.value(&mut Accuracy::new().with_threshold(0.25)), want);
    }
    assert_eq!((Accuracy::new().name().as_str(), TopK::new(5).name().as_str()), ("accuracy", "top_5_accuracy"));
}

#[test]
fn confusion_precision_recall_and_f1() {
    let ratio = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    for (seed, width) in (0..4).flat_map(|seed| [1, 2, 3, 9].map(|width| (seed, width))) {
        let classes = width.max(2);
        // the last class has no samples
        let samples = Samples::new(seed, width, if width > 2 { width as i32 - 1 } else { 2 });
        let class = |row: &[f32]| if width == 1 { usize::from(row[0] > 0.5) } else { Samples::order(row)[0] };
        let count =
            |wanted: &dyn Fn(usize, usize) -> bool| samples.rows().filter(|&(r, l)| wanted(l, class(r))).count();
        let mut matrix = ConfusionMatrix::new(classes);
        samples.feed(|p, t| matrix.update(p, t));
        for (label, predicted) in (0..classes).flat_map(|l| (0..classes).map(move |p| (l, p))) {
            let want = count(&|l, p| l == label && p == predicted);
            assert_eq!(matrix.count(label, predicted), want as u64);
            assert_eq!(matrix.row(label)[predicted], want as u64);
        }
        assert_eq!(matrix.accuracy(), samples.share(|row, label| class(row) == label));
        assert_eq!((matrix.count(0, classes), matrix.count(classes, 0), matrix.row(classes)), (0, 0, &[][..]));

        let [mut macros, mut weighted] = [[0.0; 3]; 2];
        for c in 0..classes {
            let (both, taken) = (count(&|l, p| l == c && p == c), count(&|_, p| p == c));
            let support = count(&|l, _| l == c);
            let (precise, recalled) = (ratio(both, taken), ratio(both, support));
            let harmonic = if both == 0 { 0.0 } else { 2.0 / (1.0 / precise + 1.0 / recalled) };
            let kinds: [fn(usize, Average) -> ClassScore; 3] = [precision, recall, f1];
            for (i, (kind, want)) in kinds.iter().zip([precise, recalled, harmonic]).enumerate() {
                let got = samples.value(&mut kind(classes, Average::Class(c)));
                assert!((got - want).abs() < 1e-12, "{got}, {want}");
                macros[i] += want / classes as f64;
                weighted[i] += want * support as f64 / samples.labels.len() as f64;
            }
        }
        for (average, want) in [(Average::Macro, macros), (Average::Weighted, weighted)] {
            let metrics = [precision(classes, average), recall(classes, average), f1(classes, average)];
            for (mut metric, want) in metrics.into_iter().zip(want) {
                let got = samples.value(&mut metric);
                assert!((got - want).abs() < 1e-12, "{} {average:?}: {got}, {want}", metric.name());
            }
        }
    }
}

#[test]
fn area_under_the_curve() {
    for (seed, width) in (0..6).flat_map(|seed| [(seed, 1), (seed, 2)]) {
        let samples = Samples::new(seed, width, 2);
        let score = |row: &[f32]| if width == 1 { row[0] } else { row[1] - row[0] };
        let (mut pairs, mut all) = (0.0, 0.0);
        for (one, _) in samples.rows().filter(|(_, label)| *label == 1) {
            for (zero, _) in samples.rows().filter(|(_, label)| *label == 0) {
                all += 1.0;
                let (one, zero) = (score(one), score(zero));
                pairs += if one > zero {
                    1.0
                } else if one == zero {
                    0.5
                } else {
                    0.0
                };
            }
        }
        assert_eq!(samples.value(&mut Auc::new()), pairs / all);
    }
    let of = |scores: Vec<f32>, labels: Vec<i32>| {
        let mut auc = Auc::new();
        let n = labels.len();
        auc.update(&Tensor::f32([n], scores).unwrap(), &Tensor::i32([n], labels).unwrap()).unwrap();
        auc.value()
    };
    assert_eq!(of(vec![0.1, 0.9, 0.0, -0.0], vec![0, 1, 1, 0]), 0.625);
    assert!(of(vec![0.1, 0.9], vec![1, 1]).is_nan() && of(vec![f32::NAN, 0.9], vec![0, 1]).is_nan());
}

#[test]
fn means_and_absolute_errors() {
    let (mut loss, mut error) = (Mean::default(), MeanAbsoluteError::default());
    assert!(loss.value().is_nan() && error.value().is_nan());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut off = Vec::new();
    for size in SIZES {
        let mut draw = || (0..size * 2).map(|_| rng.random_range(0..64) as f32 / 4.0).collect::<Vec<_>>();
        let (p, t) = (draw(), draw());
        let batch: Vec<f64> = p.iter().zip(&t).map(|(p, t)| f64::from((p - t).abs())).collect();
        if size > 0 {
            loss.add(batch.iter().sum::<f64>() / batch.len() as f64, size);
        }
        error.update(&Tensor::f32([size, 2], p).unwrap(), &Tensor::f32([size, 2], t).unwrap()).unwrap();
        off.extend(batch);
    }
    let want = off.iter().sum::<f64>() / off.len() as f64;
    assert_eq!(error.value(), want);
    assert!((loss.value() - want).abs() < 1e-12);
    loss.reset();
    error.reset();
    assert!(loss.value().is_nan() && error.value().is_nan());
}

#[test]
fn scores_that_are_no_numbers_are_wrong() {
    let scores = Tensor::f32([2, 3], vec![f32::NAN, 0.5, 0.0, 0.5, 0.25, f32::NAN]).unwrap();
    for (labels, accuracy, top_2) in [([0, 2], 0.0, 0.0), ([1, 0], 1.0, 1.0), ([2, 1], 0.0, 1.0)] {
        let labels = Tensor::i32([2], labels.to_vec()).unwrap();
        let (mut first, mut second) = (Accuracy::new(), TopK::new(2));
        first.update(&scores, &labels).unwrap();
        second.update(&scores, &labels).unwrap();
        assert_eq!((first.value(), second.value()), (accuracy, top_2));
    }
}

#[test]
fn batches_that_do_not_fit() {
    let f32s = |shape: &[usize]| Tensor::full(shape, 0.5);
    let labels = |values: &[i32]| Tensor::i32([values.len()], values.to_vec()).unwrap();
    let mut all: Vec<Box<dyn Metric>> = vec![
        Box::new(Accuracy::new()),
        Box::new(TopK::new(1)),
        Box::new(precision(2, Average::Class(1))),
        Box::new(Auc::new()),
    ];
    for metric in &mut all {
        let name = metric.name();
        let mut error = |p: &Tensor, t: &Tensor| metric.update(p, t).unwrap_err().to_string();
        assert_eq!(error(&f32s(&[2, 2]), &labels(&[0])), "\"target\" takes i32[2], got i32[1]", "{name}");
        assert_eq!(error(&f32s(&[2, 2]), &f32s(&[2])), "\"target\" takes i32[2], got f32[2]", "{name}");
        assert_eq!(error(&labels(&[0]), &labels(&[0])), "\"prediction\" takes f32[1], got i32[1]", "{name}");
        assert_eq!(error(&f32s(&[2, 3, 2]), &labels(&[0, 1])), "\"target\" takes i32[2,3], got i32[2]", "{name}");
        assert!(error(&f32s(&[]), &labels(&[0])).contains("\"prediction\" takes f32[1,2], got f32[]"), "{name}");
        let outside = error(&f32s(&[2, 2]), &labels(&[1, 2]));
        assert_eq!(outside, "\"target\"[1] is 2, but labels must be in 0..2", "{name}");
        assert!(error(&f32s(&[1, 2]), &labels(&[-1])).contains("is -1"), "{name}");
        assert!(metric.value().is_nan() || metric.value() == 0.0, "{name} is as before");
    }
    assert!(TopK::new(1).update(&f32s(&[3]), &labels(&[0, 1, 1])).is_err());
    let outside = recall(2, Average::Class(2)).update(&f32s(&[1, 2]), &labels(&[0])).unwrap_err().to_string();
    assert!(
        outside.contains("average") && outside.contains("the 2 classes") && outside.contains("class 2"),
        "{outside}"
    );
    assert!(recall(3, Average::Macro).update(&f32s(&[1, 2]), &labels(&[0])).is_err());
    assert!(Auc::new().update(&f32s(&[1, 3]), &labels(&[0])).is_err());
    let mut error = MeanAbsoluteError::default();
    assert!(error.update(&f32s(&[2, 1]), &f32s(&[2])).is_err() && error.update(&labels(&[1]), &f32s(&[1])).is_err());
}

/// Words of a text, pixels of an image: as many samples.
#[test]
fn axes_between_samples_and_classes_are_samples() {
    let scores =
        |shape: &[usize]| Tensor::f32(shape.to_vec(), Samples::new(3, 4, 4).scores[..24 * 4].to_vec()).unwrap();
    let labels = |shape: &[usize]| Tensor::i32(shape.to_vec(), (0..24).map(|i| i * 7 % 4).collect()).unwrap();
    let mut all: [[Box<dyn Metric>; 3]; 2] = [(); 2]
        .map(|()| [Box::new(Accuracy::new()) as _, Box::new(TopK::new(2)) as _, Box::new(f1(4, Average::Macro)) as _]);
    let [rows, texts] = &mut all;
    for (row, text) in rows.iter_mut().zip(texts) {
        row.update(&scores(&[24, 4]), &labels(&[24])).unwrap();
        text.update(&scores(&[2, 4, 3, 4]), &labels(&[2, 4, 3])).unwrap();
        assert_eq!(row.value(), text.value());
    }
}
