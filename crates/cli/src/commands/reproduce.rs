//! `innerloop reproduce`

use std::path::PathBuf;

use clap::Args;
use innerloop::lab::compare::Run;
use innerloop::lab::reproduce::{Reproduction, SHIPPED, Shipped, Verdict};
use innerloop::lab::{Config, Error, Estimate, Measure, run_dir::RunDir};

use super::compare::Progress;
use super::train::{Show, stop_at_interrupt};
use super::{score, seconds};

/// Runs shipped experiments with their published settings, and prints published numbers next to measured ones.
///
/// With a time budget a run has fewer iterations, and its result does not count as a reproduction; the output says so.
/// Without a name, lists the experiments and what the folder holds of them.
#[derive(Args)]
pub(crate) struct Reproduce {
    /// Names of experiments, paths to .toml files with a table [published], or `all`
    experiments: Vec<String>,
    /// Training time of each, such as 10m, excluding validation and the test, which then has at most 600 tasks
    /// [default: all iterations]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    budget: Option<f64>,
    /// Folder of the runs; unfinished ones are resumed
    #[arg(long, default_value = "runs/reproduce")]
    out: PathBuf,
    /// Threads; 0 for one per core [default: as configured]
    #[arg(long)]
    threads: Option<usize>,
    /// Overrides one setting, such as tasks.data=DIR; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Reproduce {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.experiments.is_empty() {
            return self.list();
        }
        let shipped = || SHIPPED.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        let names = match &self.experiments[..] {
            [all] if all == "all" => shipped(),
            names => names.to_vec(),
        };
        let all = names.iter().map(|name| Shipped::find(name)).collect::<Result<Vec<_>, _>>()?;
        let stop = stop_at_interrupt()?;
        let mut found = Vec::new();
        for experiment in &all {
            let config = self.config(experiment)?;
            let folder = self.folder(&experiment.name);
            say!("{}: {}", experiment.name, folder.display());
            let mut show = Progress { run: Show::new() };
            let result = experiment.run(config, (self.budget, &folder), &stop, &mut show);
            show.run.bar.finish_and_clear();
            found.push(result?);
        }
        heading();
        found.iter().for_each(row);
        for of in &found {
            say!("{}: {}", of.name, of.published.source);
            if let Some(note) = &of.published.note {
                say!("  {note}");
            }
        }
        let worse: Vec<_> = found.iter().filter(|of| of.verdict == Verdict::Worse).collect();
        if let Some(first) = worse.first() {
            let message = format!(
                "{} of {} experiments came out worse than published by more than the tolerance, {} first",
                worse.len(),
                found.len(),
                first.name
            );
            return Err(Error::mismatch(message).into());
        }
        Ok(())
    }

    /// The experiment's own configuration with the overrides given here.
    fn config(&self, experiment: &Shipped) -> anyhow::Result<Config> {
        let sets = self.sets.iter().cloned();
        let threads = self.threads.map(|threads| format!("run.threads={threads}"));
        Ok(experiment.config.with(&sets.chain(threads).collect::<Vec<_>>())?)
    }

    fn folder(&self, name: &str) -> PathBuf {
        match self.budget {
            None => self.out.join(name),
            Some(seconds) => self.out.join(format!("{name}-{seconds}s")),
        }
    }

    fn list(&self) -> anyhow::Result<()> {
        heading();
        for (name, _) in SHIPPED {
            let experiment = Shipped::find(name)?;
            let folder = self.folder(name);
            let config = RunDir::open(&folder).and_then(|dir| dir.config());
            let mut config = config.unwrap_or_else(|_| experiment.config.clone());
            // A scaled run has its own number of iterations, which also determines when it validates and on how much.
            let of = &experiment.config;
            config.outer.iterations = of.outer.iterations;
            config.evaluation.validate_every = of.evaluation.validate_every;
            config.evaluation.tasks = of.evaluation.tasks;
            config.evaluation.validation_tasks = of.evaluation.validation_tasks;
            row(&experiment.reproduction(&config, &Run::read(&folder, config.seed)?));
        }
        say!("innerloop reproduce NAME runs one; with --budget 10m as much of it as that allows");
        Ok(())
    }
}

fn heading() {
    say!("{:<38} {:>5}  {:<19} {:<19} state", "experiment", "steps", "published", "measured");
}

fn row(of: &Reproduction) {
    let published = &of.published;
    let shown = |estimate| score(published.measure, estimate);
    let digits = |share: f64| match published.measure {
        Measure::Accuracy => format!("{:.2}", 100.0 * share),
        Measure::MeanSquaredError => format!("{share:.4}"),
    };
    let share = 100.0 * of.iterations as f64 / of.iterations_published as f64;
    let state = match &of.verdict {
        Verdict::Agrees => format!("reproduced: within {}", digits(published.tolerance)),
        Verdict::Better => format!("better by more than {}", digits(published.tolerance)),
        Verdict::Worse => {
            format!("NOT reproduced: off by more than {}", digits(published.tolerance))
        }
        Verdict::Scaled => format!(
            "scaled: {} of {} iterations ({share:.2} %) in {:.0} s; no reproduction",
            of.iterations, of.iterations_published, of.training_seconds
        ),
        Verdict::Changed { keys } => format!(
            "{} iterations with other settings ({}); no reproduction",
            of.iterations,
            keys.join(", ")
        ),
        Verdict::Unfinished => "not run to its end".into(),
        Verdict::NotStarted => "not run yet".into(),
        Verdict::Diverged => "diverged".into(),
    };
    say!(
        "{:<38} {:>5}  {:<19} {:<19} {state}",
        of.name,
        published.steps,
        match (published.ci95, published.measure) {
            (Some(ci95), _) => shown(Estimate { mean: published.value, ci95 }),
            (None, Measure::Accuracy) => format!("{} %", digits(published.value)),
            (None, Measure::MeanSquaredError) => digits(published.value),
        },
        of.measured.map_or("–".into(), shown)
    );
}
