//! A linear baseline: Duan et al. 2016, arXiv 1604.06778, section 5 ("linear feature baseline").
//!
//! Features of a state `s` at time `t`: `s`, `s²`, `τ`, `τ²`, `τ³` and 1, with `s` clipped to ±10 and
//! `τ = t/100`. Weights by ridge regression on the discounted returns: `(XᵀX + λI) w = Xᵀ R`.

use crate::Trajectory;

/// λ.
const RIDGE: f64 = 1e-5;
/// Coordinates of states are clipped to this distance from zero.
const FAR: f64 = 10.0;

/// A fitted baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearBaseline {
    weights: Vec<f64>,
}

impl LinearBaseline {
    /// Fits the returns of trajectories with `observations` coordinates; `returns` holds those of every step of every
    /// trajectory.
    pub fn fit(
        trajectories: &[Trajectory],
        returns: &[Vec<f64>],
        observations: usize,
    ) -> LinearBaseline {
        let n = 2 * observations + 4;
        let (mut gram, mut right) = (vec![0.0; n * n], vec![0.0; n]);
        let mut row = vec![0.0; n];
        for (trajectory, returns) in trajectories.iter().zip(returns) {
            for (t, value) in returns.iter().enumerate() {
                features(&trajectory.observations[t * observations..][..observations], t, &mut row);
                for i in 0..n {
                    right[i] += row[i] * value;
                    for j in 0..=i {
                        gram[i * n + j] += row[i] * row[j];
                    }
                }
            }
        }
        for i in 0..n {
            gram[i * n + i] += RIDGE;
        }
        LinearBaseline { weights: solve(gram, right) }
    }

    /// The expected return from a state at a time.
    pub fn predict(&self, observation: &[f64], t: usize) -> f64 {
        let mut row = vec![0.0; self.weights.len()];
        features(observation, t, &mut row);
        row.iter().zip(&self.weights).map(|(x, w)| x * w).sum()
    }
}

fn features(observation: &[f64], t: usize, row: &mut [f64]) {
    let (n, tau) = (observation.len(), t as f64 / 100.0);
    for (i, &s) in observation.iter().enumerate() {
        let s = s.clamp(-FAR, FAR);
        (row[i], row[n + i]) = (s, s * s);
    }
    row[2 * n..].copy_from_slice(&[tau, tau * tau, tau * tau * tau, 1.0]);
}

/// Solves `A x = b` for a positive definite matrix, of which the lower triangle is given, by Cholesky's factorisation.
/// The matrices here have about ten rows: too few to justify a dependency.
fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let left = a[i * n + j] - dot;
            // Rounding may wipe out a pivot, which should be at least λ.
            a[i * n + j] = if i == j { left.max(RIDGE).sqrt() } else { left / a[j * n + j] };
        }
    }
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| a[i * n + k] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| a[k * n + i] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i * n + i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        // Only the lower triangle of the matrix is given.
        let full = [4.0, 1.0, 0.5, 1.0, 3.0, -0.25, 0.5, -0.25, 2.0];
        let x = [1.0, -2.0, 3.0];
        let b: Vec<f64> =
            full.chunks(3).map(|row| row.iter().zip(&x).map(|(a, x)| a * x).sum()).collect();
        let mut lower = full.to_vec();
        for i in 0..3 {
            lower[i * 3 + i + 1..(i + 1) * 3].fill(f64::NAN);
        }
        for (got, want) in solve(lower, b).iter().zip(x) {
            assert!((got - want).abs() <= 1e-14, "{got} {want}");
        }
    }

    #[test]
    fn returns_within_its_features_are_fitted() {
        let steps = 40;
        let observations: Vec<f64> = (0..2 * steps).map(|i| (i as f64 * 0.37).sin()).collect();
        let value = |t: usize| {
            let (x, y) = (observations[2 * t], observations[2 * t + 1]);
            1.5 * x - 0.5 * y * y + 2.0 * (t as f64 / 100.0) - 3.0
        };
        let returns: Vec<f64> = (0..steps).map(value).collect();
        let trajectory = Trajectory { observations: observations.clone(), ..Trajectory::default() };
        let baseline = LinearBaseline::fit(&[trajectory], std::slice::from_ref(&returns), 2);
        for (t, want) in returns.iter().enumerate() {
            let got = baseline.predict(&observations[2 * t..][..2], t);
            assert!((got - want).abs() <= 1e-3, "step {t}: {got}, expected {want}");
        }
    }
}
