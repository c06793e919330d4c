//! A run of meta-reinforcement learning in its folder: train, checkpoint, resume, and the final evaluation.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use innerloop_engine::{Params, Tensor};
use innerloop_rl::picture::{self, TaskPaths};
use innerloop_rl::{MetaRl, Navigation2d, Rollouts};
use serde::Serialize;

use super::{Learner, Progress};
use crate::checkpoint::state::{FIRST, OMEGA, SECOND, number, same_shapes};
use crate::checkpoint::{self, Checkpoint};
use crate::config::RlConfig;
use crate::config::rl::Environment;
use crate::evaluation::Estimate;
use crate::memory::peak_memory;
use crate::plot::{self, Axis, Chart, Line};
use crate::run_dir::{RunDir, RunWriter};
use crate::{Error, Result};

/// What happens during a run, for display.
pub enum Event<'a> {
    /// Training starts, or resumes, at this iteration.
    Started {
        /// The run.
        learner: &'a Learner,
    },
    /// An outer iteration is done.
    Step(&'a Progress),
    /// Training is over and the final evaluation begins.
    Evaluating,
}

/// The result of a run, as `result.json` holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the method.
    pub algorithm: &'static str,
    /// Seed of the run.
    pub seed: u64,
    /// Version of the program.
    pub version: &'static str,
    /// Outer iterations completed.
    pub iterations: u64,
    /// Outer iterations configured.
    pub iterations_configured: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Peak memory of the process, in bytes, if the system reports it.
    pub peak_memory: Option<u64>,
    /// Learned parameters of θ.
    pub parameters: usize,
    /// Test tasks.
    pub tasks: usize,
    /// Episodes per task and step.
    pub trajectories: usize,
    /// Mean return on test tasks after 0, 1, … policy-gradient steps, with the interval over tasks.
    pub returns: Vec<Estimate>,
    /// The same for an untrained policy.
    pub untrained: Vec<Estimate>,
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Record<'a> {
    Train {
        iteration: u64,
        seconds: f64,
        returns: &'a [f64],
        environment_steps: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        surrogate_losses: Option<[f64; 2]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        divergence: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        step_share: Option<f64>,
    },
}

/// Test tasks whose paths are drawn, and paths per task.
const DRAWN: [usize; 2] = [4, 3];

/// Trains into a folder and evaluates, as [`crate::train`] does.
pub fn train(
    config: RlConfig,
    out: &Path,
    resume: bool,
    stop: &AtomicBool,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    // First, so that a missing environment leaves no folder.
    let learner = Learner::new(&config)?;
    let writer = match resume {
        true => RunWriter::resume(out, &config)?,
        false => RunWriter::create(out, &config)?,
    };
    let mut run = Run { learner, config, writer, seconds: 0.0 };
    if resume && run.writer.dir().last_path().exists() {
        run.seconds = restore(&mut run.learner, &run.writer.dir().last_path())?;
    }
    run.writer.keep_until(run.learner.iteration(), 0)?;
    run.train(stop, sink)?;
    sink(Event::Evaluating);
    run.finish(stop)
}

/// A learner restored from the newest checkpoint of a run, on as many threads as the run had or on the given number, 0
/// for one per core. Fails when the folder holds no run, or when its checkpoint is missing, damaged or belongs to
/// another configuration.
pub fn open(folder: &Path, threads: Option<usize>) -> Result<(RlConfig, Learner)> {
    let dir = RunDir::open(folder)?;
    let mut config: RlConfig = dir.kept()?;
    config.run.threads = threads.unwrap_or(config.run.threads);
    let mut learner = Learner::new(&config)?;
    restore(&mut learner, &dir.last_path())?;
    Ok((config, learner))
}

/// Mean return on test tasks after each number of steps.
pub fn evaluate(
    learner: &Learner,
    tasks: usize,
    steps: usize,
    trajectories: usize,
) -> Result<Vec<Estimate>> {
    let never = AtomicBool::new(false);
    let returns = evaluate_until(learner, [tasks, steps, trajectories], &never)?;
    Ok(returns.expect("nothing stops it"))
}

