//! `innerloop reproduce`: the shipped experiments, and published numbers next to those a run measures.
//!
//! An experiment is a configuration with a table `[published]`; both are in `experiments/`.

mod shipped;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::compare::{Run, Status, Watch, one_run};
use crate::config::{Config, Difference, Kept, suggest};
use crate::evaluation::{Estimate, Measure};
use crate::{Error, ErrorKind, Result};
pub use shipped::SHIPPED;

/// The published result: the table `[published]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Published {
    /// Where it was published.
    pub source: String,
    /// What is measured: `accuracy`, in percent, or `mean_squared_error`.
    pub measure: Measure,
    /// The number; for an accuracy, a fraction.
    pub value: f64,
    /// The number after ±, in the same unit.
    pub ci95: Option<f64>,
    /// `steps`: inner steps at test time.
    pub steps: usize,
    /// How far off a full run may be and still count as a reproduction.
    pub tolerance: f64,
    /// Anything else needed to interpret the number.
    pub note: Option<String>,
}

/// The table as written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishedFile {
    source: String,
    accuracy: Option<f64>,
    mean_squared_error: Option<f64>,
    ci95: Option<f64>,
    steps: usize,
    tolerance: f64,
    note: Option<String>,
}

/// A configuration with its published result.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// Its name.
    pub name: String,
    /// The published settings.
    pub config: Config,
    /// The published number.
    pub published: Published,
}

/// How a run compares with the published result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Verdict {
    /// The whole experiment, within the tolerance.
    Agrees,
    /// The whole experiment, better by more than the tolerance.
    Better,
    /// The whole experiment, worse by more than the tolerance.
    Worse,
    /// Fewer iterations than published: the number only tells how far they lead.
    Scaled,
    /// Other settings than those of the experiment.
    Changed {
        /// `section.key`
        keys: Vec<String>,
    },
    /// Started, without a result yet.
    Unfinished,
    /// Not started.
    NotStarted,
    /// Numbers stopped being finite.
    Diverged,
}

/// A run compared with the published result.
#[derive(Clone, Debug, Serialize)]
pub struct Reproduction {
    /// Name of the experiment.
    pub name: String,
    /// What was published.
    pub published: Published,
    /// The same quantity of the run.
    pub measured: Option<Estimate>,
    /// Outer iterations of the run.
    pub iterations: u64,
    /// Those of the experiment.
    pub iterations_published: u64,
    /// Seconds of training.
    pub training_seconds: f64,
    /// How they compare.
    pub verdict: Verdict,
}

