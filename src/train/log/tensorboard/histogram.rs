//! Counts of values in TensorBoard's exponential buckets.
//!
//! ```text
//!   … -1.1e-12 │ -1e-12 │ 0 │ 1e-12 │ 1.1e-12 │ 1.21e-12 │ … 1e20 │ largest f64
//! ```
//!
//! Each end is 1.1 times the one before; runs of empty buckets are written as one (TensorFlow, `lib/histogram/histogram.cc`).

use std::sync::LazyLock;

use super::proto::HistogramProto;

/// Ends of buckets, ascending.
static LIMITS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let positive: Vec<f64> = std::iter::successors(Some(1e-12), |v| Some(v * 1.1)).take_while(|&v| v < 1e20).collect();
    let positive = || positive.iter().copied().chain([f64::MAX]);
    let mut limits: Vec<f64> = positive().map(|v| -v).collect();
    limits.reverse();
    limits.extend([0.0].into_iter().chain(positive()));
    limits
});

/// Counts `values`, which are finite numbers.
pub(super) fn histogram(values: &[f32]) -> HistogramProto {
    let limits = &*LIMITS;
    let mut counts = vec![0.0; limits.len()];
    let mut histogram = HistogramProto { min: f64::MAX, max: -f64::MAX, ..HistogramProto::default() };
    for value in values.iter().map(|&v| f64::from(v)) {
        // f32 ends far below the last limit, so there is a bucket for each
        counts[limits.partition_point(|&end| end <= value)] += 1.0;
        histogram.min = histogram.min.min(value);
        histogram.max = histogram.max.max(value);
        histogram.num += 1.0;
        histogram.sum += value;
        histogram.sum_squares += value * value;
    }
    for (at, (&end, &count)) in limits.iter().zip(&counts).enumerate() {
        // of a run of empty buckets the last stands for all
        if count > 0.0 || counts.get(at + 1).is_none_or(|&next| next > 0.0) {
            histogram.bucket_limit.push(end);
            histogram.bucket.push(count);
        }
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_those_of_tensorflow() {
        // 774 powers, as ln(1e32)/ln(1.1) is 773.1, and the largest number, of either sign; and zero
        assert_eq!(LIMITS.len(), 1551);
        assert_eq!((LIMITS[775], LIMITS[776], LIMITS[774]), (0.0, 1e-12, -1e-12));
        assert!(LIMITS.is_sorted());
    }

    #[test]
    fn every_value_is_between_the_ends_of_its_bucket() {
        let values = [0.0, -0.0, 1.0, 1.0, -2.5, 1e-30, f32::MAX, f32::MIN, 3e-5];
        let made = histogram(&values);
        assert_eq!((made.num, made.min, made.max), (9.0, f64::from(f32::MIN), f64::from(f32::MAX)));
        let mut low = f64::NEG_INFINITY;
        for (&end, &count) in made.bucket_limit.iter().zip(&made.bucket) {
            let inside = values.iter().filter(|&&v| low <= f64::from(v) && f64::from(v) < end).count();
            assert_eq!(inside as f64, count, "below {end}");
            low = end;
        }
        assert_eq!(made.bucket.iter().sum::<f64>(), 9.0);
        // no two empty ones in a row
        assert!(made.bucket.windows(2).all(|pair| pair != [0.0, 0.0]));
    }
}
