//! Meta-gradients on quadratics, against formulas written out in plain arithmetic.
//!
//! With `L_S = ½ φᵀAφ − bᵀφ`: `g_k = A φ_k − b`, `H = A`, and `v = A_q φ_K − b_q`.

use innerloop_engine::{Dtype, Tensor};
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Fomaml, HfMaml, Imaml, InnerLoop, InnerOptimizer, Maml, MetaCurvature,
    MetaSgd, Reptile, SignMaml, TruncatedMaml,
};
use innerloop_meta::{Rates, Setup, Sharing, minibatch, rate_name};

use crate::algorithms::{imaml, learned, multi_step};
use crate::forms::{Form, Vector, adjoint, all, assert_vector, minus, trajectory, vector};
use crate::problems::{N, STRATEGIES, Support, by, flat, norm, quadratic, run, run_in};

#[test]
fn maml_fomaml_and_reptile() {
    let case = quadratic(3, Support::Quadratic);
    let task = case.task(0);
    let inner = InnerLoop::new(case.rate);
    for steps in [0, 1, 2, 6] {
        let rates = vec![[case.rate; N]; steps];
        let (form, phi, v) = trajectory(&case, &task, &rates);
        // A constant α commutes with A: G = (I − αA)^K v.
        let g = adjoint(&form, &rates, v)[0];
        let moved = minus(&phi[0], &[1.0; N], &phi[steps]);
        for strategy in STRATEGIES {
            let setup = by(strategy, steps);
            let maml = case.run(&Maml { inner: inner.clone() }, setup);
            assert!(norm(&maml.gradient) >= 1e-3, "a degenerate problem");
            assert_vector("maml", &vector(&maml.gradient), &g);
            assert_vector("fast weights", &vector(&maml.fast), &phi[steps]);
            let fomaml = case.run(&Fomaml { inner: inner.clone() }, setup);
            assert_vector("fomaml", &vector(&fomaml.gradient), &v);
            let optimizer = InnerOptimizer::Sgd;
            let reptile = case.run(&Reptile { inner: inner.clone(), optimizer }, setup);
            assert_vector("reptile", &vector(&reptile.gradient), &moved);
            assert!(reptile.query_loss.is_nan(), "Reptile uses no query set");
        }
    }
}

/// With the minimum θ* = A⁻¹b, Reptile's displacement is `(I − (I − αA)^K)(θ − θ*)`.
#[test]
fn reptile_moves_towards_the_minimum() {
    let case = quadratic(1, Support::Quadratic);
    let task = case.task(0);
    let form = Form::mean(&task.support, &[0]);
    // θ* by gradient descent run to convergence: the largest eigenvalue of A is below its trace.
    let trace: f64 = (0..N).map(|i| form.a[i][i]).sum();
    let mut minimum = [0.0; N];
    for _ in 0..2000 {
        minimum = minus(&minimum, &[1.0 / trace; N], &form.gradient(&minimum));
    }
    let away = minus(&vector(&case.theta), &[1.0; N], &minimum);
    let mut left = away;
    for _ in 0..4 {
        left = minus(&left, &[case.rate; N], &form.times(&left));
    }
    let reptile = Reptile { inner: InnerLoop::new(case.rate), optimizer: InnerOptimizer::Sgd };
    for strategy in STRATEGIES {
        let got = case.run(&reptile, by(strategy, 4)).gradient;
        assert_vector("reptile", &vector(&got), &minus(&away, &[1.0; N], &left));
    }
}

/// ANIL is MAML whose rate is zero in the body.
#[test]
fn anil() {
    let case = quadratic(2, Support::Quadratic);
    let head_only = std::array::from_fn(|i| if i < 2 { 0.0 } else { case.rate });
    let anil = Anil { inner: InnerLoop::new(case.rate), head: "head".into() };
    for steps in [0, 1, 4] {
        let rates = vec![head_only; steps];
        let (form, phi, v) = trajectory(&case, &case.task(0), &rates);
        for strategy in STRATEGIES {
            let got = case.run(&anil, by(strategy, steps));
            assert_vector("gradient", &vector(&got.gradient), &adjoint(&form, &rates, v)[0]);
            assert_eq!(got.fast.names(), ["head"]);
            assert_vector("head", got.fast["head"].as_f64(), &phi[steps][2..]);
        }
    }
}

