//! Your own regression tasks, from a CSV file: a task is a curve, and some of its points are the support set.
//!
//! Inputs and targets are standardised, as (value - mean) / deviation with the mean and deviation of each column over
//! the points of the training tasks alone.

mod table;

use std::fmt;
use std::path::{Path, PathBuf};

use innerloop_engine::{Key, Tensor};

use crate::random::{below, shuffle};
use crate::scratch::Scratch;
use crate::{
    Episode, EpisodeSpec, Error, ErrorKind, Shares, Sizes, Split, SplitLists, Target, TaskFamily,
};

/// Where a table has its tasks, inputs and targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Each row is a point.
    Long {
        /// Columns whose values together name the task.
        task: Vec<String>,
        /// Columns of the input, one value each.
        x: Vec<String>,
        /// Columns of the target.
        y: Vec<String>,
    },
    /// Each row has the input and the targets of all tasks, with one task in each of the other columns.
    Wide {
        /// Columns of the input.
        x: Vec<String>,
    },
    /// Each cell is a point: columns are named `place.x`, and each place has one task per row, named by the first
    /// column.
    Grid,
}

/// The points of a task.
#[derive(Clone, Debug, Default, PartialEq)]
struct Points {
    name: String,
    /// `[len, d_in]`
    x: Vec<f64>,
    /// `[len, d_out]`
    y: Vec<f64>,
    len: usize,
}

/// A shift and a scale for each column.
#[derive(Clone, Debug, PartialEq)]
struct Scale {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

/// Regression tasks from a table, divided by task into training, validation and test.
pub struct Curves {
    name: String,
    file: PathBuf,
    tasks: Vec<Points>,
    splits: SplitLists,
    sizes: Sizes,
    widths: [usize; 2],
    scales: Option<[Scale; 2]>,
}

impl Curves {
    /// Reads a CSV file, plain or with `.gz`. Fails when a cell that is used is not a number, or when a task has fewer
    /// points than an episode of its split.
    pub fn load(
        file: &Path,
        columns: &Columns,
        shares: Shares,
        standardise: bool,
        sizes: Sizes,
    ) -> Result<Curves, Error> {
        let name = file.file_name().map_or("table".into(), |name| name.to_string_lossy());
        let name = name.trim_end_matches(".gz").trim_end_matches(".csv").to_string();
        let tasks = table::read(file, columns)?;
        let widths = [tasks[0].x.len() / tasks[0].len, tasks[0].y.len() / tasks[0].len];
        let splits = SplitLists::by_shares(tasks.len(), shares)?;
        let file = file.to_path_buf();
        let mut curves = Curves { name, file, tasks, splits, sizes, widths, scales: None };
        for split in Split::ALL {
            curves.check_split(split)?;
        }
        if standardise {
            curves.scales = Some(curves.training_scales(columns)?);
        }
        Ok(curves)
    }

    /// Tasks of a split.
    pub fn n_tasks(&self, split: Split) -> usize {
        self.splits.of(split).len()
    }

    fn check_split(&self, split: Split) -> Result<(), Error> {
        let (shots, query) = self.sizes.of(split);
        let (file, tasks) = (self.file.display(), self.splits.of(split));
        if tasks.is_empty() {
            let message = format!(
                "{file}: none of its {} tasks is in the {split} split: expected one or more; change the shares",
                self.tasks.len()
            );
            return Err(Error::new(ErrorKind::TooFew, message));
        }
        let needed = shots + query;
        let Some(short) = tasks.iter().map(|&t| &self.tasks[t]).find(|t| t.len < needed) else {
            return Ok(());
        };
        let message = format!(
            "{file}: task {} of the {split} split has {} points, but {shots} support and {query} query points need \
             {needed}: lower them, or remove the task",
            short.name, short.len
        );
        Err(Error::new(ErrorKind::TooFew, message))
    }

