//! `innerloop reproduce`: the shipped experiments, and published numbers next to those a run measures.
//!
//! An experiment is a configuration with a table `[published]`; both are in `experiments/`.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::compare::{Run, Status, Watch, one_run};
use crate::config::{Config, Difference, Kept, suggest};
use crate::evaluation::{Estimate, Measure};
use crate::{Error, Result};

macro_rules! shipped {
    ($($name:literal,)*) => {
        /// The experiments that come with the program: names and texts.
        pub const SHIPPED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../experiments/", $name, ".toml")))),*];
    };
}

shipped! {
    "sinusoid-5shot-maml",
    "sinusoid-10shot-maml",
    "sinusoid-5shot-meta-sgd",
    "sinusoid-10shot-meta-sgd",
    "sinusoid-5shot-meta-curvature",
    "sinusoid-10shot-meta-curvature",
    "omniglot-5w1s-maml",
    "omniglot-5w1s-fomaml",
    "omniglot-5w1s-reptile",
    "omniglot-5w1s-meta-sgd",
    "omniglot-5w5s-maml",
    "omniglot-5w5s-reptile",
    "omniglot-5w5s-meta-sgd",
    "omniglot-20w1s-maml",
    "omniglot-20w1s-fomaml",
    "omniglot-20w1s-reptile",
    "omniglot-20w1s-meta-sgd",
    "omniglot-20w1s-anil",
    "omniglot-20w5s-maml",
    "omniglot-20w5s-reptile",
    "omniglot-20w5s-meta-sgd",
    "omniglot-20w5s-anil",
    "omniglot-5w1s-maml-plus-plus",
    "omniglot-20w1s-maml-plus-plus",
    "omniglot-5w1s-protonet",
    "mini-imagenet-5w1s-lstm",
    "mini-imagenet-5w5s-lstm",
    "mini-imagenet-5w1s-maml-plus-plus",
    "mini-imagenet-5w1s-cavia",
    "mini-imagenet-5w1s-maml",
    "mini-imagenet-5w1s-shot",
    "mini-imagenet-5w5s-maml",
    "mini-imagenet-5w5s-shot",
    "mini-imagenet-5w1s-anil",
    "mini-imagenet-5w1s-boil",
    "mini-imagenet-5w1s-fomaml",
    "mini-imagenet-5w1s-truncated-maml",
    "mini-imagenet-5w1s-binom-maml",
    "mini-imagenet-5w1s-sign-maml",
    "mini-imagenet-5w5s-anil",
    "mini-imagenet-5w1s-anil-shot",
    "mini-imagenet-5w5s-anil-shot",
    "mini-imagenet-5w5s-boil",
    "mini-imagenet-5w1s-boil-shot",
    "mini-imagenet-5w5s-boil-shot",
    "mini-imagenet-5w5s-fomaml",
    "mini-imagenet-5w1s-shot-pretrained",
    "mini-imagenet-5w5s-shot-pretrained",
    "mini-imagenet-5w1s-shot-cross-entropy",
    "mini-imagenet-5w5s-shot-cross-entropy",
    "mini-imagenet-5w1s-shot-parameters",
    "mini-imagenet-5w5s-shot-parameters",
    "mini-imagenet-5w1s-maml-finn",
    "mini-imagenet-5w5s-maml-finn",
    "mini-imagenet-5w1s-reptile",
    "mini-imagenet-5w5s-reptile",
    "mini-imagenet-5w5s-maml-plus-plus",
    "mini-imagenet-5w5s-cavia",
    "mini-imagenet-5w1s-binom-maml-3",
    "mini-imagenet-5w5s-binom-maml-3",
    "mini-imagenet-5w1s-protonet",
    "mini-imagenet-5w5s-protonet",
    "omniglot-20w1s-imaml",
    "omniglot-5w1s-meta-curvature",
    "omniglot-5w5s-maml-plus-plus",
    "omniglot-20w5s-maml-plus-plus",
    "omniglot-5w1s-reptile-non-transductive",
    "omniglot-5w5s-reptile-non-transductive",
    "omniglot-20w1s-reptile-non-transductive",
    "omniglot-20w5s-reptile-non-transductive",
    "mini-imagenet-5w1s-reptile-non-transductive",
    "mini-imagenet-5w5s-reptile-non-transductive",
    "double-mnist-5w1s-maml",
    "double-mnist-20w1s-maml",
    "triple-mnist-5w1s-maml",
    "triple-mnist-20w1s-maml",
}

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
        let run = one_run(config.clone(), out, budget, stop, watch)?;
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
mod tests {
    use super::*;
    use crate::experiment::pretraining;

