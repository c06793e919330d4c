//! A point that navigates on a plane: Finn, Abbeel, Levine 2017, arXiv 1703.03400, section 5.3.
//!
//! The task is a goal in [−½, ½]². The point starts at the origin and moves by its action, at most 0.1 in each
//! direction. The reward is minus the distance to the goal after the step; the episode ends when both coordinates are
//! within 0.01 of the goal, or after 100 steps. The observation is the position alone, so that only the rewards reveal
//! the goal.
//!
//! Departures from the paper's text, as in its code: the reward is minus the distance, not its square.

use innerloop_engine::Key;
use rand::RngExt;

use crate::{Environment, Space, Step};

/// What a policy observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The state alone: in navigation, the position.
    State,
    /// The state and the task's goal, as an oracle sees it.
    StateAndGoal,
}

/// Navigation on a plane.
#[derive(Clone, Debug)]
pub struct Navigation2d {
    observation: Observation,
    goal: [f64; 2],
    position: [f64; 2],
    steps: usize,
}

/// Coordinates of goals are at most this far from the origin.
const REACH: f64 = 0.5;
/// Longest move along either axis.
const STRIDE: f64 = 0.1;
/// The point has arrived when it is at most this far from the goal along either axis.
const NEAR: f64 = 0.01;
const HORIZON: usize = 100;

impl Navigation2d {
    /// A point at the origin, whose goal is there too until a task is set.
    pub fn new(observation: Observation) -> Navigation2d {
        Navigation2d { observation, goal: [0.0; 2], position: [0.0; 2], steps: 0 }
    }

    /// The current goal.
    pub fn goal(&self) -> [f64; 2] {
        self.goal
    }

    /// The goal of the task with this key.
    pub fn goal_of(key: Key) -> [f64; 2] {
        let mut rng = key.with_stream("goal").rng();
        [(); 2].map(|()| REACH * (2.0 * rng.random::<f64>() - 1.0))
    }

    fn observe(&self, observation: &mut [f64]) {
        observation[..2].copy_from_slice(&self.position);
        if self.observation == Observation::StateAndGoal {
            observation[2..].copy_from_slice(&self.goal);
        }
    }
}

impl Environment for Navigation2d {
    fn observation_space(&self) -> Space {
        let n = match self.observation {
            Observation::State => 2,
            Observation::StateAndGoal => 4,
        };
        Space::uniform(n, f64::NEG_INFINITY, f64::INFINITY)
    }

    fn action_space(&self) -> Space {
        Space::uniform(2, -STRIDE, STRIDE)
    }

    fn horizon(&self) -> usize {
        HORIZON
    }

    fn set_task(&mut self, key: Key) {
        self.goal = Navigation2d::goal_of(key);
    }

    fn reset(&mut self, _key: Key, observation: &mut [f64]) {
        self.position = [0.0; 2];
        self.steps = 0;
        self.observe(observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let mut off = [0.0; 2];
        for axis in 0..2 {
            self.position[axis] += action[axis].clamp(-STRIDE, STRIDE);
            off[axis] = self.position[axis] - self.goal[axis];
        }
        self.steps += 1;
        self.observe(observation);
        let terminated = off.iter().all(|off| off.abs() < NEAR);
        let reward = -(off[0] * off[0] + off[1] * off[1]).sqrt();
        Step { reward, terminated, truncated: !terminated && self.steps >= HORIZON }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_way_is_rewarded_by_distance_and_ends_at_the_goal() {
        let mut point = Navigation2d::new(Observation::StateAndGoal);
        point.set_task(Key::new(1).at(0, 3));
        let goal = point.goal();
        assert!(goal.iter().all(|x| x.abs() <= REACH && x.abs() > NEAR), "{goal:?}");
        assert_eq!(goal, Navigation2d::goal_of(Key::new(1).at(0, 3)));
        let mut seen = [f64::NAN; 4];
        point.reset(Key::new(2), &mut seen);
        assert_eq!(seen, [0.0, 0.0, goal[0], goal[1]]);
        let mut last = None;
        for _ in 0..6 {
            let action = [goal[0] - seen[0], goal[1] - seen[1]];
            let step = point.step(&action, &mut seen);
            let off = (seen[0] - goal[0]).hypot(seen[1] - goal[1]);
            assert!((step.reward + off).abs() <= 1e-15, "{step:?}");
            last = Some(step);
            if step.terminated {
                break;
            }
            // At most one stride in either direction.
            assert!(seen.iter().take(2).all(|x| x.abs() <= 0.5), "{seen:?}");
        }
        assert!(last.is_some_and(|step| step.terminated && !step.truncated), "{last:?}");
    }

    #[test]
    fn time_ends_after_a_hundred_steps() {
        let mut point = Navigation2d::new(Observation::State);
        point.set_task(Key::new(1));
        let mut seen = [0.0; 2];
        point.reset(Key::new(2), &mut seen);
        for step in 1..=HORIZON {
            // Away from every goal, but only one stride at a time.
            let end = point.step(&[-3.0, -3.0], &mut seen);
            assert_eq!((end.terminated, end.truncated), (false, step == HORIZON), "step {step}");
        }
        assert!((seen[0] + STRIDE * HORIZON as f64).abs() <= 1e-9, "{seen:?}");
    }
}
