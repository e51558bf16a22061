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
    /// The augmentation of one image; the index is the image's in its data set.
    Augment = 1,
}

/// The stream for one use.
pub(super) fn stream(seed: u64, epoch: u64, what: Use, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [seed, epoch, what as u64, index];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A whole number from 0 to `bound` − 1, each equally likely; 0 for a bound of 0.
///
/// The high half of a 64×64-bit product, with the draws rejected that would favour some numbers (Lemire, "Fast
/// Random Integer Generation in an Interval", 2019).
pub(super) fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    if bound == 0 {
        return 0;
    }
    let surplus = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= surplus {
            return (product >> 64) as u64;
        }
    }
}

/// Brings `items` into an order, each equally likely (Fisher and Yates, in Durstenfeld's form).
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut impl RngCore) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_their_key() {
        let first = |seed, epoch, what, index| stream(seed, epoch, what, index).next_u64();
        let base = first(1, 2, Use::Order, 3);
        assert_eq!(base, first(1, 2, Use::Order, 3));
        assert_ne!(base, first(2, 2, Use::Order, 3));
        assert_ne!(base, first(1, 3, Use::Order, 3));
        assert_ne!(base, first(1, 2, Use::Augment, 3));
        assert_ne!(base, first(1, 2, Use::Order, 4));
    }

    #[test]
    fn below_is_even() {
        let mut rng = stream(7, 0, Use::Order, 0);
        let mut counts = [0u32; 9];
        for _ in 0..90_000 {
            counts[below(&mut rng, 9) as usize] += 1;
        }
        // 10,000 expected, standard deviation 94.
        assert!(counts.iter().all(|n| n.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(below(&mut rng, 1), 0);
        assert_eq!(below(&mut rng, 0), 0);
    }

    #[test]
    fn every_order_of_four_turns_up_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut items, &mut stream(1, epoch, Use::Order, 0));
            *counts.entry(items).or_insert(0u32) += 1;
        }
        // 1,000 expected of each, standard deviation 31.
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|n| n.abs_diff(1_000) < 160), "{counts:?}");
    }

    /// The published promise is "same seed, same batches": a change of these numbers breaks it.
    #[test]
    fn the_numbers_stay() {
        let mut items: Vec<u32> = (0..8).collect();
        shuffle(&mut items, &mut stream(42, 1, Use::Order, 0));
        assert_eq!(items, PINNED);
    }
    const PINNED: [u32; 8] = [6, 0, 5, 3, 7, 2, 1, 4];
}
