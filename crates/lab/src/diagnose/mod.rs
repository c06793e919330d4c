//! `innerloop diagnose`: what the inner loop of a run encounters along its path, over training, as means over tasks.

mod plots;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use innerloop_meta::diagnostics::{Diagnostics, LINE, TaskDiagnosis};
use innerloop_meta::{Losses, MetaState, RATE_PREFIX, TaskData};
use innerloop_tasks::{Episode, Split, episode_key};
use rayon::prelude::*;
use serde::Serialize;

use crate::checkpoint::state::{Which, state};
use crate::checkpoint::write_atomic;
use crate::config::Method;
use crate::evaluation::{Estimate, Protocol};
use crate::experiment::algorithm;
use crate::few_shot::Phase;
use crate::run_dir::{RunDir, write_json};
use crate::{Error, Experiment, Result, thread_pool};

/// How to diagnose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tasks to average over, 2 or more.
    pub tasks: usize,
    /// Inner steps; `None` for the number the run was trained with.
    pub steps: Option<usize>,
    /// The split of the tasks. Training tasks have the sizes of training, but are new, not ones seen in training.
    pub split: Split,
    /// Hessian-vector products for the eigenvalues.
    pub lanczos: usize,
    /// Threads; `None` for the number the run was configured with.
    pub threads: Option<usize>,
}

/// The findings.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// How the run was produced; `steps` are the inner steps diagnosed.
    pub protocol: Protocol,
    /// Tasks diagnosed; those that count may be fewer, see [`Average::tasks`].
    pub tasks: usize,
    /// The run's start, its snapshots and its last checkpoint, in order.
    pub points: Vec<Point>,
}

/// A mean over tasks with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Average {
    /// Mean.
    pub mean: f64,
    /// Half the width of the interval.
    pub ci95: f64,
    /// Tasks that count: those where the quantity is a finite number.
    pub tasks: usize,
}

/// One checkpoint. Averages are over the tasks where the quantity is a finite number.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Outer iterations done.
    pub iteration: u64,
    /// At `φ_0 … φ_K`, by name; see [`innerloop_meta::diagnostics::StepDiagnosis`].
    pub steps: Vec<BTreeMap<&'static str, Average>>,
    /// `‖φ_K − θ‖`
    pub displacement: Average,
    /// `Σ ‖φ_{k+1} − φ_k‖`
    pub path_length: Average,
    /// Displacement divided by path length.
    pub straightness: Average,
    /// Mean over the steps before the last point of `cos(θ − φ_K, g_k)`: SHOT's measure.
    pub mean_cosine_with_path: Average,
    /// The approximations of the meta-gradient.
    pub approximations: Vec<Approximation>,
    /// Losses along lines from θ.
    pub lines: Vec<Line>,
}

/// An approximation compared with the exact meta-gradient with respect to θ.
#[derive(Clone, Debug, Serialize)]
pub struct Approximation {
    /// Its name.
    pub name: String,
    /// Cosine between the two.
    pub cosine: Average,
    /// Its norm over that of the exact one.
    pub ratio: Average,
}

/// Losses at a point on lines from θ, `at` times as far as the first inner step.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Distance, in lengths of the first inner step.
    pub at: f64,
    /// Support loss down the support gradient.
    pub support_down_gradient: Average,
    /// Query loss down the support gradient.
    pub query_down_gradient: Average,
    /// Support loss along a random direction.
    pub support_random: Average,
    /// Query loss along a random direction.
    pub query_random: Average,
}

