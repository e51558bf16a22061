//! Builds a case, differentiates it, and compares with differences of the reference interpreter.

use std::collections::HashMap;

use outrigger::autodiff::gradients;
use outrigger::ops::{Init, Op};
use outrigger::reference::{Outcome, RefTensor, run_exact};
use outrigger::{DType, Error, Graph, Tensor, Value};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random shapes and numbers, and short names for what most cases need.
pub struct Case {
    pub g: Graph,
    pub rng: ChaCha8Rng,
    count: usize,
}

impl Case {
    pub fn new(seed: u64) -> Self {
        Case { g: Graph::new("case"), rng: ChaCha8Rng::seed_from_u64(seed), count: 0 }
    }
    /// An extent in 1..=`most`.
    pub fn extent(&mut self, most: usize) -> usize {
        self.rng.random_range(1..=most)
    }
    /// `rank` extents in 1..=`most`.
    pub fn extents(&mut self, rank: usize, most: usize) -> Vec<usize> {
        (0..rank).map(|_| self.extent(most)).collect()
    }
    /// A parameter with values of both signs.
    pub fn parameter(&mut self, shape: impl AsRef<[usize]>) -> Value {
        self.state(shape.as_ref(), Init::Uniform(1.5))
    }
    /// A parameter with values in [0.5, 1.5).
    pub fn positive(&mut self, shape: impl AsRef<[usize]>) -> Value {
        self.state(shape.as_ref(), Init::Constant(0.5))
    }
    fn state(&mut self, shape: &[usize], init: Init) -> Value {
        self.count += 1;
        self.g.parameter(&format!("p{}", self.count), shape, init).unwrap()
    }
    /// A constant with values of both signs.
    pub fn constant(&mut self, shape: &[usize]) -> Value {
        let values = (0..shape.iter().product()).map(|_| self.rng.random_range(-1.5..1.5)).collect();
        self.g.constant(Tensor::f32(shape, values).unwrap()).unwrap()
    }
    /// Labels below `classes`.
    pub fn labels(&mut self, shape: &[usize], classes: usize) -> Value {
        let values = (0..shape.iter().product()).map(|_| self.rng.random_range(0..classes as i32)).collect();
        self.g.constant(Tensor::i32(shape, values).unwrap()).unwrap()
    }
    pub fn shape(&self, value: Value) -> Vec<usize> {
        self.g.value_type(value).unwrap().shape.0.clone()
    }
    /// A scalar in which every element of `y` has its own random weight.
    pub fn weighted_sum(&mut self, y: Value) -> Value {
        let shape = self.shape(y);
        let weights = self.constant(&shape);
        let product = self.g.mul(y, weights).unwrap();
        let axes: Vec<usize> = (0..shape.len()).collect();
        self.g.sum(product, &axes).unwrap()
    }
    /// Values for every state and input of the graph.
    pub fn values(&mut self) -> HashMap<String, RefTensor> {
        let ids: Vec<_> = self.g.states().chain(self.g.inputs()).collect();
        let mut values = HashMap::new();
        for id in ids {
            let node = self.g.get(id).unwrap();
            let ty = node.results[0].clone();
            let range = match node.op {
                Op::Parameter(_, Init::Uniform(bound)) => f64::from(-bound)..f64::from(bound),
                _ => 0.5..1.5,
            };
            let data = match ty.dtype {
                DType::F32 | DType::Bf16 => spread(&mut self.rng, ty.shape.elements(), range),
                DType::I32 | DType::U8 => vec![3.0; ty.shape.elements()],
            };
            values.insert(node.name.clone(), RefTensor::new(ty, data).unwrap());
        }
        values
    }
}

/// `n` random numbers in `range`, no two close to one another, so that differences do not straddle the kink
/// of a maximum.
fn spread(rng: &mut ChaCha8Rng, n: usize, range: std::ops::Range<f64>) -> Vec<f64> {
    let cell = (range.end - range.start) / n as f64;
    let mut values: Vec<f64> = (0..n).map(|i| range.start + (i as f64 + rng.random_range(0.25..0.75)) * cell).collect();
    for i in (1..n).rev() {
        values.swap(i, rng.random_range(0..=i));
    }
    values
}

pub fn evaluate(graph: &Graph, values: &HashMap<String, RefTensor>) -> Outcome {
    run_exact(graph, values, values).unwrap()
}

/// Checks the gradients of all parameters of the weighted sum of what `build` returns, for several
/// random shapes.
pub fn check(name: &str, build: impl Fn(&mut Case) -> Result<Value, Error>) {
    for seed in 0..6 {
        let mut case = Case::new(seed);
        let y = build(&mut case).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}"));
        let loss = case.weighted_sum(y);
        check_loss(&format!("{name}, seed {seed}"), &mut case, loss);
    }
}

/// Checks the gradients of all parameters of `loss`.
pub fn check_loss(name: &str, case: &mut Case, loss: Value) {
    let forward = case.g.clone();
    let wrt: Vec<Value> = case.g.parameters().map(|id| id.result(0)).collect();
    let grads = gradients(&mut case.g, loss, &wrt).unwrap_or_else(|e| panic!("{name}: {e}"));
    case.g.verify().unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut values = case.values();
    let outcome = evaluate(&case.g, &values);
    for (&parameter, gradient) in wrt.iter().zip(grads) {
        let path = case.g.get(parameter.node).unwrap().name.clone();
        assert_eq!(case.g.value_type(parameter), case.g.value_type(gradient), "{name}: {path}");
        let got = &outcome.values[&gradient].data;
        let want = differences(&forward, loss, &path, &mut values);
        // constants of the rules are f32; the floor is for gradients that are zero but for rounding
        let scale = want.iter().fold(1e-3_f64, |m, w| m.max(w.abs()));
        for (at, (got, want)) in got.iter().zip(&want).enumerate() {
            let off = (got - want).abs();
            assert!(off <= 1e-6 * scale, "{name}: gradient of {path}[{at}] is {got}, differences give {want}");
        }
    }
}

/// Fourth-order central differences of `loss` with respect to the state `path`.
fn differences(graph: &Graph, loss: Value, path: &str, values: &mut HashMap<String, RefTensor>) -> Vec<f64> {
    let h = 1e-4;
    let elements = values[path].data.len();
    (0..elements)
        .map(|at| {
            let centre = values[path].data[at];
            let mut difference = 0.0;
            for (steps, weight) in [(-2.0, 1.0), (-1.0, -8.0), (1.0, 8.0), (2.0, -1.0)] {
                values.get_mut(path).unwrap().data[at] = centre + steps * h;
                difference += weight * evaluate(graph, values).values[&loss].data[0];
            }
            values.get_mut(path).unwrap().data[at] = centre;
            difference / (12.0 * h)
        })
        .collect()
}
