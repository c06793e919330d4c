//! `innerloop compare`

use std::path::PathBuf;

use clap::Args;
use innerloop::lab::compare::{self, Event as Compared, Plan, Status, Table, Watch};
use innerloop::lab::{Budget, Error, Event, Measure, Sink, config::presets};

use super::train::{Show, stop_at_interrupt};
use super::{score, seconds};

/// Runs several methods on the same tasks, seeds and budget, and writes compare.md, compare.json and curves.svg.
///
/// Presets and files are run as they are. Methods named by --methods share one base: its data, network and meta-batch,
/// with settings that suit each method (the preset of the same stem, such as omniglot-5w1s-anil beside
/// omniglot-5w1s-maml, if there is one). Runs already finished in the folder are not repeated.
#[derive(Args)]
pub(crate) struct Compare {
    /// Preset names or paths to .toml files, each a row
    configs: Vec<String>,
    /// Methods on the base, named as in algorithm.name, or shot; `all` for every method
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',')]
    methods: Vec<String>,
    /// The base of the methods: a preset name or a path to a .toml file
    #[arg(long, default_value = presets::DEFAULT)]
    base: String,
    /// Seeds; every method runs once per seed
    #[arg(long, value_name = "SEED,...", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u64).range(..1 << 63))]
    seeds: Vec<u64>,
    /// Training time of each run, such as 30s or 10m, excluding validation [default: as configured]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    budget: Option<f64>,
    /// Outer iterations of each run, instead of a time budget
    #[arg(long, value_name = "N", conflicts_with = "budget", value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,
    /// Threads per run; 0 for one per core [default: as configured]
    #[arg(long)]
    threads: Option<usize>,
    /// Overrides one setting in every configuration that has it, such as model.filters=32; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Folder for the comparison
    #[arg(long)]
    out: PathBuf,
}

impl Compare {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let of_seed = |set: &&String| set.split('=').next().is_some_and(|key| key.trim() == "seed");
        if let Some(set) = self.sets.iter().find(of_seed) {
            return Err(Error::usage(format!(
                "--set {set} names one seed, expected those of all runs: --seeds 1,2,3"
            ))
            .into());
        }
        let mut sets = self.sets;
        sets.extend(self.threads.map(|threads| format!("run.threads={threads}")));
        let mut seeds = self.seeds;
        seeds.sort_unstable();
        seeds.dedup();
        let plan = Plan {
            contestants: compare::contestants(&self.configs, (&self.base, &self.methods), &sets)?,
            seeds,
            budget: match (self.budget, self.iterations) {
                (Some(seconds), _) => Budget::Seconds(seconds),
                (None, Some(n)) => Budget::Iterations(n as usize),
                (None, None) => Budget::Configured,
            },
        };
        let stop = stop_at_interrupt()?;
        let mut show = Progress { run: Show::new() };
        let table = compare::compare(&plan, &self.out, &stop, &mut show);
        show.run.bar.finish_and_clear();
        print_table(&table?);
        say!("written to {}: compare.md, compare.json, curves.svg", self.out.display());
        Ok(())
    }
}

/// The table's most important columns, for the terminal.
fn print_table(table: &Table) {
    let wide = table.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(6);
    say!(
        "{:<wide$}  {:<17} {:>11} {:>10} {:>9} {:>9} {:>6} {:>10}",
        "method",
        if table.accuracy { "accuracy" } else { "squared error" },
        "over seeds",
        "iterations",
        "ms/iter.",
        "gradients",
        "HVPs",
        "memory MiB"
    );
    for row in &table.rows {
        let missing = || "–".to_string();
        let scale = if table.accuracy { 100.0 } else { 1.0 };
        let digits = if table.accuracy { 2 } else { 4 };
        say!(
            "{:<wide$}  {:<17} {:>11} {:>10} {:>9} {:>9} {:>6} {:>10}  {}",
            row.name,
            row.score.map_or_else(missing, |score| table.shown(score)),
            row.seeds_ci95.map_or_else(missing, |ci| format!("± {:.digits$}", scale * ci)),
            row.iterations.map_or_else(missing, |n| format!("{n:.0}")),
            row.seconds_per_iteration.map_or_else(missing, |s| format!("{:.2}", 1e3 * s)),
            row.gradients.map_or_else(missing, |n| n.to_string()),
            row.hessian_products.map_or_else(missing, |n| n.to_string()),
            row.workspaces.map_or_else(missing, |b| format!("{:.1}", b as f64 / (1 << 20) as f64)),
            row.note()
        );
    }
}

pub(super) struct Progress {
    pub(super) run: Show,
}

impl Sink for Progress {
    fn event(&mut self, event: Event<'_>) {
        self.run.event(event);
    }
}

impl Watch for Progress {
    fn compared(&mut self, event: Compared<'_>) {
        match event {
            Compared::Begins { number, of, name, seed } => {
                self.run = Show::new();
                say!("run {number} of {of}: {name}, seed {seed}");
            }
            Compared::Again { iterations } => {
                self.run.bar.finish_and_clear();
                self.run = Show::new();
                say!("its iterations take less time than measured: begins anew with {iterations}");
            }
            Compared::Ends { name, run } => {
                self.run.bar.finish_and_clear();
                let end = match (run.status, run.score("test")) {
                    (Status::Finished, Some(test)) => {
                        let result = run.result.as_ref().expect("a finished run has its result");
                        let accuracy = result["test"]["measure"] == "accuracy";
                        let measure =
                            if accuracy { Measure::Accuracy } else { Measure::MeanSquaredError };
                        score(measure, test)
                    }
                    _ => run.message.clone().unwrap_or_else(|| "no result".into()),
                };
                say!("{name}, seed {}: {end}", run.seed);
            }
        }
    }
}
