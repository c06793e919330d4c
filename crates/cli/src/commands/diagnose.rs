//! `innerloop diagnose`

use std::path::PathBuf;

use clap::Args;
use innerloop::lab::diagnose::{Average, Diagnosis, Point, Settings, diagnose};

use super::evaluate::SplitName;

/// Shows what the inner loop of a run encounters: gradients, curvature, eigenvalues of the Hessian, straightness of the
/// path, and how close approximations come to the exact meta-gradient.
///
/// It examines the start of the run, its snapshots (train with --set run.snapshot_every=N) and its last checkpoint, and
/// writes diagnose.json and diagnose.svg.
#[derive(Args)]
pub(crate) struct Diagnose {
    /// Folder of the run
    run: PathBuf,
    /// Tasks to average over
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
    tasks: u32,
    /// Inner steps [default: as trained]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: Option<u32>,
    /// Split to draw tasks from; those from train are new, not ones seen in training
    #[arg(long, value_enum, default_value = "train")]
    split: SplitName,
    /// Hessian-vector products for the eigenvalues
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    lanczos: u32,
    /// Threads; 0 for one per core [default: as configured]
    #[arg(long)]
    threads: Option<usize>,
    /// Folder for the results [default: that of the run]
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Diagnose {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let out = self.out.unwrap_or_else(|| self.run.clone());
        let settings = Settings {
            tasks: self.tasks as usize,
            steps: self.steps.map(|steps| steps as usize),
            split: self.split.into(),
            lanczos: self.lanczos as usize,
            threads: self.threads,
        };
        let found = diagnose(&self.run, settings, &out)?;
        print(&found);
        say!("written to {}: diagnose.json, diagnose.svg", out.display());
        Ok(())
    }
}

fn print(found: &Diagnosis) {
    let Diagnosis { protocol, tasks, points } = found;
    say!(
        "{}, {} inner steps; {}; split {}; means over {tasks} tasks, 95 % intervals",
        protocol.algorithm,
        protocol.steps,
        protocol.tasks,
        protocol.split
    );
    say!("over training, at θ (path and straightness: of the whole inner loop)");
    heading("iteration", &["cos path, g", "straightness"]);
    for point in points {
        let path = [point.mean_cosine_with_path, point.straightness];
        row(&point.iteration.to_string(), (point, 0), &path, *tasks);
    }
    let last = points.last().expect("a run has a start");
    say!("along the inner loop, iteration {}", last.iteration);
    heading("step", &["cos path, g", "cos g_0, g"]);
    for (k, step) in last.steps.iter().enumerate() {
        let path = [step["cosine_with_path"], step["cosine_with_first"]];
        row(&k.to_string(), (last, k), &path, *tasks);
    }
    if !last.approximations.is_empty() {
        say!("beside the exact meta-gradient, iteration {}", last.iteration);
        say!("{:<36} {:>18} {:>18}", "", "cosine", "norm over exact");
    }
    for of in &last.approximations {
        let [cosine, ratio] = [of.cosine, of.ratio].map(|average| short(average, *tasks));
        say!("{:<36} {cosine:>18} {ratio:>18}", of.name);
    }
    let mut averages = points.iter().flat_map(shown);
    if averages.any(|average| (1..*tasks).contains(&average.tasks)) {
        say!("[n]: over n of the {tasks} tasks; in the others the quantity is not a finite number");
    }
}

/// Everything that is printed for a checkpoint, and more.
fn shown(point: &Point) -> impl Iterator<Item = Average> {
    let steps = point.steps.iter().flat_map(|step| step.values().copied());
    let approximations = point.approximations.iter().flat_map(|of| [of.cosine, of.ratio]);
    let path = [point.mean_cosine_with_path, point.straightness];
    steps.chain(approximations).chain(path)
}

fn heading(first: &str, last: &[&str]) {
    let columns = ["‖g‖", "‖H g‖", "gᵀHg/‖g‖²", "top eigenvalue", "cos g, query g"];
    let cells: String = columns.iter().chain(last).map(|name| format!(" {name:>18}")).collect();
    say!("{first:>9}{cells}");
}

fn row(first: &str, (point, k): (&Point, usize), last: &[Average], tasks: usize) {
    let keys = [
        "gradient_norm",
        "hessian_gradient_norm",
        "curvature",
        "top_eigenvalue",
        "support_query_cosine",
    ];
    let all = keys.iter().map(|key| point.steps[k][key]).chain(last.iter().copied());
    let cells: String = all.map(|average| format!(" {:>18}", short(average, tasks))).collect();
    say!("{first:>9}{cells}");
}

/// `1.234 ± 0.056`, kept short at any magnitude; with the number of tasks if some were left out.
fn short(Average { mean, ci95, tasks }: Average, of: usize) -> String {
    if !mean.is_finite() {
        return "undefined".into();
    }
    let number = match mean.abs().max(ci95) {
        size if size >= 1e4 || size > 0.0 && size < 1e-2 => format!("{mean:.2e} ± {ci95:.0e}"),
        size if size >= 100.0 => format!("{mean:.0} ± {ci95:.0}"),
        size if size >= 10.0 => format!("{mean:.2} ± {ci95:.2}"),
        _ => format!("{mean:.3} ± {ci95:.3}"),
    };
    if tasks < of { format!("{number} [{tasks}]") } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_do_not_count_are_told() {
        let average = |mean, tasks| Average { mean, ci95: 0.25, tasks };
        assert_eq!(short(average(1.5, 20), 20), "1.500 ± 0.250");
        assert_eq!(short(average(1.5, 19), 20), "1.500 ± 0.250 [19]");
        assert_eq!(short(average(f64::NAN, 0), 20), "undefined");
    }
}
