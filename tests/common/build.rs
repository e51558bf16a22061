//! Building a case: a graph together with a value for each of its inputs and states.

use std::collections::HashMap;

use outrigger::graph::{Graph, Value};
use outrigger::ops::Init;
use outrigger::tensor::Data;
use outrigger::{DType, Shape, Tensor};

use super::rng::Rng;

/// Channel counts: one, less than a vector, a whole one, and some over.
pub const CHANNELS: [usize; 7] = [1, 3, 4, 5, 16, 17, 33];

/// Which values a tensor gets.
#[derive(Clone, Copy)]
pub enum Fill {
    /// In [-2, 2).
    Signed,
    /// In [-12, 12): where exponentials saturate.
    Wide,
    /// In [-b, b) for this bound.
    Within(f64),
    /// In [0.5, 2).
    Positive,
    /// In [-2, 2), and at least 0.01 from each of these kinks.
    Away(&'static [f64]),
    /// Multiples of 1/64 with an offset of the tensor's own: no two are equal, also not in two tensors,
    /// and none is zero. For maxima.
    Distinct,
    /// Whole numbers from -2 to 2: many are equal.
    Whole,
}

/// A graph under construction.
pub struct Build {
    pub g: Graph,
    pub rng: Rng,
    pub inputs: HashMap<String, Tensor>,
    pub state: HashMap<String, Tensor>,
    /// Floats that a gradient is asked for.
    pub leaves: Vec<Value>,
    /// Outputs that the loss of a gradient test is made of.
    pub loss_terms: Vec<Value>,
    /// The longest sum behind a result, which bounds its rounding error.
    pub terms: usize,
    /// What a result would be but for chance: the sum of n numbers of both signs is about √n, and its
    /// rounding error goes by that also where the sum happens to be small.
    pub magnitude: f64,
    /// The same for gradients.
    pub gradient_magnitude: f64,
    /// Leaves are stretched, and nothing else is done to their size: a gradient adds up as many numbers of both
    /// signs and of size about 1 as the leaf was stretched to.
    pub stretches: bool,
    count: usize,
}

impl Build {
    pub fn new(name: &str, seed: u64) -> Self {
        Build {
            g: Graph::new(name),
            rng: Rng::new(seed),
            inputs: HashMap::new(),
            state: HashMap::new(),
            leaves: Vec::new(),
            loss_terms: Vec::new(),
            terms: 1,
            magnitude: 0.0,
            gradient_magnitude: 0.0,
            stretches: false,
            count: 0,
        }
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{}", self.count)
    }

    /// Values of one kind.
    pub fn values(&mut self, shape: &Shape, fill: Fill) -> Tensor {
        let n = shape.elements();
        let rng = &mut self.rng;
        let values: Vec<f64> = match fill {
            Fill::Signed => (0..n).map(|_| rng.uniform(-2.0, 2.0)).collect(),
            Fill::Wide => (0..n).map(|_| rng.uniform(-12.0, 12.0)).collect(),
            Fill::Within(bound) => (0..n).map(|_| rng.uniform(-bound, bound)).collect(),
            Fill::Positive => (0..n).map(|_| rng.uniform(0.5, 2.0)).collect(),
            Fill::Away(kinks) => (0..n).map(|_| away(rng, kinks)).collect(),
            Fill::Distinct => {
                // an eighth, two eighths, …: tensors of one case lie in different places of the grid
                let offset = (self.count % 7 + 1) as f64 / 8.0 - (n / 2) as f64;
                rng.permutation(n).iter().map(|&i| (i as f64 + offset) / 64.0).collect()
            }
            Fill::Whole => (0..n).map(|_| rng.below(5) as f64 - 2.0).collect(),
        };
        Tensor::f32(shape.clone(), values.iter().map(|&v| v as f32).collect()).unwrap()
    }

