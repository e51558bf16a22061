//! Registers of a [`Strip`]: vectors, masks and pointers.
//!
//! Along the line a value gets a free register and gives it back after its last use; one that is used in a
//! loop inside its own keeps it to that loop's end. Constants and lane masks keep theirs throughout. There
//! is no spilling: a line that does not fit has no allocation, and its user takes a smaller one.
//! Pointers of the innermost loops come first; those left without a register stay in the table.

use super::isa::Isa;
use super::strip::{Op, Strip, Vector};

/// Registers by number.
pub(super) struct Allocation {
    constants: Vec<usize>,
    results: Vec<usize>,
    /// Mask register (AVX-512) or vector register (AVX2) that holds so many lanes.
    lanes: Vec<(usize, usize)>,
    /// Position among the registers for pointers.
    pub(super) pointers: Vec<Option<usize>>,
}

impl Allocation {
    pub(super) fn of(&self, value: Vector) -> usize {
        match value {
            Vector::Constant(c) => self.constants[c],
            Vector::Result(r) => self.results[r],
        }
    }
    /// The register of the mask for a ragged place.
    pub(super) fn mask(&self, lanes: usize) -> Option<usize> {
        self.lanes.iter().find(|l| l.0 == lanes).map(|l| l.1)
    }
    pub(super) fn masks(&self) -> &[(usize, usize)] {
        &self.lanes
    }
}

/// General registers that can hold pointers.
pub(super) const POINTERS: usize = 12;

/// Numbers of free registers; the lowest is taken first.
struct Free(Vec<usize>);

impl Free {
    fn new(numbers: std::ops::Range<usize>) -> Free {
        Free(numbers.rev().collect())
    }
    fn take(&mut self) -> Option<usize> {
        self.0.pop()
    }
    fn give(&mut self, number: usize) {
        let at = self.0.partition_point(|&n| n > number);
        self.0.insert(at, number);
    }
}

/// Registers for `strip`, or `None` if there are too few, or if an offset exceeds an instruction's.
pub(super) fn allocate(strip: &Strip) -> Option<Allocation> {
    let reach = |op: &Op| op.place().is_none_or(|place| i32::try_from(place.offset).is_ok());
    if !strip.line.iter().all(reach) {
        return None;
    }
    // AVX2 has no mask registers: masks are vectors
    let separate = strip.isa.vectors() == Isa::Avx512;
    let mut vectors = Free::new(0..if separate { 32 } else { 16 });
    let mut masks = Free::new(1..if separate { 8 } else { 1 });
    let constants = strip.constants.iter().map(|_| vectors.take()).collect::<Option<Vec<_>>>()?;
    let lanes = strip
        .ragged()
        .into_iter()
        .map(|lanes| Some((lanes, if separate { masks.take() } else { vectors.take() }?)))
        .collect::<Option<Vec<_>>>()?;
    let last = last_uses(&strip.line);
    let mut dying: Vec<Vec<usize>> = vec![Vec::new(); strip.line.len()];
    for (value, &at) in last.iter().enumerate() {
        dying[at].push(value);
    }
    let mut results = vec![usize::MAX; strip.line.len()];
    for (at, op) in strip.line.iter().enumerate() {
        // operands that die here leave their registers to the result
        let of_masks = |value: usize| separate && matches!(strip.line[value], Op::Compare(..));
        for &value in dying[at].iter().filter(|&&value| value != at && makes_value(&strip.line[value])) {
            (if of_masks(value) { &mut masks } else { &mut vectors }).give(results[value]);
        }
        if makes_value(op) {
            results[at] = (if of_masks(at) { &mut masks } else { &mut vectors }).take()?;
            if last[at] == at {
                (if of_masks(at) { &mut masks } else { &mut vectors }).give(results[at]);
            }
        }
    }
    Some(Allocation { constants, results, lanes, pointers: pointers(strip) })
}

fn makes_value(op: &Op) -> bool {
    match op {
        Op::Load(_)
        | Op::Broadcast { .. }
        | Op::Arithmetic(..)
        | Op::MulAdd(..)
        | Op::Sqrt(_)
        | Op::Top(_)
        | Op::Narrow(_)
        | Op::Compare(..)
        | Op::Blend { .. }
        | Op::Sum => true,
        Op::Accumulate { .. } | Op::MultiplyAdd { .. } | Op::Store(..) | Op::Stream(..) | Op::Loop { .. } | Op::End => {
            false
        }
    }
}