/// BOIL is MAML whose rate is zero in the head.
#[test]
fn boil() {
    let case = quadratic(2, Support::Quadratic);
    let body_only = std::array::from_fn(|i| if i < 2 { case.rate } else { 0.0 });
    let boil = Boil { inner: InnerLoop::new(case.rate), head: "head".into() };
    for steps in [0, 1, 4] {
        let rates = vec![body_only; steps];
        let (form, phi, v) = trajectory(&case, &case.task(0), &rates);
        for strategy in STRATEGIES {
            let got = case.run(&boil, by(strategy, steps));
            assert_vector("gradient", &vector(&got.gradient), &adjoint(&form, &rates, v)[0]);
            assert_eq!(got.fast.names(), ["body"]);
            assert_vector("body", got.fast["body"].as_f64(), &phi[steps][..2]);
        }
    }
}

#[test]
fn sign_maml() {
    let case = quadratic(2, Support::Quadratic);
    let task = case.task(0);
    let form = Form::mean(&task.support, &all(2));
    let mut phi = vector(&case.theta);
    for _ in 0..3 {
        let sign = form.gradient(&phi).map(f64::signum);
        phi = minus(&phi, &[0.01; N], &sign);
    }
    let v = Form::mean(&task.query, &[0]).gradient(&phi);
    for strategy in STRATEGIES {
        let got = case.run(&SignMaml { inner: InnerLoop::new(0.01) }, by(strategy, 3));
        assert_vector("fast weights", &vector(&got.fast), &phi);
        assert_vector("gradient", &vector(&got.gradient), &v);
    }
}

/// A quadratic's Hessian is the same everywhere: `(I − αA)^L v`, `Σ_{l≤L} C(K, l) (−αA)^l v`, and differences without
/// an error. The steps' minibatches have different Hessians, which distinguishes `H_1 H_2` from `H_2 H_1`.
#[test]
fn truncated_binomial_and_differences() {
    let case = quadratic(4, Support::Quadratic);
    let task = case.task(0);
    let (steps, batch, rate) = (4, 3, case.rate);
    let forms: Vec<Form> =
        (0..steps).map(|k| Form::mean(&task.support, &minibatch(task.key, 4, batch, k))).collect();
    let mut phi = vector(&case.theta);
    for form in &forms {
        phi = minus(&phi, &[rate; N], &form.gradient(&phi));
    }
    let v = Form::mean(&task.query, &[0]).gradient(&phi);
    // The terms of every set of steps, the last step's factor next to v.
    let sum_over = |keep: &dyn Fn(&[usize]) -> bool| -> Vector {
        let mut sum = [0.0; N];
        for set in 0..1_usize << steps {
            let chosen: Vec<usize> = (0..steps).filter(|k| set >> k & 1 == 1).collect();
            if keep(&chosen) {
                let term = chosen
                    .iter()
                    .rev()
                    .fold(v, |x, &k| minus(&[0.0; N], &[rate; N], &forms[k].times(&x)));
                sum = minus(&sum, &[-1.0; N], &term);
            }
        }
        sum
    };
    let inner = || InnerLoop::new(rate);
    for strategy in STRATEGIES {
        let setup = Setup { batch: Some(batch), ..by(strategy, steps) };
        let gradient = |algorithm: &dyn innerloop_meta::Algorithm| {
            vector(&case.run(algorithm, setup).gradient)
        };
        for kept in 0..=steps {
            let last = sum_over(&|set| set.iter().all(|k| k + kept >= steps));
            let got = gradient(&TruncatedMaml { inner: inner(), last: kept });
            assert_vector("truncated", &got, &last);
            let degree = sum_over(&|set| set.len() <= kept);
            let got = gradient(&BinomMaml { inner: inner(), degree: kept });
            assert_vector("binomial", &got, &degree);
        }
        let got = gradient(&HfMaml { inner: inner(), epsilon: 0.5 });
        assert_vector("differences", &got, &sum_over(&|_| true));
    }
}