    #[test]
    fn every_experiment_of_the_folder_is_shipped_and_legal() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let mut shipped: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        names.sort();
        shipped.sort_unstable();
        assert_eq!(shipped, names);
        for name in shipped {
            let experiment = Shipped::find(name).unwrap_or_else(|error| panic!("{error}"));
            assert!(experiment.published.tolerance > 0.0, "{name}");
            assert_eq!(experiment.changed(&experiment.config), [""; 0], "{name}");
        }
    }

    #[test]
    fn nothing_in_an_experiment_is_from_memory() {
        // A number that nobody has looked up cannot decide a pass or failure, nor justify a setting.
        for (name, text) in SHIPPED {
            let line = text.lines().find(|line| line.to_lowercase().contains("recall"));
            assert_eq!(line, None, "{name}");
        }
    }

    #[test]
    fn thirty_epochs_of_pretraining_come_before_three_hundred() {
        for name in ["mini-imagenet-5w1s-shot-pretrained", "mini-imagenet-5w5s-shot-pretrained"] {
            let config = Shipped::find(name).unwrap().config;
            let before = pretraining(&config);
            assert_eq!((before, config.outer.iterations as u64 - before), (3000, 30_000), "{name}");
        }
    }

    #[test]
    fn verdicts_follow_the_tolerance() {
        let mut published = Shipped::find("omniglot-5w1s-maml").unwrap().published;
        assert_eq!((published.measure, published.tolerance), (Measure::Accuracy, 0.01));
        assert!((published.value - 0.987).abs() <= 1e-12 && published.ci95 == Some(0.4 * 0.01));
        let of = |published: &Published, measured| published.verdict(measured);
        assert_eq!(of(&published, 0.98), Verdict::Agrees);
        assert_eq!(of(&published, 0.97), Verdict::Worse);
        assert_eq!(of(&published, 0.999), Verdict::Better);
        assert_eq!(of(&published, f64::NAN), Verdict::Worse);
        published.measure = Measure::MeanSquaredError;
        assert_eq!(of(&published, 0.5), Verdict::Better);
        assert_eq!(of(&published, 1.5), Verdict::Worse);
    }

    #[test]
    fn a_bad_table_is_refused() {
        let table = |published: &str| {
            Shipped::parse("x", &format!("{published}\n[tasks]\nfamily = 'sinusoid'"))
                .unwrap_err()
                .to_string()
        };
        let says =
            |message: String, part: &str| assert!(message.contains(part), "{part}: {message}");
        says(table(""), "no table [published]");
        let rest = "source = 'a'\nsteps = 1\ntolerance = 0.1\n";
        says(table(&format!("[published]\n{rest}")), "or neither");
        says(table(&format!("[published]\n{rest}accuracy = 3")), "another kind than the tasks");
        says(table(&format!("[published]\n{rest}mean_squared_error = nan")), "expected numbers");
        says(table(&format!("[published]\n{rest}mean_squared_error = 1\nmore = 1")), "more");
        let steps = "[published]\nsource = 'a'\nsteps = 99\ntolerance = 1\nmean_squared_error = 1";
        says(table(steps), "at most evaluation.steps");
        says(Shipped::find("omniglot-5w1s-mamml").unwrap_err().to_string(), "did you mean");
    }
}
