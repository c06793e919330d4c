//! Running robots, simulated by MuJoCo: Finn, Abbeel, Levine 2017, arXiv 1703.03400, section 5.3.
//!
//! A task is a direction d, forward or backward with equal probability, or a speed v*. With v the mean velocity along x
//! over a step, a the action clipped to ±1 and c the contact forces on all bodies, clipped to ±1:
//!
//! ```text
//!                direction, d = ±1                              speed
//! HalfCheetah    d v − 0.05 |a|²                                −|v − v*| − 0.05 |a|²,  v* ~ U[0, 2]
//! Ant            d v − 0.005 |a|² − 0.0005 |c|² + 0.05          the same with 1 − |v − v*| for d v,  v* ~ U[0, 3]
//! ```
//!
//! An episode ends after 200 steps; Ant's also ends when a coordinate is not finite or the torso's height is outside
//! [0.2, 1].
//!
//! Departures: bodies, five frames per step, velocity, observations and initial noise are those of Gymnasium's
//! HalfCheetah-v5 and Ant-v5. The paper's code has rllab's models of the same robots, with other time steps; it uses
//! the velocity of the centre of mass, and includes that centre in the observation.

mod library;
mod simulator;

use std::path::Path;

use innerloop_engine::Key;
use rand::RngExt;

use crate::{MakeEnvironment, Observation};

/// The robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Robot {
    /// A planar two-legged robot; 17 observations, 6 torques.
    HalfCheetah,
    /// A torso on four legs; 105 observations, contact forces among them, 8 torques.
    Ant,
}

/// What a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A direction: 1 for forward, −1 for backward.
    Direction,
    /// A speed.
    Velocity,
}

/// A family of tasks of a robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locomotion {
    /// The robot.
    pub robot: Robot,
    /// How tasks differ.
    pub target: Target,
    /// What a policy observes; the goal is the task's direction or speed, and comes last.
    pub observation: Observation,
}

/// Steps of an episode.
const HORIZON: usize = 200;

/// What to do when the library or a model is missing.
const ADVICE: &str = "`pip install mujoco==3.17.0 gymnasium` has library and models: name the packages' folders \
    `mujoco` in the environment variable INNERLOOP_MUJOCO and `gymnasium/envs/mujoco/assets` in \
    INNERLOOP_MUJOCO_MODELS (docs/reinforcement.md)";

impl Robot {
    /// Name of the model's file in Gymnasium's package.
    pub fn file(self) -> &'static str {
        match self {
            Robot::HalfCheetah => "half_cheetah.xml",
            Robot::Ant => "ant.xml",
        }
    }

    /// Positions, velocities, actuators and bodies, the world included.
    fn sizes(self) -> [usize; 4] {
        match self {
            Robot::HalfCheetah => [9, 9, 6, 8],
            Robot::Ant => [15, 14, 8, 14],
        }
    }

    /// Highest speed that a task asks for.
    fn fastest(self) -> f64 {
        match self {
            Robot::HalfCheetah => 2.0,
            Robot::Ant => 3.0,
        }
    }
}

impl Locomotion {
    /// Makes environments with MuJoCo's library, in a file or folder or where the system finds it, and a model's file,
    /// Gymnasium's by rights. An error says what was found and what to do.
    pub fn load(self, library: Option<&Path>, model: &Path) -> Result<MakeEnvironment, String> {
        let model = simulator::model(self.robot, library, model)?;
        Ok(Box::new(move || Box::new(simulator::Runner::new(self, model.clone()))))
    }

    /// Direction or speed of the task with this key.
    pub fn target_of(self, key: Key) -> f64 {
        let share: f64 = key.with_stream("goal").rng().random();
        match self.target {
            Target::Direction if share < 0.5 => -1.0,
            Target::Direction => 1.0,
            Target::Velocity => self.robot.fastest() * share,
        }
    }

    /// Reward of a step: `squares` are those of the action and, of Ant, of the contact forces.
    fn reward(self, target: f64, velocity: f64, squares: [f64; 2]) -> f64 {
        let [action, contact] = squares;
        let run = match self.target {
            Target::Direction => target * velocity,
            Target::Velocity => -(velocity - target).abs(),
        };
        match (self.robot, self.target) {
            (Robot::HalfCheetah, _) => run - 0.05 * action,
            (Robot::Ant, target) => {
                // A speed's reward starts at 1, so that falling over does not pay.
                let alive = if target == Target::Velocity { 1.05 } else { 0.05 };
                run - 0.005 * action - 0.0005 * contact + alive
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Robot, Target); 4] = [
        (Robot::HalfCheetah, Target::Direction),
        (Robot::HalfCheetah, Target::Velocity),
        (Robot::Ant, Target::Direction),
        (Robot::Ant, Target::Velocity),
    ];

    fn family((robot, target): (Robot, Target)) -> Locomotion {
        Locomotion { robot, target, observation: Observation::State }
    }

    #[test]
    fn rewards_are_those_of_the_paper() {
        // Backward, or a speed of 1.5, at velocity 0.5.
        for (family, target, want) in [
            (family(ALL[0]), -1.0, -0.5 - 0.05 * 2.0),
            (family(ALL[1]), 1.5, -1.0 - 0.05 * 2.0),
            (family(ALL[2]), -1.0, -0.5 - 0.005 * 2.0 - 0.0005 * 40.0 + 0.05),
            (family(ALL[3]), 1.5, 1.0 - 1.0 - 0.005 * 2.0 - 0.0005 * 40.0 + 0.05),
        ] {
            let got = family.reward(target, 0.5, [2.0, 40.0]);
            assert!((got - want).abs() <= 1e-15, "{family:?}: {got}, expected {want}");
        }
    }

    #[test]
    fn tasks_fill_their_range() {
        for pair in ALL {
            let family = family(pair);
            let targets: Vec<f64> =
                (0..400).map(|i| family.target_of(Key::new(1).at(0, i))).collect();
            let mean = targets.iter().sum::<f64>() / 400.0;
            let (low, high) = match family.target {
                Target::Direction => (-1.0, 1.0),
                Target::Velocity => (0.0, family.robot.fastest()),
            };
            assert!(targets.iter().all(|t| (low..=high).contains(t)), "{family:?}");
            assert!((mean - 0.5 * (low + high)).abs() <= 0.1 * (high - low), "{family:?}: {mean}");
            if family.target == Target::Direction {
                assert!(targets.iter().all(|t| t.abs() == 1.0), "{family:?}");
            }
        }
    }
}
