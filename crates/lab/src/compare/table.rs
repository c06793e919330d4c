//! The results of a comparison: rows from the folders of its runs, as Markdown, JSON and learning curves.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{Contestant, Plan, methods};
use crate::budget::{Budget, USED};
use crate::config::{Difference, LeftOut};
use crate::evaluation::Estimate;
use crate::plot::{self, Axis, Chart, Line};
use crate::run_dir::RunDir;
use crate::{Config, Kept, Result};

/// A comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Version of the program.
    pub version: &'static str,
    /// A one-line description of the tasks.
    pub tasks: String,
    /// The network of the first row.
    pub model: String,
    /// How long each run trains.
    pub budget: String,
    /// Threads of a run.
    pub threads: usize,
    /// Whether scores are accuracies; otherwise they are mean squared errors.
    pub accuracy: bool,
    /// Score of the nearest class mean, for tasks with classes.
    pub nearest_mean: Option<Estimate>,
    /// Score of the nearest class mean of a pre-trained network's features, if one is among the rows.
    pub nearest_mean_of_features: Option<Estimate>,
    /// Methods in the order of the plan.
    pub rows: Vec<Row>,
}

/// A method over all seeds; values not yet known are `None`.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the configuration.
    pub name: String,
    /// Test score: mean over finished runs, with the 95 % interval over all their tasks.
    pub score: Option<Estimate>,
    /// Half the 95 % interval over seeds, by Student's t: tasks differ by seed, so it covers both sources of variation.
    /// `None` for fewer than two runs.
    pub seeds_ci95: Option<f64>,
    /// Score of the weights before training, after the same inner steps.
    pub untrained: Option<Estimate>,
    /// Mean outer iterations.
    pub iterations: Option<f64>,
    /// Mean seconds in outer iterations.
    pub training_seconds: Option<f64>,
    /// Seconds per outer iteration.
    pub seconds_per_iteration: Option<f64>,
    /// Gradients per outer iteration.
    pub gradients: Option<u64>,
    /// Hessian-vector products per outer iteration.
    pub hessian_products: Option<u64>,
    /// Bytes of the workspaces of all threads.
    pub workspaces: Option<u64>,
    /// The process's peak memory during training, in bytes.
    pub peak_memory: Option<u64>,
    /// Inner steps in training and at test time.
    pub steps: [usize; 2],
    /// Tasks per outer iteration.
    pub meta_batch_size: usize,
    /// Settings that differ from the first row's, with their values here.
    pub settings: Vec<(String, String)>,
    /// Shared settings that do not apply to the method.
    pub left_out: Vec<LeftOut>,
    /// The paper that the method is a reconstruction of, if it is one.
    pub reconstruction: Option<&'static str>,
    /// Seconds that each run should use, with a time budget.
    #[serde(skip)]
    pub time: Option<f64>,
    /// A run for each seed.
    pub runs: Vec<Run>,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has a result.
    Finished,
    /// Numbers stopped being finite.
    Diverged,
    /// It was interrupted.
    Unfinished,
    /// It has not started.
    NotStarted,
}

/// A run with one seed.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Its state.
    pub status: Status,
    /// Why it has no result, if it diverged.
    pub message: Option<String>,
    /// Validation scores: iteration, seconds of training, score, half its interval over tasks.
    pub curve: Vec<[f64; 4]>,
    /// `result.json`, if it is finished.
    pub result: Option<Value>,
}

impl Run {
    /// Reads a run's folder, if there is one.
    pub fn read(folder: &Path, seed: u64) -> Result<Run> {
        let mut run = Run {
            seed,
            status: Status::NotStarted,
            message: None,
            curve: Vec::new(),
            result: None,
        };
        let Ok(dir) = RunDir::open(folder) else { return Ok(run) };
        run.result = dir.result()?;
        let diverged = dir.diverged()?;
        run.message =
            diverged.as_ref().map(|why| why["message"].as_str().unwrap_or("").to_string());
        run.status = match (&run.result, &diverged) {
            (Some(_), _) => Status::Finished,
            (None, Some(_)) => Status::Diverged,
            (None, None) => Status::Unfinished,
        };
        for line in dir.metrics()?.iter().filter(|line| line["kind"] == "validation") {
            let last = line["scores"].as_array().and_then(|scores| scores.last());
            let last = last.unwrap_or(&Value::Null);
            let values =
                [&line["iteration"], &line["training_seconds"], &last["mean"], &last["ci95"]];
            run.curve.push(values.map(|value| value.as_f64().unwrap_or(f64::NAN)));
        }
        Ok(run)
    }

