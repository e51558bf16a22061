//! The planner on graphs built by hand, and against a simulation.

use super::{ALIGNMENT, Place, Planned, PlannedStep, plan};
use crate::error::Error;
use crate::graph::{Graph, Value};
use crate::ops::{Anchor, BatchNorm, Binary, Coefficients, Conv2d, Fused, Init, Op, Output, Program, Step};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

mod damage;
mod groups;
mod random;
mod resnet;
mod simulate;

/// Plans, and checks the plan by itself and against the graph's meaning.
fn checked(graph: &Graph) -> Planned {
    let plan = plan(graph).unwrap();
    plan.verify().unwrap();
    simulate::compare(graph, &plan).unwrap_or_else(|e| panic!("{e}\n{plan}"));
    plan
}

fn kinds(steps: &[PlannedStep]) -> Vec<&'static str> {
    steps.iter().map(|s| s.op.kind()).collect()
}

fn is_copy(step: &PlannedStep) -> bool {
    matches!(step.op, Op::Reshape(_))
}

fn graph() -> Graph {
    Graph::new("test")
}

fn x(graph: &mut Graph, shape: &[usize]) -> Value {
    graph.input("x", DType::F32, shape).unwrap()
}

fn state(graph: &mut Graph, name: &str, shape: &[usize]) -> Value {
    graph.parameter(name, shape, Init::ZEROS).unwrap()
}

#[test]
fn chains_run_in_one_buffer_but_never_in_the_input() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let a = g.relu(x).unwrap();
    let b = g.exp(a).unwrap();
    let c = g.add_values(b, b).unwrap();
    g.set_output("y", c).unwrap();
    let plan = checked(&g);
    assert_eq!(kinds(&plan.steps), ["relu", "exp", "add"]);
    assert_ne!(plan.steps[0].operands[0].place, plan.steps[0].results[0].place);
    assert_eq!(plan.steps[0].results[0].place, plan.outputs[0].placed.place);
    assert_eq!(plan.work_bytes, 2 * 128);
}

#[test]
fn an_operand_that_is_used_again_keeps_its_place() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let a = g.relu(x).unwrap();
    let b = g.exp(a).unwrap();
    // the second use goes through a reshape
    let flat = g.reshape(a, [32]).unwrap();
    let c = g.neg(flat).unwrap();
    g.set_output("b", b).unwrap();
    g.set_output("c", c).unwrap();
    let plan = checked(&g);
    let first = plan.steps.iter().position(|s| s.op.kind() != "relu").unwrap();
    assert_ne!(plan.steps[first].operands[0].place, plan.steps[first].results[0].place);
    // the later of the two may overwrite
    assert_eq!(plan.steps[2].operands[0].place, plan.steps[2].results[0].place);
}

#[test]
fn a_broadcast_operand_is_not_overwritten() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let a = g.relu(x).unwrap();
    let flat = g.reshape(a, [1, 4, 8]).unwrap();
    // the sum has 4·4·8 elements; the product reads one operand twice, once under another shape
    let tall = g.reshape(a, [4, 1, 8]).unwrap();
    let b = g.mul(flat, tall).unwrap();
    g.set_output("b", b).unwrap();
    let plan = checked(&g);
    assert_ne!(plan.steps[1].operands[0].place, plan.steps[1].results[0].place);
}

#[test]
fn names_for_the_same_bytes_are_no_steps() {
    let mut g = graph();
    let x = x(&mut g, &[1, 4, 1, 8]);
    let r = g.relu(x).unwrap();
    let a = g.reshape(r, [4, 8]).unwrap();
    let a = g.cast(a, DType::F32).unwrap();
    let a = g.broadcast(a, [1, 4, 8]).unwrap();
    let a = g.transpose(a, &[1, 0, 2]).unwrap();
    let y = g.exp(a).unwrap();
    g.set_output("y", y).unwrap();
    assert_eq!(kinds(&checked(&g).steps), ["relu", "exp"]);
    // a permutation that moves more than ones is a step
    let t = g.transpose(y, &[2, 0, 1]).unwrap();
    g.set_output("t", t).unwrap();
    assert!(kinds(&checked(&g).steps).contains(&"transpose"));
}

#[test]
fn outputs_have_places_of_their_own() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let s = state(&mut g, "s", &[4, 8]);
    let c = g.constant(Tensor::full([4, 8], 2.0)).unwrap();
    let sum = g.add_values(x, c).unwrap();
    let flat = g.reshape(sum, [32]).unwrap();
    for (name, value) in [("x", x), ("s", s), ("c", c), ("sum", sum), ("flat", flat)] {
        g.set_output(name, value).unwrap();
    }
    let plan = checked(&g);
    assert_eq!(plan.outputs[4].placed.ty.shape, Shape::from([32]));
    let copies = plan.prepare.iter().chain(&plan.steps).filter(|s| is_copy(s)).count();
    assert_eq!(copies, 4, "{plan}");
}

