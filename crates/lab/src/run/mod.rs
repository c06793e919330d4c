//! A run in its folder: train, validate, checkpoint, resume; `outcome.rs` is the final evaluation.

mod outcome;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use innerloop_engine::{Params, Tensor};
use innerloop_tasks::Split;
use serde::Serialize;
use serde_json::Value;

use crate::budget::more_iterations;
use crate::checkpoint::state::{
    CARRIED, FIRST, INNER_STATE, OMEGA, SECOND, load_meta, number, state_at, take,
};
use crate::checkpoint::{self, Checkpoint};
use crate::evaluation::{Estimate, Evaluator, Measure, Report};
use crate::run_dir::RunWriter;
use crate::trainer::{StepReport, Trainer};
use crate::{Config, Experiment, Result};
pub use outcome::Outcome;

/// What happens during a run, for display.
pub enum Event<'a> {
    /// Training starts, or resumes, at this iteration.
    Started {
        /// The run.
        trainer: &'a Trainer,
    },
    /// An outer iteration is done.
    Step(&'a StepReport),
    /// The meta-parameters were validated.
    Validated {
        /// Iterations done.
        iteration: u64,
        /// Score after the last inner step; NaN where the inner loop diverged.
        score: Estimate,
        /// Whether it is the best so far.
        best: bool,
    },
    /// Training is over and the final evaluation begins.
    Evaluating,
}

/// Receives the events of a run.
pub trait Sink: Send {
    /// Called for each event.
    fn event(&mut self, event: Event<'_>);
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Train {
        seconds: f64,
        #[serde(flatten)]
        step: &'a StepReport,
    },
    Validation {
        iteration: u64,
        seconds: f64,
        training_seconds: f64,
        #[serde(flatten)]
        report: &'a Report,
    },
}

/// How to start or resume a run, and when to stop it early.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// Whether to resume from the folder's last checkpoint.
    pub resume: bool,
    /// Seconds in outer iterations after which training ends.
    pub budget: Option<f64>,
    /// Turns true when the run is to be interrupted.
    pub stop: &'a AtomicBool,
}

/// Trains into a folder and evaluates. With `resume`, continues from the folder's last checkpoint.
///
/// When `stop` turns true, the current iteration, or the tasks being evaluated, are finished, a checkpoint is written,
/// and an [`crate::ErrorKind::Interrupted`] error is returned. A resumed run ends with the same bits.
pub fn train(
    config: Config,
    out: &Path,
    resume: bool,
    stop: &AtomicBool,
    sink: &mut dyn Sink,
) -> Result<Outcome> {
    train_experiment(Experiment::new(config)?, out, Session { resume, budget: None, stop }, sink)
}

/// [`train`] for an experiment that is already built.
pub fn train_experiment(
    experiment: Experiment,
    out: &Path,
    session: Session<'_>,
    sink: &mut dyn Sink,
) -> Result<Outcome> {
    match train_to_use(experiment, out, (session, None), sink)? {
        Ending::Over(outcome) => Ok(*outcome),
        Ending::TooShort { .. } => unreachable!("there is no time to use up"),
    }
}

/// How a run with time to use up ended.
pub(crate) enum Ending {
    /// It has a result.
    Over(Box<Outcome>),
    /// It stopped early, because its iterations would leave much of the time unused; this many would fill it.
    TooShort { iterations: usize },
}

