//! A run of meta-transfer in its folder: the source, the trials of every method, checkpoints, the comparison.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use innerloop_engine::{Key, Params, Tensor};
use innerloop_nn::{Init, ParamSpec, Staged, Vgg};
use innerloop_transfer::{Course, Frozen, Matching, Samples, Trial, picture};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::Serialize;

use super::images::{Images, Role};
use super::source::{self, EPS, Source, resnet};
use crate::checkpoint::state::{FIRST, OMEGA, SECOND, number, same_shapes};
use crate::checkpoint::{self, Checkpoint};
use crate::config::TransferConfig;
use crate::config::transfer::{MethodName, NetworkName};
use crate::evaluation::Estimate;
use crate::experiment::converted;
use crate::memory::peak_memory;
use crate::run_dir::{RunDir, RunWriter};
use crate::trainer::thread_pool;
use crate::{Error, Result};

/// What happens during a run, for display.
pub enum Event {
    /// The source network is trained, or read, with this accuracy on images it has not seen.
    Source {
        /// Accuracy.
        accuracy: f64,
    },
    /// All trials have reached this iteration.
    Step {
        /// Iteration.
        iteration: u64,
        /// Mean loss of the targets' own steps.
        loss: f64,
    },
    /// Training is over and the final evaluation begins.
    Evaluating,
}

/// The result of a run, as `result.json` holds it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Seed of the run.
    pub seed: u64,
    /// Version of the program.
    pub version: &'static str,
    /// Accuracy of the source on unseen images of its own classes.
    pub source_accuracy: f64,
    /// Seconds of training, the source's included.
    pub seconds: f64,
    /// Peak memory of the process, in bytes, if the system reports it.
    pub peak_memory: Option<u64>,
    /// Trials per method.
    pub trials: usize,
    /// Iterations per trial.
    pub iterations: u64,
    /// Method by method, in the order configured.
    pub methods: Vec<MethodOutcome>,
}

/// The results of a method.
#[derive(Clone, Debug, Serialize)]
pub struct MethodOutcome {
    /// Name.
    pub method: &'static str,
    /// Mean test accuracy over trials, with its interval.
    pub accuracy: Estimate,
    /// The accuracy of each trial.
    pub accuracies: Vec<f64>,
    /// Seconds per iteration of a trial, with other trials running beside it.
    pub seconds_per_iteration: f64,
    /// Bytes of a trial's workspaces.
    pub workspace_bytes: usize,
    /// Gradients and Hessian-vector products per meta-gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derivatives: Option<[usize; 2]>,
    /// Mean norm of the meta-gradient in the last iterations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
}

/// One line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Source {
        iteration: u64,
        accuracy: f64,
    },
    Train {
        iteration: u64,
        method: &'static str,
        trial: usize,
        loss: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        outer_loss: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f64>,
        accuracy: f64,
    },
}

