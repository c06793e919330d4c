//! The result of a run: the final evaluation, and what `result.json` holds.

use std::sync::atomic::AtomicBool;

use innerloop_engine::volume;
use innerloop_meta::MetaState;
use innerloop_tasks::{Distance, Split, Target, nearest_mean};
use serde::Serialize;

use super::Run;
use crate::Result;
use crate::checkpoint;
use crate::checkpoint::state::{self, load_meta, number};
use crate::evaluation::{Estimate, Evaluator, Protocol, Report};
use crate::memory::peak_memory;
use crate::trainer::Trainer;

/// The result of a run, as `result.json` holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// How it was obtained.
    pub protocol: Protocol,
    /// Outer iterations completed.
    pub iterations: u64,
    /// Outer iterations configured.
    pub iterations_configured: u64,
    /// Seconds of training, including validation.
    pub seconds: f64,
    /// Seconds in outer iterations only.
    pub training_seconds: f64,
    /// Gradients of support and query losses per outer iteration.
    pub gradients: usize,
    /// Hessian-vector products per outer iteration.
    pub hessian_products: usize,
    /// Bytes of all workers' workspaces in training.
    pub workspaces: usize,
    /// Iteration of the evaluated meta-parameters: the best on validation, or the last if nothing was validated.
    pub evaluated_iteration: u64,
    /// Iterations of the ensemble's members, the best first, if an ensemble was evaluated.
    pub ensemble: Vec<u64>,
    /// Peak memory of the process until the end of training, in bytes, if the system reports it.
    pub training_peak_memory: Option<u64>,
    /// Peak memory of the process, in bytes, if the system reports it.
    pub peak_memory: Option<u64>,
    /// Learned parameters of θ.
    pub parameters: usize,
    /// Results on test tasks after training.
    pub test: Report,
    /// Results on the same tasks before training.
    pub untrained: Report,
    /// Nearest class mean by cosine on raw inputs, for tasks with classes.
    pub nearest_mean: Option<Estimate>,
    /// Nearest class mean by distance on a pre-trained network's features, if a network is pre-trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest_mean_of_features: Option<Estimate>,
}

impl Run {
    /// The final evaluation, of the meta-parameters that were best on validation, if there was any.
    pub(super) fn evaluate(mut self, stop: &AtomicBool) -> Result<Outcome> {
        let training_peak_memory = peak_memory();
        let config = self.trainer.experiment.config.clone();
        let iterations = self.trainer.iteration;
        let mut evaluated_iteration = iterations;
        let best = self.writer.dir().best_path();
        if best.exists() {
            let checkpoint = checkpoint::load(&best)?;
            let Trainer { experiment, meta, .. } = &mut self.trainer;
            load_meta((experiment, meta), &checkpoint, &best)?;
            evaluated_iteration = number(&checkpoint, "iteration", &best)?;
        }
        let Trainer { experiment, meta, .. } = &self.trainer;
        let threads = self.trainer.pool().current_num_threads();
        let (steps, tasks) = (config.evaluation.steps, config.evaluation.tasks);
        let evaluator = Evaluator::new(experiment, steps, threads);
        let dir = self.writer.dir();
        let (ensemble, states): (Vec<u64>, Vec<MetaState>) =
            state::ensemble(dir.path(), experiment)?.into_iter().unzip();
        let members = if states.is_empty() { vec![meta] } else { states.iter().collect() };
        let of_features = Evaluator::of_features(experiment, meta, threads)?;
        let reports = self.trainer.pool().install(|| -> Result<_> {
            let split = (Split::Test, tasks);
            let test = evaluator.run_until(experiment, &members, split, stop)?;
            let start = experiment.initial_state();
            let untrained = evaluator.run_until(experiment, &[&start], split, stop)?;
            let features = match &of_features {
                Some((of, state)) => of.run_until(experiment, &[state], split, stop)?.map(Some),
                None => Some(None),
            };
            Ok(test.zip(untrained).zip(features))
        })?;
        let ((test, untrained), features) =
            reports.ok_or_else(|| dir.interrupted("during the final evaluation"))?;
        let nearest_mean = match experiment.evaluate.spec.target {
            Target::Values(_) => None,
            Target::Classes(_) => {
                let family = experiment.family.as_ref();
                let seed = config.seed;
                let accuracies = nearest_mean(family, Split::Test, seed, tasks, Distance::Cosine)?;
                Some(Estimate::of(&accuracies))
            }
        };
        let of = self.trainer.learner().derivatives();
        let outcome = Outcome {
            protocol: Protocol::new(experiment, Split::Test, steps),
            iterations,
            iterations_configured: config.outer.iterations as u64,
            seconds: self.seconds,
            training_seconds: self.training_seconds,
            gradients: of.gradients * config.outer.meta_batch_size,
            hessian_products: of.hessian_products * config.outer.meta_batch_size,
            workspaces: self.trainer.bytes(),
            evaluated_iteration,
            ensemble,
            training_peak_memory,
            peak_memory: peak_memory(),
            parameters: experiment.train.model.parameters().iter().map(|p| volume(&p.shape)).sum(),
            test,
            untrained,
            nearest_mean,
            nearest_mean_of_features: features.map(|report| report.last()),
        };
        self.writer.write_result(&outcome)?;
        Ok(outcome)
    }
}
