//! A custom algorithm: MAML whose inner steps have a bounded length.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α_k g_k / √(1 + ‖g_k‖²)       g_k = ∇L_S(φ_k)
//!
//! No step is longer than α_k, which is learned together with θ. The exact meta-gradient follows from the step.
//! Run: cargo run --release --example own_algorithm
#![allow(clippy::print_stdout, reason = "printing is what a command does")]

use innerloop::engine::{Dtype, Key, Params, Shape, Tensor};
use innerloop::lab::{Config, Evaluator, Experiment, Result, Trainer};
use innerloop::meta::{Algorithm, InnerStep, MetaGradient, Moved, rate_name};
use innerloop::meta::{Learner, Setup, Strategy, TaskData};
use innerloop::tasks::{Episode, Split};

struct BoundedMaml(f64); // α at the start

impl Algorithm for BoundedMaml {
    fn name(&self) -> &str {
        "bounded_maml"
    }

    fn adapts(&self, _: &str) -> bool {
        true // every parameter
    }

    /// One meta-parameter besides θ: α, one number per step.
    fn rates(&self, _: &Params<Shape>, steps: usize) -> Params<Tensor> {
        [(rate_name("step"), Tensor::full(Dtype::F64, &[steps], self.0))].into_iter().collect()
    }

    fn learns_rates(&self) -> bool {
        true
    }

    fn state(&self, _: &Params<Shape>) -> Params<Shape> {
        Params::new()
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let all = step.rates[&rate_name("step")];
        let alpha = all.dot(step.step.slice(&[0], &all.shape()));
        let one = alpha.full_like(1.0);
        let norm = step.gradient.values().iter().fold(one, |sum, &g| sum + g.dot(g)).sqrt();
        let phi = step.phi.zip_map(&step.gradient, |&phi, &g| phi - alpha / norm * g);
        Moved { phi, state: Params::new() }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}

fn experiment() -> Result<Experiment> {
    let sets = ["algorithm.adaptation_steps=3", "outer.lr=0.002", "run.dtype=f64"];
    let config = Config::load("sinusoid-maml", &sets.map(String::from))?;
    Experiment::with_algorithm(config, Box::new(BoundedMaml(0.1)))
}

/// Relative difference between the two strategies' meta-gradients on one task, before training.
fn disagreement() -> Result<f64> {
    let (of, key) = (experiment()?, Key::new(1));
    let mut it = Episode::zeros(&of.train.spec);
    of.family.sample_into(Split::Train, key, &mut it);
    let (support, query) = ([&it.support_x, &it.support_y], [&it.query_x, &it.query_y]);
    let task = TaskData { support: &support, query: &query, key };
    let [a, b] = [Strategy::Unrolled, Strategy::Adjoint].map(|strategy| -> Vec<f64> {
        let learner = Learner::new(&of.train, &*of.algorithm, Setup { strategy, ..Setup::new(3) });
        let (mut worker, mut result) = (learner.worker(Dtype::F64), learner.result(Dtype::F64));
        learner.run(&mut worker, &of.initial_state(), task, &mut result);
        result.gradient.values().iter().flat_map(Tensor::iter).collect()
    });
    let size: f64 = a.iter().map(|a| a.abs()).sum();
    Ok(a.iter().zip(&b).map(|(a, b)| (a - b).abs() / size).sum())
}

/// Mean squared error on 200 test tasks after the given number of outer iterations.
fn train(iterations: u64) -> Result<f64> {
    let mut trainer = Trainer::new(experiment()?)?;
    for _ in 0..iterations {
        trainer.step()?;
    }
    let (experiment, pool) = (&trainer.experiment, trainer.pool());
    let evaluator = Evaluator::new(experiment, 3, pool.current_num_threads());
    let report = pool.install(|| evaluator.run(experiment, &trainer.meta, Split::Test, 200))?;
    Ok(report.last().mean)
}

fn main() -> Result<()> {
    println!("unrolled and adjoint differ by {:.1e}", disagreement()?);
    println!("squared error before training  {:.3}", train(0)?);
    println!("squared error after 500 steps  {:.3}", train(500)?);
    Ok(())
}

#[test]
fn it_learns() {
    assert!(disagreement().unwrap() <= 1e-10);
    assert!(train(100).unwrap() <= 0.9 * train(0).unwrap());
}