/// Trains the source, then every method's trials, into a folder.
///
/// When `stop` turns true, a few iterations of the source, the trials' iterations up to the next checkpoint, or the
/// trial being measured, are finished, and an [`crate::ErrorKind::Interrupted`] error is returned. A resumed run ends
/// with the same bits.
pub fn train(
    config: TransferConfig,
    out: &Path,
    resume: bool,
    stop: &AtomicBool,
    sink: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let start = Instant::now();
    let images = Images::open(&config)?;
    let mut writer = match resume {
        true => RunWriter::resume(out, &config)?,
        false => {
            source::check(&config)?;
            RunWriter::create(out, &config)?
        }
    };
    let pool = thread_pool(config.run.threads)?;
    let source = Source::new(&config, &images, writer.dir().path(), stop)?;
    sink(Event::Source { accuracy: source.accuracy });
    let mut run = Run::new(&config, &images, &source);
    // The rest of a large set is not kept during training.
    drop(images);
    let last = writer.dir().last_path();
    if resume && last.exists() {
        run.restore(&checkpoint::load(&last)?, &last)?;
    }
    writer.keep_until(run.iteration, 0)?;
    // A run killed before its first checkpoint has already left this line.
    if writer.dir().metrics()?.is_empty() {
        writer.append(&Line::Source { iteration: 0, accuracy: source.accuracy })?;
    }
    let before = run.seconds;
    let total = config.outer.iterations as u64;
    let stopped = || stop.load(Ordering::Relaxed);
    while run.iteration < total {
        let until = (run.iteration + config.run.checkpoint_every as u64).min(total);
        let lines = run.advance(&pool, until)?;
        lines.iter().try_for_each(|line| writer.append(line))?;
        run.seconds = before + start.elapsed().as_secs_f64();
        checkpoint::save(&last, &run.checkpoint())?;
        let losses = run.cells.iter().map(|cell| cell.loss);
        sink(Event::Step { iteration: until, loss: losses.sum::<f64>() / run.cells.len() as f64 });
        if stopped() {
            return Err(writer.dir().interrupted(&format!("after iteration {until} of {total}")));
        }
    }
    sink(Event::Evaluating);
    let outcome = run.outcome(&config, &source, stopped);
    let outcome = outcome.ok_or_else(|| writer.dir().interrupted("during the final evaluation"))?;
    if let Some(svg) = run.matched() {
        writer.write_text("matched.svg", &svg)?;
    }
    writer.write_result(&outcome)?;
    Ok(outcome)
}

/// Measures the trials of a run again, at its newest checkpoint.
pub fn evaluate(folder: &Path) -> Result<Outcome> {
    let dir = RunDir::open(folder)?;
    let config: TransferConfig = dir.kept()?;
    let last = checkpoint::load(&dir.last_path())?;
    let images = Images::open(&config)?;
    let source = Source::new(&config, &images, folder, &AtomicBool::new(false))?;
    let mut run = Run::new(&config, &images, &source);
    run.restore(&last, &dir.last_path())?;
    Ok(run.outcome(&config, &source, || false).expect("nothing stops it"))
}

/// A trial of a method.
struct Cell {
    method: usize,
    number: usize,
    trial: Trial,
    seconds: f64,
    /// Mean loss of the iterations before the last checkpoint.
    loss: f64,
    /// Mean norm of their meta-gradients, if there are any.
    gradient_norm: Option<f64>,
}

/// All trials.
struct Run {
    names: Vec<MethodName>,
    courses: Vec<Course>,
    /// Labelled and test images for each trial number.
    data: Vec<[Samples; 2]>,
    cells: Vec<Cell>,
    iteration: u64,
    seconds: f64,
}

impl Run {
    fn new(config: &TransferConfig, images: &Images, source: &Source) -> Run {
        let TransferConfig { transfer, target, algorithm, outer, .. } = config;
        let (image, classes) = (images.shape(), transfer.target_classes);
        let student: Arc<dyn Staged> = match target.network {
            NetworkName::Resnet => resnet(image, &target.channels, target.blocks, classes),
            NetworkName::Vgg => {
                let depths = match target.depths.as_slice() {
                    [] => vec![target.blocks; target.channels.len()],
                    depths => depths.to_vec(),
                };
                Arc::new(Vgg::new(image, (&target.channels, &depths), classes, (Init::He, EPS)))
            }
        };
        let own = resnet(image, &config.source.channels, config.source.blocks, classes);
        let matching = Matching::all(source.network.stages(), student.stages(), algorithm.strength);
        let names = algorithm.methods.clone();
        let courses: Vec<Course> = names
            .iter()
            .map(|&name| {
                let network = if name == MethodName::FineTune { &own } else { &student };
                let settings = config.settings(name);
                Course::new(name.method(), network.clone(), image, &matching, settings)
            })
            .collect();
        let maps = Frozen::new(source.network.as_ref(), image, true);
        let key = Key::new(config.seed).with_stream("trial");
        let data = (0..outer.trials as u64).map(|number| {
            let [mut labelled, test] = images.draw(Role::Target, key.at(0, number));
            let of_source = maps.run(source.values.values().iter(), &labelled.arrays[0]);
            labelled.arrays.extend(of_source);
            [labelled, test]
        });
        let cell = |method: usize, number: usize| {
            let from = (names[method] == MethodName::FineTune).then_some(&source.values);
            let trial = courses[method].trial(key.at(0, number as u64), from);
            Cell { method, number, trial, seconds: 0.0, loss: f64::NAN, gradient_norm: None }
        };
        let all = (0..outer.trials).flat_map(|number| (0..names.len()).map(move |m| (m, number)));
        Run {
            data: data.collect(),
            cells: all.map(|(method, number)| cell(method, number)).collect(),
            names,
            courses,
            iteration: 0,
            seconds: 0.0,
        }
    }

