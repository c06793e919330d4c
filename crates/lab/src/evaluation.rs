//! Accuracy, or squared error, on tasks of a split, after each number of inner steps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use innerloop_engine::{Dtype, Tensor};
use innerloop_meta::algorithms::Protonet;
use innerloop_meta::{
    AdaptWorker, Adapter, Algorithm, MetaGradient, MetaState, Problem, Sharing, StepLosses,
    TaskData,
};
use innerloop_tasks::{Episode, Split, Target, episode_key};
use rayon::prelude::*;
use serde::Serialize;

use crate::experiment::Experiment;
use crate::few_shot::FewShot;
use crate::{Error, Result};

/// Mean over tasks with its 95 % confidence interval, `1.96 · sd / √n`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Mean; NaN, which is `null` in files, where the inner loop has diverged.
    pub mean: f64,
    /// Half the width of the interval.
    pub ci95: f64,
}

impl Estimate {
    /// No number, since the inner loop has diverged on some task.
    const DIVERGED: Estimate = Estimate { mean: f64::NAN, ci95: f64::NAN };

    /// The estimate from some values, with the unbiased standard deviation; the interval of a single value is infinite.
    pub fn of(values: &[f64]) -> Estimate {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Estimate { mean, ci95: if n > 1.0 { 1.96 * (variance / n).sqrt() } else { f64::INFINITY } }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Fraction of query examples classified correctly: higher is better.
    Accuracy,
    /// Mean squared error on the query points: lower is better.
    MeanSquaredError,
}

impl Measure {
    /// What is measured where this is predicted.
    pub fn of(target: Target) -> Measure {
        match target {
            Target::Classes(_) => Measure::Accuracy,
            Target::Values(_) => Measure::MeanSquaredError,
        }
    }

    /// Whether a score is better than another; NaN never is.
    pub fn better(self, a: f64, b: f64) -> bool {
        match self {
            Measure::Accuracy => a > b,
            Measure::MeanSquaredError => a < b,
        }
    }
}

/// The result of an evaluation; entry `k` is after `k` inner steps. A loss that is not finite on some task leaves that
/// number of steps without a score; the others keep theirs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What is measured.
    pub measure: Measure,
    /// Score after 0, 1, … inner steps.
    pub scores: Vec<Estimate>,
    /// Query loss after 0, 1, … inner steps.
    pub losses: Vec<Estimate>,
    /// Tasks evaluated.
    pub tasks: usize,
}

impl Report {
    /// The score after the last step.
    pub fn last(&self) -> Estimate {
        *self.scores.last().expect("zero steps have a score too")
    }

    /// Fails if there is no score after the last step, because the inner loop diverged.
    pub fn check(&self, split: Split) -> Result<()> {
        let steps = self.losses.len() - 1;
        if self.losses[steps].mean.is_finite() {
            return Ok(());
        }
        let first = self.losses.iter().position(|loss| !loss.mean.is_finite()).unwrap_or(steps);
        let advice = match first {
            0 => "training itself has diverged; lower outer.lr",
            _ => "lower algorithm.inner_lr or evaluation.steps",
        };
        Err(Error::diverged(format!(
            "the inner loop diverged on {split} tasks: the query loss after {first} of {steps} steps is {}, expected \
             a finite number; {advice}",
            self.losses[first].mean
        )))
    }
}

/// Evaluates meta-parameters on tasks of a split; built once, used many times.
pub struct Evaluator {
    adapter: Adapter,
    workers: Vec<Mutex<(AdaptWorker, Episode)>>,
    steps: usize,
    measure: Measure,
}

impl Evaluator {
    /// For an experiment's evaluation episodes, with memory for each thread of the pool.
    pub fn new(experiment: &Experiment, steps: usize, threads: usize) -> Evaluator {
        let trained = experiment.config.algorithm.adaptation_steps;
        let (problem, algorithm) = (&experiment.evaluate, experiment.algorithm.as_ref());
        let adapter = Adapter::new(problem, algorithm, (trained, steps), experiment.batch());
        Evaluator::around(adapter, (problem, steps), experiment.config.run.dtype, threads)
    }

