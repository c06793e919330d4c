//! What the algorithms must have in common.

use innerloop_engine::check::relative_error;
use innerloop_engine::{Dtype, Params, Tensor};
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Cavia, Fomaml, HfMaml, InnerLoop, InnerOptimizer, LearnedRates, Maml,
    MetaCurvature, MetaSgd, Reptile, SignMaml, TruncatedMaml,
};
use innerloop_meta::{
    Adapter, Algorithm, Derivatives, InnerStep, Learner, Losses, MetaGradient, Moved, Setup,
    Sharing, StepLosses, is_of_inner_rule, rate_name,
};

use crate::algorithms::{adapts_as_trained, algorithms, learned, maml, multi_step};
use crate::problems::{
    Case, STRATEGIES, Support, assert_results, assert_same, by, conv, flat, mlp, norm, normalised,
    quadratic, run,
};

pub(crate) const ROUNDING: f64 = 1e-12;

fn frozen(rate: f64, prefixes: &[&str]) -> InnerLoop {
    let frozen = prefixes.iter().map(ToString::to_string).collect();
    InnerLoop { frozen, ..InnerLoop::new(rate) }
}

/// The part of a gradient that belongs to θ.
fn of_theta(gradient: &Params<Tensor>) -> Params<Tensor> {
    gradient.filter(|name| !is_of_inner_rule(name))
}

#[test]
fn fomaml_is_maml_without_second_order() {
    for strategy in STRATEGIES {
        let run = |case: &Case, steps| {
            let fomaml = Fomaml { inner: InnerLoop::new(case.rate) };
            let setup = by(strategy, steps);
            (case.run(&fomaml, setup).gradient, case.run(&maml(case.rate), setup).gradient)
        };
        let (first, exact) = run(&mlp(6, 4), 0);
        assert_same("no step", &first, &exact, ROUNDING);
        let (first, exact) = run(&mlp(6, 4), 4);
        assert!(relative_error(&flat(&first), &flat(&exact)) >= 1e-2, "four steps");
        let (first, exact) = run(&quadratic(2, Support::Linear), 4);
        assert!(norm(&exact) >= 1e-3, "a degenerate problem");
        assert_same("linear support loss", &first, &exact, ROUNDING);
        let (first, exact) = run(&quadratic(2, Support::Quadratic), 4);
        assert!(relative_error(&flat(&first), &flat(&exact)) >= 1e-2, "quadratic support loss");
    }
}

/// Learned rates do not change a first-order method's gradient; theirs is `−⟨a step's displacement / its rate, q⟩`.
#[test]
fn rates_of_first_order_methods() {
    let (case, steps, rate) = (mlp(6, 4), 3, 0.05);
    let inner = || InnerLoop::new(rate);
    let bases = || -> [Box<dyn Algorithm>; 2] {
        [Box::new(Fomaml { inner: inner() }), Box::new(SignMaml { inner: inner() })]
    };
    for strategy in STRATEGIES {
        for (base, plain) in bases().into_iter().zip(bases()) {
            let after = |k| case.run(plain.as_ref(), by(strategy, k));
            let (q, places) = (after(steps).gradient, [0, 1, 2, 3].map(|k| after(k).fast));
            let got = case.run(&LearnedRates::new(base), by(strategy, steps)).gradient;
            assert_same(plain.name(), &of_theta(&got), &q, ROUNDING);
            for (name, q) in q.iter() {
                let slope = |k: usize| {
                    let way = places[k].get(name).unwrap().iter().zip(places[k + 1][name].iter());
                    -way.zip(q.iter()).map(|((a, b), q)| (a - b) / rate * q).sum::<f64>()
                };
                let want: Vec<f64> = (0..steps).map(slope).collect();
                let got = &got[&rate_name(name)];
                let close = |(got, want): (f64, &f64)| (got - want).abs() <= 1e-10;
                assert!(got.iter().zip(&want).all(close), "{name}: {got:?}, {want:?}");
                assert!(want.iter().any(|x| x.abs() >= 1e-6), "{name}: {want:?}");
            }
        }
    }
}

