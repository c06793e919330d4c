//! Windows of inner steps that share a gradient or a Hessian, on every method that supports them.

use innerloop_engine::check::relative_error;
use innerloop_engine::{Dtype, Params, Tensor};
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Cavia, Fomaml, HfMaml, Imaml, InnerLoop, InnerOptimizer, Maml,
    MamlPlusPlus, MetaCurvature, MetaSgd, MultiStep, Reptile, SignMaml, TruncatedMaml,
};
use innerloop_meta::{Algorithm, Derivatives, Rates, Setup, Sharing, Strategy, TaskData};

use crate::algorithms::{imaml, learned, lstm, similarity, windowed};
use crate::differences::check;
use crate::forms::{Vector, assert_vector, minus, trajectory};
use crate::problems::{
    Case, N, STRATEGIES, Support, assert_results, assert_same, by, flat, mlp, normalised,
    quadratic, run,
};

type Methods = Vec<(&'static str, Box<dyn Algorithm>)>;

fn without(rate: f64, frozen: &[&str]) -> InnerLoop {
    InnerLoop { frozen: frozen.iter().map(ToString::to_string).collect(), ..InnerLoop::new(rate) }
}

/// Methods whose meta-gradient is the derivative of their query loss.
fn exact(rate: f64) -> Methods {
    let inner = || InnerLoop::new(rate);
    let uneven = || InnerLoop {
        rates: Rates { default: rate, of: vec![("head.weight".into(), 0.5 * rate)] },
        ..inner()
    };
    let partly = || without(rate, &["features.0.b", "body"]);
    vec![
        ("maml", Box::new(Maml { inner: uneven() })),
        ("learned rates", Box::new(learned(Maml { inner: inner() }))),
        ("partly frozen", Box::new(learned(Maml { inner: partly() }))),
        ("anil", Box::new(Anil { inner: inner(), head: "head".into() })),
        ("anil, learned rates", Box::new(learned(Anil { inner: inner(), head: "head".into() }))),
        ("boil", Box::new(Boil { inner: inner(), head: "head".into() })),
        ("cavia", Box::new(Cavia { inner: inner(), context: "head".into() })),
        ("meta-sgd", Box::new(MetaSgd { inner: uneven() })),
        ("meta-curvature", Box::new(MetaCurvature { inner: partly() })),
        ("sign-maml", Box::new(SignMaml { inner: InnerLoop::new(0.1 * rate) })),
    ]
}

/// The other methods.
fn approximate(rate: f64) -> Methods {
    let inner = || InnerLoop::new(rate);
    let partly = || without(rate, &["features.0.b", "body"]);
    let adam = InnerOptimizer::Adam { beta2: 0.9, eps: 1e-3 };
    vec![
        ("fomaml", Box::new(Fomaml { inner: partly() })),
        ("reptile", Box::new(Reptile { inner: inner(), optimizer: adam })),
        ("truncated maml", Box::new(TruncatedMaml { inner: partly(), last: 3 })),
        ("binom-maml", Box::new(BinomMaml { inner: partly(), degree: 1 })),
        ("hf-maml", Box::new(HfMaml { inner: partly(), epsilon: 1e-2 })),
        ("imaml", Box::new(imaml(inner()))),
        ("gradient similarity", Box::new(similarity(inner()))),
    ]
}

fn all(rate: f64) -> Methods {
    exact(rate).into_iter().chain(approximate(rate)).collect()
}

#[test]
fn a_window_of_one_is_none() {
    for case in [mlp(6, 4), normalised(4)] {
        for strategy in STRATEGIES {
            for sharing in [Sharing::None, Sharing::Forward(1), Sharing::Backward(1)] {
                for ((name, plain), (_, base)) in all(case.rate).into_iter().zip(all(case.rate)) {
                    let want = case.run(plain.as_ref(), by(strategy, 4));
                    let got = case.run(windowed(base, sharing).as_ref(), by(strategy, 4));
                    let name = format!("{}, {name}, {sharing:?}, {strategy:?}", case.name);
                    assert_results(&name, &got, &want, 0.0);
                }
            }
        }
    }
}

/// A forward window is differentiated through the trajectory that shares gradients.
#[test]
fn forward_windows_are_derivatives() {
    for (steps, window, batch) in [(2, 2, None), (5, 2, None), (4, 3, Some(3))] {
        for case in [mlp(6, 4), normalised(steps), quadratic(3, Support::Quadratic)] {
            let batch = batch.filter(|_| case.problem.support_examples() > 3);
            for (name, base) in exact(case.rate) {
                let algorithm = windowed(base, Sharing::Forward(window));
                for strategy in STRATEGIES {
                    let setup = Setup { batch, ..by(strategy, steps) };
                    let got = check(&case, algorithm.as_ref(), setup);
                    assert_eq!(got, Ok(()), "{}, {name}, {setup:?}, {window}", case.name);
                }
            }
        }
    }
}

#[test]
fn strategies_agree_in_windows() {
    let check = |case: &Case, setup: Setup, sharing| {
        for (name, base) in all(case.rate) {
            let algorithm = windowed(base, sharing);
            let [want, got] = STRATEGIES
                .map(|strategy| case.run(algorithm.as_ref(), Setup { strategy, ..setup }));
            let name = format!("{}, {name}, {sharing:?}, {} steps", case.name, setup.steps);
            assert_results(&name, &got, &want, 1e-12);
        }
    };
    for sharing in [Sharing::Forward(3), Sharing::Backward(2), Sharing::Backward(3)] {
        for steps in [1, 5] {
            check(&mlp(6, 4), Setup::new(steps), sharing);
            check(&normalised(steps), Setup::new(steps), sharing);
            check(&quadratic(3, Support::Linear), Setup::new(steps), sharing);
        }
        check(&mlp(7, 4), Setup { batch: Some(3), ..Setup::new(4) }, sharing);
    }
}

/// A backward window changes only the gradient, and without curvature not even that.
#[test]
fn backward_windows_keep_the_trajectory() {
    let case = mlp(6, 4);
    for strategy in STRATEGIES {
        let pairs = || exact(case.rate).into_iter().zip(exact(case.rate));
        for ((name, plain), (_, base)) in pairs() {
            let want = case.run(plain.as_ref(), by(strategy, 5));
            let got = case.run(windowed(base, Sharing::Backward(3)).as_ref(), by(strategy, 5));
            assert_same(name, &got.fast, &want.fast, 0.0);
            let off = relative_error(&flat(&got.gradient), &flat(&want.gradient));
            let curved = name != "sign-maml";
            assert!((off >= 1e-9) == curved && off <= 0.5, "{name}: {off}");
        }
        let straight = quadratic(3, Support::Linear);
        for ((name, plain), (_, base)) in pairs() {
            let want = straight.run(plain.as_ref(), by(strategy, 5));
            let shared = windowed(base, Sharing::Backward(3));
            let got = straight.run(shared.as_ref(), by(strategy, 5));
            assert_results(name, &got, &want, 1e-12);
        }
    }
}

/// Within a window λ stays constant, and each step's rate meets its own gradient; at its start the Hessian takes all of
/// them: `∂L_Q/∂α_k = −g_k ∘ λ`, `λ ← λ − A (Σ_k α_k ∘ λ)`.
#[test]
fn rates_learned_through_backward_windows() {
    let case = quadratic(2, Support::Quadratic);
    let task = case.task(0);
    let rates: Vec<Vector> = (0..7)
        .map(|k| {
            let of = |tensor: usize| 0.03 + 0.01 * ((3 * k + tensor) as f64).sin();
            std::array::from_fn(|i| if i < 2 { of(0) } else { of(1) })
        })
        .collect();
    let (form, phi, v) = trajectory(&case, &task, &rates);
    let (mut lambda, mut by_step) = (v, vec![[0.0; N]; 7]);
    for window in [6..7, 3..6, 0..3] {
        let mut g_bar = [0.0; N];
        for k in window {
            let g = form.gradient(&phi[k]);
            by_step[k] = std::array::from_fn(|i| -g[i] * lambda[i]);
            g_bar = std::array::from_fn(|i| g_bar[i] + rates[k][i] * lambda[i]);
        }
        lambda = minus(&lambda, &[1.0; N], &form.times(&g_bar));
    }
    let maml = learned(Maml { inner: InnerLoop::new(case.rate) });
    let algorithm = windowed(Box::new(maml), Sharing::Backward(3));
    for strategy in STRATEGIES {
        let learner = case.learner(algorithm.as_ref(), by(strategy, 7));
        let mut meta = case.meta(algorithm.as_ref(), 7);
        let of = |i: usize| Tensor::from_f64(&[7], rates.iter().map(|rate| rate[i]).collect());
        meta.omega.values_mut()[2] = of(0);
        meta.omega.values_mut()[3] = of(2);
        let got = run(&learner, &meta, &task).gradient;
        assert_eq!(got.names(), ["body", "head", "inner_lr.body", "inner_lr.head"]);
        let theta = got.filter(|name| !name.starts_with("inner_lr"));
        assert_vector("θ", flat(&theta).as_f64(), &lambda);
        let want = |of: std::ops::Range<usize>| -> Vec<f64> {
            by_step.iter().map(|x| x[of.clone()].iter().sum()).collect()
        };
        assert_vector("α of the body", got["inner_lr.body"].as_f64(), &want(0..2));
        assert_vector("α of the head", got["inner_lr.head"].as_f64(), &want(2..N));
    }
}

/// The omitted terms are those of whole windows.
#[test]
fn approximations_in_windows() {
    let case = mlp(6, 4);
    let steps = 5;
    for sharing in [Sharing::Forward(2), Sharing::Backward(2)] {
        for strategy in STRATEGIES {
            let gradient = |base: Box<dyn Algorithm>| -> Params<Tensor> {
                case.run(windowed(base, sharing).as_ref(), by(strategy, steps)).gradient
            };
            let inner = || without(case.rate, &["features.0.b"]);
            let maml = gradient(Box::new(Maml { inner: inner() }));
            let first = gradient(Box::new(Fomaml { inner: inner() }));
            let truncated = |last| gradient(Box::new(TruncatedMaml { inner: inner(), last }));
            let binomial = |degree| gradient(Box::new(BinomMaml { inner: inner(), degree }));
            assert_same("truncated to nothing", &truncated(0), &first, 1e-12);
            assert_same("the last window", &truncated(2), &truncated(1), 1e-12);
            assert_same("all windows", &truncated(steps), &maml, 1e-12);
            assert_same("no Hessian", &binomial(0), &first, 1e-12);
            assert_same("three windows", &binomial(3), &maml, 1e-12);
            let off = |a: &Params<Tensor>, b: &Params<Tensor>| relative_error(&flat(a), &flat(b));
            assert!(off(&truncated(1), &first) >= 1e-6 && off(&truncated(3), &maml) >= 1e-6);
            assert!(off(&binomial(2), &maml) >= 1e-9);
            let fine = gradient(Box::new(HfMaml { inner: inner(), epsilon: 1e-3 }));
            assert!(off(&fine, &maml) <= 1e-5, "{}", off(&fine, &maml));
        }
    }
}

/// With a multi-step loss, the gradient is the weighted sum of those of inner loops that end earlier, within a window
/// or after it.
#[test]
fn losses_within_a_window_count_where_its_steps_lead() {
    let (case, steps) = (mlp(6, 4), 5);
    let additive = |rate| {
        let fewer_steps_leave_out_less = ["reptile", "imaml", "gradient similarity"];
        let nonlinear = ["truncated maml", "hf-maml"];
        let of_each_step = ["learned rates", "partly frozen", "anil, learned rates"];
        let not = [&fewer_steps_leave_out_less[..], &nonlinear, &of_each_step].concat();
        all(rate).into_iter().filter(move |(name, _)| !not.contains(name))
    };
    for sharing in [Sharing::Forward(3), Sharing::Forward(9), Sharing::Backward(2)] {
        for strategy in STRATEGIES {
            for (name, base) in additive(case.rate) {
                let all = MamlPlusPlus::new(windowed(base, sharing), 0.4, 0.0);
                let mut meta = case.meta(&all, steps);
                meta.schedule(&all, 0.1);
                let got = run(&case.learner(&all, by(strategy, steps)), &meta, &case.task(0));
                let weights = all.loss_weights(steps, 0.1).expect("several steps");
                let parts: Vec<_> = (1..=steps)
                    .map(|k| {
                        let (_, base) = additive(case.rate).find(|(n, _)| *n == name).unwrap();
                        case.run(windowed(base, sharing).as_ref(), by(strategy, k)).gradient
                    })
                    .collect();
                let want = got.gradient.map_named(|name, x| {
                    let element =
                        |i| weights.iter().zip(&parts).map(|(w, g)| w * g[name].get(i)).sum();
                    Tensor::from_f64(x.shape(), (0..x.len()).map(element).collect())
                });
                let name = format!("{name}, {sharing:?}, {strategy:?}");
                assert_same(&name, &got.gradient, &want, 1e-11);
                let off = relative_error(&flat(&parts[steps - 1]), &flat(&want));
                assert!(off >= 1e-2, "{name}: {off}");
            }
        }
    }
}

/// The step-by-step backward pass through a window agrees with the unrolled graph where losses count within it,
/// including learned rates, truncation and momentum. Losses that do not count yet leave nothing behind.
#[test]
fn strategies_agree_on_losses_within_a_window() {
    let (steps, momentum) = (5, 0.5);
    for case in [mlp(6, 4), normalised(steps)] {
        let methods = || {
            let momentary: Box<dyn Algorithm> =
                Box::new(learned(Maml { inner: InnerLoop::new(case.rate) }));
            let others = all(case.rate).into_iter();
            others
                .filter(|(name, _)| !["reptile", "imaml", "gradient similarity"].contains(name))
                .map(|(name, base)| (name, base, 0.0))
                .chain([("momentum", momentary, momentum)])
        };
        for sharing in [Sharing::Forward(3), Sharing::Backward(2)] {
            for (name, base, momentum) in methods() {
                let shared = MultiStep::new(base, sharing, momentum);
                let all = MamlPlusPlus::new(Box::new(shared), 0.4, 0.0);
                let name = format!("{}, {name}, {sharing:?}", case.name);
                let learners = STRATEGIES.map(|strategy| case.learner(&all, by(strategy, steps)));
                let mut meta = case.meta(&all, steps);
                let mut workers = learners.each_ref().map(|learner| learner.worker(Dtype::F64));
                for done in [0.1, 0.5, 0.3] {
                    meta.schedule(&all, done);
                    let [want, got] = std::array::from_fn(|i| {
                        let mut result = learners[i].result(Dtype::F64);
                        let run = |data: TaskData<'_>| {
                            learners[i].run(&mut workers[i], &meta, data, &mut result);
                        };
                        case.task(0).with(run);
                        result
                    });
                    assert_results(&format!("{name}, {done}"), &got, &want, 1e-12);
                }
            }
        }
    }
}