/// Diagnoses a run at every checkpoint it has, and writes `diagnose.json` and `diagnose.svg` to `out`.
pub fn diagnose(run: &Path, settings: Settings, out: &Path) -> Result<Diagnosis> {
    let dir = RunDir::open(run)?;
    let mut config = dir.config()?;
    config.run.threads = settings.threads.unwrap_or(config.run.threads);
    let minibatches = config.algorithm.method == Method::FineTune;
    if minibatches && settings.split == Split::Train {
        return Err(Error::usage(
            "training episodes of fine_tune are minibatches of all classes, expected tasks; use --split test",
        ));
    }
    // Query sets of every split are normalised as in training, which is what is diagnosed.
    let as_in_training = |config| -> Result<Experiment> {
        let mut experiment = Experiment::new(config)?;
        experiment.evaluate.phase = Phase::Train;
        Ok(experiment)
    };
    let trained = as_in_training(config)?;
    let other = settings.steps.filter(|&k| k != trained.config.algorithm.adaptation_steps);
    let longer = other.map(|steps| {
        let mut config = trained.config.clone();
        config.algorithm.adaptation_steps = steps;
        as_in_training(config)
    });
    let longer = longer.transpose()?;
    let experiment = longer.as_ref().unwrap_or(&trained);
    let prober = Prober::new(experiment, settings)?;
    let mut points: Vec<Point> = Vec::new();
    let snapshots = dir.snapshots()?.into_iter().map(Which::Snapshot);
    for which in [Which::Start].into_iter().chain(snapshots).chain([Which::Last]) {
        let (mut meta, iteration) = state(&dir, &trained, which)?;
        if longer.is_some() {
            meta = of_other_steps(&meta, experiment)?;
        }
        let done = iteration as f64 / experiment.config.outer.iterations as f64;
        meta.schedule(experiment.algorithm.as_ref(), done);
        if points.last().is_none_or(|last| last.iteration < iteration) {
            points.push(prober.point(experiment, &meta, iteration)?);
        }
    }
    let steps = experiment.config.algorithm.adaptation_steps;
    let protocol = Protocol::new(experiment, settings.split, steps);
    let found = Diagnosis { protocol, tasks: settings.tasks, points };
    std::fs::create_dir_all(out).map_err(|cause| Error::io("make folder", out, &cause))?;
    write_json(&out.join("diagnose.json"), &found)?;
    write_atomic(&out.join("diagnose.svg"), |file| {
        std::io::Write::write_all(file, plots::svg(&found).as_bytes())
    })?;
    Ok(found)
}

/// A run's values for another number of inner steps: rates that are not learned come from the configuration.
fn of_other_steps(trained: &MetaState, experiment: &Experiment) -> Result<MetaState> {
    let mut meta = experiment.initial_state();
    let learned = experiment.algorithm.learns_rates();
    let groups = [
        (&mut meta.omega, &trained.omega),
        (&mut meta.carried, &trained.carried),
        (&mut meta.inner_state, &trained.inner_state),
    ];
    for (into, from) in groups {
        for (at, (name, value)) in from.iter().enumerate() {
            let same = into.values()[at].shape() == value.shape();
            if same {
                into.values_mut()[at] = value.clone();
            } else if learned || !name.starts_with(RATE_PREFIX) {
                return Err(Error::usage(format!(
                    "{name} is learned or gathered for each inner step of the run; leave --steps out"
                )));
            }
        }
    }
    Ok(meta)
}

/// Programs and threads of a diagnosis.
struct Prober {
    diagnostics: Diagnostics,
    pool: rayon::ThreadPool,
    settings: Settings,
}

impl Prober {
    fn new(experiment: &Experiment, settings: Settings) -> Result<Prober> {
        let Experiment { config, train, evaluate, family, .. } = experiment;
        family.check(settings.split)?;
        let problem = if settings.split == Split::Train { train } else { evaluate };
        let setup = experiment.setup(Losses::Training);
        let outputs = problem.spec.outputs();
        let algorithm = || algorithm(config, outputs);
        let diagnostics = Diagnostics::new(problem, algorithm, setup, settings.lanczos);
        let pool = thread_pool(config.run.threads)?;
        Ok(Prober { diagnostics, pool, settings })
    }

