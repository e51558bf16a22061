//! Plans that take each image through several steps.

use super::{checked, graph, state, x};
use crate::graph::Graph;
use crate::ops::{Anchor, Binary, Conv2d, Fused, Op, Output, Program, ReduceKind, Step};
use crate::plan::{Group, Place, Planned, plan};
use crate::types::Shape;

/// Convolution, element-wise residual and pooling as the fusion passes leave them, for `images` images.
fn grouped(images: usize) -> Graph {
    let mut g = graph();
    let x = x(&mut g, &[images, 4, 4, 2]);
    let w = state(&mut g, "w", &[3, 3, 2, 2]);
    let bias = state(&mut g, "b", &[2]);
    let program = Program {
        steps: vec![Step::Anchor, Step::Operand(2), Step::Binary(Binary::Add, 0, 1)],
        value: 0,
        outputs: vec![Output::Full(2)],
    };
    let conv = Conv2d { stride: [1, 1], padding: [[1, 1], [1, 1]], dilation: [1, 1], groups: 1 };
    let (input, weight) = (Shape::from([images, 4, 4, 2]), Shape::from([3, 3, 2, 2]));
    let kernel = Fused {
        anchor: Anchor::Conv2d { conv, input, weight },
        chunks: crate::ops::fused::chunks_for(images),
        precision: Default::default(),
        source: Program::operand(1),
        gradient: Program::default(),
        result: program,
    };
    let first = g.add(Op::Fused(Box::new(kernel.clone())), &[w, x, bias], "first").unwrap().result(0);
    let second = g.add(Op::Fused(Box::new(kernel.clone())), &[w, first, bias], "second").unwrap().result(0);
    let third = g.add(Op::Fused(Box::new(kernel)), &[w, second, bias], "third").unwrap().result(0);
    let mean = g.reduce(ReduceKind::Mean, third, &[1, 2], false).unwrap();
    let y = g.exp(mean).unwrap();
    g.set_output("y", y).unwrap();
    g.set_output("second", second).unwrap();
    g
}

#[test]
fn inference_goes_image_by_image_through_the_network() {
    let plan = checked(&grouped(9));
    assert_eq!(plan.groups, [Group { steps: 0..4, images: 9 }]);
    let place = |step: usize| plan.steps[step].results[0].place;
    // the first and the third result are never needed at once; an output and what is read behind the group stay
    assert!(matches!((place(0), place(2)), (Place::Image(0), Place::Image(0))), "{plan}");
    assert!(matches!((place(1), place(3)), (Place::Work(_), Place::Work(_))), "{plan}");
    assert_eq!(plan.image_bytes, 4 * 4 * 2 * 4);
    assert!(plan.steps[..3].iter().all(|step| step.dead_after.is_empty()));
    assert!(plan.to_string().contains("  image    second"), "{plan}");
    // few images: threads share out each of them instead
    assert!(checked(&grouped(7)).groups.is_empty());
}

#[test]
fn the_check_finds_damage_in_groups() {
    let damage = |what: &str, change: &dyn Fn(&mut Planned)| {
        let mut plan = plan(&grouped(9)).unwrap();
        change(&mut plan);
        let said = plan.verify().unwrap_err().to_string();
        assert!(said.contains(what), "{what}: {said}");
    };
    damage("which the group did not make", &|p| p.steps[1].operands[1].place = Place::Image(64));
    damage("leaves the 128 bytes", &|p| p.steps[0].results[0].place = Place::Image(64));
    damage("in a group of 0 images", &|p| p.groups.clear());
    damage("inside a group", &|p| {
        let dead = p.steps[3].dead_after.clone();
        p.steps[3].dead_after.clear();
        p.steps[1].dead_after.push(dead.first().copied().unwrap_or((0, 64)));
    });
    damage("must be in the arena", &|p| p.outputs[0].placed.place = Place::Image(0));
}
