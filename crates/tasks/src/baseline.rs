//! What an episode's pixels give away without learning.
//!
//! prediction(q) = argminₖ distance(q, mean of the support of class k)

use innerloop_engine::{Tensor, volume};

use crate::dot::dot;
use crate::{Episode, Error, ErrorKind, Split, Target, TaskFamily, episode_key};

/// How far a query is from a class mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distance {
    /// One minus the cosine of the angle.
    Cosine,
    /// Length of the difference.
    Euclidean,
}

/// A mean over tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean query accuracy, 0 to 1.
    pub mean: f64,
    /// Half the width of the 95 % interval over tasks: `1.96 sd / sqrt(tasks)`.
    pub ci95: f64,
    /// Number of tasks.
    pub tasks: usize,
}

impl Score {
    /// Mean and interval of one value per task, in order; panics when there are none.
    #[track_caller]
    pub fn of(values: &[f64]) -> Score {
        assert!(!values.is_empty(), "a score of no tasks");
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Score { mean, ci95: 1.96 * (variance / n).sqrt(), tasks: values.len() }
    }
}

/// Accuracy of the nearest class mean on raw inputs, over `tasks` tasks of a split: the number a
/// learner has to beat, and a check that a loader is right. Fails for a family without classes; panics
/// for no tasks.
pub fn nearest_mean(
    family: &dyn TaskFamily,
    split: Split,
    seed: u64,
    tasks: usize,
    distance: Distance,
) -> Result<Score, Error> {
    family.check(split)?;
    let spec = family.spec(split);
    let Target::Classes(ways) = spec.target else {
        let message = format!(
            "{} predicts values, not classes: the nearest-mean baseline needs a classification family",
            family.name()
        );
        return Err(Error::new(ErrorKind::Shape, message));
    };
    let mut episode = Episode::zeros(&spec);
    let accuracies: Vec<f64> = (0..tasks as u64)
        .map(|task| {
            family.sample_into(split, episode_key(seed, split, 0, task), &mut episode);
            accuracy(&episode, ways, volume(&spec.x), distance)
        })
        .collect();
    Ok(Score::of(&accuracies))
}

fn accuracy(episode: &Episode, ways: usize, size: usize, distance: Distance) -> f64 {
    let mut sums = vec![0.0; ways * size];
    let mut counts = vec![0.0; ways];
    for (x, label) in rows(&episode.support_x, &episode.support_y, size) {
        sums[label * size..][..size].iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        counts[label] += 1.0;
    }
    for (sum, count) in sums.chunks_exact_mut(size).zip(counts) {
        sum.iter_mut().for_each(|sum| *sum /= count);
    }
    let squares: Vec<f32> = sums.chunks_exact(size).map(|mean| dot(mean, mean)).collect();
    let correct = rows(&episode.query_x, &episode.query_y, size)
        .filter(|(x, label)| {
            // Up to what does not depend on the class.
            let far = |(mean, square): (&[f32], &f32)| match distance {
                Distance::Cosine => -dot(x, mean) / square.max(f32::MIN_POSITIVE).sqrt(),
                Distance::Euclidean => square - 2.0 * dot(x, mean),
            };
            let distances = sums.chunks_exact(size).zip(&squares).map(far).enumerate();
            let nearest = distances.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(class, _)| class);
            nearest == Some(*label)
        })
        .count();
    correct as f64 / episode.query_y.len() as f64
}

fn rows<'a>(x: &'a Tensor, y: &'a Tensor, size: usize) -> impl Iterator<Item = (&'a [f32], usize)> {
    x.as_f32().chunks_exact(size).zip(y.as_f32().iter().map(|&label| label as usize))
}

#[cfg(test)]
mod tests;
