//! One suite of cases for every operation and everything the builder composes from them, with random shapes:
//! odd sizes, channel counts that are no multiple of a vector, batch 1. Several executors run it.

use outrigger::Error;

use super::build::Build;

mod activation;
mod composite;
pub mod conv;
mod convs;
mod elementwise;
mod fused;
mod layer_norm;
mod linear;
mod movement;
mod norm;
mod pool;
mod reduce;
mod resample;
mod source;

type Make = Box<dyn Fn(&mut Build) -> Result<(), Error>>;

/// A graph with values for everything, made from a seed.
pub struct Case {
    /// `family/what`.
    pub name: String,
    make: Make,
    /// Whether the loss terms have a gradient with respect to every leaf.
    pub differentiable: bool,
    /// Only moves or copies values: every element must be exact.
    pub exact: bool,
}

impl Case {
    fn new(name: impl Into<String>, make: impl Fn(&mut Build) -> Result<(), Error> + 'static) -> Self {
        Case { name: name.into(), make: Box::new(make), differentiable: true, exact: false }
    }
    /// Without a gradient.
    fn flat(mut self) -> Self {
        self.differentiable = false;
        self
    }
    fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// The case for one seed, which chooses its shapes and values.
    pub fn build(&self, seed: u64) -> Build {
        let mut build = Build::new(&self.name, seed);
        if let Err(error) = (self.make)(&mut build) {
            panic!("{}, seed {seed}: {error}", self.name);
        }
        build
    }

    /// How far a result of f32 arithmetic may be from the true one, when the largest element is `largest`.
    pub fn limit(&self, b: &Build, largest: f64) -> f64 {
        if self.exact { 0.0 } else { roundings(b.terms) * largest.max(b.magnitude) }
    }
    /// The same for the gradient of the leaf `at`, when the graph's largest value has `elements`. A backward
    /// pass is about twice as long as the way forward.
    pub fn gradient_limit(&self, b: &Build, at: usize, elements: usize, largest: f64) -> f64 {
        let stretched = elements / b.shape(b.leaves[at]).elements();
        let magnitude = if b.stretches { (stretched as f64).sqrt() } else { b.gradient_magnitude };
        2.0 * roundings(b.terms.max(stretched)) * largest.max(magnitude)
    }
}

/// A few roundings of f32 (unit 2⁻²⁴), which in a sum of n terms of random signs add up like √n.
fn roundings(terms: usize) -> f64 {
    8.0 * f64::powi(2.0, -24) * (terms as f64).sqrt()
}

/// All cases.
pub fn all() -> Vec<Case> {
    let families = [
        source::cases(),
        elementwise::cases(),
        activation::cases(),
        movement::cases(),
        reduce::cases(),
        linear::cases(),
        conv::cases(),
        convs::cases(),
        pool::cases(),
        resample::cases(),
        norm::cases(),
        layer_norm::cases(),
        composite::cases(),
        fused::cases(),
    ];
    families.into_iter().flatten().collect()
}
