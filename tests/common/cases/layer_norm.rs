//! Normalisations over a sample's own values.

use super::Case;
use crate::common::build::{Build, Fill};

/// Rows of at least four values, so that no variance vanishes.
fn dims(b: &mut Build) -> Vec<usize> {
    let channels = b.rng.pick(&[4, 6, 16, 18, 34]);
    vec![b.rng.within(1, 3), b.rng.within(2, 6), b.rng.within(2, 6), channels]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for axes in [vec![3], vec![2, 3], vec![1, 2, 3], vec![1, 2], vec![3, 1]] {
        cases.push(Case::new(format!("layer_norm/{axes:?}"), move |b| {
            let dims = dims(b);
            b.sums(dims.iter().product());
            let mut ascending = axes.clone();
            ascending.sort_unstable();
            let own: Vec<usize> = ascending.iter().map(|&a| dims[a]).collect();
            let x = b.x(dims, Fill::Signed);
            let (gamma, beta) = (b.w(own.clone(), Fill::Positive), b.w(own, Fill::Signed));
            b.gradient_magnitude = 4.0;
            let y = b.g.layer_norm(x, &axes, Some(gamma), Some(beta), 1e-5)?;
            let plain = b.g.rms_norm(x, &axes, Some(gamma), 1e-3)?;
            b.out(y);
            b.out(plain);
            Ok(())
        }));
    }
    for groups in [1, 2, 0] {
        let name = if groups == 0 { "channels".to_string() } else { groups.to_string() };
        cases.push(Case::new(format!("group_norm/{name}"), move |b| {
            let dims = dims(b);
            let channels = dims[3];
            b.sums(dims.iter().product());
            let x = b.x(dims, Fill::Signed);
            let (gamma, beta) = (b.w([channels], Fill::Positive), b.w([channels], Fill::Signed));
            b.gradient_magnitude = 8.0;
            let y = match groups {
                0 => b.g.instance_norm(x, Some(gamma), Some(beta), 1e-3)?,
                _ => b.g.group_norm(x, groups, Some(gamma), Some(beta), 1e-5)?,
            };
            b.out(y);
            Ok(())
        }));
    }
    // the mean is a thousand times the spread: E[x²] - E[x]² would have nothing left
    cases.push(
        Case::new("layer_norm/far_from_zero", |b| {
            let dims = dims(b);
            b.sums(dims.iter().product());
            let (x, far) = (b.plain(dims, Fill::Signed), b.g.scalar(1024.0)?);
            let moved = b.g.add_values(x, far)?;
            // what x lost when it was moved is the reference's loss too
            let back = b.g.sub(moved, far)?;
            let y = b.g.layer_norm(moved, &[3], None, None, 1e-5)?;
            let want = b.g.layer_norm(back, &[3], None, None, 1e-5)?;
            let error = b.g.sub(y, want)?;
            b.magnitude = 1024.0;
            b.also(error);
            Ok(())
        })
        .flat(),
    );
    cases
}
