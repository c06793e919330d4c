//! Environments in the Gymnasium convention.

use innerloop_engine::Key;

/// A box: lowest and highest value of every coordinate, infinite where there is no bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// Lowest values.
    pub low: Vec<f64>,
    /// Highest values.
    pub high: Vec<f64>,
}

impl Space {
    /// The same bounds for `n` coordinates.
    pub fn uniform(n: usize, low: f64, high: f64) -> Space {
        Space { low: vec![low; n], high: vec![high; n] }
    }

    /// Number of coordinates.
    pub fn len(&self) -> usize {
        self.low.len()
    }

    /// A coordinate of an action given in units of the bounds, where ±1 are the bounds, and clipped to them.
    pub fn action(&self, coordinate: usize, units: f64) -> f64 {
        let (low, high) = (self.low[coordinate], self.high[coordinate]);
        (low + (units + 1.0) * 0.5 * (high - low)).clamp(low, high)
    }

    /// True when there are no coordinates.
    pub fn is_empty(&self) -> bool {
        self.low.is_empty()
    }
}

/// The result of a step, apart from the observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Reward of the step.
    pub reward: f64,
    /// The state reached ends the episode by the task's own rule.
    pub terminated: bool,
    /// The episode ends because its time is over.
    pub truncated: bool,
}

/// A family of control tasks; it is always at one of its tasks and in one episode of that task.
///
/// Random numbers come from keys alone: each task and each episode is a function of its key.
pub trait Environment: Send {
    /// The space of observations.
    fn observation_space(&self) -> Space;

    /// The space of actions; a step clips actions outside it.
    fn action_space(&self) -> Space;

    /// Steps after which an episode is truncated.
    fn horizon(&self) -> usize;

    /// Draws the task of the next episodes.
    fn set_task(&mut self, key: Key);

    /// Starts an episode and writes its first observation.
    fn reset(&mut self, key: Key, observation: &mut [f64]);

    /// Acts, and writes the observation of the state reached.
    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step;
}

/// Makes environments, all of the same family. Each worker has its own.
pub type MakeEnvironment = Box<dyn Fn() -> Box<dyn Environment> + Send + Sync>;