#[test]
fn anil_lies_between_maml_and_the_plain_gradient() {
    let case = mlp(6, 4);
    let anil = |head: &str| Anil { inner: InnerLoop::new(case.rate), head: head.into() };
    for strategy in STRATEGIES {
        let setup = by(strategy, 3);
        let all_head = case.run(&anil(""), setup);
        assert_results("all head", &all_head, &case.run(&maml(case.rate), setup), ROUNDING);
        let plain = case.run(&maml(case.rate), by(strategy, 0)).gradient;
        let no_head = case.run(&anil("nothing is called this"), setup);
        assert_same("no head", &no_head.gradient, &plain, ROUNDING);
        assert!(no_head.fast.is_empty());
        // Freezing everything except the head is ANIL; freezing everything gives the plain gradient.
        let freeze = |prefixes: &[&str]| {
            let inner = frozen(case.rate, prefixes);
            case.run(&Maml { inner }, setup)
        };
        let between = case.run(&anil("head"), setup);
        assert_results("frozen body", &freeze(&["features"]), &between, ROUNDING);
        assert_same("all frozen", &freeze(&["features", "head"]).gradient, &plain, ROUNDING);
        assert!(relative_error(&flat(&between.gradient), &flat(&plain)) >= 1e-2);
        assert!(relative_error(&flat(&between.gradient), &flat(&all_head.gradient)) >= 1e-2);
    }
}

/// CAVIA is ANIL except for what the outer loop learns.
#[test]
fn cavia_leaves_the_start_of_its_context() {
    let case = mlp(6, 4);
    let cavia = Cavia { inner: InnerLoop::new(case.rate), context: "head".into() };
    let anil = Anil { inner: InnerLoop::new(case.rate), head: "head".into() };
    for strategy in STRATEGIES {
        let setup = by(strategy, 3);
        let (got, want) = (case.run(&cavia, setup), case.run(&anil, setup));
        assert!(got.gradient.names().iter().all(|name| !name.starts_with("head")));
        let others = want.gradient.filter(|name| !name.starts_with("head"));
        assert_same("gradient", &got.gradient, &others, ROUNDING);
        assert_same("fast", &got.fast, &want.fast, ROUNDING);
        assert_eq!(case.learner(&cavia, setup).learned(), got.gradient.names());
    }
}

#[test]
fn boil_is_maml_with_a_frozen_head() {
    let case = mlp(6, 4);
    let boil = |head: &str| Boil { inner: InnerLoop::new(case.rate), head: head.into() };
    for strategy in STRATEGIES {
        let setup = by(strategy, 3);
        let no_head = case.run(&boil("nothing is called this"), setup);
        assert_results("no head", &no_head, &case.run(&maml(case.rate), setup), ROUNDING);
        let plain = case.run(&maml(case.rate), by(strategy, 0)).gradient;
        let all_head = case.run(&boil(""), setup);
        assert_same("all head", &all_head.gradient, &plain, ROUNDING);
        let inner = frozen(case.rate, &["head"]);
        let between = case.run(&boil("head"), setup);
        let freeze = case.run(&Maml { inner }, setup);
        assert_results("frozen head", &freeze, &between, ROUNDING);
    }
}

/// The first step moves each weight by its rate, and the gradient is that of the query loss at the end point, since the
/// derivative of the sign is zero.
#[test]
fn sign_maml_moves_by_the_rate() {
    let case = mlp(6, 4);
    let sign = SignMaml { inner: InnerLoop::new(0.01) };
    for strategy in STRATEGIES {
        let got = case.run(&sign, by(strategy, 1));
        for (name, phi) in got.fast.iter() {
            let moved = phi.iter().zip(case.theta[name].iter()).map(|(phi, theta)| phi - theta);
            assert!(moved.map(f64::abs).all(|by| (by - 0.01).abs() <= 1e-12), "{name}");
        }
        let mut there = mlp(6, 4);
        there.theta.clone_from(&got.fast);
        let want = there.run(&maml(case.rate), by(strategy, 0)).gradient;
        assert_same("gradient", &got.gradient, &want, ROUNDING);
    }
}