    fn point(&self, experiment: &Experiment, meta: &MetaState, iteration: u64) -> Result<Point> {
        let Experiment { config, train, evaluate, family, .. } = experiment;
        let split = self.settings.split;
        let problem = if split == Split::Train { train } else { evaluate };
        let worker = || {
            let worker = self.diagnostics.worker(config.run.dtype);
            Mutex::new((worker, Episode::zeros(&problem.spec)))
        };
        let workers: Vec<_> = (0..self.pool.current_num_threads()).map(|_| worker()).collect();
        let one = |task: usize| {
            let thread = rayon::current_thread_index().unwrap_or(0) % workers.len();
            let mut guard = workers[thread].lock().expect("no worker panicked");
            let (worker, episode) = &mut *guard;
            // Training never reaches this iteration.
            let key = episode_key(config.seed, split, u64::MAX, task as u64);
            family.sample_into(split, key, episode);
            let support = [&episode.support_x, &episode.support_y];
            let query = problem.query(&episode.query_x, &episode.query_y);
            let data = TaskData { support: &support, query: &query, key };
            self.diagnostics.run(problem, worker, meta, data)
        };
        let tasks: Vec<TaskDiagnosis> =
            self.pool.install(|| (0..self.settings.tasks).into_par_iter().map(one).collect());
        let names = self.diagnostics.approximations();
        let point = Point::of(iteration, &names, &tasks);
        let losses = point.steps.iter().map(|step| step["support_loss"].mean);
        match losses.into_iter().find(|loss| !loss.is_finite()) {
            None => Ok(point),
            Some(loss) => Err(Error::diverged(format!(
                "the inner loop diverged from iteration {iteration} on: a support loss is {loss} on every task, \
                 expected a finite number; take fewer --steps"
            ))),
        }
    }
}

impl Point {
    fn of(iteration: u64, names: &[&str], tasks: &[TaskDiagnosis]) -> Point {
        let over = |value: &dyn Fn(&TaskDiagnosis) -> f64| {
            let all: Vec<f64> = tasks.iter().map(value).filter(|value| value.is_finite()).collect();
            let Estimate { mean, ci95 } = Estimate::of(&all);
            Average { mean, ci95, tasks: all.len() }
        };
        let count = tasks[0].steps.len();
        let step = |k: usize| {
            let names = tasks[0].steps[k].named().into_iter().enumerate();
            names.map(|(i, (name, _))| (name, over(&|t| t.steps[k].named()[i].1))).collect()
        };
        let mean_cosine = |task: &TaskDiagnosis| {
            let before = &task.steps[..count - 1];
            before.iter().map(|step| step.cosine_with_path).sum::<f64>() / before.len() as f64
        };
        let approximation = |(i, name): (usize, &&str)| Approximation {
            name: name.to_string(),
            cosine: over(&|t| t.alignments[i].cosine),
            ratio: over(&|t| t.alignments[i].ratio),
        };
        let line = |(i, &at): (usize, &f64)| Line {
            at,
            support_down_gradient: over(&|t| t.lines[i][0]),
            query_down_gradient: over(&|t| t.lines[i][1]),
            support_random: over(&|t| t.lines[i][2]),
            query_random: over(&|t| t.lines[i][3]),
        };
        Point {
            iteration,
            steps: (0..count).map(step).collect(),
            displacement: over(&|t| t.displacement),
            path_length: over(&|t| t.path_length),
            straightness: over(&|t| t.straightness),
            mean_cosine_with_path: over(&mean_cosine),
            approximations: names.iter().enumerate().map(approximation).collect(),
            lines: LINE.iter().enumerate().map(line).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use innerloop_meta::diagnostics::{Alignment, StepDiagnosis};

    use super::*;

    #[test]
    fn averages_say_of_how_many_tasks_they_are() {
        let task = |loss: f64, cosine: f64| {
            let step = StepDiagnosis {
                support_loss: loss,
                query_loss: 1.0,
                gradient_norm: 1.0,
                hessian_gradient_norm: 1.0,
                gradient_hessian_gradient: 1.0,
                curvature: 1.0,
                top_eigenvalue: 1.0,
                bottom_eigenvalue: 1.0,
                cosine_with_first: 1.0,
                cosine_with_path: 1.0,
                support_query_cosine: 1.0,
            };
            TaskDiagnosis {
                steps: vec![step; 2],
                displacement: 1.0,
                path_length: 1.0,
                straightness: 1.0,
                alignments: vec![Alignment { cosine, ratio: 1.0 }],
                lines: vec![[1.0; 4]; LINE.len()],
            }
        };
        let tasks = [task(1.0, 0.5), task(3.0, f64::NAN), task(f64::INFINITY, f64::NAN)];
        let point = Point::of(7, &["first order"], &tasks);
        let loss = point.steps[1]["support_loss"];
        assert_eq!((loss.mean, loss.tasks), (2.0, 2));
        assert_eq!(point.steps[0]["query_loss"].tasks, 3);
        let of = &point.approximations[0];
        assert_eq!((of.cosine.mean, of.cosine.tasks, of.ratio.tasks), (0.5, 1, 3));
    }
}