/// `(I − αWA)^M v` with the windows' big steps, or with the trajectory of small ones; the last window is shorter.
#[test]
fn multi_step_estimation() {
    let case = quadratic(2, Support::Quadratic);
    let task = case.task(0);
    let windows = [3.0, 3.0, 1.0].map(|width| [width * case.rate; N]);
    let (form, phi, v) = trajectory(&case, &task, &windows);
    let forward = adjoint(&form, &windows, v)[0];
    let (_, small, v) = trajectory(&case, &task, &[[case.rate; N]; 7]);
    let backward = adjoint(&form, &windows, v)[0];
    for (sharing, end, want) in
        [(Sharing::Forward(3), phi[3], forward), (Sharing::Backward(3), small[7], backward)]
    {
        for strategy in STRATEGIES {
            let algorithm = multi_step(InnerLoop::new(case.rate), sharing, 0.0);
            let got = case.run(&algorithm, by(strategy, 7));
            assert_vector("fast weights", &vector(&got.fast), &end);
            assert_vector("gradient", &vector(&got.gradient), &want);
        }
    }
}

/// A window with momentum in one: with `c = (1 − μ^W) / (1 − μ)`,
///
/// ```text
/// w' = μ^W w + c g      φ' = φ − α [μ c w + (W − μ c) g / (1 − μ)]
/// u = c z − α (W − μ c) / (1 − μ) p      p ← p + A u      z ← μ^W z − α μ c p
/// ```
///
/// for the cotangents `p` of φ and `z` of the velocity `w`.
#[test]
fn multi_step_estimation_with_momentum() {
    let case = quadratic(2, Support::Quadratic);
    let task = case.task(0);
    let form = Form::mean(&task.support, &all(2));
    let (alpha, mu, window, windows) = (case.rate, 0.6_f64, 3, 2);
    let decay = mu.powi(window);
    let c = (1.0 - decay) / (1.0 - mu);
    let b = (f64::from(window) - mu * c) / (1.0 - mu);
    let (mut phi, mut w) = (vector(&case.theta), [0.0; N]);
    for _ in 0..windows {
        let g = form.gradient(&phi);
        phi = std::array::from_fn(|i| phi[i] - alpha * (mu * c * w[i] + b * g[i]));
        w = std::array::from_fn(|i| decay * w[i] + c * g[i]);
    }
    let (mut p, mut z) = (Form::mean(&task.query, &[0]).gradient(&phi), [0.0; N]);
    for _ in 0..windows {
        let u = std::array::from_fn(|i| c * z[i] - alpha * b * p[i]);
        z = std::array::from_fn(|i| decay * z[i] - alpha * mu * c * p[i]);
        p = minus(&p, &[-1.0; N], &form.times(&u));
    }
    let algorithm = multi_step(InnerLoop::new(alpha), Sharing::Forward(window as usize), mu);
    for strategy in STRATEGIES {
        let got = case.run(&algorithm, by(strategy, windows * window as usize));
        assert_vector("fast weights", &vector(&got.fast), &phi);
        assert_vector("velocity", &vector(&got.inner_state), &w);
        assert_vector("gradient", &vector(&got.gradient), &p);
    }
}

/// Meta-SGD: the gradient for α is `−Σ_k u_{k+1} ∘ g_k`, so `−v ∘ g` at one step.
#[test]
fn meta_sgd() {
    let case = quadratic(2, Support::Quadratic);
    let alpha: Vector = std::array::from_fn(|i| [0.1, 0.02, -0.05, 0.15, 0.0][i]);
    let algorithm = MetaSgd { inner: InnerLoop::new(case.rate) };
    for steps in [1, 3] {
        let rates = vec![alpha; steps];
        let (form, phi, v) = trajectory(&case, &case.task(0), &rates);
        let u = adjoint(&form, &rates, v);
        let mut by_hand = [0.0; N];
        for k in 0..steps {
            by_hand = minus(&by_hand, &u[k + 1], &form.gradient(&phi[k]));
        }
        for strategy in STRATEGIES {
            let learner = case.learner(&algorithm, by(strategy, steps));
            let mut meta = case.meta(&algorithm, steps);
            let (body, head) = (alpha[..2].to_vec(), alpha[2..].to_vec());
            meta.omega.values_mut()[2] = Tensor::from_f64(&[2], body);
            meta.omega.values_mut()[3] = Tensor::from_f64(&[3], head);
            let got = run(&learner, &meta, &case.task(0));
            assert_eq!(learner.learned(), ["body", "head", "inner_lr.body", "inner_lr.head"]);
            let got = flat(&got.gradient);
            assert_vector("θ", &got.as_f64()[..N], &u[0]);
            assert_vector("α", &got.as_f64()[N..], &by_hand);
        }
    }
}

