//! `innerloop compare`: several methods on the same tasks, seeds and budget.
//!
//! Every run is an ordinary run with its own folder within the comparison's, `NAME/seed-SEED`. The tables are made from
//! these folders alone, after each run; finished runs are not repeated.

mod methods;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use crate::budget::{Budget, FRESH_STARTS, limited, scaled};
use crate::checkpoint::write_atomic;
use crate::memory;
use crate::run::{self, Ending, Session, Sink};
use crate::run_dir::{RunDir, RunWriter, read_json, write_json};
use crate::{Config, Error, ErrorKind, Experiment, Result};
pub use methods::{Contestant, contestants};
pub use table::{Row, Run, Status, Table};

/// What is compared.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Configurations with distinct names.
    pub contestants: Vec<Contestant>,
    /// Seeds of the runs: each determines weights, training tasks and test tasks.
    pub seeds: Vec<u64>,
    /// How long each run trains.
    pub budget: Budget,
}

/// What happens during a comparison.
pub enum Event<'a> {
    /// A run starts or resumes.
    Begins {
        /// Its number, from 1.
        number: usize,
        /// Total number of runs.
        of: usize,
        /// Name of the configuration.
        name: &'a str,
        /// Seed of the run.
        seed: u64,
    },
    /// A run starts over with more iterations, because they take less time than measured before.
    Again {
        /// The number that fills the budget.
        iterations: usize,
    },
    /// A run has ended, now or earlier.
    Ends {
        /// Name of the configuration.
        name: &'a str,
        /// How it ended.
        run: &'a Run,
    },
}

