//! Matrix products.

use outrigger::ops::MatMul;

use super::Case;
use crate::common::build::Fill;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = format!("matmul/{}{}", if trans_a { "t" } else { "n" }, if trans_b { "t" } else { "n" });
        for (batches, shared) in [(0, true), (1, true), (1, false), (2, false)] {
            let batch_name = ["", "_batch", "_batches"][batches];
            let shared_name = if batches > 0 && shared { "_shared" } else { "" };
            cases.push(Case::new(format!("{name}{batch_name}{shared_name}"), move |b| {
                let [m, k, n] = [0, 1, 2].map(|_| b.channels());
                let batch: Vec<usize> = (0..batches).map(|_| b.rng.within(1, 3)).collect();
                let mut left = batch.clone();
                left.extend(if trans_a { [k, m] } else { [m, k] });
                let mut right = if shared { vec![] } else { batch };
                right.extend(if trans_b { [n, k] } else { [k, n] });
                b.is_sum_of(k);
                let (left, right) = (b.x(left, Fill::Signed), b.w(right, Fill::Signed));
                let y = b.g.matmul(left, right, MatMul { trans_a, trans_b })?;
                b.out(y);
                Ok(())
            }));
        }
    }
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = format!("matmul/{}{}", if trans_a { "t" } else { "n" }, if trans_b { "t" } else { "n" });
        cases.push(Case::new(format!("{name}_left_shared"), move |b| {
            let [m, k, n] = [0, 1, 2].map(|_| b.channels());
            let mut right: Vec<usize> = (0..b.rng.within(1, 2)).map(|_| b.rng.within(1, 3)).collect();
            right.extend(if trans_b { [n, k] } else { [k, n] });
            b.is_sum_of(k);
            let left = b.w(if trans_a { [k, m] } else { [m, k] }, Fill::Signed);
            let right = b.x(right, Fill::Signed);
            let y = b.g.matmul(left, right, MatMul { trans_a, trans_b })?;
            b.out(y);
            Ok(())
        }));
    }
    // several depths, blocks of rows and of columns, panels that are cut, rows enough to pack B and too few
    let large =
        [[1, 70, 1], [7, 300, 530], [9, 700, 400], [30, 260, 300], [400, 33, 520], [450, 300, 271], [130, 17, 70]];
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = format!("matmul/{}{}_large", if trans_a { "t" } else { "n" }, if trans_b { "t" } else { "n" });
        cases.push(Case::new(name, move |b| {
            let [m, k, n] = b.rng.pick(&large);
            b.is_sum_of(k);
            let left = b.x(if trans_a { [k, m] } else { [m, k] }, Fill::Signed);
            let right = b.w(if trans_b { [n, k] } else { [k, n] }, Fill::Signed);
            let y = b.g.matmul(left, right, MatMul { trans_a, trans_b })?;
            b.out(y);
            Ok(())
        }));
    }
    for bias in [false, true] {
        cases.push(Case::new(format!("linear/{}", if bias { "bias" } else { "plain" }), move |b| {
            let [n, inputs, outputs] = [0, 1, 2].map(|_| b.channels());
            b.is_sum_of(inputs);
            let (x, w) = (b.x([n, inputs], Fill::Signed), b.w([inputs, outputs], Fill::Signed));
            let bias = bias.then(|| b.w([outputs], Fill::Signed));
            let y = b.g.linear(x, w, bias)?;
            b.out(y);
            Ok(())
        }));
    }
    cases
}