/// `φ*` solves `(A + λI) φ = b + λθ`, and `G` solves `((1 + δ) I + A/λ) G = v`; five steps of conjugate gradients are
/// enough for five unknowns.
#[test]
fn implicit_maml() {
    let case = quadratic(2, Support::Quadratic);
    let task = case.task(0);
    let (form, asked) = (Form::mean(&task.support, &all(2)), Form::mean(&task.query, &[0]));
    for damping in [0.0, 0.5] {
        let inner = InnerLoop::new(case.rate);
        let algorithm = Imaml { proximal: 3.0, iterations: N, damping, ..imaml(inner) };
        for strategy in STRATEGIES {
            let got = case.run(&algorithm, by(strategy, 100));
            let (phi, g) = (vector(&got.fast), vector(&got.gradient));
            let away = minus(&phi, &[1.0; N], &vector(&case.theta));
            let left = minus(&form.gradient(&phi), &[-3.0; N], &away);
            assert!(left.iter().all(|x| x.abs() <= 1e-10), "{left:?}");
            let v = asked.gradient(&phi);
            let product = minus(&g.map(|g| (1.0 + damping) * g), &[-1.0 / 3.0; N], &form.times(&g));
            assert_vector("the system", &product, &v);
        }
    }
    // Without curvature one step solves it, and the others have nothing left to do.
    let case = quadratic(2, Support::Linear);
    for strategy in STRATEGIES {
        let got = case.run(&imaml(InnerLoop::new(case.rate)), by(strategy, 3));
        let v = Form::mean(&case.task(0).query, &[0]).gradient(&vector(&got.fast));
        assert_vector("no curvature", &vector(&got.gradient), &v);
    }
    // A system that is not positive along the gradient of the query loss returns that gradient.
    let case = quadratic(2, Support::Quadratic);
    for strategy in STRATEGIES {
        let algorithm = Imaml { damping: -100.0, ..imaml(InnerLoop::new(case.rate)) };
        let got = case.run(&algorithm, by(strategy, 3));
        let v = Form::mean(&case.task(0).query, &[0]).gradient(&vector(&got.fast));
        assert_vector("not positive", &vector(&got.gradient), &v);
    }
}

/// On vectors Meta-Curvature is Meta-SGD in other units: the factor is `α_element / α`.
#[test]
fn meta_curvature() {
    let case = quadratic(2, Support::Quadratic);
    let factor: Vector = std::array::from_fn(|i| [1.0, 0.2, -0.5, 1.5, 0.0][i]);
    let algorithm = MetaCurvature { inner: InnerLoop::new(case.rate) };
    let rates = vec![factor.map(|m| m * case.rate); 3];
    let (form, phi, v) = trajectory(&case, &case.task(0), &rates);
    let u = adjoint(&form, &rates, v);
    let mut by_hand = [0.0; N];
    for k in 0..3 {
        let g = form.gradient(&phi[k]).map(|g| case.rate * g);
        by_hand = minus(&by_hand, &u[k + 1], &g);
    }
    for strategy in STRATEGIES {
        let learner = case.learner(&algorithm, by(strategy, 3));
        let mut meta = case.meta(&algorithm, 3);
        meta.omega.values_mut()[2] = Tensor::from_f64(&[2], factor[..2].to_vec());
        meta.omega.values_mut()[3] = Tensor::from_f64(&[3], factor[2..].to_vec());
        let got = flat(&run(&learner, &meta, &case.task(0)).gradient);
        assert_vector("θ", &got.as_f64()[..N], &u[0]);
        assert_vector("factors", &got.as_f64()[N..], &by_hand);
    }
}