    /// The score after the last inner step, of the trained (`test`) or the `untrained` weights.
    pub fn score(&self, of: &str) -> Option<Estimate> {
        estimate(self.result.as_ref()?[of]["scores"].as_array()?.last()?)
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.result.as_ref()?[key].as_f64()
    }
}

fn estimate(value: &Value) -> Option<Estimate> {
    Some(Estimate { mean: value["mean"].as_f64()?, ci95: value["ci95"].as_f64()? })
}

/// Mean of the estimates, with the interval of the pooled tasks, of which each run has equally many.
fn pooled(all: &[Estimate]) -> Option<Estimate> {
    let n = all.len() as f64;
    let mean = all.iter().map(|e| e.mean).sum::<f64>() / n;
    let ci95 = all.iter().map(|e| e.ci95.powi(2)).sum::<f64>().sqrt() / n;
    (!all.is_empty()).then_some(Estimate { mean, ci95 })
}

/// `t · sd / √n` with the 97.5 % quantile of Student's t for `n − 1` degrees of freedom.
fn over_seeds(means: &[f64]) -> Option<f64> {
    /// For 1 to 30 degrees of freedom.
    const QUANTILES: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    let degrees = means.len().checked_sub(1).filter(|&degrees| degrees > 0)?;
    let t = QUANTILES.get(degrees - 1).unwrap_or(&1.96);
    Some(t * Estimate::of(means).ci95 / 1.96)
}

