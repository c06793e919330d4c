//! A custom family of tasks: damped oscillations, to be inferred from ten points.
//!
//! y = A e^(−λx) cos(ωx + φ)     A ~ U[1, 3]   λ ~ U[0, 0.5]   ω ~ U[1, 2]   φ ~ U[0, π]   x ~ U[0, 5]
//!
//! With MAML, a multilayer perceptron learns to fit such a curve in five steps.
//! Run: cargo run --release --example own_tasks
#![allow(clippy::print_stdout, reason = "printing is what a command does")]

use std::f32::consts::PI;

use innerloop::engine::{Key, Tensor};
use innerloop::lab::{Config, Evaluator, Experiment, Kept, Result, Trainer};
use innerloop::rand::RngExt;
use innerloop::tasks::{Episode, EpisodeSpec, Split, Target, TaskFamily};

struct Oscillations {
    /// Points to adapt on.
    shots: usize,
    /// Points to evaluate on.
    query: usize,
}

impl TaskFamily for Oscillations {
    fn name(&self) -> &str {
        "oscillations"
    }

    /// The same for every split: tasks differ, shapes do not.
    fn spec(&self, _: Split) -> EpisodeSpec {
        let Oscillations { shots, query } = *self;
        EpisodeSpec { x: vec![1], target: Target::Values(1), support: shots, query }
    }

    /// All random numbers come from the key, so a task does not depend on which thread draws it, or when.
    fn sample_into(&self, _: Split, key: Key, episode: &mut Episode) {
        let mut rng = key.rng();
        let amplitude = rng.random_range(1.0..3.0);
        let damping = rng.random_range(0.0..0.5);
        let frequency = rng.random_range(1.0..2.0);
        let phase = rng.random_range(0.0..PI);
        let mut fill = |x: &mut Tensor, y: &mut Tensor| {
            for (x, y) in x.as_f32_mut().iter_mut().zip(y.as_f32_mut()) {
                *x = rng.random_range(0.0..5.0);
                *y = amplitude * (-damping * *x).exp() * (frequency * *x + phase).cos();
            }
        };
        fill(&mut episode.support_x, &mut episode.support_y);
        fill(&mut episode.query_x, &mut episode.query_y);
    }

    fn describe(&self) -> String {
        format!("damped oscillations, {} support and {} query points", self.shots, self.query)
    }
}

/// The rest of the experiment. There is no `[tasks]`: the family replaces it.
const CONFIG: &str = r#"
    model = { kind = "mlp", hidden = [40, 40] }
    algorithm = { name = "maml", inner_lr = 0.05, adaptation_steps = 5 }
    outer = { lr = 0.002, meta_batch_size = 16 }
"#;

/// Mean squared error on 200 test tasks after the given number of outer iterations.
fn train(iterations: u64) -> Result<f64> {
    let config = Config::parse(CONFIG, "own_tasks")?;
    let family = Oscillations { shots: 10, query: 20 };
    let mut trainer = Trainer::new(Experiment::with_family(config, Box::new(family))?)?;
    for _ in 0..iterations {
        trainer.step()?;
    }
    let (experiment, pool) = (&trainer.experiment, trainer.pool());
    let evaluator = Evaluator::new(experiment, 5, pool.current_num_threads());
    let report = pool.install(|| evaluator.run(experiment, &trainer.meta, Split::Test, 200))?;
    Ok(report.last().mean)
}

fn main() -> Result<()> {
    println!("squared error before training  {:.3}", train(0)?);
    println!("squared error after 500 steps  {:.3}", train(500)?);
    Ok(())
}

#[test]
fn it_learns() {
    assert!(train(100).unwrap() <= 0.9 * train(0).unwrap());
}