    /// An f32 input that a gradient is asked for.
    pub fn x(&mut self, shape: impl Into<Shape>, fill: Fill) -> Value {
        let value = self.plain(shape, fill);
        self.leaves.push(value);
        value
    }
    /// A parameter.
    pub fn w(&mut self, shape: impl Into<Shape>, fill: Fill) -> Value {
        let (shape, name) = (shape.into(), self.fresh("w"));
        let tensor = self.values(&shape, fill);
        self.state.insert(name.clone(), tensor);
        let value = self.g.parameter(&name, shape, Init::ZEROS).unwrap();
        self.leaves.push(value);
        value
    }
    /// An f32 input without a gradient.
    pub fn plain(&mut self, shape: impl Into<Shape>, fill: Fill) -> Value {
        let shape = shape.into();
        let tensor = self.values(&shape, fill);
        self.given(tensor)
    }
    /// An input with this value.
    pub fn given(&mut self, tensor: Tensor) -> Value {
        let name = self.fresh("x");
        let value = self.g.input(&name, tensor.dtype(), tensor.shape().clone()).unwrap();
        self.inputs.insert(name, tensor);
        value
    }
    /// An input of given floats.
    pub fn floats(&mut self, values: &[f32]) -> Value {
        self.given(Tensor::f32([values.len()], values.to_vec()).unwrap())
    }
    /// A buffer with this value.
    pub fn buffer(&mut self, tensor: Tensor) -> Value {
        let name = self.fresh("s");
        let value = self.g.buffer(&name, tensor.dtype(), tensor.shape().clone(), Init::ZEROS).unwrap();
        self.state.insert(name, tensor);
        value
    }
    /// Integers in `low..=high`.
    pub fn integers(&mut self, shape: impl Into<Shape>, low: i32, high: i32) -> Value {
        let shape = shape.into();
        let extent = (i64::from(high) - i64::from(low) + 1) as usize;
        let values = (0..shape.elements()).map(|_| (i64::from(low) + self.rng.below(extent) as i64) as i32).collect();
        self.given(Tensor::i32(shape, values).unwrap())
    }
    /// Any bytes.
    pub fn bytes(&mut self, shape: impl Into<Shape>) -> Value {
        let shape = shape.into();
        let values = (0..shape.elements()).map(|_| self.rng.below(256) as u8).collect();
        self.given(Tensor::new(shape, Data::U8(values)).unwrap())
    }

    /// Names `value` as an output. The loss of a gradient test has a term for it.
    pub fn out(&mut self, value: Value) {
        self.also(value);
        self.loss_terms.push(value);
    }
    /// Names `value` as an output that has no gradient.
    pub fn also(&mut self, value: Value) {
        let name = format!("y{}", self.g.outputs().len());
        self.g.set_output(&name, value).unwrap();
    }

    /// The loss of a gradient test: every element of the loss terms times a number of its own.
    pub fn loss(&mut self) -> Value {
        let mut total = self.g.scalar(0.0).unwrap();
        for value in self.loss_terms.clone() {
            let shape = self.shape(value);
            let weights = self.values(&shape, Fill::Signed);
            let weights = self.g.constant(weights).unwrap();
            let product = self.g.mul(value, weights).unwrap();
            let axes: Vec<usize> = (0..shape.rank()).collect();
            let sum = self.g.sum(product, &axes).unwrap();
            total = self.g.add_values(total, sum).unwrap();
        }
        total
    }

    pub fn shape(&self, value: Value) -> Shape {
        self.g.value_type(value).unwrap().shape.clone()
    }
    pub fn dtype(&self, value: Value) -> DType {
        self.g.value_type(value).unwrap().dtype
    }
    /// The longest sum behind a result is at least `n`.
    pub fn sums(&mut self, n: usize) {
        self.terms = self.terms.max(n);
    }
    /// Every result is a sum of `n` numbers of both signs and of size about 1.
    pub fn is_sum_of(&mut self, n: usize) {
        self.sums(n);
        self.magnitude = (n as f64).sqrt();
    }

    /// A channel count.
    pub fn channels(&mut self) -> usize {
        self.rng.pick(&CHANNELS)
    }
    /// A shape of `rank` axes: small odd and even extents, the last of them channels.
    pub fn dims(&mut self, rank: usize) -> Vec<usize> {
        let mut dims: Vec<usize> = (0..rank).map(|_| self.rng.within(1, 5)).collect();
        if let Some(last) = dims.last_mut() {
            *last = self.rng.pick(&CHANNELS);
        }
        dims
    }
    /// A shape of any rank up to 5.
    pub fn any_dims(&mut self) -> Vec<usize> {
        let rank = self.rng.below(6);
        self.dims(rank)
    }
}

fn away(rng: &mut Rng, kinks: &[f64]) -> f64 {
    loop {
        let v = rng.uniform(-2.0, 2.0);
        if kinks.iter().all(|kink| (v - kink).abs() >= 0.01) {
            return v;
        }
    }
}