#[test]
fn a_state_is_written_in_place_after_its_other_readers() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let s = state(&mut g, "s", &[4, 8]);
    let new = g.sub(s, x).unwrap();
    let reads_old = g.exp(s).unwrap();
    let reads_new = g.relu(new).unwrap();
    g.set_update(s, new).unwrap();
    g.set_output("old", reads_old).unwrap();
    g.set_output("new", reads_new).unwrap();
    let plan = checked(&g);
    assert_eq!(kinds(&plan.steps), ["exp", "sub", "relu"]);
    assert_eq!(plan.steps[1].results[0].place, Place::State(0));
    assert_eq!(plan.steps[2].operands[0].place, Place::State(0));
}

#[test]
fn a_state_read_elsewhere_by_its_writer_is_copied() {
    let mut g = graph();
    let s = state(&mut g, "s", &[4, 8]);
    let new = g.softmax(s, 1).unwrap();
    g.set_update(s, new).unwrap();
    let plan = checked(&g);
    assert_eq!(kinds(&plan.steps), ["softmax", "reshape"]);
    assert!(matches!(plan.steps[0].results[0].place, Place::Work(_)));
}

#[test]
fn a_state_whose_old_value_is_needed_after_the_new_one_is_copied() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let s = state(&mut g, "s", &[4, 8]);
    let new = g.add_values(s, x).unwrap();
    let both = g.mul(new, s).unwrap();
    g.set_update(s, new).unwrap();
    g.set_output("y", both).unwrap();
    let plan = checked(&g);
    assert_eq!(kinds(&plan.steps), ["add", "mul", "reshape"]);
    assert_eq!(plan.steps[2].results[0].place, Place::State(0));
}

#[test]
fn states_swap_and_rotate_through_temporaries() {
    let mut g = graph();
    let [a, b] = ["a", "b"].map(|n| state(&mut g, n, &[4]));
    g.set_update(a, b).unwrap();
    g.set_update(b, a).unwrap();
    assert!(checked(&g).steps.iter().all(is_copy));
    g = graph();
    let [a, b, d] = ["a", "b", "d"].map(|n| state(&mut g, n, &[4]));
    let x = x(&mut g, &[4]);
    let new = g.add_values(x, d).unwrap();
    g.set_update(a, b).unwrap();
    g.set_update(b, d).unwrap();
    g.set_update(d, new).unwrap();
    checked(&g);
}

#[test]
fn one_value_for_two_states_and_an_output_is_copied() {
    let mut g = graph();
    let x = x(&mut g, &[4]);
    let [a, b] = ["a", "b"].map(|n| state(&mut g, n, &[4]));
    let new = g.add_values(a, x).unwrap();
    g.set_update(a, new).unwrap();
    g.set_update(b, new).unwrap();
    g.set_output("y", new).unwrap();
    let plan = checked(&g);
    assert_eq!(plan.steps.iter().filter(|s| is_copy(s)).count(), 2);
    // to its own value is no update
    let mut g = graph();
    let a = state(&mut g, "a", &[4]);
    g.set_update(a, a).unwrap();
    let plan = checked(&g);
    assert!(plan.steps.is_empty() && !plan.writes_states);
}

#[test]
fn coefficients_write_running_statistics_in_place() {
    let mut g = graph();
    let sums = x(&mut g, &[2, 8]);
    let [gamma, beta, mean, var] = ["gamma", "beta", "mean", "var"].map(|n| state(&mut g, n, &[8]));
    let norm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    let op = Op::Coefficients(Coefficients { norm, count: 100 });
    let id = g.add(op, &[sums, sums, gamma, beta, mean, var], "bn").unwrap();
    g.set_output("scale", id.result(0)).unwrap();
    g.set_update(mean, id.result(4)).unwrap();
    g.set_update(var, id.result(5)).unwrap();
    let plan = checked(&g);
    assert_eq!(kinds(&plan.steps), ["bn_coefficients"]);
    assert_eq!(plan.steps[0].results[4].place, Place::State(2));
    // results that nothing reads end with the step
    assert_eq!(plan.steps[0].dead_after.len(), 3);
}