    /// For the nearest class mean of a pre-trained network's features ([`Experiment::features`]), and the subset of its
    /// meta-parameters that computes them.
    pub(crate) fn of_features(
        experiment: &Experiment,
        meta: &MetaState,
        threads: usize,
    ) -> Result<Option<(Evaluator, MetaState)>> {
        let Some(problem) = experiment.features()? else { return Ok(None) };
        let adapter = Adapter::new(&problem, &Protonet, (0, 0), None);
        let evaluator =
            Evaluator::around(adapter, (&problem, 0), experiment.config.run.dtype, threads);
        let theta = problem.parameters().map_named(|name, _| meta.omega[name].clone());
        let carried = meta.carried.clone();
        let state = MetaState { carried, ..MetaState::new(&problem, &Protonet, 0, theta) };
        Ok(Some((evaluator, state)))
    }

    fn around(
        adapter: Adapter,
        (problem, steps): (&FewShot, usize),
        dtype: Dtype,
        threads: usize,
    ) -> Evaluator {
        let worker = || (adapter.worker(dtype), Episode::zeros(&problem.spec));
        let workers = (0..threads).map(|_| Mutex::new(worker())).collect();
        Evaluator { adapter, workers, steps, measure: Measure::of(problem.spec.target) }
    }

    /// What is measured.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// Evaluates on tasks `0..tasks` of a split, which are the same for every method with the same seed. Runs on the
    /// current thread pool; the result does not depend on its size. Fails when the split has too few classes for a
    /// task. Whether the inner loop diverged is for [`Report::check`] to say.
    pub fn run(
        &self,
        experiment: &Experiment,
        meta: &MetaState,
        split: Split,
        tasks: usize,
    ) -> Result<Report> {
        self.run_ensemble(experiment, &[meta], split, tasks)
    }

    /// The same for an ensemble of meta-parameters: each adapts, and the mean of their outputs is the prediction.
    /// Losses are averaged.
    pub fn run_ensemble(
        &self,
        experiment: &Experiment,
        members: &[&MetaState],
        split: Split,
        tasks: usize,
    ) -> Result<Report> {
        let never = AtomicBool::new(false);
        let report = self.run_until(experiment, members, (split, tasks), &never)?;
        Ok(report.expect("nothing stops it"))
    }

    /// The same, or `None` when `stop` turns true before the last task has begun.
    pub(crate) fn run_until(
        &self,
        experiment: &Experiment,
        members: &[&MetaState],
        (split, tasks): (Split, usize),
        stop: &AtomicBool,
    ) -> Result<Option<Report>> {
        experiment.family.check(split)?;
        let over_members = 1.0 / members.len() as f64;
        let one = |task: usize| -> (Vec<f64>, Vec<f64>) {
            // In a pool with more threads than workers, threads share them.
            let thread = rayon::current_thread_index().unwrap_or(0) % self.workers.len();
            let mut guard = self.workers[thread].lock().expect("no worker panicked");
            let (worker, episode) = &mut *guard;
            let key = episode_key(experiment.config.seed, split, 0, task as u64);
            experiment.family.sample_into(split, key, episode);
            let support = [&episode.support_x, &episode.support_y];
            let query = [&episode.query_x, &episode.query_y];
            // After each number of steps.
            let mut outputs: Vec<Tensor> = Vec::with_capacity(self.steps + 1);
            let mut losses = vec![0.0; self.steps + 1];
            for (m, meta) in members.iter().enumerate() {
                let (mut of, mut k) = (StepLosses::default(), 0);
                let data = TaskData { support: &support, query: &query, key };
                self.adapter.run(worker, meta, data, &mut of, |at| {
                    match m {
                        0 => outputs.push(at.output.cast(Dtype::F64)),
                        _ => {
                            let sum = outputs[k].as_f64_mut().iter_mut();
                            sum.zip(at.output.iter()).for_each(|(sum, x)| *sum += x);
                        }
                    }
                    k += 1;
                });
                let shares = losses.iter_mut().zip(of.query_losses);
                shares.for_each(|(mean, loss)| *mean += loss * over_members);
            }
            let mean = |sum: &mut Tensor| {
                sum.as_f64_mut().iter_mut().for_each(|x| *x *= over_members);
                score(self.measure, sum, query[1])
            };
            (outputs.iter_mut().map(mean).collect(), losses)
        };
        let unless_stopped = |task| (!stop.load(Ordering::Relaxed)).then(|| one(task));
        let results = (0..tasks).into_par_iter().map(unless_stopped);
        let Some(results) = results.collect::<Option<Vec<(Vec<f64>, Vec<f64>)>>>() else {
            return Ok(None);
        };
        let (scores, losses): (Vec<_>, Vec<_>) = results.into_iter().unzip();
        let column = |rows: &[Vec<f64>], k: usize| {
            let values: Vec<f64> = rows.iter().map(|row| row[k]).collect();
            Estimate::of(&values)
        };
        let losses: Vec<Estimate> = (0..=self.steps).map(|k| column(&losses, k)).collect();
        let score = |(k, loss): (usize, &Estimate)| match loss.mean.is_finite() {
            true => column(&scores, k),
            false => Estimate::DIVERGED,
        };
        let scores = losses.iter().enumerate().map(score).collect();
        Ok(Some(Report { measure: self.measure, scores, losses, tasks }))
    }
}

