//! Random numbers that depend on what they are for, and on nothing else.
//!
//! Every use has its own ChaCha8 stream, keyed with (seed, epoch, use, index). Whoever asks, in whatever order, on
//! whatever thread, gets the same numbers. The arithmetic on them is written out here, since `rand` does not promise
//! that its own keeps its results from version to version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// The order of an epoch; the index is 0.
    Order = 0,
    /// The transform of one sample; the index is the sample's in its data set.
    Transform = 1,
    /// The mixing of one batch; the index is the batch's in its epoch.
    Batch = 2,
}

/// The random numbers that one [`Transform`](super::Transform) of one sample in one epoch draws from.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream that `seed` names: for applying a transform by hand.
    pub fn new(seed: u64) -> Random {
        Random::keyed(seed, 0, Use::Transform, 0)
    }

    /// The stream that the order of an epoch is drawn from.
    pub(crate) fn order(seed: u64, epoch: u64) -> Random {
        Random::keyed(seed, epoch, Use::Order, 0)
    }

    /// The stream for one use.
    pub(super) fn keyed(seed: u64, epoch: u64, what: Use, index: u64) -> Random {
        let mut key = [0; 32];
        let words = [seed, epoch, what as u64, index];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Random(ChaCha8Rng::from_seed(key))
    }

    /// A whole number from 0 to `bound` − 1, each equally likely; 0 for a bound of 0.
    ///
    /// The high half of a 64×64-bit product, with the draws rejected that would favour some numbers (Lemire, "Fast
    /// Random Integer Generation in an Interval", 2019).
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound == 0 {
            return 0;
        }
        let surplus = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= surplus {
                return (product >> 64) as usize;
            }
        }
    }

    /// True with probability `p`: never for 0, always for 1.
    pub fn chance(&mut self, p: f64) -> bool {
        f64::from(self.0.next_u32()) / 4_294_967_296.0 >= 1.0 - p
    }

    /// A number from `low` up to `high`, uniformly distributed (53 random bits).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.0.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// A normally distributed number of mean 0 and variance 1 (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform(0.0, 1.0)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform(0.0, 1.0)).cos()
    }

    /// A number from 0 to 1 of the distribution Beta(`a`, `a`), a > 0: G₁ / (G₁ + G₂) for two of Gamma(a).
    pub fn beta(&mut self, a: f64) -> f64 {
        let (x, y) = (self.log_gamma_variate(a), self.log_gamma_variate(a));
        1.0 / (1.0 + (y - x).exp())
    }

    /// The logarithm of a number of Gamma(`a`, 1), which itself is 0 in f64 for a small `a`: Marsaglia and Tsang, "A
    /// Simple Method for Generating Gamma Variables", 2000, with their U^(1/a) for a < 1.
    fn log_gamma_variate(&mut self, a: f64) -> f64 {
        let boost = if a < 1.0 { (1.0 - self.uniform(0.0, 1.0)).ln() / a } else { 0.0 };
        let d = if a < 1.0 { a + 1.0 } else { a } - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.uniform(0.0, 1.0)).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return boost + (d * v).ln();
            }
        }
    }

    /// Brings `items` into an order, each equally likely (Fisher and Yates, in Durstenfeld's form).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_their_key() {
        let first = |seed, epoch, what, index| Random::keyed(seed, epoch, what, index).0.next_u64();
        let base = first(1, 2, Use::Order, 3);
        assert_eq!(base, first(1, 2, Use::Order, 3));
        assert_ne!(base, first(2, 2, Use::Order, 3));
        assert_ne!(base, first(1, 3, Use::Order, 3));
        assert_ne!(base, first(1, 2, Use::Transform, 3));
        assert_ne!(base, first(1, 2, Use::Order, 4));
    }

    #[test]
    fn below_is_even() {
        let mut rng = Random::new(7);
        let mut counts = [0u32; 9];
        for _ in 0..90_000 {
            counts[rng.below(9)] += 1;
        }
        // 10,000 expected, standard deviation 94.
        assert!(counts.iter().all(|n| n.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(rng.below(1), 0);
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn every_order_of_four_turns_up_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            Random::keyed(1, epoch, Use::Order, 0).shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        // 1,000 expected of each, standard deviation 31.
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|n| n.abs_diff(1_000) < 160), "{counts:?}");
    }

    #[test]
    fn chances_and_distributions_have_their_moments() {
        let mut rng = Random::new(5);
        assert!((0..1000).all(|_| !rng.chance(0.0) && rng.chance(1.0)));
        let hits = (0..40_000).filter(|_| rng.chance(0.3)).count();
        assert!(hits.abs_diff(12_000) < 500, "{hits}"); // standard deviation 92
        let mut moments = |draw: &mut dyn FnMut(&mut Random) -> f64| {
            let values: Vec<f64> = (0..40_000).map(|_| draw(&mut rng)).collect();
            let mean = values.iter().sum::<f64>() / 4e4;
            (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4e4)
        };
        // four standard deviations of the mean are at most 0.02, of the variance 0.03
        let near = |(mean, variance): (f64, f64), m: f64, v: f64| {
            assert!((mean - m).abs() < 0.02 && (variance - v).abs() < 0.03, "{mean} {variance}, expected {m} {v}");
        };
        near(moments(&mut |r| r.uniform(-1.0, 2.0)), 0.5, 0.75);
        near(moments(&mut |r| r.normal()), 0.0, 1.0);
        // Beta(a, a) has the variance 1 / (4 (2a + 1))
        for a in [0.001, 0.2, 1.0, 5.0] {
            near(moments(&mut |r| r.beta(a)), 0.5, 0.25 / (2.0 * a + 1.0));
        }
    }

    /// The published promise is "same seed, same batches": a change of these numbers breaks it.
    #[test]
    fn the_numbers_stay() {
        let mut items: Vec<u32> = (0..8).collect();
        Random::keyed(42, 1, Use::Order, 0).shuffle(&mut items);
        assert_eq!(items, PINNED);
    }
    const PINNED: [u32; 8] = [6, 0, 5, 3, 7, 2, 1, 4];
}
