//! Inner loops on quadratics written out in plain arithmetic.

use innerloop_engine::{Params, Tensor};

use crate::problems::{Case, N, Task, flat};

pub(crate) type Vector = [f64; N];

/// `A` and `b` of a quadratic: the mean over some of its examples.
pub(crate) struct Form {
    pub(crate) a: [Vector; N],
    pub(crate) b: Vector,
}

impl Form {
    pub(crate) fn mean(arrays: &[Tensor], rows: &[usize]) -> Form {
        let over = 1.0 / rows.len() as f64;
        let a = |at| rows.iter().map(|row| arrays[0].get(row * N * N + at)).sum::<f64>() * over;
        let b = |at| rows.iter().map(|row| arrays[1].get(row * N + at)).sum::<f64>() * over;
        let line = |i| std::array::from_fn(|j| a(i * N + j));
        Form { a: std::array::from_fn(line), b: std::array::from_fn(b) }
    }

    pub(crate) fn times(&self, x: &Vector) -> Vector {
        std::array::from_fn(|i| (0..N).map(|j| self.a[i][j] * x[j]).sum())
    }

    /// `A x − b`.
    pub(crate) fn gradient(&self, x: &Vector) -> Vector {
        let ax = self.times(x);
        std::array::from_fn(|i| ax[i] - self.b[i])
    }
}

pub(crate) fn vector(params: &Params<Tensor>) -> Vector {
    let all = flat(params);
    std::array::from_fn(|i| all.get(i))
}

/// `x − r ∘ y`.
pub(crate) fn minus(x: &Vector, r: &Vector, y: &Vector) -> Vector {
    std::array::from_fn(|i| x[i] - r[i] * y[i])
}

#[track_caller]
pub(crate) fn assert_vector(name: &str, got: &[f64], want: &[f64]) {
    let row = |x: &[f64]| Tensor::from_f64(&[x.len()], x.to_vec());
    innerloop_engine::check::assert_close(name, &row(got), &row(want), 1e-12);
}

pub(crate) fn all(n: usize) -> Vec<usize> {
    (0..n).collect()
}

/// `φ_0 … φ_K` under rates that may depend on the step and the element, and `v`.
pub(crate) fn trajectory(
    case: &Case,
    task: &Task,
    rates: &[Vector],
) -> (Form, Vec<Vector>, Vector) {
    let form = Form::mean(&task.support, &all(case.problem.support_examples()));
    let mut phi = vec![vector(&case.theta)];
    for rate in rates {
        let last = &phi[phi.len() - 1];
        phi.push(minus(last, rate, &form.gradient(last)));
    }
    let v = Form::mean(&task.query, &[0]).gradient(&phi[rates.len()]);
    (form, phi, v)
}

/// `u_k = u_{k+1} − A (r_k ∘ u_{k+1})` with `u_K = v`: all of `u_0 … u_K`.
pub(crate) fn adjoint(form: &Form, rates: &[Vector], v: Vector) -> Vec<Vector> {
    let mut u = vec![v];
    for rate in rates.iter().rev() {
        let next = &u[0];
        let scaled = std::array::from_fn(|i| rate[i] * next[i]);
        u.insert(0, minus(next, &[1.0; N], &form.times(&scaled)));
    }
    u
}