/// Adam for one tensor in one kernel: parameter and both moments, each over its own state.
#[test]
fn an_optimizer_kernel_updates_all_its_states_in_place() {
    let mut g = graph();
    let gradient = x(&mut g, &[4, 8]);
    let [p, m, v] = ["p", "m", "v"].map(|n| state(&mut g, n, &[4, 8]));
    let steps = vec![
        Step::Operand(0),
        Step::Operand(1),
        Step::Operand(2),
        Step::Operand(3),
        Step::Binary(Binary::Add, 2, 0),
        Step::Binary(Binary::Max, 3, 0),
        Step::Binary(Binary::Div, 4, 5),
        Step::Binary(Binary::Sub, 1, 6),
    ];
    let result = Program { steps, value: 0, outputs: vec![Output::Full(7), Output::Full(4), Output::Full(5)] };
    let anchor = Anchor::Map(Shape::from([4, 8]));
    let (source, gradient_program) = (Program::default(), Program::default());
    let fused = Fused { anchor, chunks: 4, precision: Default::default(), source, gradient: gradient_program, result };
    let id = g.add(Op::Fused(Box::new(fused)), &[gradient, p, m, v], "adam").unwrap();
    for (port, state) in [p, m, v].into_iter().enumerate() {
        g.set_update(state, id.result(port)).unwrap();
    }
    let plan = checked(&g);
    assert_eq!(kinds(&plan.steps), ["map"]);
    for slot in 0..3 {
        assert_eq!(plan.steps[0].results[slot].place, Place::State(slot));
    }
}

/// One kernel updates two parameters; the second segment also reads the first one's parameter if `crossed`.
fn two_updates(crossed: bool) -> Planned {
    let mut g = graph();
    let lr = g.input("lr", DType::F32, []).unwrap();
    let gradient = x(&mut g, &[4, 8]);
    let [p, q, other] = ["p", "q", "other"].map(|n| state(&mut g, n, &[4, 8]));
    let steps = vec![
        Step::Operand(0),
        Step::Operand(1),
        Step::Operand(2),
        Step::Operand(3),
        Step::Binary(Binary::Mul, 0, 1),
        Step::Binary(Binary::Sub, 2, 4),
        Step::Binary(Binary::Add, 3, 5),
    ];
    let (source, unused) = (Program::default(), Program::default());
    let fused = Fused {
        anchor: Anchor::Maps { segments: vec![Shape::from([4, 8]); 2], shared: 1 },
        chunks: 32,
        precision: Default::default(),
        source,
        gradient: unused,
        result: Program { steps, value: 0, outputs: vec![Output::Full(5), Output::Full(6)] },
    };
    let moved = if crossed { p } else { other };
    let id = g.add(Op::Fused(Box::new(fused)), &[lr, gradient, p, other, gradient, q, moved], "updates").unwrap();
    g.set_update(p, id.result(0)).unwrap();
    g.set_update(q, id.result(2)).unwrap();
    g.set_output("y", id.result(1)).unwrap();
    g.set_output("z", id.result(3)).unwrap();
    checked(&g)
}

#[test]
fn updates_of_several_parameters_are_made_in_place_where_no_other_segment_reads_them() {
    let plan = two_updates(false);
    assert_eq!(kinds(&plan.steps), ["maps"]);
    assert_eq!([0, 2].map(|r| plan.steps[0].results[r].place), [Place::State(0), Place::State(1)]);
    let plan = two_updates(true);
    assert_eq!(kinds(&plan.steps), ["maps", "reshape"]);
    assert_eq!(plan.steps[0].results[2].place, Place::State(1));
}

/// `relu(conv(x) + residual)`; `of_source` makes the residual the convolution's own input.
fn fused_residual(of_source: bool) -> Planned {
    let mut g = graph();
    let x = x(&mut g, &[2, 4, 4, 8]);
    let w = state(&mut g, "w", &[3, 3, 8, 8]);
    let a = g.relu(x).unwrap();
    let b = if of_source { a } else { g.exp(x).unwrap() };
    let conv = Conv2d { stride: [1; 2], padding: [[1; 2]; 2], dilation: [1; 2], groups: 1 };
    let steps = vec![Step::Anchor, Step::Operand(2), Step::Binary(Binary::Add, 0, 1)];
    let fused = Fused {
        anchor: Anchor::Conv2d { conv, input: Shape::from([2, 4, 4, 8]), weight: Shape::from([3, 3, 8, 8]) },
        chunks: 2,
        precision: Default::default(),
        source: Program::operand(1),
        gradient: Program::default(),
        result: Program { steps, value: 0, outputs: vec![Output::Full(2), Output::Sums(2)] },
    };
    let id = g.add(Op::Fused(Box::new(fused)), &[w, a, b], "conv").unwrap();
    g.set_output("y", id.result(0)).unwrap();
    g.set_output("sums", id.result(1)).unwrap();
    checked(&g)
}

