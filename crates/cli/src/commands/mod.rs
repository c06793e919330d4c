//! One file per command.

/// Prints a line like `println!`, but does not fail when the reader, such as `head`, has seen enough.
macro_rules! say {
    ($($line:tt)*) => { $crate::commands::print_line(format_args!($($line)*)) };
}

mod bench;
mod compare;
mod data;
mod diagnose;
mod evaluate;
mod inspect;
mod metagrad;
mod reproduce;
mod train;
mod verify;

use std::fmt;
use std::io::{self, Write};

use clap::{Args, Subcommand, ValueEnum};
use innerloop::engine::Dtype;
use innerloop::lab::{Config, Estimate, Measure, Report, config::presets, transfer};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train a preset or a configuration; without one, MAML on characters drawn on the fly
    Train(train::Train),
    /// Evaluate a trained run on tasks of a split, after every number of inner steps
    Evaluate(evaluate::Evaluate),
    /// Run several methods on the same tasks, seeds and budget; one table and learning curves
    Compare(compare::Compare),
    /// Show what a run's inner loop encounters: curvature, eigenvalues, quality of approximations
    Diagnose(diagnose::Diagnose),
    /// Run shipped experiments and print published next to measured results
    Reproduce(reproduce::Reproduce),
    /// Write the meta-gradient of given weights and one given episode
    Metagrad(metagrad::Metagrad),
    /// Recompute another framework's reference case and compare
    Verify(verify::Verify),
    /// Show a configuration's parameters, programs, work and memory
    Inspect(inspect::Inspect),
    /// Time whole meta-iterations on built-in workloads
    Bench(bench::Bench),
    /// List, check and look at task families and data sets
    #[command(subcommand)]
    Data(data::Data),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Train(command) => command.run(),
            Command::Evaluate(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Diagnose(command) => command.run(),
            Command::Reproduce(command) => command.run(),
            Command::Metagrad(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Data(command) => command.run(),
        }
    }
}

/// Where a configuration comes from.
#[derive(Args)]
pub(crate) struct Source {
    /// A preset name or a path to a .toml file [default: strokes-maml]
    config: Option<String>,
    /// Overrides one setting, such as outer.lr=5e-4; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Source {
    /// The preset or path, or else the default.
    fn name(&self) -> &str {
        self.config.as_deref().unwrap_or(presets::DEFAULT)
    }

    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.name(), &self.sets)?)
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Precision {
    F32,
    F64,
}

impl From<Precision> for Dtype {
    fn from(precision: Precision) -> Dtype {
        match precision {
            Precision::F32 => Dtype::F32,
            Precision::F64 => Dtype::F64,
        }
    }
}

/// Seconds of a duration such as `30s`, `1.5m` or `2h`.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let unit = |unit: &str| text.strip_suffix(unit).and_then(|n| n.parse::<f64>().ok());
    let seconds = unit("s").or(unit("m").map(|n| 60.0 * n)).or(unit("h").map(|n| 3600.0 * n));
    match seconds {
        Some(seconds) if seconds > 0.0 && seconds.is_finite() => Ok(seconds),
        _ => Err("expected a time above zero with its unit, such as 30s, 10m or 2h".into()),
    }
}

/// The function behind `say!`. When standard output is closed the command continues: a run is worth more than its
/// output.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{line}") {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write to standard output: {cause}");
            std::process::exit(7);
        }
        _ => {}
    }
}

/// `97.31 % ± 0.21` or `0.412 ± 0.030`.
pub(crate) fn score(measure: Measure, estimate: Estimate) -> String {
    match measure {
        _ if estimate.mean.is_nan() => "diverged".into(),
        Measure::Accuracy => {
            format!("{:.2} % ± {:.2}", 100.0 * estimate.mean, 100.0 * estimate.ci95)
        }
        Measure::MeanSquaredError => format!("{:.4} ± {:.4}", estimate.mean, estimate.ci95),
    }
}

/// Name of the measure, for headings.
pub(crate) fn measured(measure: Measure) -> &'static str {
    match measure {
        Measure::Accuracy => "accuracy",
        Measure::MeanSquaredError => "mean squared error",
    }
}

/// `iteration 9`, or `the ensemble of iterations 9, 6`.
pub(crate) fn of_iterations(one: u64, ensemble: &[u64]) -> String {
    let all: Vec<String> = ensemble.iter().map(u64::to_string).collect();
    match all.is_empty() {
        true => format!("iteration {one}"),
        false => format!("the ensemble of iterations {}", all.join(", ")),
    }
}

/// One line for every number of inner steps.
pub(crate) fn print_report(report: &Report) {
    say!("{:>12}  {:<20}  query loss", "inner steps", measured(report.measure));
    for (k, (estimate, loss)) in report.scores.iter().zip(&report.losses).enumerate() {
        let loss = match loss.mean.is_finite() {
            true => format!("{:.4} ± {:.4}", loss.mean, loss.ci95),
            false => "–".into(),
        };
        say!("{k:>12}  {:<20}  {loss}", score(report.measure, *estimate));
    }
}

/// One row for every method of meta-transfer.
pub(crate) fn print_accuracies(outcome: &transfer::Outcome) {
    let trials = outcome.trials;
    say!("{} iterations, {trials} trials; seed {}", outcome.iterations, outcome.seed);
    say!(
        "{:>12}  {:>16}  ms/iteration  MiB  gradients, HVPs  |meta-gradient|",
        "",
        "test accuracy"
    );
    for method in &outcome.methods {
        let accuracy = &method.accuracy;
        let spread = match trials {
            1 => String::new(),
            _ => format!(" ± {:.2}", 100.0 * accuracy.ci95),
        };
        let work = method.derivatives.map_or(String::new(), |[g, h]| format!("{g}, {h}"));
        let norm = method.gradient_norm.map_or(String::new(), |norm| format!("{norm:.2e}"));
        say!(
            "{:>12}  {:>16}  {:>12.1}  {:>3}  {work:>15}  {norm:>15}",
            method.method,
            format!("{:.2} %{spread}", 100.0 * accuracy.mean),
            1000.0 * method.seconds_per_iteration,
            method.workspace_bytes >> 20
        );
    }
}

/// Mean return on test tasks, one line for every number of policy-gradient steps.
pub(crate) fn print_returns(returns: &[Estimate], tasks: usize, trajectories: usize) {
    say!(
        "{:>14}  mean return, {tasks} test tasks, {trajectories} episodes a step",
        "gradient steps"
    );
    for (k, estimate) in returns.iter().enumerate() {
        say!("{k:>14}  {:.2} ± {:.2}", estimate.mean, estimate.ci95);
    }
}