/// An observer of a comparison and its runs.
pub trait Watch: Sink {
    /// Called as runs start and end.
    fn compared(&mut self, event: Event<'_>);
}

/// Runs what is still missing in the folder `out`, and writes `compare.md`, `compare.json` and `curves.svg`. Rows of
/// runs that diverged say so.
///
/// When `stop` turns true, the current run is saved, the tables are written, and an [`ErrorKind::Interrupted`] error is
/// returned.
pub fn compare(plan: &Plan, out: &Path, stop: &AtomicBool, watch: &mut dyn Watch) -> Result<Table> {
    hold_budget(plan, out)?;
    let of = plan.seeds.len() * plan.contestants.len();
    let mut number = 0;
    // All methods with one seed first, so that there is a complete table early.
    for &seed in &plan.seeds {
        for contestant in &plan.contestants {
            number += 1;
            let name = &contestant.name;
            let config = Config { seed, ..contestant.config.clone() };
            let folder = folder(out, name, seed);
            if !is_over(&folder, &config, plan.budget)? {
                if stop.load(Relaxed) {
                    return Err(interrupted(out));
                }
                watch.compared(Event::Begins { number, of, name, seed });
                let result = one(config, &folder, plan.budget, stop, watch);
                write(plan, out)?;
                match result {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {
                        return Err(interrupted(out));
                    }
                    other => {
                        other.map_err(|error| error.context(format!("{name}, seed {seed}")))?
                    }
                }
            }
            watch.compared(Event::Ends { name, run: &Run::read(&folder, seed)? });
        }
    }
    write(plan, out)
}

fn folder(out: &Path, name: &str, seed: u64) -> PathBuf {
    out.join(name).join(format!("seed-{seed}"))
}

fn interrupted(out: &Path) -> Error {
    Error::interrupted(format!(
        "stopped; {} holds what is finished; the same command goes on from there",
        out.display()
    ))
}

/// A folder has one budget: results under different budgets do not belong in one table.
fn hold_budget(plan: &Plan, out: &Path) -> Result<()> {
    let path = out.join("budget.json");
    let now = json!(plan.budget);
    match read_json(&path, "choose another folder")? {
        Some(there) if there != now => Err(Error::usage(format!(
            "{} holds a comparison with the budget {there}, expected {now}; choose another folder with --out",
            out.display()
        ))),
        Some(_) => Ok(()),
        None => {
            std::fs::create_dir_all(out).map_err(|cause| Error::io("make folder", out, &cause))?;
            write_json(&path, &now)
        }
    }
}

/// The run in the folder, if there is one, with its configuration; fails if that is not `config` under this budget.
fn as_there(folder: &Path, config: &Config, budget: Budget) -> Result<Option<(RunDir, Config)>> {
    if !folder.exists() {
        return Ok(None);
    }
    let Ok(dir) = RunDir::open(folder) else { return Ok(None) };
    let config = match budget {
        Budget::Configured => config.clone(),
        Budget::Iterations(n) => limited(config, n)?,
        // The number measured when the run started.
        Budget::Seconds(_) => limited(config, dir.config()?.outer.iterations)?,
        Budget::Within(_) => match dir.config()?.outer.iterations {
            all if all == config.outer.iterations => config.clone(),
            some => scaled(config, some)?,
        },
    };
    dir.check_same(&config)?;
    Ok(Some((dir, config)))
}

/// Whether a run has a result or has diverged.
fn is_over(folder: &Path, config: &Config, budget: Budget) -> Result<bool> {
    let Some((dir, _)) = as_there(folder, config, budget)? else { return Ok(false) };
    Ok(dir.result()?.is_some() || dir.diverged()?.is_some())
}

/// Performs a single run in a folder, unless it is done already, and returns its outcome.
pub(crate) fn one_run(
    config: Config,
    folder: &Path,
    budget: Budget,
    stop: &AtomicBool,
    watch: &mut dyn Watch,
) -> Result<Run> {
    let seed = config.seed;
    if !is_over(folder, &config, budget)? {
        one(config, folder, budget, stop, watch)?;
    }
    Run::read(folder, seed)
}

/// Performs one run to its end; divergence is an end too.
fn one(
    config: Config,
    folder: &Path,
    budget: Budget,
    stop: &AtomicBool,
    watch: &mut dyn Watch,
) -> Result<()> {
    memory::forget_peak_memory();
    let there = as_there(folder, &config, budget)?;
    let resume = there.is_some();
    let mut session = Session { resume, budget: budget.seconds(), stop };
    let unlimited = config.clone();
    let mut experiment = match there {
        Some((_, config)) => Experiment::new(config),
        None => budget.fit(Experiment::new(config)?),
    };
    let mut left = FRESH_STARTS;
    let outcome = loop {
        let time = budget.to_use().filter(|_| left > 0);
        let ending = experiment
            .and_then(|experiment| run::train_to_use(experiment, folder, (session, time), watch));
        match ending {
            // From the start, so that the run has the same bits as any of its configuration, whatever was measured on
            // the way.
            Ok(Ending::TooShort { iterations }) => {
                let config = limited(&unlimited, iterations)?;
                RunWriter::begin_anew(folder, &config)?;
                watch.compared(Event::Again { iterations });
                experiment = Experiment::new(config);
                session.resume = true;
                left -= 1;
            }
            Ok(Ending::Over(_)) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    match outcome {
        Err(error) if error.kind() == ErrorKind::Diverged => {
            let writer = match RunDir::open(folder) {
                Ok(dir) => RunWriter::resume(folder, &dir.config()?)?,
                // It diverged before its length was known, so it has the configured one.
                Err(_) if matches!(budget, Budget::Seconds(_)) => {
                    let config = limited(&unlimited, unlimited.outer.iterations)?;
                    RunWriter::create(folder, &config)?
                }
                Err(_) => RunWriter::create(folder, &unlimited)?,
            };
            writer.write_diverged(&json!({ "message": error.to_string() }))
        }
        other => other,
    }
}

/// Writes the tables and the plot of the runs in the folder.
fn write(plan: &Plan, out: &Path) -> Result<Table> {
    let table = Table::of(plan, |name, seed| Run::read(&folder(out, name, seed), seed))?;
    write_json(&out.join("compare.json"), &table)?;
    for (name, text) in [("compare.md", table.markdown()), ("curves.svg", table.curves())] {
        write_atomic(&out.join(name), |file| std::io::Write::write_all(file, text.as_bytes()))?;
    }
    Ok(table)
}
