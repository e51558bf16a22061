//! Images of another size, and borders.

use outrigger::Error;
use outrigger::graph::Value;

use super::Case;
use crate::common::build::{Build, Fill};

fn image(b: &mut Build) -> Value {
    let dims = [b.rng.within(1, 3), b.rng.within(2, 7), b.rng.within(2, 7), b.channels()];
    b.x(dims, Fill::Signed)
}

fn border(b: &mut Build, most: [usize; 2]) -> [[usize; 2]; 2] {
    most.map(|most| [b.rng.below(most), b.rng.below(most)])
}

fn moved(name: &str, make: impl Fn(&mut Build, Value) -> Result<Value, Error> + 'static) -> Case {
    Case::new(format!("resample/{name}"), move |b| {
        let x = image(b);
        b.sums(8);
        let y = make(b, x)?;
        b.out(y);
        Ok(())
    })
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        moved("nearest", |b, x| {
            let scale = [b.rng.within(1, 3), b.rng.within(1, 3)];
            b.stretches = true;
            b.g.upsample_nearest(x, scale)
        })
        .exact(),
        moved("zero_pad2d", |b, x| {
            let padding = border(b, [3, 3]);
            b.g.zero_pad2d(x, padding)
        })
        .exact(),
        moved("reflection_pad2d", |b, x| {
            let extents = b.shape(x).0;
            let padding = border(b, [extents[1], extents[2]]);
            b.g.reflection_pad2d(x, padding)
        }),
        moved("replication_pad2d", |b, x| {
            let padding = border(b, [3, 3]);
            b.sums(64);
            b.g.replication_pad2d(x, padding)
        }),
        Case::new("resample/pixel_shuffle", |b| {
            let (r, channels) = (b.rng.within(1, 3), b.channels());
            let dims = [b.rng.within(1, 3), b.rng.within(1, 4), b.rng.within(1, 4), channels * r * r];
            let x = b.x(dims, Fill::Signed);
            let y = b.g.pixel_shuffle(x, r)?;
            let back = b.g.pixel_unshuffle(y, r)?;
            let difference = b.g.sub(back, x)?;
            b.out(y);
            b.also(difference);
            Ok(())
        })
        .exact(),
    ];
    for align in [false, true] {
        cases.push(moved(if align { "bilinear_aligned" } else { "bilinear" }, move |b, x| {
            let scale = [b.rng.within(1, 3), b.rng.within(1, 4)];
            b.sums(64);
            b.g.upsample_bilinear(x, scale, align)
        }));
    }
    cases
}