    /// Trains every trial up to an iteration; trials run in parallel, each on one thread.
    fn advance(&mut self, pool: &ThreadPool, until: u64) -> Result<Vec<Line>> {
        let Run { names, courses, data, cells, iteration, .. } = self;
        let one = |cell: &mut Cell| {
            let (course, start) = (&courses[cell.method], Instant::now());
            let [labelled, test] = &data[cell.number];
            let progress = course.advance(&mut cell.trial, labelled, until).map_err(|at| {
                let method = names[cell.method].name();
                Error::diverged(format!("{method}, trial {}: {at}; lower outer.lr", cell.number))
            })?;
            cell.seconds += start.elapsed().as_secs_f64();
            cell.loss = progress.loss;
            cell.gradient_norm = progress.gradient_norm;
            Ok(Line::Train {
                iteration: until,
                method: names[cell.method].name(),
                trial: cell.number,
                loss: progress.loss,
                outer_loss: progress.outer_loss,
                gradient_norm: progress.gradient_norm,
                accuracy: course.accuracy(&cell.trial, test),
            })
        };
        let lines = pool.install(|| cells.par_iter_mut().map(one).collect::<Result<Vec<_>>>())?;
        *iteration = until;
        Ok(lines)
    }

    /// Measures every trial, or returns `None` when `stopped` turns true before the last one.
    fn outcome(
        &self,
        config: &TransferConfig,
        source: &Source,
        stopped: impl Fn() -> bool,
    ) -> Option<Outcome> {
        let of = |(method, name): (usize, &MethodName)| {
            let cells: Vec<&Cell> =
                self.cells.iter().filter(|cell| cell.method == method).collect();
            let course = &self.courses[method];
            let accuracy = |cell: &&Cell| {
                let [_, test] = &self.data[cell.number];
                (!stopped()).then(|| course.accuracy(&cell.trial, test))
            };
            let accuracies = cells.iter().map(accuracy).collect::<Option<Vec<f64>>>()?;
            let mean = |of: &dyn Fn(&Cell) -> Option<f64>| -> Option<f64> {
                let values = cells.iter().map(|cell| of(cell)).collect::<Option<Vec<f64>>>()?;
                Some(values.iter().sum::<f64>() / values.len() as f64)
            };
            let seconds = mean(&|cell| Some(cell.seconds)).unwrap_or(0.0);
            Some(MethodOutcome {
                method: name.name(),
                accuracy: Estimate::of(&accuracies),
                accuracies,
                seconds_per_iteration: seconds / self.iteration as f64,
                workspace_bytes: course.workspace_bytes(),
                derivatives: course.outer().map(|learner| {
                    let counts = learner.derivatives();
                    [counts.gradients, counts.hessian_products]
                }),
                gradient_norm: mean(&|cell| cell.gradient_norm),
            })
        };
        Some(Outcome {
            seed: config.seed,
            version: env!("CARGO_PKG_VERSION"),
            source_accuracy: source.accuracy,
            seconds: self.seconds,
            peak_memory: peak_memory(),
            trials: config.outer.trials,
            iterations: self.iteration,
            methods: self.names.iter().enumerate().map(of).collect::<Option<_>>()?,
        })
    }