/// [`train_experiment`], optionally with a number of seconds to use up in outer iterations.
pub(crate) fn train_to_use(
    experiment: Experiment,
    out: &Path,
    (session, time): (Session<'_>, Option<f64>),
    sink: &mut dyn Sink,
) -> Result<Ending> {
    let writer = if session.resume {
        RunWriter::resume(out, &experiment.config)?
    } else {
        RunWriter::create(out, &experiment.config)?
    };
    let trainer = Trainer::new(experiment)?;
    let mut run =
        Run { trainer, writer, best: None, validated: 0, seconds: 0.0, training_seconds: 0.0 };
    if session.resume && run.writer.dir().last_path().exists() {
        run.restore()?;
    }
    run.writer.keep_until(run.trainer.iteration, run.validated)?;
    // A power cut may have lost lines that the checkpoint knows of.
    run.validated = last_validation(&run.writer.dir().metrics()?);
    let pool = Arc::clone(run.trainer.pool());
    if let Some(iterations) = pool.install(|| run.train((session, time), sink))? {
        return Ok(Ending::TooShort { iterations });
    }
    sink.event(Event::Evaluating);
    Ok(Ending::Over(Box::new(run.evaluate(session.stop)?)))
}

struct Run {
    trainer: Trainer,
    writer: RunWriter,
    /// Best validation score so far.
    best: Option<f64>,
    /// Iteration of the last validation, or 0.
    validated: u64,
    /// Seconds of training, previous sessions included.
    seconds: f64,
    /// Seconds in outer iterations.
    training_seconds: f64,
}

impl Run {
    /// Trains to the end, or until the iterations are found too few for the time to use up; then returns how many fill
    /// it.
    fn train(
        &mut self,
        (session, time): (Session<'_>, Option<f64>),
        sink: &mut dyn Sink,
    ) -> Result<Option<usize>> {
        let config = self.trainer.experiment.config.clone();
        let threads = self.trainer.pool().current_num_threads();
        let every = config.evaluation.validate_every as u64;
        let evaluator = (every > 0)
            .then(|| Evaluator::new(&self.trainer.experiment, config.evaluation.steps, threads));
        sink.event(Event::Started { trainer: &self.trainer });
        let before = self.seconds;
        let start = Instant::now();
        let last = config.outer.iterations as u64;
        // A resumed run may have been stopped before its validation, or have reached its end.
        let mut over =
            self.trainer.iteration > 0 && self.settle(evaluator.as_ref(), session, sink)?;
        while !over {
            let step_start = Instant::now();
            let step = self.trainer.step()?;
            self.training_seconds += step_start.elapsed().as_secs_f64();
            self.seconds = before + start.elapsed().as_secs_f64();
            let done = step.iteration;
            sink.event(Event::Step(step));
            if done.is_multiple_of(config.run.log_every as u64) || done == last {
                self.writer.append(&Line::Train { seconds: self.seconds, step })?;
            }
            let more =
                time.and_then(|time| more_iterations(time, (done, last), self.training_seconds));
            if more.is_some() {
                return Ok(more);
            }
            over = self.settle(evaluator.as_ref(), session, sink)?;
        }
        Ok(None)
    }

    /// What follows an iteration: validation, snapshot, checkpoint. Returns whether training is over.
    fn settle(
        &mut self,
        evaluator: Option<&Evaluator>,
        session: Session<'_>,
        sink: &mut dyn Sink,
    ) -> Result<bool> {
        let Config { run, evaluation, outer, .. } = &self.trainer.experiment.config;
        let (done, last) = (self.trainer.iteration, outer.iterations as u64);
        let due = |every: usize| every > 0 && done.is_multiple_of(every as u64);
        let out_of_time = run.minutes > 0.0 && self.seconds >= 60.0 * run.minutes
            || session.budget.is_some_and(|budget| self.training_seconds >= budget);
        let ends = done >= last || out_of_time;
        let pretrained = done < last && self.trainer.experiment.pretraining() == done;
        let keeps = due(run.snapshot_every);
        let saves = ends || due(run.checkpoint_every);
        let validates =
            self.validated < done && (ends || pretrained || due(evaluation.validate_every));
        let validated = match evaluator.filter(|_| validates) {
            Some(evaluator) => self.validate(evaluator, session.stop, sink)?,
            None => true,
        };
        // An iteration is not complete without its validation; the next session catches up on it.
        if keeps && validated {
            checkpoint::save(&self.writer.snapshot_path(done)?, &self.checkpoint())?;
        }
        // Only once: a run resumed after this point has a new optimizer already.
        let restarts = pretrained && validated && self.trainer.optimizer.steps > 0;
        if restarts {
            self.restart_from_best()?;
        }
        let stopped = !validated || session.stop.load(Ordering::Relaxed);
        if saves || restarts || stopped {
            checkpoint::save(&self.writer.dir().last_path(), &self.checkpoint())?;
        }
        if restarts {
            self.writer.forget_best()?;
        }
        match stopped {
            true => {
                let during = if validated { "" } else { ", during its validation" };
                let at = format!("after iteration {done} of {last}{during}");
                Err(self.writer.dir().interrupted(&at))
            }
            false => Ok(ends),
        }
    }

    /// Returns false if it was stopped.
    fn validate(
        &mut self,
        evaluator: &Evaluator,
        stop: &AtomicBool,
        sink: &mut dyn Sink,
    ) -> Result<bool> {
        let Trainer { experiment, meta, iteration, .. } = &self.trainer;
        let tasks = (Split::Validation, experiment.config.evaluation.validation_tasks);
        let run = || evaluator.run_until(experiment, &[meta], tasks, stop);
        let Some(report) = self.trainer.pool().install(run)? else { return Ok(false) };
        let score = report.last();
        // Where the inner loop diverged there is no score, and nothing that could be the best.
        let best = score.mean.is_finite()
            && self.best.is_none_or(|best| report.measure.better(score.mean, best));
        let line = Line::Validation {
            iteration: *iteration,
            seconds: self.seconds,
            training_seconds: self.training_seconds,
            report: &report,
        };
        self.writer.append(&line)?;
        sink.event(Event::Validated { iteration: *iteration, score, best });
        self.validated = *iteration;
        if best {
            self.best = Some(score.mean);
            checkpoint::save(&self.writer.dir().best_path(), &self.checkpoint())?;
        }
        self.keep_member(report.measure)?;
        Ok(true)
    }

    /// After SHOT_p's pre-training: ordinary training starts with a new outer optimizer from the best meta-parameters, or
    /// from the last if nothing was validated, and has its own best score.
    fn restart_from_best(&mut self) -> Result<()> {
        let meta = match self.best {
            Some(_) => state_at(&self.trainer.experiment, &self.writer.dir().best_path())?.0,
            None => self.trainer.meta.clone(),
        };
        self.trainer.restart(meta);
        self.best = None;
        Ok(())
    }

    /// Keeps this checkpoint if its score is among the best, replacing the worst of those.
    fn keep_member(&self, measure: Measure) -> Result<()> {
        let Trainer { experiment, iteration, .. } = &self.trainer;
        let members = experiment.config.evaluation.ensemble;
        if members == 1 {
            return Ok(());
        }
        let best = self.best_validations(measure)?;
        if best.contains(iteration) {
            checkpoint::save(&self.writer.member_path(*iteration)?, &self.checkpoint())?;
        }
        self.writer.keep_members(&best)
    }

    /// Iterations of the best validations, one for each member of an ensemble. Weights from SHOT_p's pre-training
    /// minimise another loss than later ones, and are not ranked with them.
    fn best_validations(&self, measure: Measure) -> Result<Vec<u64>> {
        let Trainer { experiment, iteration, .. } = &self.trainer;
        let pretraining = experiment.pretraining();
        let after = if *iteration > pretraining { pretraining } else { 0 };
        let metrics = self.writer.dir().metrics()?;
        Ok(best_validations(&metrics, measure, (after, experiment.config.evaluation.ensemble)))
    }

    fn checkpoint(&self) -> Checkpoint {
        let Trainer { experiment, meta, optimizer, iteration, .. } = &self.trainer;
        let group =
            |name: &str, values: &Params<Tensor>| (name.to_string(), experiment.to_torch(values));
        let mut metadata = BTreeMap::new();
        metadata.insert("iteration".into(), iteration.to_string());
        metadata.insert("validated".into(), self.validated.to_string());
        metadata.insert("optimizer_steps".into(), optimizer.steps.to_string());
        metadata.insert("seconds".into(), self.seconds.to_string());
        metadata.insert("training_seconds".into(), self.training_seconds.to_string());
        if let Some(best) = self.best {
            metadata.insert("best_score".into(), best.to_string());
        }
        let groups = vec![
            group(OMEGA, &meta.omega),
            group(CARRIED, &meta.carried),
            group(INNER_STATE, &meta.inner_state),
            group(FIRST, &optimizer.first),
            group(SECOND, &optimizer.second),
        ];
        Checkpoint { groups, metadata }
    }

    fn restore(&mut self) -> Result<()> {
        let path = self.writer.dir().last_path();
        let checkpoint = checkpoint::load(&path)?;
        let Trainer { experiment, meta, optimizer, .. } = &mut self.trainer;
        load_meta((experiment, meta), &checkpoint, &path)?;
        take(experiment, &checkpoint, FIRST, &mut optimizer.first, &path)?;
        take(experiment, &checkpoint, SECOND, &mut optimizer.second, &path)?;
        optimizer.steps = number(&checkpoint, "optimizer_steps", &path)?;
        self.trainer.iteration = number(&checkpoint, "iteration", &path)?;
        self.seconds = number(&checkpoint, "seconds", &path)?;
        // Older checkpoints have a single clock, and all validations up to their iteration count.
        let known = |key, older| match checkpoint.metadata.contains_key(key) {
            true => key,
            false => older,
        };
        self.training_seconds = number(&checkpoint, known("training_seconds", "seconds"), &path)?;
        self.validated = number(&checkpoint, known("validated", "iteration"), &path)?;
        if checkpoint.metadata.contains_key("best_score") {
            self.best = Some(number(&checkpoint, "best_score", &path)?);
        } else {
            // Stopped between a restart and this.
            self.writer.forget_best()?;
        }
        Ok(())
    }
}

/// Iteration of the last validation among the lines, or 0.
fn last_validation(metrics: &[Value]) -> u64 {
    let last = metrics.iter().rfind(|line| line["kind"] == "validation");
    last.and_then(|line| line["iteration"].as_u64()).unwrap_or(0)
}

/// Iterations of the validations with the best scores after an iteration, limited to a maximum number; the best first,
/// and the earlier one among equals.
pub(crate) fn best_validations(
    metrics: &[Value],
    measure: Measure,
    (after, most): (u64, usize),
) -> Vec<u64> {
    let validation = |line: &Value| {
        let score = line["scores"].as_array()?.last()?["mean"].as_f64()?;
        Some((score, line["iteration"].as_u64().filter(|&at| at > after)?))
    };
    let lines = metrics.iter().filter(|line| line["kind"] == "validation");
    let mut all: Vec<(f64, u64)> = lines.filter_map(validation).collect();
    all.sort_by(|(a, _), (b, _)| match measure {
        Measure::Accuracy => b.total_cmp(a),
        Measure::MeanSquaredError => a.total_cmp(b),
    });
    all.into_iter().take(most).map(|(_, iteration)| iteration).collect()
}
