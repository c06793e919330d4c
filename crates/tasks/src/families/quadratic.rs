//! Random quadratics, for tests with closed forms.
//!
//! L(x) = ½ xᵀA x − bᵀx     A = I + G Gᵀ/n     G, x* ~ N(0, 1)     b = A x*

use innerloop_engine::{Key, Tensor};

use crate::random::normal;

/// A quadratic loss with a symmetric positive definite Hessian, all tensors `f64`. The gradient is
/// `A x − b`; eigenvalues of `A` lie above 1 and mostly below 5.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadratic {
    /// The Hessian `A`, `[n, n]`.
    pub a: Tensor,
    /// The linear term `b`, `[n]`.
    pub b: Tensor,
    /// Where the loss is least: `A⁻¹ b`, `[n]`.
    pub minimum: Tensor,
}

impl Quadratic {
    /// The quadratic in `n` unknowns that `key` names.
    pub fn draw(n: usize, key: Key) -> Quadratic {
        let mut rng = key.rng();
        let g: Vec<f64> = (0..n * n).map(|_| normal(&mut rng)).collect();
        let minimum: Vec<f64> = (0..n).map(|_| normal(&mut rng)).collect();
        let row = |i: usize| &g[i * n..(i + 1) * n];
        let a: Vec<f64> = (0..n * n)
            .map(|at| {
                let (i, j) = (at / n, at % n);
                f64::from(u8::from(i == j)) + dot(row(i), row(j)) / n as f64
            })
            .collect();
        let b = (0..n).map(|i| dot(&a[i * n..(i + 1) * n], &minimum)).collect();
        Quadratic {
            a: Tensor::from_f64(&[n, n], a),
            b: Tensor::from_f64(&[n], b),
            minimum: Tensor::from_f64(&[n], minimum),
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests;
