//! `innerloop train`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use innerloop::lab::config::Kind;
use innerloop::lab::rl::{self, RlConfig};
use innerloop::lab::transfer::{self, TransferConfig};
use innerloop::lab::{self, Config, Event, Measure, Outcome, Sink, run_dir::RunDir};

use innerloop::tasks::Split;

use super::{
    Source, measured, of_iterations, print_accuracies, print_report, print_returns, score,
};

#[derive(Args)]
pub(crate) struct Train {
    #[command(flatten)]
    source: Source,
    /// Folder of the run [default: runs/<configuration's name>]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Resume the run in the folder, with its own configuration unless another is named
    #[arg(long)]
    resume: bool,
}

impl Train {
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        if let (true, None, Some(out)) = (self.resume, &self.source.config, &self.out) {
            let own = RunDir::open(out)?.config_path();
            self.source.config = Some(own.to_string_lossy().into_owned());
        }
        let name = PathBuf::from(self.source.name());
        let name =
            name.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
        let out = match &self.out {
            Some(out) => out.clone(),
            // A fresh folder, so that the same command can be repeated.
            None if self.resume => PathBuf::from("runs").join(name),
            None => fresh(&name),
        };
        let (source, sets) = (self.source.name(), &self.source.sets);
        let kind = Kind::named(source)?;
        let stop = stop_at_interrupt()?;
        match kind {
            Kind::FewShot => train_few_shot(self.source.load()?, &out, self.resume, &stop),
            Kind::Rl => train_rl(RlConfig::load(source, sets)?, &out, self.resume, &stop),
            Kind::Transfer => {
                train_transfer(TransferConfig::load(source, sets)?, &out, self.resume, &stop)
            }
        }
    }
}

fn train_few_shot(
    config: Config,
    out: &Path,
    resume: bool,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    say!("run folder {}", out.display());
    let mut show = Show::new();
    let outcome = lab::train(config, out, resume, stop, &mut show);
    show.bar.finish_and_clear();
    let outcome = outcome?;
    print_outcome(&outcome);
    say!("evaluate it again: innerloop evaluate {}", out.display());
    Ok(outcome.test.check(Split::Test)?)
}

fn train_rl(config: RlConfig, out: &Path, resume: bool, stop: &AtomicBool) -> anyhow::Result<()> {
    say!("run folder {}", out.display());
    let mut show = Show::new();
    let mut sink = |event: rl::Event<'_>| match event {
        rl::Event::Started { learner } => {
            show.start(learner.iteration(), config.outer.iterations as u64);
            say!(
                "{} on {}; {} threads",
                config.algorithm.name.name(),
                config.rl.environment.title(),
                learner.threads()
            );
        }
        rl::Event::Step(report) => {
            let returns: Vec<String> = report.returns.iter().map(|r| format!("{r:.1}")).collect();
            show.step(report.iteration, format!("returns {}", returns.join(" → ")));
        }
        rl::Event::Evaluating => show.bar.println("final evaluation"),
    };
    let outcome = rl::train(config.clone(), out, resume, stop, &mut sink);
    show.bar.finish_and_clear();
    let outcome = outcome?;
    say!(
        "{}: {} of {} iterations in {:.0} s; seed {}",
        outcome.algorithm,
        outcome.iterations,
        outcome.iterations_configured,
        outcome.seconds,
        outcome.seed
    );
    print_returns(&outcome.returns, outcome.tasks, outcome.trajectories);
    if let Some(last) = outcome.untrained.last() {
        say!("untrained, after the last step: {:.2} ± {:.2}", last.mean, last.ci95);
    }
    for picture in ["curve.svg", "paths.svg"].map(|name| out.join(name)) {
        if picture.exists() {
            say!("picture: {}", picture.display());
        }
    }
    say!("evaluate it again: innerloop evaluate {}", out.display());
    Ok(())
}

/// Sets the flag at the first interrupt; the second one ends the process.
pub(super) fn stop_at_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = stop.clone();
    ctrlc::set_handler(move || {
        if heard.swap(true, Ordering::Relaxed) {
            // Asked twice: exit at once; the last checkpoint is intact.
            std::process::exit(130);
        }
        eprintln!("stopping after this iteration or task; interrupt again to exit at once");
    })?;
    Ok(stop)
}

fn train_transfer(
    config: TransferConfig,
    out: &Path,
    resume: bool,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    say!("run folder {}", out.display());
    let (iterations, start) = (config.outer.iterations, Instant::now());
    let mut sink = |event| match event {
        transfer::Event::Source { accuracy } => {
            say!("source network: accuracy {:.2} % on its own classes", 100.0 * accuracy);
        }
        transfer::Event::Step { iteration, loss } => {
            let seconds = start.elapsed().as_secs_f64();
            say!("{seconds:>6.0} s  iteration {iteration}/{iterations}  loss {loss:.3}");
        }
        transfer::Event::Evaluating => say!("final evaluation"),
    };
    let outcome = transfer::train(config, out, resume, stop, &mut sink)?;
    print_accuracies(&outcome);
    if out.join("matched.svg").is_file() {
        say!("what was matched: {}", out.join("matched.svg").display());
    }
    Ok(())
}

