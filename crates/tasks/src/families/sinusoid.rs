//! Sinusoid regression: Finn, Abbeel, Levine 2017, arXiv 1703.03400, section 5.1.
//!
//! y = A sin(x − φ)     A ~ U[0.1, 5]     φ ~ U[0, π]     x ~ U[−5, 5]

use std::f64::consts::PI;

use innerloop_engine::{Key, Tensor};
use rand::Rng;

use crate::random::uniform;
use crate::{Episode, EpisodeSpec, Sizes, Split, Target, TaskFamily};

/// Sine curves of random amplitude and phase. The splits differ in their tasks, not in their
/// distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sinusoid {
    /// Points of a task.
    pub sizes: Sizes,
}

impl TaskFamily for Sinusoid {
    fn name(&self) -> &str {
        "sinusoid"
    }

    fn spec(&self, split: Split) -> EpisodeSpec {
        let (support, query) = self.sizes.of(split);
        EpisodeSpec { x: vec![1], target: Target::Values(1), support, query }
    }

    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode) {
        episode.assert_fits((&[1], Target::Values(1)), self.sizes.of(split));
        let mut rng = key.rng();
        let amplitude = uniform(&mut rng, 0.1, 5.0);
        let phase = uniform(&mut rng, 0.0, PI);
        let mut fill = |x: &mut Tensor, y: &mut Tensor| {
            points(&mut rng, amplitude, phase, x.as_f32_mut(), y.as_f32_mut());
        };
        fill(&mut episode.support_x, &mut episode.support_y);
        fill(&mut episode.query_x, &mut episode.query_y);
    }

    fn describe(&self) -> String {
        format!(
            "sinusoid: y = A sin(x - phase), A in [0.1, 5], phase in [0, pi], x in [-5, 5]; {}",
            self.sizes.of_points()
        )
    }
}

fn points(rng: &mut impl Rng, amplitude: f64, phase: f64, x: &mut [f32], y: &mut [f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = uniform(rng, -5.0, 5.0) as f32;
        *y = (amplitude * (f64::from(*x) - phase).sin()) as f32;
    }
}

#[cfg(test)]
mod tests;