/// Omitting nothing is MAML, omitting everything first-order MAML; in between it is neither.
#[test]
fn truncated_and_binomial_lie_between_fomaml_and_maml() {
    let case = mlp(6, 4);
    let inner = || InnerLoop::new(case.rate);
    let steps = 4;
    for strategy in STRATEGIES {
        let setup = by(strategy, steps);
        let (exact, first) =
            (case.run(&maml(case.rate), setup), case.run(&Fomaml { inner: inner() }, setup));
        let families: [&dyn Fn(usize) -> Box<dyn Algorithm>; 2] =
            [&|last| Box::new(TruncatedMaml { inner: inner(), last }), &|degree| {
                Box::new(BinomMaml { inner: inner(), degree })
            }];
        for family in families {
            let run = |kept| case.run(family(kept).as_ref(), setup);
            assert_results("none", &run(0), &first, ROUNDING);
            assert_results("all", &run(steps), &exact, ROUNDING);
            assert_results("more than all", &run(steps + 3), &exact, ROUNDING);
            let off = |kept| relative_error(&flat(&run(kept).gradient), &flat(&exact.gradient));
            assert!(off(1) >= 1e-3 && off(3) >= 1e-6 && off(3) <= off(1), "{strategy:?}");
        }
        // With one step they are the same.
        let one = by(strategy, 1);
        let truncated = case.run(&TruncatedMaml { inner: inner(), last: 1 }, one);
        let binomial = case.run(&BinomMaml { inner: inner(), degree: 1 }, one);
        assert_results("one step", &truncated, &binomial, ROUNDING);
    }
}

/// A window of one is MAML to the bit, and a window of all steps is a single step with the sum of the rates; in
/// between, each has its stated cost.
#[test]
fn windows_reach_from_maml_to_one_big_step() {
    let case = mlp(6, 4);
    let inner = || InnerLoop::new(case.rate);
    let steps = 6;
    for strategy in STRATEGIES {
        let setup = by(strategy, steps);
        let exact = case.run(&maml(case.rate), setup);
        for sharing in [Sharing::None, Sharing::Forward(1), Sharing::Backward(1)] {
            let got = case.run(&multi_step(inner(), sharing, 0.0), setup);
            assert_results("window of 1", &got, &exact, 0.0);
        }
        let big = maml(case.rate * steps as f64);
        let one = case.run(&big, by(strategy, 1));
        for window in [steps, steps + 1] {
            let got = case.run(&multi_step(inner(), Sharing::Forward(window), 0.0), setup);
            assert_same("one big step", &got.gradient, &one.gradient, ROUNDING);
            assert_same("one big step", &got.fast, &one.fast, ROUNDING);
        }
        let backward = case.run(&multi_step(inner(), Sharing::Backward(2), 0.0), setup);
        assert_same("the exact trajectory", &backward.fast, &exact.fast, 0.0);
        let first = case.run(&Fomaml { inner: inner() }, setup).gradient;
        let off = |g: &Params<Tensor>| relative_error(&flat(g), &flat(&exact.gradient));
        assert!(off(&backward.gradient) >= 1e-6 && off(&backward.gradient) <= off(&first));
    }
    let counts =
        |algorithm: &dyn Algorithm| case.learner(algorithm, Setup::new(steps)).derivatives();
    let of = |gradients, hessian_products| Derivatives { gradients, hessian_products };
    assert_eq!(counts(&maml(case.rate)), of(7, 6));
    assert_eq!(counts(&Fomaml { inner: inner() }), of(7, 0));
    assert_eq!(counts(&multi_step(inner(), Sharing::Forward(3), 0.0)), of(3, 2));
    assert_eq!(counts(&multi_step(inner(), Sharing::Forward(4), 0.0)), of(3, 2));
    assert_eq!(counts(&multi_step(inner(), Sharing::Backward(3), 0.0)), of(7, 2));
    assert_eq!(counts(&TruncatedMaml { inner: inner(), last: 2 }), of(7, 2));
    assert_eq!(counts(&BinomMaml { inner: inner(), degree: 2 }), of(7, 10));
    assert_eq!(counts(&HfMaml { inner: inner(), epsilon: 0.1 }), of(19, 0));
}