/// Where each result is needed for the last time: at a use in a loop that it was not made in, the end of that loop.
fn last_uses(line: &[Op]) -> Vec<usize> {
    // the loops around each position, outermost first, and where each ends
    let mut open: Vec<usize> = Vec::new();
    let mut around: Vec<Vec<usize>> = Vec::with_capacity(line.len());
    let mut ends = vec![0; line.len()];
    for (at, op) in line.iter().enumerate() {
        if matches!(op, Op::End)
            && let Some(start) = open.pop()
        {
            ends[start] = at;
        }
        around.push(open.clone());
        if matches!(op, Op::Loop { .. }) {
            open.push(at);
        }
    }
    let mut last: Vec<usize> = (0..line.len()).collect();
    for (at, op) in line.iter().enumerate() {
        for operand in op.operands() {
            if let Vector::Result(made) = operand {
                let shared = around[made].len();
                let needed = around[at].get(shared).map_or(at, |&outer| ends[outer]);
                last[made] = last[made].max(needed);
            }
        }
    }
    last
}

fn pointers(strip: &Strip) -> Vec<Option<usize>> {
    let mut deepest = vec![0; strip.pointers];
    for (op, depth) in strip.line.iter().zip(strip.depths()) {
        if let Some(place) = op.place() {
            deepest[place.pointer] = deepest[place.pointer].max(depth);
        }
    }
    let mut order: Vec<usize> = (0..strip.pointers).collect();
    order.sort_by_key(|&p| std::cmp::Reverse(deepest[p]));
    let mut places = vec![None; strip.pointers];
    for (register, pointer) in order.into_iter().take(POINTERS).enumerate() {
        places[pointer] = Some(register);
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::strip::{Arithmetic, Builder, Comparison, Place, Times};
    use super::*;
    use proptest::prelude::*;

    /// Some operations at a depth, from values that may be used there; inner lines in between.
    fn write(b: &mut Builder, choices: &mut impl Iterator<Item = usize>, mut values: Vec<Vector>, depth: usize) {
        while let Some(choice) = choices.next() {
            let of = |at: usize| values[at % values.len()];
            let place = Place::new(0, 0, 1 + choice % 16);
            match choice % 9 {
                0 => values.push(b.load(place)),
                1..=3 => values.push(b.arithmetic(Arithmetic::Add, of(choice / 9), of(choice / 81))),
                4 => {
                    let mask = b.compare(Comparison::Less, of(choice / 9), of(choice / 81));
                    values.push(b.blend(mask, of(choice / 81), of(choice / 9)));
                }
                5 => b.store(place, of(choice / 9)),
                6 if depth < 3 => {
                    let sum = b.sum();
                    b.repeat(Times::Static(2), &[], |b| {
                        b.accumulate(sum, of(choice / 9));
                        let inside: Vec<usize> = choices.by_ref().take(choice / 9 % 9).collect();
                        write(b, &mut inside.into_iter(), values.clone(), depth + 1);
                    });
                    values.push(sum);
                }
                _ => values.push(b.constant((choice % 5) as f32)),
            }
        }
    }

    /// Runs the line with names in place of numbers: every loop twice, as what a first turn leaves must suit the next.
    fn run(
        strip: &Strip,
        allocation: &Allocation,
        range: std::ops::Range<usize>,
        held: &mut HashMap<(bool, usize), Vector>,
    ) {
        let mask = |v: Vector| match v {
            Vector::Result(at) => strip.isa == Isa::Avx512 && matches!(strip.line[at], Op::Compare(..)),
            Vector::Constant(_) => false,
        };
        let mut at = range.start;
        while at < range.end {
            let op = &strip.line[at];
            for operand in op.operands() {
                assert_eq!(held.get(&(mask(operand), allocation.of(operand))), Some(&operand), "at {at} of {strip:?}");
            }
            if makes_value(op) {
                let result = Vector::Result(at);
                held.insert((mask(result), allocation.of(result)), result);
            }
            if matches!(op, Op::Loop { .. }) {
                let depth = strip.depths()[at];
                let end = (at + 1..range.end).find(|&e| strip.depths()[e] == depth).unwrap_or(range.end);
                for _ in 0..2 {
                    run(strip, allocation, at + 1..end, held);
                }
                at = end;
            }
            at += 1;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// No register is given away while its value is needed.
        #[test]
        fn values_stay_in_their_registers(choices in prop::collection::vec(0usize..10_000, 1..40), wide in any::<bool>()) {
            let mut b = Builder::new(if wide { Isa::Avx512 } else { Isa::Avx2 }, 1, 0);
            let first = vec![b.constant(0.5), b.broadcast(0, 0)];
            write(&mut b, &mut choices.into_iter(), first, 0);
            if let Some(strip) = b.finish() {
                let allocation = allocate(&strip).unwrap();
                let constants = (0..strip.constants.len()).map(Vector::Constant);
                let mut held = constants.map(|c| ((false, allocation.of(c)), c)).collect();
                run(&strip, &allocation, 0..strip.line.len(), &mut held);
                for &(lanes, register) in allocation.masks() {
                    prop_assert!(lanes < strip.isa.lanes());
                    prop_assert!(!held.contains_key(&(wide, register)), "the mask of {lanes} lanes was overwritten");
                }
            }
        }
    }
}
