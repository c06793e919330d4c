//! A custom network: two convolutions, the second with a residual connection, and a linear layer.
//!
//! h₁ = pool(tanh(W₁ ∗ x + b₁))
//! h₂ = h₁ + tanh(W₂ ∗ h₁ + b₂)
//! y  = W₃ h₂ + b₃
//!
//! With MAML, it learns to tell five invented characters apart from one drawing of each.
//! Run: cargo run --release --example own_model
#![allow(clippy::print_stdout, reason = "printing is what a command does")]

use innerloop::engine::{Params, Shape, Var, Window};
use innerloop::lab::{Config, Evaluator, Experiment, Result, Trainer};
use innerloop::nn::{Forward, Init, Layout, Model, NormStatistics, ParamSpec, Vars};
use innerloop::tasks::{EpisodeSpec, Split, Target};

const FILTERS: usize = 8;

struct Residual {
    specs: Vec<ParamSpec>,
}

impl Residual {
    /// For images `[28, 28, 1]`: the first convolution halves them, and so does the pooling.
    fn new(episode: &EpisodeSpec) -> Residual {
        let (Target::Classes(outputs) | Target::Values(outputs)) = episode.target;
        let weight = |name: &str, shape: &[usize], layout| ParamSpec {
            name: format!("{name}.weight"),
            shape: shape.to_vec(),
            layout,
            init: Init::Xavier,
        };
        let bias = |name: &str, n| ParamSpec {
            name: format!("{name}.bias"),
            shape: vec![n],
            layout: Layout::Same,
            init: Init::Constant(0.0),
        };
        let extents = [7, 7, FILTERS];
        let specs = vec![
            weight("stem", &[3, 3, 1, FILTERS], Layout::Conv),
            bias("stem", FILTERS),
            weight("block", &[3, 3, FILTERS, FILTERS], Layout::Conv),
            bias("block", FILTERS),
            weight("head", &[outputs, 7 * 7 * FILTERS], Layout::Maps { extents }),
            bias("head", outputs),
        ];
        Residual { specs }
    }
}

impl Model for Residual {
    fn parameters(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// There are no normalising layers, so there are no statistics.
    fn statistics(&self) -> Params<Shape> {
        Params::new()
    }

    fn forward<'g>(&self, p: &Vars<'g>, x: Var<'g>, _: &NormStatistics<'g>) -> Forward<'g> {
        let h = x.conv(p["stem.weight"], Window::square(3, 2, 1)) + p["stem.bias"];
        let h = h.tanh().max_pool(Window::square(2, 2, 0));
        let inner = h.conv(p["block.weight"], Window::square(3, 1, 1)) + p["block.bias"];
        let features = (h + inner.tanh()).reshape(&[x.shape()[0], 7 * 7 * FILTERS]);
        let output = features.matmul_t(p["head.weight"]) + p["head.bias"];
        Forward { output, statistics: Params::new() }
    }
}

/// Accuracy on 100 test tasks after the given number of outer iterations.
fn train(iterations: u64) -> Result<f64> {
    let sets =
        ["algorithm.adaptation_steps=2", "algorithm.inner_lr=0.1", "outer.meta_batch_size=4"];
    let config = Config::load("strokes-maml", &sets.map(String::from))?;
    let experiment = Experiment::with_model(config, |spec| Box::new(Residual::new(spec)))?;
    let mut trainer = Trainer::new(experiment)?;
    for _ in 0..iterations {
        trainer.step()?;
    }
    let (experiment, pool) = (&trainer.experiment, trainer.pool());
    let evaluator = Evaluator::new(experiment, 2, pool.current_num_threads());
    let report = pool.install(|| evaluator.run(experiment, &trainer.meta, Split::Test, 100))?;
    Ok(report.last().mean)
}

fn main() -> Result<()> {
    println!("accuracy before training  {:.1} %", 100.0 * train(0)?);
    println!("accuracy after 300 steps  {:.1} %", 100.0 * train(300)?);
    Ok(())
}

#[test]
fn it_learns() {
    assert!(train(40).unwrap() >= train(0).unwrap() + 0.02);
}
