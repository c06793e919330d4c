//! The outer learning rate over the iterations.

/// Course of the rate after warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Course {
    /// It stays constant.
    Constant,
    /// It moves linearly to the final rate.
    Linear,
    /// It follows half a cosine to the final rate.
    Cosine,
    /// Is multiplied by `factor` again and again: `start · factor^⌊s / every⌋` in the `s`-th iteration after warm-up, counted
    /// from 0.
    Step {
        /// Iterations between two changes, 1 or more.
        every: u64,
        /// What it is multiplied by.
        factor: f64,
    },
}

/// Outer learning rate as a function of the iteration alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Rate after warm-up.
    pub start: f64,
    /// Rate at the end, of a line or a cosine.
    pub end: f64,
    /// Iterations over which the rate first rises linearly from zero.
    pub warmup: u64,
    /// Total number of iterations.
    pub iterations: u64,
    /// How it continues from there.
    pub course: Course,
}

impl Schedule {
    /// Rate of iteration `t`, counted from 0: during warm-up `start · (t + 1) / warmup`.
    pub fn rate(&self, t: u64) -> f64 {
        if t < self.warmup {
            return self.start * (t + 1) as f64 / self.warmup as f64;
        }
        let length = self.iterations.saturating_sub(self.warmup).max(1);
        let done = ((t - self.warmup) as f64 / length as f64).min(1.0);
        let left = match self.course {
            Course::Constant => return self.start,
            Course::Step { every, factor } => {
                let changes = (t - self.warmup) / every.max(1);
                return self.start * factor.powf(changes as f64);
            }
            Course::Linear => 1.0 - done,
            Course::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        self.end + (self.start - self.end) * left
    }
}
