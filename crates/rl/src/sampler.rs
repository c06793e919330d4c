//! Trajectories of a policy, several at a time.

use innerloop_engine::{Key, Params, Tensor};
use rand_distr::{Distribution, StandardNormal};

use crate::programs::{Memory, Programs};
use crate::{Environment, MakeEnvironment, Policy, Space};

/// One episode, or the part of it that was seen. Arrays have one row per step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trajectory {
    /// States acted in, `[steps · observations]`.
    pub observations: Vec<f64>,
    /// Actions in units of their bounds, before clipping, `[steps · actions]`.
    pub actions: Vec<f64>,
    /// Means of the distributions they were drawn from, `[steps · actions]`.
    pub means: Vec<f64>,
    /// `[steps]`
    pub rewards: Vec<f64>,
    /// The last state's observation.
    pub end: Vec<f64>,
    /// Whether the task's own rule ended it.
    pub terminated: bool,
}

/// Episodes of one task under one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollouts {
    /// In the order of their keys.
    pub trajectories: Vec<Trajectory>,
    /// The policy's `log σ`.
    pub log_std: Vec<f64>,
    /// Coordinates of an observation.
    pub observation_len: usize,
}

impl Rollouts {
    /// Mean over episodes of the undiscounted sum of rewards.
    pub fn mean_return(&self) -> f64 {
        let sums = self.trajectories.iter().map(|t| t.rewards.iter().sum::<f64>());
        sums.sum::<f64>() / self.trajectories.len() as f64
    }

    /// Steps of all episodes.
    pub fn steps(&self) -> usize {
        self.trajectories.iter().map(|t| t.rewards.len()).sum()
    }
}

/// The environments of one thread, and the arrays that go with them.
pub(crate) struct Sampler {
    environments: Vec<Box<dyn Environment>>,
    bounds: Space,
    states: Tensor,
    mean: Tensor,
}

impl Sampler {
    pub(crate) fn new(make: &MakeEnvironment, programs: &Programs) -> Sampler {
        let rows = programs.rollout_rows();
        let environments: Vec<_> = (0..rows).map(|_| make()).collect();
        let (seen, bounds) =
            (environments[0].observation_space().len(), environments[0].action_space());
        let zeros = |shape: &[usize]| Tensor::zeros(programs.dtype(), shape);
        Sampler {
            states: zeros(&[rows, seen]),
            mean: zeros(&[rows, bounds.len()]),
            environments,
            bounds,
        }
    }

    /// `n` episodes of the task with this key; their randomness comes from `episodes`.
    pub(crate) fn sample(
        &mut self,
        programs: &Programs,
        memory: &mut Memory,
        params: &Params<Tensor>,
        [task, episodes]: [Key; 2],
        n: usize,
    ) -> Rollouts {
        self.environments.iter_mut().for_each(|environment| environment.set_task(task));
        let rows = programs.rollout_rows();
        let params = programs.for_rollouts(params);
        let mut rollouts = Rollouts {
            trajectories: Vec::with_capacity(n),
            log_std: Policy::log_std(&params),
            observation_len: self.states.shape()[1],
        };
        for first in (0..n).step_by(rows) {
            let keys: Vec<Key> = (first..n.min(first + rows))
                .map(|i| episodes.with_stream(&format!("episode {i}")))
                .collect();
            let together = self.together(programs, memory, (&params, &rollouts.log_std), &keys);
            rollouts.trajectories.extend(together);
        }
        rollouts
    }

    /// One episode per key, all advanced one step at a time.
    fn together(
        &mut self,
        programs: &Programs,
        memory: &mut Memory,
        (params, log_std): (&Params<Tensor>, &[f64]),
        keys: &[Key],
    ) -> Vec<Trajectory> {
        let Sampler { environments, bounds, states, mean } = self;
        let deviation: Vec<f64> = log_std.iter().map(|log_std| log_std.exp()).collect();
        let (seen, acted) = (states.shape()[1], bounds.len());
        let mut trajectories = vec![Trajectory::default(); keys.len()];
        let mut noise: Vec<_> = keys.iter().map(|key| key.with_stream("noise").rng()).collect();
        let mut live = vec![true; keys.len()];
        let (mut observation, mut action) = (vec![0.0; seen], vec![0.0; acted]);
        for (row, (environment, &key)) in environments.iter_mut().zip(keys).enumerate() {
            environment.reset(key, &mut observation);
            write_row(states, row, &observation);
        }
        while live.contains(&true) {
            programs.forward(memory, params, states, mean);
            for row in (0..keys.len()).filter(|&row| live[row]).collect::<Vec<_>>() {
                let trajectory = &mut trajectories[row];
                trajectory.observations.extend((0..seen).map(|i| states.get(row * seen + i)));
                for i in 0..acted {
                    let z: f64 = StandardNormal.sample(&mut noise[row]);
                    let centre = mean.get(row * acted + i);
                    let drawn = centre + deviation[i] * z;
                    trajectory.means.push(centre);
                    trajectory.actions.push(drawn);
                    action[i] = bounds.action(i, drawn);
                }
                let step = environments[row].step(&action, &mut observation);
                trajectory.rewards.push(step.reward);
                write_row(states, row, &observation);
                if step.terminated || step.truncated {
                    live[row] = false;
                    trajectory.terminated = step.terminated;
                    trajectory.end.clone_from(&observation);
                }
            }
        }
        trajectories
    }
}

fn write_row(states: &mut Tensor, row: usize, observation: &[f64]) {
    for (i, &value) in observation.iter().enumerate() {
        states.set(row * observation.len() + i, value);
    }
}