/// A rate per tensor and step has the gradient `−⟨u_{k+1}, g_k⟩` over its tensor.
#[test]
fn learned_rates() {
    let case = quadratic(2, Support::Quadratic);
    let of = vec![("head".to_string(), 0.03)];
    let inner = InnerLoop { rates: Rates { default: 0.1, of }, frozen: Vec::new() };
    let algorithm = learned(Maml { inner });
    let steps = 3;
    let mut meta = case.meta(&algorithm, steps);
    assert_eq!(meta.omega[&rate_name("body")], Tensor::full(Dtype::F64, &[3], 0.1));
    assert_eq!(meta.omega[&rate_name("head")], Tensor::full(Dtype::F64, &[3], 0.03));
    let (body, head) = ([0.1, 0.05, 0.2], [0.03, 0.12, -0.04]);
    meta.omega.values_mut()[2] = Tensor::from_f64(&[3], body.to_vec());
    meta.omega.values_mut()[3] = Tensor::from_f64(&[3], head.to_vec());
    let rate = |k: usize| std::array::from_fn(|i| if i < 2 { body[k] } else { head[k] });
    let rates: Vec<Vector> = (0..steps).map(rate).collect();
    let (form, phi, v) = trajectory(&case, &case.task(0), &rates);
    let u = adjoint(&form, &rates, v);
    let product = |k: usize, range: std::ops::Range<usize>| -> f64 {
        let g = form.gradient(&phi[k]);
        -range.map(|i| u[k + 1][i] * g[i]).sum::<f64>()
    };
    let want: Vec<f64> = [0..2, 2..N]
        .into_iter()
        .flat_map(|r| (0..3).map(move |k| (k, r.clone())))
        .map(|(k, r)| product(k, r))
        .collect();
    for strategy in STRATEGIES {
        let got = run(&case.learner(&algorithm, by(strategy, steps)), &meta, &case.task(0));
        let got = flat(&got.gradient);
        assert_vector("θ", &got.as_f64()[..N], &u[0]);
        assert_vector("rates", &got.as_f64()[N..], &want);
    }
}

/// Every step sees the mean of the examples that `minibatch` selects.
#[test]
fn minibatches() {
    let case = quadratic(4, Support::Quadratic);
    let task = case.task(0);
    let (steps, batch) = (3, 3);
    let forms: Vec<Form> =
        (0..steps).map(|k| Form::mean(&task.support, &minibatch(task.key, 4, batch, k))).collect();
    let mut phi = vector(&case.theta);
    for form in &forms {
        phi = minus(&phi, &[case.rate; N], &form.gradient(&phi));
    }
    let mut u = Form::mean(&task.query, &[0]).gradient(&phi);
    for form in forms.iter().rev() {
        u = minus(&u, &[case.rate; N], &form.times(&u));
    }
    for strategy in STRATEGIES {
        let setup = Setup { batch: Some(batch), ..by(strategy, steps) };
        let got = case.run(&crate::algorithms::maml(case.rate), setup);
        assert_vector("fast weights", &vector(&got.fast), &phi);
        assert_vector("gradient", &vector(&got.gradient), &u);
    }
}

/// Adam with β₁ = 0 from a zero state: `v = (1 − β₂) g²` and the correction make the first step `α g / (|g| + ε)`. The
/// state that is carried on equals that of the recursion written out.
#[test]
fn reptile_with_adam() {
    let case = quadratic(1, Support::Quadratic);
    let (beta2, eps, alpha) = (0.8, 0.05, case.rate);
    let inner = InnerLoop::new(alpha);
    let reptile = Reptile { inner, optimizer: InnerOptimizer::Adam { beta2, eps } };
    let task = case.task(0);
    let form = Form::mean(&task.support, &[0]);
    for strategy in STRATEGIES {
        let once = case.run(&reptile, by(strategy, 1)).gradient;
        let g = form.gradient(&vector(&case.theta));
        let sign: Vec<f64> = g.iter().map(|g| alpha * g / (g.abs() + eps)).collect();
        assert_vector("first step", &vector(&once), &sign);

        // Two tasks in a row, the second one from the first one's state; t counts on.
        let learner = case.learner(&reptile, by(strategy, 2));
        let mut meta = case.meta(&reptile, 2);
        let mut worker = learner.worker(Dtype::F64);
        let (mut v, mut t) = ([0.0; N], 0);
        for _ in 0..2 {
            let mut phi = vector(&case.theta);
            for _ in 0..2 {
                let g = form.gradient(&phi);
                t += 1;
                for i in 0..N {
                    v[i] = beta2 * v[i] + (1.0 - beta2) * g[i] * g[i];
                    let corrected: f64 = v[i] / (1.0 - beta2.powi(t));
                    phi[i] -= alpha * g[i] / (corrected.sqrt() + eps);
                }
            }
            let got = run_in(&learner, &mut worker, &meta, &task, Dtype::F64);
            assert_vector("fast weights", &vector(&got.fast), &phi);
            let state = flat(&got.inner_state);
            assert_vector("second moment", &state.as_f64()[..N], &v);
            assert_vector("decay", &state.as_f64()[N..], &[1.0 - beta2.powi(t)]);
            meta.inner_state = got.inner_state;
        }
    }
}