fn score(measure: Measure, output: &Tensor, target: &Tensor) -> f64 {
    match measure {
        Measure::Accuracy => {
            let ways = output.shape()[1];
            let right = (0..target.len()).filter(|&i| {
                let row = |c: usize| output.get(i * ways + c);
                // The first among equals, and never NaN.
                let best = (1..ways).fold(0, |best, c| if row(c) > row(best) { c } else { best });
                best as f64 == target.get(i) && row(best).is_finite()
            });
            right.count() as f64 / target.len() as f64
        }
        Measure::MeanSquaredError => {
            let squares = output.iter().zip(target.iter()).map(|(a, b)| (a - b) * (a - b));
            squares.sum::<f64>() / target.len() as f64
        }
    }
}

/// What is needed to interpret a result: how it was obtained.
#[derive(Clone, Debug, Serialize)]
pub struct Protocol {
    /// Version of the program.
    pub version: &'static str,
    /// The run's seed.
    pub seed: u64,
    /// The tasks, in one line.
    pub tasks: String,
    /// Split of the tasks.
    pub split: String,
    /// The algorithm.
    pub algorithm: String,
    /// Order of the meta-gradient: "exact second order", "first order", "displacement" and others, and what a window
    /// of inner steps shares.
    pub order: String,
    /// The paper that the algorithm reconstructs, if the paper itself was not available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconstruction: Option<&'static str>,
    /// Whose statistics normalise; "none" without batch norm.
    pub batch_norm: &'static str,
    /// Inner steps in training.
    pub train_steps: usize,
    /// Inner steps in evaluation.
    pub steps: usize,
}

impl Protocol {
    /// The order, and a note if the method is a reconstruction.
    pub fn order(&self) -> String {
        match self.reconstruction {
            None => self.order.clone(),
            Some(paper) => format!("{}; a reconstruction from the abstract of {paper}", self.order),
        }
    }

    /// How an experiment is evaluated.
    pub fn new(experiment: &Experiment, split: Split, steps: usize) -> Protocol {
        Protocol {
            version: env!("CARGO_PKG_VERSION"),
            seed: experiment.config.seed,
            tasks: experiment.family.describe(),
            split: split.to_string(),
            algorithm: experiment.algorithm.name().to_string(),
            order: order(experiment.algorithm.as_ref()),
            reconstruction: experiment.config.algorithm.reconstruction(),
            batch_norm: if experiment.evaluate.model.statistics().is_empty() {
                "none"
            } else {
                experiment.evaluate.batch_norm.name()
            },
            train_steps: experiment.config.algorithm.adaptation_steps,
            steps,
        }
    }
}

/// How the meta-gradient is computed, in words.
fn order(algorithm: &dyn Algorithm) -> String {
    let sharing = algorithm.sharing();
    let of_steps = match algorithm.meta_gradient() {
        MetaGradient::Exact if sharing == Sharing::None => "exact second order",
        MetaGradient::Exact => "second order",
        MetaGradient::Truncated { .. } => "second order through the last steps",
        MetaGradient::Binomial { .. } => "terms of few Hessians",
        MetaGradient::Implicit { .. } => "implicit second order",
        MetaGradient::Differences { .. } => "second order by differences",
        MetaGradient::HeldGradients => "first order through all steps",
        MetaGradient::FirstOrder => "first order",
        MetaGradient::Displacement => "displacement",
    };
    match sharing {
        Sharing::None => of_steps.into(),
        Sharing::Forward(_) => format!("{of_steps}, one gradient per window of steps"),
        Sharing::Backward(_) => format!("{of_steps}, one Hessian per window of steps"),
    }
}
