//! Offsets: packs buffers with known lifetimes into one arena. Pure arithmetic on intervals.
//!
//! ```text
//!  offset
//!    │ ┌────────┐   ┌───────┐      a buffer is a rectangle: its steps wide, its bytes high;
//!    │ │   c    │   │   d   │      no two may overlap, and the highest edge is the arena
//!    │ └────────┘   └───────┘
//!    │ ┌─────┐ ┌────────────────┐
//!    │ │  a  │ │       b        │
//!    └─┴─────┴─┴────────────────┴──▶ step
//! ```
//!
//! Finding the smallest arena is NP-hard (dynamic storage allocation). Greedy placement is close when big
//! and long-lived buffers go first, and which of the two matters more depends on the graph, so a few
//! orders are tried and the best is kept. When all leave gaps, the buffers that stick out are moved to
//! the front of the order and placed again, a fixed number of times.

use std::cmp::Reverse;

use super::ALIGNMENT;

/// A buffer and the steps during which it is live, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Size; rounded up to [`ALIGNMENT`] when placed.
    pub bytes: usize,
    /// First step.
    pub first: usize,
    /// Last step, at least `first`.
    pub last: usize,
}

impl Interval {
    fn size(&self) -> usize {
        self.bytes.next_multiple_of(ALIGNMENT)
    }
    fn meets(&self, other: &Interval) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where each buffer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Byte offsets, multiples of [`ALIGNMENT`], in the order of the intervals.
    pub offsets: Vec<usize>,
    /// Bytes from 0 to behind the last buffer.
    pub bytes: usize,
}

/// Aligned bytes that are live at each step.
pub fn live_per_step(intervals: &[Interval]) -> Vec<usize> {
    let steps = intervals.iter().map(|i| i.last + 1).max().unwrap_or(0);
    let mut begins = vec![0; steps];
    let mut ends = vec![0; steps];
    for i in intervals {
        begins[i.first] += i.size();
        ends[i.last] += i.size();
    }
    let mut live = 0;
    (0..steps)
        .map(|step| {
            live += begins[step];
            let here = live;
            live -= ends[step];
            here
        })
        .collect()
}

/// The largest sum of aligned bytes live at one step: no layout is smaller.
pub fn live_bytes(intervals: &[Interval]) -> usize {
    live_per_step(intervals).into_iter().max().unwrap_or(0)
}

/// A layout within one `GOOD`th of the bound is taken without looking for a better one.
const GOOD: usize = 128;

/// Times that the buffers sticking out of a layout are moved to the front of its order.
const REPAIRS: usize = 6;

/// Gives every buffer an offset such that buffers live at one step do not overlap. Deterministic.
///
/// Cost: a constant number of placements of O(n²) comparisons for n buffers.
pub fn assign(intervals: &[Interval]) -> Layout {
    let bound = live_bytes(intervals);
    let mut best: Option<Layout> = None;
    for mut order in orders(intervals) {
        for repair in 0..=REPAIRS {
            let lowest = place(intervals, &order, Fit::Lowest);
            let tightest = place(intervals, &order, Fit::Tightest);
            let layout = if tightest.bytes < lowest.bytes { tightest } else { lowest };
            if best.as_ref().is_none_or(|b| layout.bytes < b.bytes) {
                best = Some(layout.clone());
            }
            if layout.bytes <= bound + bound / GOOD {
                return layout;
            }
            if repair < REPAIRS {
                // stable: false comes first, and what sticks out keeps its order
                order.sort_by_key(|&i| layout.offsets[i] + intervals[i].size() <= bound);
            }
        }
    }
    best.unwrap_or(Layout { offsets: Vec::new(), bytes: 0 })
}

/// Orders to place the buffers in. Ties end with the position, so that each is a function of the intervals.
fn orders(intervals: &[Interval]) -> Vec<Vec<usize>> {
    let length = |i: usize| intervals[i].last - intervals[i].first + 1;
    let size = |i: usize| intervals[i].size();
    let live = live_per_step(intervals);
    let peak = (0..live.len()).max_by_key(|&s| (live[s], Reverse(s))).unwrap_or(0);
    let by = |key: &dyn Fn(usize) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..intervals.len()).collect();
        order.sort_by_key(|&i| Reverse(key(i)));
        order
    };
    vec![
        by(&|i| (size(i), length(i))),
        by(&|i| (length(i), size(i))),
        by(&|i| (size(i) * length(i), size(i))),
        by(&|i| (usize::MAX - intervals[i].first, length(i))),
        // buffers of the fullest step first: that step has no gaps then, and the others fill around it
        by(&|i| {
            let at_peak = intervals[i].first <= peak && peak <= intervals[i].last;
            if at_peak { (usize::MAX, length(i)) } else { (size(i), length(i)) }
        }),
    ]
}

/// Which gap a buffer takes among those it fits into.
#[derive(Clone, Copy)]
enum Fit {
    /// The lowest.
    Lowest,
    /// The smallest below the top; the lowest of these.
    Tightest,
}

