//! What an episode's pixels reveal without learning.
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

/// Query accuracy, 0 to 1, of the nearest class mean on raw inputs, on each of the tasks `0..tasks` of a split: the
/// number a learner has to beat, and a check that a loader is right. Fails for a family without classes, and where the
/// split cannot fill a task.
pub fn nearest_mean(
    family: &dyn TaskFamily,
    split: Split,
    seed: u64,
    tasks: usize,
    distance: Distance,
) -> Result<Vec<f64>, Error> {
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
    let accuracies = (0..tasks as u64)
        .map(|task| {
            family.sample_into(split, episode_key(seed, split, 0, task), &mut episode);
            accuracy(&episode, ways, volume(&spec.x), distance)
        })
        .collect();
    Ok(accuracies)
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
            // Distances up to what does not depend on the class.
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
