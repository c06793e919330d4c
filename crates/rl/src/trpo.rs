//! Trust-region policy optimisation: Schulman et al. 2015, arXiv 1502.05477, section 6 and appendix C.
//!
//! x ≈ A⁻¹ g by conjugate gradients     s = √(2δ / xᵀ A x)     θ ← θ − s βʲ x
//!
//! with A the Hessian of the mean KL divergence plus damping, and j the smallest number for which the loss falls and the
//! divergence stays within δ. For MAML, loss and divergence are those of the adapted policies as functions of θ.

/// Settings; the defaults are those of Finn et al. 2017.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trpo {
    /// δ, the largest mean KL divergence.
    pub max_kl: f64,
    /// Conjugate-gradient iterations.
    pub cg_steps: usize,
    /// Added to the Hessian's diagonal.
    pub damping: f64,
    /// β in (0, 1): each line-search step is this times the one before.
    pub backtrack_factor: f64,
    /// Step sizes that the line search tries, the full step included.
    pub line_search_steps: usize,
}

impl Default for Trpo {
    fn default() -> Trpo {
        Trpo {
            max_kl: 0.01,
            cg_steps: 10,
            damping: 1e-5,
            backtrack_factor: 0.8,
            line_search_steps: 15,
        }
    }
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct TrpoStep {
    /// Where it leads.
    pub theta: Vec<f64>,
    /// Loss there.
    pub loss: f64,
    /// Mean KL divergence there.
    pub divergence: f64,
    /// `βʲ`; zero if no step was good enough and θ stays.
    pub share: f64,
}

impl Trpo {
    /// A step from θ, where the loss is `loss` and its gradient is `gradient`. `product` multiplies by the Hessian of
    /// the divergence, `evaluate` gives loss and divergence at another θ.
    pub fn step(
        &self,
        theta: &[f64],
        (loss, gradient): (f64, &[f64]),
        mut product: impl FnMut(&[f64]) -> Vec<f64>,
        mut evaluate: impl FnMut(&[f64]) -> [f64; 2],
    ) -> TrpoStep {
        let mut damped = |v: &[f64]| {
            let mut product = product(v);
            product.iter_mut().zip(v).for_each(|(p, v)| *p += self.damping * v);
            product
        };
        let (x, residual) = conjugate_gradients(&mut damped, gradient, self.cg_steps);
        // xᵀ A x, since A x = g − r.
        let curvature = dot(&x, gradient) - dot(&x, &residual);
        let stay = TrpoStep { theta: theta.to_vec(), loss, divergence: 0.0, share: 0.0 };
        let whole = (2.0 * self.max_kl / curvature).sqrt();
        if !whole.is_finite() {
            return stay;
        }
        let mut share = 1.0;
        for _ in 0..self.line_search_steps {
            let moved: Vec<f64> =
                theta.iter().zip(&x).map(|(t, x)| t - share * whole * x).collect();
            let [new_loss, divergence] = evaluate(&moved);
            if new_loss < loss && divergence <= self.max_kl {
                return TrpoStep { theta: moved, loss: new_loss, divergence, share };
            }
            share *= self.backtrack_factor;
        }
        stay
    }
}

/// Approximates `x = A⁻¹ b` for a positive definite A in at most `steps` steps, fewer when the square of the residual
/// `r = b − A x` falls to 1e-10. Returns x and r.
pub fn conjugate_gradients(
    mut product: impl FnMut(&[f64]) -> Vec<f64>,
    b: &[f64],
    steps: usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut x = vec![0.0; b.len()];
    let (mut residual, mut direction) = (b.to_vec(), b.to_vec());
    let mut square = dot(&residual, &residual);
    for _ in 0..steps {
        if square <= 1e-10 {
            break;
        }
        let image = product(&direction);
        let length = square / dot(&direction, &image);
        axpy(&mut x, length, &direction);
        axpy(&mut residual, -length, &image);
        let next = dot(&residual, &residual);
        let keep = next / square;
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + keep * *d);
        square = next;
    }
    (x, residual)
}

/// `Σ a·b`
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn axpy(y: &mut [f64], a: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A diagonal matrix's product.
    fn times(diagonal: &[f64]) -> impl Fn(&[f64]) -> Vec<f64> + '_ {
        |v| diagonal.iter().zip(v).map(|(d, v)| d * v).collect()
    }

    #[test]
    fn conjugate_gradients_solve_in_as_many_steps_as_there_are_eigenvalues() {
        let (diagonal, b) = ([1.0, 3.0, 10.0, 3.0], [1.0, -2.0, 0.5, 4.0]);
        for steps in [3, 40] {
            let (x, _) = conjugate_gradients(times(&diagonal), &b, steps);
            for i in 0..4 {
                assert!((x[i] - b[i] / diagonal[i]).abs() <= 1e-9, "{steps} steps: {x:?}");
            }
        }
        assert_eq!(conjugate_gradients(times(&diagonal), &[0.0; 4], 10).0, [0.0; 4]);
    }

    /// Loss ½|θ − 1|² with gradient θ − 1, divergence ½ Σ d_i (θ_i − start_i)².
    fn step(trpo: Trpo, wrong_sign: bool) -> TrpoStep {
        let (start, diagonal) = ([0.0, 0.0], [2.0, 0.5]);
        let loss = |theta: &[f64]| theta.iter().map(|t| 0.5 * (t - 1.0) * (t - 1.0)).sum::<f64>();
        let sign = if wrong_sign { 1.0 } else { -1.0 };
        let evaluate = |theta: &[f64]| {
            let divergence = theta.iter().zip(diagonal).map(|(t, d)| 0.5 * d * t * t).sum();
            [loss(theta), divergence]
        };
        trpo.step(&start, (loss(&start), &[sign, sign]), times(&diagonal), evaluate)
    }

    #[test]
    fn a_step_goes_to_the_edge_of_the_region() {
        let trpo = Trpo { damping: 0.0, ..Trpo::default() };
        let found = step(trpo, false);
        // x = (−½, −2), xᵀAx = 2½, s = √(0.02 / 2.5); rounding may take the first step over the edge.
        let edge = (0.02_f64 / 2.5).sqrt() * found.share;
        assert!(found.share == 1.0 || found.share == 0.8, "{found:?}");
        assert!((found.theta[0] - 0.5 * edge).abs() <= 1e-12, "{found:?}");
        assert!((found.theta[1] - 2.0 * edge).abs() <= 1e-12, "{found:?}");
        assert!(found.divergence <= 0.01 && found.loss < 1.0, "{found:?}");
    }

    #[test]
    fn a_step_that_would_not_help_is_not_taken() {
        let found = step(Trpo::default(), true);
        assert_eq!((found.theta, found.share), (vec![0.0, 0.0], 0.0));
    }
}