    /// Means and deviations of x and y over the training tasks.
    fn training_scales(&self, columns: &Columns) -> Result<[Scale; 2], Error> {
        let train = || self.splits.train.iter().map(|&task| &self.tasks[task]);
        let x = Scale::of(train().map(|task| task.x.as_slice()), self.widths[0]);
        let y = Scale::of(train().map(|task| task.y.as_slice()), self.widths[1]);
        let constant =
            |scale: &Scale| scale.deviation.iter().position(|&deviation| deviation <= 0.0);
        let names: [&[String]; 2] = match columns {
            Columns::Long { x, y, .. } => [x, y],
            Columns::Wide { x } => [x, &[]],
            Columns::Grid => [&[], &[]],
        };
        for (scale, (which, names)) in [&x, &y].into_iter().zip(["x", "y"].into_iter().zip(names)) {
            if let Some(column) = constant(scale) {
                let name =
                    names.get(column).map_or(which.to_string(), |name| format!("column {name:?}"));
                let message = format!(
                    "{}: {name} has the same value in all training tasks: expected different ones; leave the \
                     column out",
                    self.file.display()
                );
                return Err(Error::new(ErrorKind::Shape, message));
            }
        }
        Ok([x, y])
    }
}

impl Scale {
    fn of<'a>(tasks: impl Iterator<Item = &'a [f64]> + Clone, width: usize) -> Scale {
        let rows = || tasks.clone().flat_map(|values| values.chunks_exact(width));
        let n = rows().count() as f64;
        let mean: Vec<f64> =
            (0..width).map(|column| rows().map(|row| row[column]).sum::<f64>() / n).collect();
        let deviation = (0..width).map(|column| {
            let square = |row: &[f64]| (row[column] - mean[column]).powi(2);
            (rows().map(square).sum::<f64>() / n).sqrt()
        });
        Scale { deviation: deviation.collect(), mean }
    }
}

impl TaskFamily for Curves {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self, split: Split) -> EpisodeSpec {
        let (support, query) = self.sizes.of(split);
        let [d_in, d_out] = self.widths;
        EpisodeSpec { x: vec![d_in], target: Target::Values(d_out), support, query }
    }

    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode) {
        let [d_in, d_out] = self.widths;
        episode.assert_fits((&[d_in], Target::Values(d_out)), self.sizes.of(split));
        let mut rng = key.rng();
        let tasks = self.splits.of(split);
        let task = &self.tasks[tasks[below(&mut rng, tasks.len())]];
        let [x_scale, y_scale] = [0, 1].map(|which| self.scales.as_ref().map(|s| &s[which]));
        Scratch::lend(|Scratch { order, .. }| {
            order.clear();
            order.extend(0..task.len);
            shuffle(&mut rng, order);
            let mut order = order.iter();
            let mut fill = |xs: &mut Tensor, ys: &mut Tensor| {
                let xs = xs.as_f32_mut().chunks_exact_mut(d_in);
                let rows = xs.zip(ys.as_f32_mut().chunks_exact_mut(d_out));
                for ((x, y), point) in rows.zip(&mut order) {
                    write(&task.x[point * d_in..(point + 1) * d_in], x_scale, x);
                    write(&task.y[point * d_out..(point + 1) * d_out], y_scale, y);
                }
            };
            fill(&mut episode.support_x, &mut episode.support_y);
            fill(&mut episode.query_x, &mut episode.query_y);
        });
    }

    fn describe(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Curves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [train, validation, test] = Split::ALL.map(|split| self.n_tasks(split));
        let lengths = self.tasks.iter().map(|task| task.len);
        let (fewest, most) = (lengths.clone().min().unwrap_or(0), lengths.max().unwrap_or(0));
        let scaled = if self.scales.is_some() { "standardised" } else { "as they are" };
        write!(
            f,
            "{}: {train} training, {validation} validation and {test} test tasks of {fewest} to {most} points, {} \
             inputs and {} targets {scaled}; {}",
            self.name,
            self.widths[0],
            self.widths[1],
            self.sizes.of_points()
        )
    }
}

fn write(values: &[f64], scale: Option<&Scale>, out: &mut [f32]) {
    for (column, (value, out)) in values.iter().zip(out).enumerate() {
        let scaled = |s: &Scale| (value - s.mean[column]) / s.deviation[column];
        *out = scale.map_or(*value, scaled) as f32;
    }
}

#[cfg(test)]
mod tests;