/// The error of the differences falls with the square of their length, and a difference along a zero vector is
/// harmless: at a stationary point of the query loss the gradient is zero, not undefined.
#[test]
fn differences_approach_maml() {
    for case in [mlp(6, 4), normalised(3)] {
        for strategy in STRATEGIES {
            let setup = by(strategy, 3);
            let exact = case.run(&maml(case.rate), setup);
            let off = |epsilon| {
                let got = case.run(&HfMaml { inner: InnerLoop::new(case.rate), epsilon }, setup);
                assert_same("fast", &got.fast, &exact.fast, 0.0);
                relative_error(&flat(&got.gradient), &flat(&exact.gradient))
            };
            let (coarse, fine) = (off(1e-1), off(1e-2));
            assert!(coarse <= 1e-2 && fine <= 1e-4, "{coarse}, {fine}");
            let order = (coarse / fine).log10();
            assert!((1.9..2.1).contains(&order), "{}: order {order}", case.name);
        }
    }
    let case = mlp(1, 1);
    let hf = HfMaml { inner: InnerLoop::new(case.rate), epsilon: 1e-2 };
    for strategy in STRATEGIES {
        let learner = case.learner(&hf, by(strategy, 1));
        let meta = case.meta(&hf, 1);
        let mut task = case.task(0);
        // The expected answer is the predicted one.
        task.query[1] = run(&learner, &meta, &task).output;
        assert_eq!(norm(&run(&learner, &meta, &task).gradient), 0.0);
    }
}

/// With equal rates all three take the same steps, and the gradient of a rate is the sum of those of the rates it
/// stands for.
#[test]
fn meta_sgd_and_learned_rates_are_maml_in_theta() {
    let case = mlp(6, 4);
    let inner = InnerLoop::new(case.rate);
    for strategy in STRATEGIES {
        let setup = by(strategy, 3);
        let plain = case.run(&maml(case.rate), setup);
        let per_step = case.run(&learned(Maml { inner: inner.clone() }), setup);
        let per_element = case.run(&MetaSgd { inner: inner.clone() }, setup);
        for (name, other) in [("learned rates", &per_step), ("meta-sgd", &per_element)] {
            assert_same(name, &of_theta(&other.gradient), &plain.gradient, ROUNDING);
            assert_same(name, &other.fast, &plain.fast, ROUNDING);
        }
        let total = |from: &Params<Tensor>| {
            case.theta.map_named(|name, _| {
                let sum = from[&rate_name(name)].iter().sum();
                Tensor::scalar(Dtype::F64, sum)
            })
        };
        let (by_step, by_element) = (total(&per_step.gradient), total(&per_element.gradient));
        assert!(norm(&by_step) >= 1e-3, "a degenerate problem");
        assert_same("sums of rates' gradients", &by_element, &by_step, 1e-10);
    }
}

/// Factors of one give MAML; and a common scale of a tensor's gradient is contained in each of its factors, so the
/// trace of a factor's gradient is that scale's gradient.
#[test]
fn meta_curvature_starts_as_maml() {
    for case in [mlp(6, 4), conv()] {
        for strategy in STRATEGIES {
            let setup = by(strategy, 3);
            let plain = case.run(&maml(case.rate), setup);
            let got = case.run(&MetaCurvature { inner: InnerLoop::new(case.rate) }, setup);
            assert_same("θ", &of_theta(&got.gradient), &plain.gradient, 1e-11);
            assert_same("fast", &got.fast, &plain.fast, ROUNDING);
            let rates = MetaSgd { inner: InnerLoop::new(case.rate) };
            let by_element = case.run(&rates, setup).gradient;
            let mut modes = 0;
            for (name, factor) in got.gradient.iter().filter(|(name, _)| name.contains(".mode")) {
                let (tensor, _) = name.split_once(".mode").expect("a mode");
                let tensor = tensor.strip_prefix("curvature.").expect("a factor");
                let n = factor.shape()[0];
                let trace: f64 = (0..n).map(|i| factor.get(i * n + i)).sum();
                let scale: f64 = by_element[&rate_name(tensor)].iter().sum::<f64>() * case.rate;
                assert!(
                    (trace - scale).abs() <= 1e-10 * scale.abs().max(1e-2),
                    "{name}: {trace}, {scale}"
                );
                modes += 1;
            }
            assert!(modes >= 6, "{modes} modes");
        }
    }
}

#[test]
fn reptile_is_the_inner_gradient_at_one_step() {
    let case = mlp(6, 6);
    let reptile = Reptile { inner: InnerLoop::new(case.rate), optimizer: InnerOptimizer::Sgd };
    for strategy in STRATEGIES {
        let none = case.run(&reptile, by(strategy, 0));
        assert_eq!(norm(&none.gradient), 0.0, "no step, no displacement");
        // ∇L_S(θ) is the query gradient of a task that is evaluated on its support set.
        let mut task = case.task(0);
        task.query.clone_from(&task.support);
        let plain = maml(case.rate);
        let learner = case.learner(&plain, by(strategy, 0));
        let gradient = run(&learner, &case.meta(&plain, 0), &task).gradient;
        let want = gradient
            .map(|g| Tensor::from_f64(g.shape(), g.iter().map(|x| case.rate * x).collect()));
        assert_same("one step", &case.run(&reptile, by(strategy, 1)).gradient, &want, 1e-11);
    }
}