/// Places buffers one by one in `order`, each in a gap between those that are live with it.
fn place(intervals: &[Interval], order: &[usize], fit: Fit) -> Layout {
    let mut offsets = vec![0; intervals.len()];
    // placed buffers by offset, so that a walk meets the occupied ranges from below
    let mut placed: Vec<(usize, usize)> = Vec::with_capacity(order.len());
    let mut bytes = 0;
    for &index in order {
        let interval = &intervals[index];
        let size = interval.size();
        let mut end = 0;
        let mut tightest: Option<(usize, usize)> = None;
        for &(offset, other) in &placed {
            if !interval.meets(&intervals[other]) {
                continue;
            }
            let gap = offset.saturating_sub(end);
            if gap >= size && tightest.is_none_or(|(g, _)| gap < g) {
                tightest = Some((gap, end));
                if matches!(fit, Fit::Lowest) {
                    break;
                }
            }
            end = end.max(offset + intervals[other].size());
        }
        let offset = tightest.map_or(end, |(_, at)| at);
        offsets[index] = offset;
        bytes = bytes.max(offset + size);
        let at = placed.partition_point(|&(o, _)| o <= offset);
        placed.insert(at, (offset, index));
    }
    Layout { offsets, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval(steps: usize, length: usize) -> impl Strategy<Value = Interval> {
        (1usize..3000, 0..steps, 0..length).prop_map(|(bytes, first, more)| Interval {
            bytes,
            first,
            last: first + more,
        })
    }

    fn intervals() -> impl Strategy<Value = Vec<Interval>> {
        prop::collection::vec(interval(60, 20), 0..80)
    }

    /// All permutations of `0..n`.
    fn permutations(n: usize) -> Vec<Vec<usize>> {
        let Some(last) = n.checked_sub(1) else { return vec![Vec::new()] };
        let with = |order: Vec<usize>| {
            (0..n).map(move |at| order[..at].iter().chain([&last]).chain(&order[at..]).copied().collect())
        };
        permutations(last).into_iter().flat_map(with).collect()
    }

    /// Marks every 64-byte line of every step; a line marked twice is an overlap.
    fn overlap(intervals: &[Interval], layout: &Layout) -> Option<(usize, usize)> {
        let mut owner = std::collections::HashMap::new();
        for (i, x) in intervals.iter().enumerate() {
            for step in x.first..=x.last {
                for line in layout.offsets[i] / 64..(layout.offsets[i] + x.bytes).div_ceil(64) {
                    if let Some(other) = owner.insert((step, line), i) {
                        return Some((other, i));
                    }
                }
            }
        }
        None
    }

    fn brute_live(intervals: &[Interval]) -> usize {
        let sum = |s: usize| {
            intervals.iter().filter(|x| (x.first..=x.last).contains(&s)).map(|x| x.bytes.div_ceil(64) * 64).sum()
        };
        (0..100).map(sum).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn live_buffers_never_overlap(intervals in intervals()) {
            let layout = assign(&intervals);
            prop_assert_eq!(layout.offsets.len(), intervals.len());
            prop_assert!(layout.offsets.iter().all(|o| o % ALIGNMENT == 0));
            prop_assert_eq!(overlap(&intervals, &layout), None);
            let end = intervals.iter().zip(&layout.offsets).map(|(x, o)| o + x.bytes.div_ceil(64) * 64).max();
            prop_assert_eq!(layout.bytes, end.unwrap_or(0));
            prop_assert_eq!(live_bytes(&intervals), brute_live(&intervals));
            prop_assert!(layout.bytes >= brute_live(&intervals));
            prop_assert_eq!(assign(&intervals), layout);
        }

        /// Placing in the order of an optimal layout's offsets is optimal, so all orders contain the optimum.
        #[test]
        fn small_layouts_are_near_the_optimum(intervals in prop::collection::vec(interval(8, 4), 1..7)) {
            let optimum = permutations(intervals.len()).iter().map(|o| place(&intervals, o, Fit::Lowest).bytes).min();
            let optimum = optimum.unwrap_or(0);
            // the worst of 60,000 cases was 1.12
            prop_assert!(assign(&intervals).bytes as f64 <= 1.2 * optimum as f64, "{optimum}: {intervals:?}");
        }

        /// Forward activations kept for a backward pass in reverse, with a temporary at each step.
        #[test]
        fn nested_lifetimes_pack_within_a_tenth(sizes in prop::collection::vec((1usize..5000, 1usize..5000), 1..60)) {
            let n = sizes.len();
            let nested = sizes.iter().enumerate().flat_map(|(i, &(kept, temporary))| [
                Interval { bytes: kept, first: i, last: 2 * n - i },
                Interval { bytes: temporary, first: 2 * n - i - 1, last: 2 * n - i },
            ]).collect::<Vec<_>>();
            prop_assert!(assign(&nested).bytes as f64 <= 1.10 * live_bytes(&nested) as f64);
        }
    }

    #[test]
    fn buffers_of_different_steps_share_memory() {
        let at = |first, last| Interval { bytes: 100, first, last };
        let layout = assign(&[at(0, 1), at(2, 3), at(1, 2)]);
        assert_eq!(layout.bytes, 256);
        assert_eq!(layout.offsets[0], layout.offsets[1]);
        assert_ne!(layout.offsets[0], layout.offsets[2]);
    }

    #[test]
    fn nothing_takes_no_memory() {
        assert_eq!(assign(&[]), Layout { offsets: Vec::new(), bytes: 0 });
        assert_eq!(live_bytes(&[]), 0);
    }
}
