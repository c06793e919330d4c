//! A run of meta-transfer in its folder: the source, trials of every method, checkpoints, the comparison.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use innerloop_engine::{Key, Params, Tensor};
use innerloop_nn::{Init, ParamSpec, ResNet, Staged, Vgg};
use innerloop_tasks::Split;
use innerloop_transfer::{Course, Frozen, Matching, Progress, Samples, Trial, picture};
use rayon::ThreadPool;
use rayon::prelude::*;
use serde::Serialize;

use super::images::Images;
use crate::checkpoint::{self, Checkpoint};
use crate::config::TransferConfig;
use crate::config::transfer::{MethodName, NetworkName};
use crate::evaluation::Estimate;
use crate::experiment::converted;
use crate::run::{number, peak_memory, same_shapes};
use crate::run_dir::RunWriter;
use crate::trainer::thread_pool;
use crate::{Error, Result};

/// What happens during a run, for whoever shows it.
pub enum Event {
    /// The source network is trained, or read, with this accuracy on images it has not seen.
    Source {
        /// Accuracy.
        accuracy: f64,
    },
    /// All trials stand at this iteration.
    Step {
        /// Iteration.
        iteration: u64,
        /// Mean loss of the targets' own steps.
        loss: f64,
    },
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
    /// Most memory the process held, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
    /// Trials of each method.
    pub trials: usize,
    /// Iterations of each.
    pub iterations: u64,
    /// Method by method, in the order configured.
    pub methods: Vec<MethodOutcome>,
}