#[test]
fn a_minibatch_of_everything_is_the_support_set() {
    for strategy in STRATEGIES {
        let case = mlp(6, 4);
        for (name, algorithm) in algorithms(case.rate) {
            let setup = by(strategy, 3);
            let want = case.run(algorithm.as_ref(), setup);
            for batch in [6, 100] {
                let got = case.run(algorithm.as_ref(), Setup { batch: Some(batch), ..setup });
                assert_results(name, &got, &want, 0.0);
            }
            let got = case.run(algorithm.as_ref(), Setup { batch: Some(5), ..setup });
            if got.fast.is_empty() {
                continue;
            }
            assert!(relative_error(&flat(&got.fast), &flat(&want.fast)) >= 1e-4, "{name}");
        }
    }
}

/// Requesting all losses adds the support loss at φ_K and changes nothing else.
#[test]
fn all_losses_only_add_one() {
    let case = mlp(6, 4);
    for (name, algorithm) in algorithms(case.rate) {
        let algorithm = algorithm.as_ref();
        if !adapts_as_trained(algorithm) {
            continue;
        }
        let adapter = Adapter::new(case.problem.as_ref(), algorithm, (3, 4), None);
        let mut evaluation = StepLosses::default();
        let meta = case.meta(algorithm, 3);
        let mut worker = adapter.worker(Dtype::F64);
        case.task(0).with(|data| adapter.run(&mut worker, &meta, data, &mut evaluation, |_| {}));
        for strategy in STRATEGIES {
            let setup = by(strategy, 3);
            let fewer = case.run(algorithm, setup);
            let mut more = case.run(algorithm, Setup { losses: Losses::All, ..setup });
            assert_eq!((fewer.support_losses.len(), more.support_losses.len()), (3, 4));
            let last = more.support_losses.pop().expect("not empty");
            assert!((last - evaluation.support_losses[3]).abs() <= 1e-12, "{name}: {last}");
            assert_results(name, &more, &fewer, ROUNDING);
        }
    }
}

/// Exact, with a state that is passed from task to task.
struct Stateful(Reptile);

impl Algorithm for Stateful {
    fn name(&self) -> &str {
        "stateful"
    }

    fn adapts(&self, name: &str) -> bool {
        self.0.adapts(name)
    }

    fn rates(&self, adapted: &Params<Vec<usize>>, steps: usize) -> Params<Tensor> {
        self.0.rates(adapted, steps)
    }

    fn learns_rates(&self) -> bool {
        false
    }

    fn state(&self, adapted: &Params<Vec<usize>>) -> Params<Vec<usize>> {
        self.0.state(adapted)
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        self.0.advance(step)
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}

#[test]
#[should_panic(expected = "stateful: a meta-gradient through a state that outlives the task")]
fn an_exact_algorithm_with_a_state_that_is_kept_is_refused() {
    let case = mlp(6, 4);
    let optimizer = InnerOptimizer::Adam { beta2: 0.9, eps: 1e-3 };
    let reptile = Reptile { inner: InnerLoop::new(case.rate), optimizer };
    Learner::new(case.problem.as_ref(), &Stateful(reptile), Setup::new(2));
}

/// The comparison behind these tests rejects NaN, and a tensor that is off.
#[test]
fn the_comparison_can_fail() {
    let case = mlp(6, 4);
    let good = case.run(&maml(case.rate), Setup::new(1));
    let refused = |spoil: fn(&mut Tensor)| {
        let mut bad = good.clone();
        spoil(&mut bad.gradient.values_mut()[1]);
        std::panic::catch_unwind(|| assert_results("spoilt", &bad, &good, 1e-3)).is_err()
    };
    assert!(refused(|x| x.set(0, f64::NAN)));
    assert!(refused(|x| x.set(0, x.get(0) + 0.1)));
    assert!(!refused(|_| {}));
}
