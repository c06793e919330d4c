//! From trajectories to the samples that losses are made of: returns, baseline, advantages.

use innerloop_engine::{Dtype, Tensor};

use crate::baseline::LinearBaseline;
use crate::programs;
use crate::{Rollouts, Trajectory};

/// How advantages follow from rewards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Advantage {
    /// γ.
    pub discount: f64,
    /// λ of generalised advantage estimation; 1 is the return minus the baseline.
    pub gae_lambda: f64,
}

/// Samples of one task, in chunks.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) old_log_std: Tensor,
}

/// Some samples; rows without one have weight and advantage zero.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    observations: Tensor,
    actions: Tensor,
    /// `A_i / n` with `n` the samples of the batch.
    advantages: Tensor,
    /// `1 / n`
    weights: Tensor,
    old_mean: Tensor,
}

impl Chunk {
    pub(crate) fn arrays(&self) -> [&Tensor; 5] {
        [&self.observations, &self.actions, &self.advantages, &self.weights, &self.old_mean]
    }
}

impl Advantage {
    /// Discounted sum of `rewards` from every step on: `R_t = Σ_l factor^l r_{t+l}`.
    fn sums(rewards: &[f64], factor: f64) -> Vec<f64> {
        let mut sums = rewards.to_vec();
        for t in (0..sums.len().saturating_sub(1)).rev() {
            sums[t] += factor * sums[t + 1];
        }
        sums
    }

    /// `A_t = Σ_l (γλ)^l δ_{t+l}` with `δ_t = r_t + γ b_{t+1} − b_t`: Schulman et al. 2016, arXiv 1506.02438,
    /// eq. 16. The baseline counts as zero after the last step, also where time alone ended the episode, as in
    /// the code of Finn et al. 2017.
    pub fn of(&self, rewards: &[f64], baseline: &[f64]) -> Vec<f64> {
        let next = baseline.iter().skip(1).chain([&0.0]);
        let deltas: Vec<f64> = rewards
            .iter()
            .zip(baseline.iter().zip(next))
            .map(|(reward, (now, next))| reward + self.discount * next - now)
            .collect();
        Advantage::sums(&deltas, self.discount * self.gae_lambda)
    }

    /// Advantages of all samples, with mean zero and deviation one, against a baseline fitted to the same trajectories.
    fn of_all(&self, rollouts: &Rollouts) -> Vec<f64> {
        let Rollouts { trajectories, observation_len, .. } = rollouts;
        let returns: Vec<Vec<f64>> =
            trajectories.iter().map(|t| Advantage::sums(&t.rewards, self.discount)).collect();
        let baseline = LinearBaseline::fit(trajectories, &returns, *observation_len);
        let of = |trajectory: &Trajectory| {
            let states = trajectory.observations.chunks_exact(*observation_len).enumerate();
            let values: Vec<f64> = states.map(|(t, state)| baseline.predict(state, t)).collect();
            self.of(&trajectory.rewards, &values)
        };
        let mut all: Vec<f64> = trajectories.iter().flat_map(of).collect();
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        let variance = all.iter().map(|a| (a - mean) * (a - mean)).sum::<f64>() / n;
        all.iter_mut().for_each(|a| *a = (*a - mean) / (variance.sqrt() + 1e-8));
        all
    }
}

impl Batch {
    /// The samples of some trajectories.
    pub fn new(rollouts: &Rollouts, advantage: Advantage, dtype: Dtype) -> Batch {
        let advantages = advantage.of_all(rollouts);
        let share = 1.0 / advantages.len() as f64;
        let (o, a) = (rollouts.observation_len, rollouts.log_std.len());
        let all = |of: fn(&Trajectory) -> &Vec<f64>| -> Vec<f64> {
            rollouts.trajectories.iter().flat_map(of).copied().collect()
        };
        let observations = all(|t| &t.observations);
        let actions = all(|t| &t.actions);
        let means = all(|t| &t.means);
        let scaled: Vec<f64> = advantages.iter().map(|a| a * share).collect();
        let shares = vec![share; advantages.len()];
        let rows = programs::rows();
        let chunk = |first: usize| {
            let n = rows.min(advantages.len() - first);
            let part = |values: &[f64], width: usize| {
                let mut part = values[first * width..][..n * width].to_vec();
                part.resize(rows * width, 0.0);
                Tensor::from_f64(&[rows, width], part).cast(dtype)
            };
            Chunk {
                observations: part(&observations, o),
                actions: part(&actions, a),
                advantages: part(&scaled, 1),
                weights: part(&shares, 1),
                old_mean: part(&means, a),
            }
        };
        Batch {
            chunks: (0..advantages.len()).step_by(rows).map(chunk).collect(),
            old_log_std: Tensor::from_f64(&[a], rollouts.log_std.clone()).cast(dtype),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_are_those_of_the_definition() {
        let (rewards, values) = ([1.0, -2.0, 0.5], [0.3, -0.1, 0.7]);
        let all_lambda = Advantage { discount: 0.9, gae_lambda: 1.0 }.of(&rewards, &values);
        // λ = 1: discounted return minus baseline.
        let want = [1.0 - 1.8 + 0.405 - 0.3, -2.0 + 0.45 + 0.1, 0.5 - 0.7];
        // λ = 0: the temporal difference.
        let td = Advantage { discount: 0.9, gae_lambda: 0.0 }.of(&rewards, &values);
        let want_td = [1.0 - 0.09 - 0.3, -2.0 + 0.63 + 0.1, 0.5 - 0.7];
        for (got, want) in all_lambda.iter().zip(want).chain(td.iter().zip(want_td)) {
            assert!((got - want).abs() <= 1e-14, "{got} {want}");
        }
    }
}