impl Shipped {
    /// Finds a shipped experiment by name, or reads one from a file.
    pub fn find(name: &str) -> Result<Shipped> {
        if let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return Shipped::parse(name, text);
        }
        if !name.ends_with(".toml") {
            let names = SHIPPED.iter().map(|(name, _)| *name);
            let hint = suggest::hint(name, names.clone());
            let all = names.collect::<Vec<_>>().join(", ");
            return Err(Error::usage(format!(
                "there is no experiment {name:?}{hint}; experiments: {all}, or a .toml file with a table [published]"
            )));
        }
        let path = Path::new(name);
        let text = fs::read_to_string(path).map_err(|cause| Error::io("read", path, &cause))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Shipped::parse(&stem, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Shipped> {
        let config = Config::parse(text, name)?;
        let published = Published::parse(name, text, &config)?;
        Ok(Shipped { name: name.into(), config, published })
    }

    /// Runs or resumes it in a folder, completely or as far as the budget allows.
    pub fn run(
        &self,
        config: Config,
        (budget, out): (Option<f64>, &Path),
        stop: &AtomicBool,
        watch: &mut dyn Watch,
    ) -> Result<Reproduction> {
        let budget = budget.map_or(Budget::Configured, Budget::Within);
        let run = one_run(config.clone(), out, budget, stop, watch).map_err(|error| match error
            .kind()
        {
            ErrorKind::Interrupted => Error::interrupted(format!(
                "stopped; {} holds what is done; the same command goes on from there",
                out.display()
            )),
            _ => error,
        })?;
        Ok(self.reproduction(&config, &run))
    }

    /// Compares a run with the published result.
    pub fn reproduction(&self, config: &Config, run: &Run) -> Reproduction {
        let Shipped { name, published, .. } = self;
        let scores = run.result.as_ref().map(|result| &result["test"]["scores"][published.steps]);
        let measured = scores.and_then(|score| {
            Some(Estimate { mean: score["mean"].as_f64()?, ci95: score["ci95"].as_f64()? })
        });
        let number = |key: &str| run.result.as_ref().map(|result| &result[key]);
        let iterations = number("iterations").and_then(|n| n.as_u64()).unwrap_or(0);
        let iterations_published = self.config.outer.iterations as u64;
        let verdict = match (run.status, measured) {
            (Status::Diverged, _) => Verdict::Diverged,
            (Status::NotStarted, _) => Verdict::NotStarted,
            (Status::Finished, Some(measured)) => {
                let keys = self.changed(config);
                if !keys.is_empty() {
                    Verdict::Changed { keys }
                } else if iterations < iterations_published {
                    Verdict::Scaled
                } else {
                    published.verdict(measured.mean)
                }
            }
            (Status::Finished, None) => Verdict::Diverged,
            (Status::Unfinished, _) => Verdict::Unfinished,
        };
        Reproduction {
            name: name.clone(),
            published: published.clone(),
            measured,
            iterations,
            iterations_published,
            training_seconds: number("training_seconds").and_then(|n| n.as_f64()).unwrap_or(0.0),
            verdict,
        }
    }

    /// Settings that differ from the experiment's and may change its result.
    fn changed(&self, config: &Config) -> Vec<String> {
        let counts = |d: &Difference| !d.key.starts_with("run.") && d.key != "tasks.data";
        let all = self.config.differences(config).into_iter().filter(counts);
        all.map(|difference| difference.key).collect()
    }
}

impl Published {
    fn parse(name: &str, text: &str, config: &Config) -> Result<Published> {
        let bad = |what: String| Error::config(format!("{name}: {what}"));
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| bad(e.to_string()))?;
        let table = table.get("published").cloned().ok_or_else(|| {
            bad("it has no table [published]; expected source, accuracy or mean_squared_error, steps, tolerance"
                .into())
        })?;
        let file: PublishedFile = table
            .try_into()
            .map_err(|e: toml::de::Error| bad(format!("published: {}", e.message())))?;
        let (measure, value, unit) = match (file.accuracy, file.mean_squared_error) {
            (Some(accuracy), None) => (Measure::Accuracy, accuracy, 0.01),
            (None, Some(error)) => (Measure::MeanSquaredError, error, 1.0),
            _ => {
                return Err(bad(
                    "published has accuracy and mean_squared_error, or neither; expected one"
                        .into(),
                ));
            }
        };
        let regression = config.tasks.family.is_regression();
        if regression != (measure == Measure::MeanSquaredError) {
            return Err(bad(
                "published is of another kind than the tasks: accuracy is of classes, \
                            mean_squared_error of values"
                    .into(),
            ));
        }
        if !(value >= 0.0 && value.is_finite() && file.tolerance >= 0.0) {
            return Err(bad(format!(
                "published is {value} with tolerance {}, expected numbers, 0 or more",
                file.tolerance
            )));
        }
        if file.steps > config.evaluation.steps {
            return Err(bad(format!(
                "published.steps is {}, expected at most evaluation.steps, {}",
                file.steps, config.evaluation.steps
            )));
        }
        Ok(Published {
            source: file.source,
            measure,
            value: unit * value,
            ci95: file.ci95.map(|ci| unit * ci),
            steps: file.steps,
            tolerance: unit * file.tolerance,
            note: file.note,
        })
    }

    /// The verdict on the whole experiment; NaN counts as worse.
    fn verdict(&self, measured: f64) -> Verdict {
        if (measured - self.value).abs() <= self.tolerance {
            Verdict::Agrees
        } else if self.measure.better(measured, self.value) {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }
}

#[cfg(test)]
mod tests;