/// The same, or `None` when `stop` turns true before the last step has begun.
fn evaluate_until(
    learner: &Learner,
    [tasks, steps, trajectories]: [usize; 3],
    stop: &AtomicBool,
) -> Result<Option<Vec<Estimate>>> {
    let Some(rows) = learner.test([tasks, steps, trajectories], stop) else { return Ok(None) };
    let at = |k: usize| Estimate::of(&rows.iter().map(|row| row[k]).collect::<Vec<_>>());
    let estimates: Vec<Estimate> = (0..=steps).map(at).collect();
    match estimates.iter().find(|estimate| !estimate.mean.is_finite()) {
        None => Ok(Some(estimates)),
        Some(found) => Err(Error::diverged(format!(
            "a mean return is {}, expected a finite number; lower algorithm.inner_lr",
            found.mean
        ))),
    }
}

struct Run {
    config: RlConfig,
    learner: Learner,
    writer: RunWriter,
    /// Seconds of training, previous sessions included.
    seconds: f64,
}

impl Run {
    fn train(&mut self, stop: &AtomicBool, sink: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        sink(Event::Started { learner: &self.learner });
        let (before, start) = (self.seconds, Instant::now());
        let last = self.config.outer.iterations as u64;
        let settings = self.config.run.clone();
        if self.learner.iteration() == last {
            checkpoint::save(&self.writer.dir().last_path(), &self.checkpoint())?;
        }
        let out_of_time =
            |seconds: f64| settings.minutes > 0.0 && seconds >= 60.0 * settings.minutes;
        while self.learner.iteration() < last && !out_of_time(self.seconds) {
            let report = self.learner.step()?;
            self.seconds = before + start.elapsed().as_secs_f64();
            let done = self.learner.iteration();
            sink(Event::Step(&report));
            if done.is_multiple_of(settings.log_every as u64) || done == last {
                self.writer.append(&Record::Train {
                    iteration: done,
                    seconds: self.seconds,
                    returns: &report.returns,
                    environment_steps: report.environment_steps,
                    gradient_norm: report.gradient_norm,
                    surrogate_losses: report.trust.map(|trust| trust.losses),
                    divergence: report.trust.map(|trust| trust.divergence),
                    step_share: report.trust.map(|trust| trust.share),
                })?;
            }
            let stopped = stop.load(Ordering::Relaxed);
            let ends = done == last || out_of_time(self.seconds) || stopped;
            if done.is_multiple_of(settings.checkpoint_every as u64) || ends {
                checkpoint::save(&self.writer.dir().last_path(), &self.checkpoint())?;
            }
            if stopped {
                let at = format!("after iteration {done} of {last}");
                return Err(self.writer.dir().interrupted(&at));
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Checkpoint {
        let mut metadata = BTreeMap::from([
            ("iteration".to_string(), self.learner.iteration().to_string()),
            ("seconds".to_string(), self.seconds.to_string()),
        ]);
        let group = |name: &str, values: &Params<Tensor>| (name.to_string(), values.clone());
        let mut groups = vec![group(OMEGA, self.learner.theta())];
        if let Learner::Gradient(learner) = &self.learner {
            let optimizer = &learner.optimizer;
            groups.extend([group(FIRST, &optimizer.first), group(SECOND, &optimizer.second)]);
            metadata.insert("optimizer_steps".into(), optimizer.steps.to_string());
        }
        Checkpoint { groups, metadata }
    }

    /// The final evaluation, and the pictures.
    fn finish(self, stop: &AtomicBool) -> Result<Outcome> {
        let settings = &self.config.evaluation;
        let (tasks, steps) = (settings.tasks, settings.steps);
        let trajectories = self.config.test_trajectories();
        let test = |learner: &Learner| {
            let returns = evaluate_until(learner, [tasks, steps, trajectories], stop)?;
            let dir = self.writer.dir();
            returns.ok_or_else(|| dir.interrupted("during the final evaluation"))
        };
        let returns = test(&self.learner)?;
        let outcome = Outcome {
            algorithm: self.config.algorithm.name.name(),
            seed: self.config.seed,
            version: env!("CARGO_PKG_VERSION"),
            iterations: self.learner.iteration(),
            iterations_configured: self.config.outer.iterations as u64,
            seconds: self.seconds,
            peak_memory: peak_memory(),
            parameters: self.learner.policy().len(),
            tasks,
            trajectories,
            untrained: test(&Learner::new(&self.config)?)?,
            returns,
        };
        if let Some(paths) = self.paths(steps) {
            self.writer.write_text("paths.svg", &paths)?;
        }
        self.writer.write_text("curve.svg", &plot::svg(&[self.curve()?], 1))?;
        self.writer.write_result(&outcome)?;
        Ok(outcome)
    }

    /// Paths on some test tasks before the first and after the last step, for the first of the evaluated episodes;
    /// `None` for evolution and for robots.
    fn paths(&self, steps: usize) -> Option<String> {
        if self.config.rl.environment != Environment::Nav2d {
            return None;
        }
        let [tasks, each] = DRAWN;
        let of = |rollouts: &Rollouts| {
            let (n, drawn) = (rollouts.observation_len, rollouts.trajectories.iter().take(each));
            let path = |t: &innerloop_rl::Trajectory| {
                let states = t.observations.chunks_exact(n).chain([t.end.as_slice()]);
                states.map(|state| [state[0], state[1]]).collect()
            };
            drawn.map(path).collect()
        };
        let task = |task: usize| {
            let episodes = self.learner.episodes(task, steps, self.config.test_trajectories());
            Some(TaskPaths {
                goal: Navigation2d::goal_of(MetaRl::test_key(self.config.seed, task)),
                before: of(episodes.first()?),
                after: of(episodes.last()?),
            })
        };
        let tasks: Option<Vec<TaskPaths>> = (0..tasks).map(task).collect();
        tasks.map(|tasks| picture::paths(&tasks))
    }

    /// Returns over the iterations in `metrics.jsonl`, one line for each number of inner steps.
    fn curve(&self) -> Result<Chart> {
        let metrics = self.writer.dir().metrics()?;
        let mut lines: Vec<Line> = Vec::new();
        for line in &metrics {
            let (Some(at), Some(returns)) =
                (line["iteration"].as_u64(), line["returns"].as_array())
            else {
                continue;
            };
            for (k, value) in returns.iter().enumerate() {
                if lines.len() == k {
                    let name = match &self.learner {
                        Learner::Gradient(_) => format!("after {k} gradients"),
                        Learner::Evolution(_) => "after adaptation".into(),
                    };
                    lines.push(Line { name, points: Vec::new() });
                }
                let value = value.as_f64().unwrap_or(f64::NAN);
                lines[k].points.push([at as f64, value, 0.0]);
            }
        }
        Ok(Chart {
            title: "returns in training".into(),
            x: Axis::whole("outer iterations"),
            y: Axis::linear("mean return"),
            lines,
        })
    }
}

/// Restores a learner from a checkpoint; returns the seconds trained.
fn restore(learner: &mut Learner, path: &Path) -> Result<f64> {
    let found = checkpoint::load(path)?;
    let theta = same_shapes(&found, OMEGA, learner.theta(), path)?;
    let iteration = number(&found, "iteration", path)?;
    match learner {
        Learner::Gradient(learner) => {
            let optimizer = &mut learner.optimizer;
            optimizer.first = same_shapes(&found, FIRST, &optimizer.first, path)?;
            optimizer.second = same_shapes(&found, SECOND, &optimizer.second, path)?;
            optimizer.steps = number(&found, "optimizer_steps", path)?;
            (learner.theta, learner.iteration) = (theta, iteration);
        }
        Learner::Evolution(learner) => (learner.theta, learner.iteration) = (theta, iteration),
    }
    number(&found, "seconds", path)
}