/// What a method came to.
#[derive(Clone, Debug, Serialize)]
pub struct MethodOutcome {
    /// Name.
    pub method: &'static str,
    /// Mean test accuracy over trials, with its interval.
    pub accuracy: Estimate,
    /// Of each trial.
    pub accuracies: Vec<f64>,
    /// Seconds of an iteration of a trial, other trials running beside it.
    pub seconds_per_iteration: f64,
    /// Bytes of a trial's workspaces.
    pub workspace_bytes: usize,
    /// Gradients and Hessian-vector products of a meta-gradient.
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

const EPS: f64 = 1e-5;
const SOURCE_FILE: &str = "source.safetensors";
const SOURCE: &str = "source";

/// Trains the source, then every method's trials, into a folder.
pub fn train(
    config: TransferConfig,
    out: &Path,
    resume: bool,
    stop: &AtomicBool,
    sink: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let start = Instant::now();
    let images = Images::open(&config.transfer)?;
    let mut writer = match resume {
        true => RunWriter::resume(out, &config)?,
        false => RunWriter::create(out, &config)?,
    };
    let pool = thread_pool(config.run.threads)?;
    let source = Source::new(&config, &images, writer.dir().path())?;
    sink(Event::Source { accuracy: source.accuracy });
    let mut run = Run::new(&config, &images, &source)?;
    let last = writer.dir().last_path();
    if resume && last.exists() {
        run.restore(&last)?;
    }
    writer.keep_until(run.iteration)?;
    if run.iteration == 0 {
        writer.append(&Line::Source { iteration: 0, accuracy: source.accuracy })?;
    }
    let before = run.seconds;
    let total = config.outer.iterations as u64;
    while run.iteration < total {
        let until = (run.iteration + config.run.checkpoint_every as u64).min(total);
        let lines = run.advance(&pool, until)?;
        lines.iter().try_for_each(|line| writer.append(line))?;
        run.seconds = before + start.elapsed().as_secs_f64();
        checkpoint::save(&last, &run.checkpoint())?;
        let losses = run.cells.iter().filter_map(|cell| Some(cell.progress?.loss));
        sink(Event::Step { iteration: until, loss: losses.sum::<f64>() / run.cells.len() as f64 });
        if stop.load(Ordering::Relaxed) && until < total {
            return Err(Error::interrupted(format!(
                "stopped after iteration {until} of {total}; go on with --resume and --out {}",
                out.display()
            )));
        }
    }
    let outcome = run.outcome(&config, &source);
    if let Some(svg) = run.matched() {
        writer.write_text("matched.svg", &svg)?;
    }
    writer.write_result(&outcome)?;
    Ok(outcome)
}

/// The pretrained network.
struct Source {
    network: Arc<dyn Staged>,
    /// Weights and running statistics.
    values: Params<Tensor>,
    accuracy: f64,
}

impl Source {
    /// From the run's folder or the file configured, else trained now and left in the folder.
    fn new(config: &TransferConfig, images: &Images, folder: &Path) -> Result<Source> {
        let section = &config.transfer;
        let key = Key::new(config.seed).with_stream(SOURCE);
        let sizes = [section.source_shots, section.source_query];
        let classes = section.source_classes;
        let [labelled, unseen] = images.draw((Split::Train, SOURCE), classes, sizes, key)?;
        let network =
            resnet(images.shape(), &config.source.channels, config.source.blocks, classes);
        let kept = folder.join(SOURCE_FILE);
        let given = Path::new(&config.source.weights);
        let found = match () {
            _ if kept.exists() => Some(kept.as_path()),
            _ if !config.source.weights.is_empty() => Some(given),
            _ => None,
        };
        let image = images.shape();
        let none = Matching::none();
        let settings = config.source_settings();
        let alone = innerloop_transfer::Method::Scratch;
        let course = Course::new(alone, network.clone(), image, &none, settings);
        let mut trial = course.trial(key, None);
        let specs = network.parameters();
        let values = match found {
            Some(path) => {
                let expected = converted(specs, &course.named(&trial), true);
                let found = same_shapes(&checkpoint::load(path)?, SOURCE, &expected, path)?;
                converted(specs, &found, false)
            }
            None => {
                let diverged = |at| Error::diverged(format!("source: {at}; lower source.lr"));
                course.advance(&mut trial, &labelled, settings.iterations).map_err(diverged)?;
                course.named(&trial)
            }
        };
        if !kept.exists() {
            let groups = vec![(SOURCE.to_string(), converted(specs, &values, true))];
            checkpoint::save(&kept, &Checkpoint { groups, metadata: BTreeMap::new() })?;
        }
        let frozen = Frozen::new(network.as_ref(), image, false);
        let accuracy = frozen.accuracy(values.values().iter(), &unseen);
        Ok(Source { network, values, accuracy })
    }
}

fn resnet(image: [usize; 3], channels: &[usize], blocks: usize, classes: usize) -> Arc<dyn Staged> {
    Arc::new(ResNet::new(image, (channels, blocks), classes, (Init::He, EPS)))
}

/// A trial of a method.
struct Cell {
    method: usize,
    number: usize,
    trial: Trial,
    seconds: f64,
    progress: Option<Progress>,
}

/// All trials.
struct Run {
    names: Vec<MethodName>,
    courses: Vec<Course>,
    /// Labelled and test images of each trial number.
    data: Vec<[Samples; 2]>,
    cells: Vec<Cell>,
    iteration: u64,
    seconds: f64,
}

impl Run {
    fn new(config: &TransferConfig, images: &Images, source: &Source) -> Result<Run> {
        let TransferConfig { transfer, target, algorithm, outer, .. } = config;
        let (image, classes) = (images.shape(), transfer.target_classes);
        let student: Arc<dyn Staged> = match target.network {
            NetworkName::Resnet => resnet(image, &target.channels, target.blocks, classes),
            NetworkName::Vgg => {
                let depths = vec![target.blocks; target.channels.len()];
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
            let sizes = [transfer.target_shots, transfer.target_query];
            let role = (Split::Test, "target");
            let [mut labelled, test] = images.draw(role, classes, sizes, key.at(0, number))?;
            let of_source = maps.run(source.values.values().iter(), &labelled.arrays[0]);
            labelled.arrays.extend(of_source);
            Ok([labelled, test])
        });
        let cell = |method: usize, number: usize| {
            let from = (names[method] == MethodName::FineTune).then_some(&source.values);
            let trial = courses[method].trial(key.at(0, number as u64), from);
            Cell { method, number, trial, seconds: 0.0, progress: None }
        };
        let all = (0..outer.trials).flat_map(|number| (0..names.len()).map(move |m| (m, number)));
        Ok(Run {
            data: data.collect::<Result<_>>()?,
            cells: all.map(|(method, number)| cell(method, number)).collect(),
            names,
            courses,
            iteration: 0,
            seconds: 0.0,
        })
    }