impl Table {
    pub(super) fn of(plan: &Plan, read: impl Fn(&str, u64) -> Result<Run>) -> Result<Table> {
        let first = &plan.contestants[0].config;
        let mut rows = Vec::new();
        for contestant in &plan.contestants {
            let runs = plan.seeds.iter().map(|&seed| read(&contestant.name, seed));
            let runs = runs.collect::<Result<Vec<Run>>>()?;
            rows.push(Row::of(contestant, (first, plan.budget), runs));
        }
        let result = rows.iter().flat_map(|row| &row.runs).find_map(|run| run.result.as_ref());
        let key = "nearest_mean_of_features";
        let of_features = |run: &Run| estimate(&run.result.as_ref()?[key]);
        let of_features: Vec<_> =
            rows.iter().flat_map(|row: &Row| &row.runs).filter_map(of_features).collect();
        let tasks = result.and_then(|result| result["protocol"]["tasks"].as_str());
        Ok(Table {
            version: env!("CARGO_PKG_VERSION"),
            tasks: tasks.unwrap_or("no run is finished").to_string(),
            model: methods::model(first),
            budget: plan.budget.describe(),
            threads: match first.run.threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                threads => threads,
            },
            accuracy: !first.tasks.family.is_regression(),
            nearest_mean: result.and_then(|result| estimate(&result["nearest_mean"])),
            nearest_mean_of_features: pooled(&of_features),
            rows,
        })
    }

    /// `97.31 % ± 0.21` or `0.4120 ± 0.0300`.
    pub fn shown(&self, score: Estimate) -> String {
        match self.accuracy {
            true => format!("{:.2} % ± {:.2}", 100.0 * score.mean, 100.0 * score.ci95),
            false => format!("{:.4} ± {:.4}", score.mean, score.ci95),
        }
    }

    /// The whole table, with the notes needed to read it.
    pub fn markdown(&self) -> String {
        let measure = if self.accuracy { "accuracy" } else { "mean squared error" };
        let seeds: Vec<_> = self.rows[0].runs.iter().map(|run| run.seed.to_string()).collect();
        let mut out = format!(
            "# Comparison\n\n{}; {}; budget {}; {}: {}; {} thread{}; innerloop {}.\n",
            self.tasks,
            self.model,
            self.budget,
            if seeds.len() == 1 { "seed" } else { "seeds" },
            seeds.join(", "),
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            self.version
        );
        if let Some(nearest) = self.nearest_mean {
            let _ = writeln!(out, "Nearest class mean on raw inputs: {}.", self.shown(nearest));
        }
        if let Some(nearest) = self.nearest_mean_of_features {
            let of = "Nearest class mean of the pre-trained network's features";
            let _ = writeln!(out, "{of}: {}.", self.shown(nearest));
        }
        let _ = write!(
            out,
            "\n| method | {measure} | ± over seeds | untrained | iterations | training s | ms per iteration | tasks | \
             gradients | HVPs | workspaces MiB | peak MiB | steps, train / test | |\n\
             |---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
        );
        for row in &self.rows {
            let mib =
                |bytes: Option<u64>| bytes.map(|b| format!("{:.1}", b as f64 / (1 << 20) as f64));
            let seeds = row.seeds_ci95.map(|ci| match self.accuracy {
                true => format!("{:.2}", 100.0 * ci),
                false => format!("{ci:.4}"),
            });
            let count = |n: Option<u64>| n.map(|n| n.to_string());
            let cells = [
                Some(row.name.clone()),
                row.score.map(|score| self.shown(score)),
                seeds,
                row.untrained.map(|score| self.shown(score)),
                row.iterations.map(|n| format!("{n:.0}")),
                row.training_seconds.map(|s| format!("{s:.1}")),
                row.seconds_per_iteration.map(|s| format!("{:.2}", 1e3 * s)),
                Some(row.meta_batch_size.to_string()),
                count(row.gradients),
                count(row.hessian_products),
                mib(row.workspaces),
                mib(row.peak_memory),
                Some(format!("{} / {}", row.steps[0], row.steps[1])),
                Some(row.note()),
            ];
            let cells = cells.map(|cell| cell.unwrap_or("–".into()));
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        out.push_str(NOTES);
        let _ = writeln!(out, "\nSettings that differ from those of {}:\n", self.rows[0].name);
        for row in &self.rows[1..] {
            let list: Vec<_> =
                row.settings.iter().map(|(key, value)| format!("`{key} = {value}`")).collect();
            let list = if list.is_empty() { "none".into() } else { list.join(", ") };
            let _ = writeln!(out, "- {}: {list}", row.name);
        }
        out
    }

    /// Validation scores, averaged over seeds, against time and against iterations.
    pub fn curves(&self) -> String {
        let scale = if self.accuracy { 100.0 } else { 1.0 };
        let line = |row: &Row, at: usize| {
            let runs: Vec<_> = row.runs.iter().filter(|run| !run.curve.is_empty()).collect();
            let points = runs.iter().map(|run| run.curve.len()).min().unwrap_or(0);
            let mean = |i: usize, column: usize| {
                runs.iter().map(|run| run.curve[i][column]).sum::<f64>() / runs.len() as f64
            };
            let interval = |i: usize| match runs.len() {
                1 => runs[0].curve[i][3],
                _ => over_seeds(&runs.iter().map(|run| run.curve[i][2]).collect::<Vec<_>>())
                    .unwrap_or(0.0),
            };
            let point = |i| [mean(i, at), scale * mean(i, 2), scale * interval(i)];
            Line { name: row.name.clone(), points: (0..points).map(point).collect() }
        };
        let y = || match self.accuracy {
            true => Axis::linear("validation accuracy (%)"),
            false => Axis::log("validation mean squared error"),
        };
        let chart = |title: &str, x: &str, at| Chart {
            title: title.into(),
            x: Axis::linear(x),
            y: y(),
            lines: self.rows.iter().map(|row| line(row, at)).collect(),
        };
        let time = chart("against training time", "training time (s)", 1);
        plot::svg(&[time, chart("against iterations", "outer iterations", 0)], 2)
    }
}

const NOTES: &str = "
Scores are on test tasks, of the weights with the best validation score; ± is the 95 % interval over the tasks of all \
seeds, *over seeds* that of the seeds' means by Student's t. Training seconds include outer iterations only. *tasks*, \
*gradients* and *HVPs* (Hessian-vector products) are per outer iteration. *Workspaces* is the memory that training \
holds on all threads; *peak* is that of the whole process, including the data set, while it trains and validates, as \
reported by the system: memory of earlier runs that the allocator has kept counts. With a time budget the number of \
iterations is measured beforehand, so that the outer rate runs through its whole schedule; if they then take much less \
time, the run starts over with more. Rows that used less than 95 % of the time say so.
";

