//! The check of a plan finds what is wrong in it.

use super::*;

/// A plan with every kind of thing in it, to be damaged.
fn sound() -> Planned {
    let mut g = graph();
    let x = x(&mut g, &[16, 16]);
    let s = state(&mut g, "s", &[16, 16]);
    let c = g.constant(Tensor::full([16, 16], 2.0)).unwrap();
    let a = g.softmax(x, 1).unwrap();
    let b = g.softmax(a, 0).unwrap();
    let d = g.add_values(b, a).unwrap();
    let e = g.mul(d, c).unwrap();
    let new = g.add_values(e, s).unwrap();
    let y = g.softmax(new, 1).unwrap();
    g.set_update(s, new).unwrap();
    g.set_output("y", y).unwrap();
    checked(&g)
}

#[test]
fn the_check_finds_every_kind_of_damage() {
    let damage = |what: &str, change: &dyn Fn(&mut Planned)| {
        let mut plan = sound();
        change(&mut plan);
        match plan.verify() {
            Err(Error::Plan { violations, .. }) => {
                assert!(violations.iter().any(|v| v.contains(what)), "{what}: {violations:#?}");
            }
            other => panic!("{what}: {other:?}"),
        }
    };
    let input = sound().inputs[0].placed.place;
    damage("overlaps the live buffer", &|p| p.steps[1].results[0].place = Place::Work(64));
    damage("may not be computed in the place", &|p| p.steps[1].results[0].place = p.steps[1].operands[0].place);
    damage("overlaps the live buffer", &|p| p.steps[1].results[0].place = input);
    damage("where nothing is live", &|p| p.steps.swap(0, 1));
    damage("were never declared dead", &|p| p.steps.iter_mut().for_each(|s| s.dead_after.clear()));
    damage("ends 1024 bytes", &|p| {
        let Place::Work(offset) = input else { unreachable!() };
        p.steps[0].dead_after.push((offset, 1024));
    });
    damage("no multiple of 64", &|p| p.constants[0].0 += 4);
    damage("leaves the arena", &|p| p.work_bytes -= 64);
    damage("live_bytes", &|p| p.live_bytes += 64);
    damage("names state 1 of 1", &|p| p.steps[4].results[0].place = Place::State(1));
    damage("a second time", &|p| p.steps.push(p.steps[4].clone()));
    damage("writes_states", &|p| p.writes_states = false);
    damage("finds", &|p| p.outputs[0].placed.place = Place::Work(p.work_bytes + 64));
    damage("must be in the arena", &|p| p.outputs[0].placed.place = Place::State(0));
    damage("of type f32[4] as", &|p| p.states[0].ty.shape = Shape::from([4]));
    damage("prepares from the input", &|p| {
        let first = p.steps.remove(0);
        p.prepare.push(first);
    });
}