/// `runs/NAME`, or the first of `runs/NAME-2`, `runs/NAME-3`, … that does not hold a run.
fn fresh(name: &str) -> PathBuf {
    let folder = |n: usize| {
        PathBuf::from("runs").join(if n == 1 { name.to_string() } else { format!("{name}-{n}") })
    };
    (1..).map(folder).find(|out| RunDir::open(out).is_err()).expect("some number is free")
}

fn print_outcome(outcome: &Outcome) {
    let protocol = &outcome.protocol;
    let measure = outcome.test.measure;
    say!(
        "{}: {} of {} iterations in {:.0} s; evaluated: {}",
        protocol.algorithm,
        outcome.iterations,
        outcome.iterations_configured,
        outcome.seconds,
        of_iterations(outcome.evaluated_iteration, &outcome.ensemble)
    );
    say!(
        "{}; split {}; {} tasks; order {}; batch norm {}; seed {}",
        protocol.tasks,
        protocol.split,
        outcome.test.tasks,
        protocol.order(),
        protocol.batch_norm,
        protocol.seed
    );
    print_report(&outcome.test);
    say!(
        "{} on {} test tasks after {} inner steps",
        measured(measure),
        outcome.test.tasks,
        protocol.steps
    );
    say!("  trained      {}", score(measure, outcome.test.last()));
    say!("  untrained    {}", score(measure, outcome.untrained.last()));
    if let Some(nearest) = outcome.nearest_mean {
        say!("  nearest mean {}", score(Measure::Accuracy, nearest));
    }
    if let Some(nearest) = outcome.nearest_mean_of_features {
        say!("  nearest mean of its features {}", score(Measure::Accuracy, nearest));
    }
    if let Some(bytes) = outcome.peak_memory {
        say!("peak memory of the process {} MiB", bytes >> 20);
    }
}

/// Progress for a person: a bar on a terminal, occasional lines elsewhere.
pub(super) struct Show {
    pub(super) bar: ProgressBar,
    terminal: bool,
    iterations: u64,
    started: Instant,
    validation: String,
    next_line: f64,
}

impl Show {
    pub(super) fn new() -> Show {
        let bar = ProgressBar::new(0);
        let style = "{bar:30} {pos}/{len} {per_sec} ETA {eta} {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        let terminal = std::io::stderr().is_terminal();
        let (iterations, validation) = (0, String::new());
        Show { bar, terminal, iterations, started: Instant::now(), validation, next_line: 10.0 }
    }
}

impl Show {
    fn start(&mut self, iteration: u64, of: u64) {
        self.started = Instant::now();
        self.iterations = of;
        self.bar.set_length(of);
        self.bar.set_position(iteration);
        self.bar.reset_eta();
    }

    fn step(&mut self, iteration: u64, message: String) {
        self.bar.set_position(iteration);
        let seconds = self.started.elapsed().as_secs_f64();
        if self.terminal {
            self.bar.set_message(message);
        } else if seconds >= self.next_line {
            self.next_line = seconds + 30.0;
            say!("{seconds:>6.0} s  iteration {iteration}/{}  {message}", self.iterations);
        }
    }
}

impl Sink for Show {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Started { trainer } => {
                let config = &trainer.experiment.config;
                let minutes = config.run.minutes;
                self.start(trainer.iteration, config.outer.iterations as u64);
                let mib = trainer.bytes() >> 20;
                say!(
                    "{} on {}; {} threads, {mib} MiB of workspaces{}",
                    trainer.experiment.algorithm.name(),
                    trainer.experiment.family.describe(),
                    trainer.pool().current_num_threads(),
                    if minutes > 0.0 {
                        format!(", at most {minutes} minutes")
                    } else {
                        String::new()
                    }
                );
            }
            Event::Step(step) => {
                let loss = |set, loss: Option<f64>| {
                    loss.map_or(String::new(), |loss| format!("{set} {loss:.3} "))
                };
                let support = loss("support", step.support_losses.last().copied());
                let query = loss("query", step.query_loss);
                let message = format!("{support}{query}{}", self.validation);
                self.step(step.iteration, message);
            }
            Event::Validated { score, best, .. } => {
                let mark = if best { " (best)" } else { "" };
                self.validation = format!("validation {:.4} ± {:.4}{mark}", score.mean, score.ci95);
            }
            Event::Evaluating => self.bar.println("final evaluation"),
        }
    }
}