#[test]
fn a_fused_convolution_may_overwrite_its_residual_but_not_its_input() {
    let plan = fused_residual(false);
    let conv = plan.steps.last().unwrap();
    assert_eq!(conv.results[0].place, conv.operands[2].place);
    assert_ne!(conv.results[0].place, conv.operands[1].place);
    let plan = fused_residual(true);
    let conv = plan.steps.last().unwrap();
    assert_ne!(conv.results[0].place, conv.operands[1].place);
}

#[test]
fn what_depends_on_state_alone_is_prepared_and_kept() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let [s, t] = ["s", "t"].map(|n| state(&mut g, n, &[4, 8]));
    let a = g.exp(s).unwrap();
    let scale = g.mul(a, t).unwrap();
    let y = g.mul(x, scale).unwrap();
    let z = g.softmax(y, 1).unwrap();
    let z = g.sub(z, scale).unwrap();
    g.set_output("z", z).unwrap();
    let plan = checked(&g);
    assert_eq!(kinds(&plan.prepare), ["exp", "mul"]);
    assert_eq!(kinds(&plan.steps), ["mul", "softmax", "sub"]);
    let kept = plan.prepare[1].results[0].place;
    assert!(plan.steps.iter().all(|s| s.results[0].place != kept));
    assert!(plan.steps.iter().all(|s| s.dead_after.iter().all(|d| Place::Work(d.0) != kept)));
    // a run that changes state prepares nothing
    g.set_update(t, a).unwrap();
    assert!(checked(&g).prepare.is_empty());
}

#[test]
fn what_needs_no_input_runs_right_before_its_first_user() {
    let mut g = graph();
    let x = x(&mut g, &[4, 8]);
    let s = state(&mut g, "s", &[4, 8]);
    let decayed = g.exp(s).unwrap();
    let mut y = g.softmax(x, 1).unwrap();
    for axis in [0, 1, 0] {
        y = g.softmax(y, axis).unwrap();
    }
    let new = g.add_values(decayed, y).unwrap();
    g.set_update(s, new).unwrap();
    let plan = checked(&g);
    assert_eq!(kinds(&plan.steps), ["softmax", "softmax", "softmax", "softmax", "exp", "add"]);
    assert_eq!(plan.live_bytes, 3 * 128);
}

#[test]
fn label_inputs_know_their_classes() {
    let mut g = graph();
    let labels = g.input("labels", DType::I32, [6]).unwrap();
    let counts = g.input("counts", DType::I32, [6]).unwrap();
    let square = g.reshape(labels, [2, 3]).unwrap();
    let many = g.one_hot(labels, 10).unwrap();
    let few = g.one_hot(square, 7).unwrap();
    let more = g.add_values(counts, labels).unwrap();
    let ids = g.input("ids", DType::I32, [6]).unwrap();
    let table = g.parameter("table", [5, 2], Init::ZEROS).unwrap();
    let rows = g.embedding(ids, table).unwrap();
    for (name, value) in [("many", many), ("few", few), ("more", more), ("rows", rows)] {
        g.set_output(name, value).unwrap();
    }
    let plan = checked(&g);
    let classes: Vec<_> = plan.inputs.iter().map(|input| input.classes).collect();
    assert_eq!(classes, [Some(7), None, Some(5)]);
}

#[test]
fn unused_inputs_have_places_and_dead_nodes_no_steps() {
    let mut g = graph();
    let x = x(&mut g, &[4]);
    let unused = g.input("unused", DType::U8, [3]).unwrap();
    g.relu(x).unwrap();
    g.cast(unused, DType::F32).unwrap();
    let plan = checked(&g);
    assert!(plan.steps.is_empty() && plan.outputs.is_empty());
    assert_eq!(plan.work_bytes, 2 * ALIGNMENT);
    assert_eq!(plan.live_bytes, plan.work_bytes);
}

#[test]
fn the_text_names_steps_places_and_the_peak() {
    let mut g = graph();
    let x = x(&mut g, &[1000]);
    let s = state(&mut g, "w", &[1000]);
    let y = g.mul(x, s).unwrap();
    let y = g.sum(y, &[0]).unwrap();
    g.set_output("y", y).unwrap();
    let plan = checked(&g);
    let text = plan.to_string();
    assert_eq!(plan.memory_line(), "arena 8.1 kB, largest live set 8.1 kB (1.00)");
    assert!(text.starts_with("plan test: 2 steps, 0 prepared, 1 states; arena 8.1 kB"), "{text}");
    for part in ["state 0 f32[1000]", "reduce_sum", "live 8.1 kB", "output   y"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}
