//! Sine curves and lines with noise: the regression tasks of SHOT's code.
//!
//! y = A sin(x + φ) + ε     A ~ U[0.1, 5]     φ ~ U[0, π]     or, with equal chance,
//! y = a x + b + ε          a, b ~ U[−3, 3]                   ε ~ N(0, noise²)

use std::f64::consts::PI;

use innerloop_engine::{Key, Tensor};
use rand::RngExt;

use crate::random::{normal, shuffle, uniform};
use crate::{Episode, EpisodeSpec, Sizes, Split, Target, TaskFamily};

/// Points of a task's grid: 50 values of x from -5 to 5. Support and query points are distinct as long as there are
/// enough.
const GRID: usize = 50;

/// A mixture of sine curves and lines. The splits differ in their tasks, not in their distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SineLine {
    /// Sizes of the episodes.
    pub sizes: Sizes,
    /// Standard deviation of the noise, on support and query alike; 0.3 in SHOT's code.
    pub noise: f64,
}

impl TaskFamily for SineLine {
    fn name(&self) -> &str {
        "sine_line"
    }

    fn spec(&self, split: Split) -> EpisodeSpec {
        let (support, query) = self.sizes.of(split);
        EpisodeSpec { x: vec![1], target: Target::Values(1), support, query }
    }

    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode) {
        episode.assert_fits((&[1], Target::Values(1)), self.sizes.of(split));
        let mut rng = key.rng();
        let sine = rng.random::<bool>();
        let (a, b) = match sine {
            true => (uniform(&mut rng, 0.1, 5.0), uniform(&mut rng, 0.0, PI)),
            false => (uniform(&mut rng, -3.0, 3.0), uniform(&mut rng, -3.0, 3.0)),
        };
        let mut order: [usize; GRID] = std::array::from_fn(|at| at);
        shuffle(&mut rng, &mut order);
        let mut order = order.iter().cycle();
        let mut fill = |xs: &mut Tensor, ys: &mut Tensor| {
            for (x_slot, y_slot) in xs.as_f32_mut().iter_mut().zip(ys.as_f32_mut()) {
                let &at = order.next().expect("a cycle has no end");
                let x = -5.0 + 10.0 * at as f64 / (GRID - 1) as f64;
                let y = if sine { a * (x + b).sin() } else { a * x + b };
                *x_slot = x as f32;
                *y_slot = (y + self.noise * normal(&mut rng)) as f32;
            }
        };
        fill(&mut episode.support_x, &mut episode.support_y);
        fill(&mut episode.query_x, &mut episode.query_y);
    }

    fn describe(&self) -> String {
        let SineLine { sizes, noise } = self;
        format!(
            "sine_line: y = A sin(x + phase), A in [0.1, 5], phase in [0, pi], or y = a x + b, a and b in [-3, 3], \
             with noise {noise}, x one of 50 from -5 to 5; {}",
            sizes.of_points()
        )
    }
}

#[cfg(test)]
mod tests;
