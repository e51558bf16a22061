//! A set of bytes as sorted, disjoint ranges: who owns what in an arena.
//!
//! ```text
//!   insert 2..5, 4..9   ──▶  ..█████████....      remove 5..6  ──▶  ..███.███....
//! ```

use std::ops::Range;

/// A set of `usize`, kept as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range<usize>>);

impl Ranges {
    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0.iter().cloned()
    }

    /// Adds every number of `range`.
    pub(crate) fn insert(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        // All ranges that overlap or touch the new one merge with it.
        let from = self.0.partition_point(|r| r.end < range.start);
        let to = self.0.partition_point(|r| r.start <= range.end);
        let merged = self.0[from..to].iter().fold(range, |a, b| a.start.min(b.start)..a.end.max(b.end));
        self.0.splice(from..to, [merged]);
    }

    /// Takes every number of `range` out.
    pub(crate) fn remove(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|r| r.end <= range.start);
        let to = self.0.partition_point(|r| r.start < range.end);
        let mut left: Vec<Range<usize>> = Vec::new();
        for r in &self.0[from..to] {
            left.push(r.start..range.start.min(r.end));
            left.push(range.end.max(r.start)..r.end);
        }
        left.retain(|r| !r.is_empty());
        self.0.splice(from..to, left);
    }

    /// Whether any number of `range` is in the set.
    pub(crate) fn overlaps(&self, range: &Range<usize>) -> bool {
        let from = self.0.partition_point(|r| r.end <= range.start);
        !range.is_empty() && self.0.get(from).is_some_and(|r| r.start < range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_a_set_of_flags() {
        let (mut ranges, mut flags) = (Ranges::default(), [false; 64]);
        let mut seed = 1u32;
        let mut next = |limit: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 16) % limit) as usize
        };
        for _ in 0..4000 {
            let start = next(60);
            let range = start..start + next(6).min(64 - start);
            let add = next(2) == 0;
            assert_eq!(ranges.overlaps(&range), flags[range.clone()].contains(&true));
            flags[range.clone()].fill(add);
            if add {
                ranges.insert(range)
            } else {
                ranges.remove(range)
            }
            let mut seen = [false; 64];
            let mut last = None;
            for r in ranges.iter() {
                assert!(r.start < r.end && last.is_none_or(|end| end < r.start));
                seen[r.clone()].fill(true);
                last = Some(r.end);
            }
            assert_eq!(seen, flags);
        }
    }
}