/// However the minimum is reached, the implicit gradient there is the derivative.
#[test]
fn implicit_gradients_in_windows() {
    let case = mlp(6, 4);
    let inner = InnerLoop::new(case.rate);
    let imaml = Imaml { inner, proximal: 6.0, iterations: 12, damping: 0.0 };
    let algorithm = windowed(Box::new(imaml), Sharing::Forward(2));
    for strategy in STRATEGIES {
        assert_eq!(check(&case, algorithm.as_ref(), by(strategy, 60)), Ok(()), "{strategy:?}");
    }
}

#[test]
fn windows_cost_what_they_say() {
    let case = mlp(6, 4);
    let of = |gradients, hessian_products| Derivatives { gradients, hessian_products };
    for (sharing, want, first) in [
        (Sharing::Forward(2), of(4, 3), of(4, 0)),
        (Sharing::Forward(9), of(2, 1), of(2, 0)),
        (Sharing::Backward(2), of(7, 3), of(7, 0)),
    ] {
        for (name, base) in exact(case.rate) {
            let algorithm = windowed(base, sharing);
            let got = case.learner(algorithm.as_ref(), Setup::new(6)).derivatives();
            let want = if name == "sign-maml" { first } else { want };
            assert_eq!(got, want, "{name}, {sharing:?}");
        }
    }
}

#[test]
fn names_tell_of_windows() {
    let name = |base: Box<dyn Algorithm>| windowed(base, Sharing::Forward(2)).name().to_string();
    let inner = || InnerLoop::new(0.1);
    assert_eq!(name(Box::new(learned(Maml { inner: inner() }))), "multi_step");
    assert_eq!(name(Box::new(MetaSgd { inner: inner() })), "meta_sgd+window");
}

#[test]
#[should_panic(expected = "gradients that are held constant have no Hessian to share")]
fn held_gradients_are_not_shared() {
    let case = mlp(6, 4);
    let algorithm = windowed(Box::new(lstm(&[])), Sharing::Backward(2));
    case.learner(algorithm.as_ref(), by(Strategy::Adjoint, 2));
}