impl Row {
    fn of(contestant: &Contestant, (first, budget): (&Config, Budget), runs: Vec<Run>) -> Row {
        let Contestant { name, config, left_out } = contestant;
        let finished: Vec<&Run> = runs.iter().filter(|run| run.result.is_some()).collect();
        let scores = |of| finished.iter().filter_map(|run| run.score(of)).collect::<Vec<_>>();
        let mean = |key: &str| {
            let all: Vec<f64> = finished.iter().filter_map(|run| run.number(key)).collect();
            (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
        };
        let count = |key: &str| finished.first()?.result.as_ref()?[key].as_u64();
        let most =
            |key: &str| finished.iter().filter_map(|run| run.result.as_ref()?[key].as_u64()).max();
        let test = scores("test");
        let means: Vec<f64> = test.iter().map(|score| score.mean).collect();
        let (iterations, training_seconds) = (mean("iterations"), mean("training_seconds"));
        let here = |d: Difference| (d.key, d.other);
        Row {
            name: name.clone(),
            score: pooled(&test),
            seeds_ci95: over_seeds(&means),
            untrained: pooled(&scores("untrained")),
            iterations,
            training_seconds,
            seconds_per_iteration: training_seconds.zip(iterations).map(|(s, n)| s / n),
            gradients: count("gradients"),
            hessian_products: count("hessian_products"),
            workspaces: most("workspaces"),
            peak_memory: most("training_peak_memory"),
            steps: [config.algorithm.adaptation_steps, config.evaluation.steps],
            meta_batch_size: config.outer.meta_batch_size,
            settings: first.differences(config).into_iter().map(here).collect(),
            left_out: left_out.clone(),
            reconstruction: config.algorithm.reconstruction(),
            time: budget.to_use(),
            runs,
        }
    }

    /// Runs that their budget stopped before they completed the number of iterations measured to fit.
    fn cut(&self) -> Option<String> {
        let cut = |run: &Run| {
            let (done, all) = (run.number("iterations")?, run.number("iterations_configured")?);
            (done < all).then(|| format!("seed {}: {done} of {all} iterations in time", run.seed))
        };
        let all: Vec<String> = self.runs.iter().filter_map(cut).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Runs that completed all iterations but used less of their time than they should.
    fn short(&self) -> Option<String> {
        let time = self.time?;
        let short = |run: &Run| {
            let used = run.number("training_seconds").filter(|used| *used < USED * time)?;
            Some(format!("seed {}: {used:.1} of {time} s used", run.seed))
        };
        let all: Vec<String> = self.runs.iter().filter_map(short).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// What is missing, cut short or left out, and why; and whether the method is a reconstruction.
    pub fn note(&self) -> String {
        let of = |which: &dyn Fn(&Run) -> bool, word: &str| {
            let seeds: Vec<_> = self.runs.iter().filter(|run| which(run)).collect();
            let list: Vec<_> = seeds.iter().map(|run| run.seed.to_string()).collect();
            (!list.is_empty()).then(|| format!("{word} (seed {})", list.join(", ")))
        };
        let without_score = |run: &Run| run.result.is_some() && run.score("test").is_none();
        let notes = [
            of(&|run| run.status == Status::Diverged, "diverged"),
            of(&without_score, "diverged on test tasks"),
            of(&|run| run.status == Status::Unfinished, "unfinished"),
            self.cut(),
            self.short(),
            of(&|run| run.status == Status::NotStarted, "not run yet"),
        ];
        let without = |left: &LeftOut| format!("without {} ({})", left.key, left.why);
        let paper = self
            .reconstruction
            .map(|paper| format!("a reconstruction, from the abstract of {paper}"));
        let all = notes.into_iter().flatten().chain(self.left_out.iter().map(without)).chain(paper);
        all.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_textbook() {
        let score = |mean, ci95| Estimate { mean, ci95 };
        assert_eq!(pooled(&[]), None);
        let of = pooled(&[score(1.0, 3.0), score(2.0, 4.0)]).unwrap();
        assert_eq!(of, score(1.5, 2.5));
        assert_eq!(over_seeds(&[1.0]), None);
        // Two values one apart: sd = 1/√2, and divided by √2 that is ½.
        assert!((over_seeds(&[1.0, 2.0]).unwrap() - 6.353).abs() <= 1e-12);
        let many = vec![0.0; 40];
        assert_eq!(over_seeds(&many), Some(0.0));
    }
}
