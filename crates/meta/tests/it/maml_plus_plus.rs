//! MAML++: what its parts change compared with MAML and first-order MAML, and its schedules.

use innerloop_engine::Params;
use innerloop_engine::check::relative_error;
use innerloop_meta::algorithms::{Fomaml, Imaml, InnerLoop, InnerOptimizer, MamlPlusPlus, Reptile};
use innerloop_meta::{Algorithm, Derivatives, RATE_PREFIX, Setup, Strategy, TaskResult};

use crate::algorithms::{learned, maml, plus_plus};
use crate::problems::{
    Case, STRATEGIES, assert_results, assert_same, by, flat, mlp, normalised, run,
};

const ROUNDING: f64 = 1e-12;

/// A result at a fraction `done` of training.
fn at(case: &Case, algorithm: &dyn Algorithm, setup: Setup, done: f64) -> TaskResult {
    let mut meta = case.meta(algorithm, setup.steps);
    meta.schedule(algorithm, done);
    run(&case.learner(algorithm, setup), &meta, &case.task(0))
}

#[test]
fn with_only_the_last_loss_it_is_maml() {
    for case in [mlp(6, 4), normalised(4)] {
        for strategy in STRATEGIES {
            let setup = by(strategy, 4);
            let want = case.run(&learned(maml(case.rate)), setup);
            let over = MamlPlusPlus::new(Box::new(learned(maml(case.rate))), 0.1, 0.05);
            assert_results("after both phases", &at(&case, &over, setup, 0.5), &want, ROUNDING);
            let none = MamlPlusPlus::new(Box::new(learned(maml(case.rate))), 0.0, 0.0);
            assert_results("without phases", &at(&case, &none, setup, 0.0), &want, 0.0);
            let early = at(&case, &over, setup, 0.0).gradient;
            assert!(relative_error(&flat(&early), &flat(&want.gradient)) >= 1e-2, "it matters");
        }
    }
    for case in [mlp(6, 4), normalised(1)] {
        for strategy in STRATEGIES {
            let want = case.run(&learned(maml(case.rate)), by(strategy, 1));
            let got = at(&case, plus_plus(learned(maml(case.rate))).as_ref(), by(strategy, 1), 0.0);
            assert_results("one step", &got, &want, 0.0);
        }
    }
}

/// The meta-gradient is the weighted sum of those of MAML with fewer steps; the reported loss is that of the last step.
#[test]
fn a_multi_step_gradient_is_the_sum_of_those_of_its_steps() {
    let (case, steps) = (mlp(6, 4), 4);
    let algorithm = MamlPlusPlus::new(Box::new(maml(case.rate)), 0.4, 0.0);
    for done in [0.0, 0.1, 0.399] {
        let weights = algorithm.loss_weights(steps, done).unwrap();
        for strategy in STRATEGIES {
            let got = at(&case, &algorithm, by(strategy, steps), done);
            let parts: Vec<Params<_>> =
                (1..=steps).map(|k| case.run(&maml(case.rate), by(strategy, k)).gradient).collect();
            let want = got.gradient.map_named(|name, x| {
                let element = |i| weights.iter().zip(&parts).map(|(w, g)| w * g[name].get(i)).sum();
                innerloop_engine::Tensor::from_f64(x.shape(), (0..x.len()).map(element).collect())
            });
            assert_same("sum", &got.gradient, &want, ROUNDING);
            let last = case.run(&maml(case.rate), by(strategy, steps)).query_loss;
            assert!((got.query_loss - last).abs() <= ROUNDING, "{} {last}", got.query_loss);
        }
    }
}

#[test]
fn annealing_goes_from_first_order_to_second() {
    for case in [mlp(6, 4), normalised(3)] {
        for strategy in STRATEGIES {
            let setup = by(strategy, 3);
            let theta =
                |result: TaskResult| result.gradient.filter(|n| !n.starts_with(RATE_PREFIX));
            let annealed = MamlPlusPlus::new(Box::new(learned(maml(case.rate))), 0.0, 0.5);
            let fomaml = Fomaml { inner: InnerLoop::new(case.rate) };
            let first = theta(case.run(&fomaml, setup));
            let before = at(&case, &annealed, setup, 0.49);
            assert_same("before", &theta(before.clone()), &first, ROUNDING);
            let rates = before.gradient.filter(|name| name.starts_with(RATE_PREFIX));
            assert!(flat(&rates).iter().all(|x| x != 0.0), "rates are learned all the same");
            let exact = case.run(&learned(maml(case.rate)), setup);
            assert_results("after", &at(&case, &annealed, setup, 0.5), &exact, ROUNDING);
            assert!(relative_error(&flat(&first), &flat(&theta(exact))) >= 1e-2, "it matters");
        }
    }
}

#[test]
fn weights_follow_the_schedule() {
    let algorithm = MamlPlusPlus::new(Box::new(maml(0.1)), 0.2, 0.0);
    let close = |got: &[f64], want: &[f64]| {
        assert_eq!(got.len(), want.len());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12;
        assert!(got.iter().zip(want).all(near), "{got:?}, expected {want:?}");
    };
    let weights = |done| algorithm.loss_weights(5, done).unwrap();
    close(&weights(0.0), &[0.2; 5]);
    close(&weights(0.1), &[0.1, 0.1, 0.1, 0.1, 0.6]);
    close(&weights(0.1999), &[0.006, 0.006, 0.006, 0.006, 0.976]);
    close(&weights(0.2), &[0.0, 0.0, 0.0, 0.0, 1.0]);
    for i in 0..=100 {
        let sum: f64 = weights(f64::from(i) / 100.0).iter().sum();
        assert!((sum - 1.0).abs() <= 1e-12, "{sum}");
    }
    assert_eq!(algorithm.loss_weights(1, 0.0), None);
}

#[test]
fn every_loss_costs_a_gradient() {
    let case = mlp(6, 4);
    let algorithm = plus_plus(maml(case.rate));
    let derivatives = case.learner(algorithm.as_ref(), Setup::new(3)).derivatives();
    assert_eq!(derivatives, Derivatives { gradients: 6, hessian_products: 3 });
}

#[test]
#[should_panic(expected = "the steps before the last have no query loss")]
fn reptile_has_no_losses_to_weigh() {
    let case = mlp(6, 4);
    let inner = InnerLoop::new(case.rate);
    let reptile = Reptile { inner, optimizer: InnerOptimizer::Sgd };
    case.learner(plus_plus(reptile).as_ref(), by(Strategy::Adjoint, 2));
}

#[test]
#[should_panic(expected = "the steps before the last have no query loss")]
fn an_implicit_gradient_is_of_the_last_loss() {
    let case = mlp(6, 4);
    let inner = InnerLoop::new(case.rate);
    let imaml = Imaml { inner, proximal: 1.0, iterations: 1, damping: 0.0 };
    case.learner(plus_plus(imaml).as_ref(), by(Strategy::Adjoint, 2));
}