    /// Trains every trial up to an iteration; trials run beside each other, each on one thread.
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
            cell.progress = Some(progress);
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

    fn outcome(&self, config: &TransferConfig, source: &Source) -> Outcome {
        let of = |(method, name): (usize, &MethodName)| {
            let cells: Vec<&Cell> =
                self.cells.iter().filter(|cell| cell.method == method).collect();
            let course = &self.courses[method];
            let accuracies: Vec<f64> = cells
                .iter()
                .map(|cell| course.accuracy(&cell.trial, &self.data[cell.number][1]))
                .collect();
            let mean = |of: &dyn Fn(&Cell) -> Option<f64>| -> Option<f64> {
                let values = cells.iter().map(|cell| of(cell)).collect::<Option<Vec<f64>>>()?;
                Some(values.iter().sum::<f64>() / values.len() as f64)
            };
            let seconds = mean(&|cell| Some(cell.seconds)).unwrap_or(0.0);
            MethodOutcome {
                method: name.name(),
                accuracy: Estimate::of(&accuracies),
                accuracies,
                seconds_per_iteration: seconds / self.iteration as f64,
                workspace_bytes: cells[0].progress.map_or(0, |progress| progress.bytes),
                derivatives: course.outer().map(|learner| {
                    let counts = learner.derivatives();
                    [counts.gradients, counts.hessian_products]
                }),
                gradient_norm: mean(&|cell| cell.progress?.gradient_norm),
            }
        };
        Outcome {
            seed: config.seed,
            version: env!("CARGO_PKG_VERSION"),
            source_accuracy: source.accuracy,
            seconds: self.seconds,
            peak_memory: peak_memory(),
            trials: config.outer.trials,
            iterations: self.iteration,
            methods: self.names.iter().enumerate().map(of).collect(),
        }
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
            for (part, values) in parts(&cell.trial) {
                groups.push((format!("{prefix}.{part}"), converted(&specs, values, true)));
            }
        }
        Checkpoint { groups, metadata }
    }

    fn restore(&mut self, path: &Path) -> Result<()> {
        let found = checkpoint::load(path)?;
        self.iteration = number(&found, "iteration", path)?;
        self.seconds = number(&found, "seconds", path)?;
        for i in 0..self.cells.len() {
            let (prefix, specs) = (self.prefix(&self.cells[i]), self.specs(&self.cells[i]));
            let cell = &mut self.cells[i];
            cell.seconds = number(&found, &format!("{prefix}.seconds"), path)?;
            let read = |part: &str, now: &Params<Tensor>| {
                let expected = converted(&specs, now, true);
                let there = same_shapes(&found, &format!("{prefix}.{part}"), &expected, path)?;
                Ok::<_, Error>(converted(&specs, &there, false))
            };
            let trial = &mut cell.trial;
            trial.meta.omega = read(OMEGA, &trial.meta.omega)?;
            trial.meta.inner_state = read(VELOCITY, &trial.meta.inner_state)?;
            trial.running = read(RUNNING, &trial.running)?;
            trial.optimizer.first = read(FIRST, &trial.optimizer.first)?;
            trial.optimizer.second = read(SECOND, &trial.optimizer.second)?;
            trial.optimizer.steps = number(&found, &format!("{prefix}.steps"), path)?;
            trial.iteration = self.iteration;
        }
        Ok(())
    }

    fn prefix(&self, cell: &Cell) -> String {
        format!("{}.{}", self.names[cell.method].name(), cell.number)
    }
}

const OMEGA: &str = "omega";
const VELOCITY: &str = "velocity";
const RUNNING: &str = "running";
const FIRST: &str = "optimizer.first";
const SECOND: &str = "optimizer.second";

fn parts(trial: &Trial) -> [(&'static str, &Params<Tensor>); 5] {
    [
        (OMEGA, &trial.meta.omega),
        (VELOCITY, &trial.meta.inner_state),
        (RUNNING, &trial.running),
        (FIRST, &trial.optimizer.first),
        (SECOND, &trial.optimizer.second),
    ]
}