    /// What the first trial of L2T-ww matched.
    fn matched(&self) -> Option<String> {
        let method = self.names.iter().position(|&name| name == MethodName::L2tWw)?;
        let cell = self.cells.iter().find(|cell| cell.method == method)?;
        let labelled = &self.data[cell.number][0];
        Some(picture::matched(&self.courses[method].matched(&cell.trial, labelled)))
    }

    fn specs(&self, cell: &Cell) -> Vec<ParamSpec> {
        self.courses[cell.method].specs()
    }

    /// Every trial's tensors, in PyTorch's layouts.
    fn checkpoint(&self) -> Checkpoint {
        let mut metadata = BTreeMap::from([
            ("iteration".to_string(), self.iteration.to_string()),
            ("seconds".to_string(), self.seconds.to_string()),
        ]);
        let mut groups = Vec::new();
        for cell in &self.cells {
            let (prefix, specs) = (self.prefix(cell), self.specs(cell));
            metadata.insert(format!("{prefix}.seconds"), cell.seconds.to_string());
            metadata.insert(format!("{prefix}.steps"), cell.trial.optimizer.steps.to_string());
            if let Some(norm) = cell.gradient_norm {
                metadata.insert(format!("{prefix}.gradient_norm"), norm.to_string());
            }
            for (part, values) in parts(&cell.trial) {
                groups.push((format!("{prefix}.{part}"), converted(&specs, values, true)));
            }
        }
        Checkpoint { groups, metadata }
    }

    fn restore(&mut self, found: &Checkpoint, path: &Path) -> Result<()> {
        self.iteration = number(found, "iteration", path)?;
        self.seconds = number(found, "seconds", path)?;
        for i in 0..self.cells.len() {
            let (prefix, specs) = (self.prefix(&self.cells[i]), self.specs(&self.cells[i]));
            let cell = &mut self.cells[i];
            cell.seconds = number(found, &format!("{prefix}.seconds"), path)?;
            if self.courses[cell.method].outer().is_some() {
                let norm = number(found, &format!("{prefix}.gradient_norm"), path)?;
                cell.gradient_norm = Some(norm);
            }
            let read = |part: &str, now: &Params<Tensor>| {
                let expected = converted(&specs, now, true);
                let there = same_shapes(found, &format!("{prefix}.{part}"), &expected, path)?;
                Ok::<_, Error>(converted(&specs, &there, false))
            };
            let trial = &mut cell.trial;
            trial.meta.omega = read(OMEGA, &trial.meta.omega)?;
            trial.meta.inner_state = read(VELOCITY, &trial.meta.inner_state)?;
            trial.running = read(RUNNING, &trial.running)?;
            trial.optimizer.first = read(FIRST, &trial.optimizer.first)?;
            trial.optimizer.second = read(SECOND, &trial.optimizer.second)?;
            trial.optimizer.steps = number(found, &format!("{prefix}.steps"), path)?;
            trial.iteration = self.iteration;
        }
        Ok(())
    }

    fn prefix(&self, cell: &Cell) -> String {
        format!("{}.{}", self.names[cell.method].name(), cell.number)
    }
}

const VELOCITY: &str = "velocity";
const RUNNING: &str = "running";

fn parts(trial: &Trial) -> [(&'static str, &Params<Tensor>); 5] {
    [
        (OMEGA, &trial.meta.omega),
        (VELOCITY, &trial.meta.inner_state),
        (RUNNING, &trial.running),
        (FIRST, &trial.optimizer.first),
        (SECOND, &trial.optimizer.second),
    ]
}

#[cfg(test)]
mod tests;
