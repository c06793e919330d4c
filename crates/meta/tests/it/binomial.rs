//! BinomMAML's step-by-step recursion: what it costs, and the gradients of learned rates.

use innerloop_engine::check::relative_error;
use innerloop_engine::{Dtype, Params, Tensor};
use innerloop_meta::algorithms::{BinomMaml, Distance, InnerLoop, Role, Shot};
use innerloop_meta::{Algorithm, RATE_PREFIX, Setup, Sharing, Strategy, rate_name};

use crate::algorithms::{learned, maml, plus_plus, windowed};
use crate::problems::{Case, STRATEGIES, assert_same, by, classes, flat, mlp};

fn binomial(case: &Case, degree: usize) -> BinomMaml {
    BinomMaml { inner: InnerLoop::new(case.rate), degree }
}

/// `L (K − L + 1)`, with no more Hessians in a term than there are steps.
fn products(steps: usize, degree: usize) -> usize {
    let degree = degree.min(steps);
    degree * (steps - degree + 1)
}

#[test]
fn products_are_those_that_count() {
    let case = mlp(6, 4);
    let count = |algorithm: &dyn Algorithm, steps| {
        case.learner(algorithm, Setup::new(steps)).derivatives().hessian_products
    };
    for degree in 0..=7 {
        let binomial = || binomial(&case, degree);
        for steps in 0..=6 {
            assert_eq!(count(&binomial(), steps), products(steps, degree), "{degree} of {steps}");
            let all = plus_plus(binomial());
            assert_eq!(count(all.as_ref(), steps), products(steps, degree), "losses of all steps");
        }
        // A window has one Hessian, and SHOT's target of two steps two more.
        for sharing in [Sharing::Forward(2), Sharing::Backward(2)] {
            let windows = windowed(Box::new(binomial()), sharing);
            assert_eq!(count(windows.as_ref(), 7), products(4, degree), "{degree}, {sharing:?}");
        }
        let role = (Role::Reference, 2);
        let shot = Shot::new(Box::new(binomial()), 0.5, Distance::Outputs, role);
        assert_eq!(count(&shot, 4), products(4, degree) + products(2, degree), "{degree}");
    }
}

/// Arithmetic in matrix products grows in proportion to the stated number of Hessian products, by either strategy; with
/// as many Hessians as steps it is MAML's.
#[test]
fn programs_take_as_many_products_as_stated() {
    let (case, steps) = (mlp(6, 4), 5);
    for strategy in STRATEGIES {
        let flops = |algorithm: &dyn Algorithm| -> u64 {
            let learner = case.learner(algorithm, by(strategy, steps));
            let costs = learner.programs().into_iter();
            costs.map(|(_, cost, runs)| cost.product_flops * runs as u64).sum()
        };
        let of = |degree| flops(&binomial(&case, degree));
        assert_eq!(of(steps), flops(&maml(case.rate)), "{strategy:?}");
        assert_eq!(of(steps), of(1), "{strategy:?}: one product per step");
        let more = |degree: usize| of(degree) - of(1);
        assert!(more(2) > 0);
        let extra = |degree: usize| (products(steps, degree) - products(steps, 1)) as u64;
        for degree in [3, 4] {
            assert_eq!(more(degree) * extra(2), more(2) * extra(degree), "{strategy:?}, {degree}");
        }
    }
}

/// No more cotangents are kept than differ.
#[test]
fn orders_that_are_equal_take_no_memory() {
    let case = mlp(6, 4);
    let bytes = |algorithm: &dyn Algorithm| {
        let learner = case.learner(algorithm, by(Strategy::Adjoint, 5));
        learner.worker(Dtype::F64).bytes()
    };
    assert_eq!(bytes(&binomial(&case, 5)), bytes(&maml(case.rate)));
}

/// A rate meets the gradient of its own step and what comes after: `−⟨g_k, u_{k+1}⟩`, where `u_{k+1}` is the gradient of
/// the same degree for the inner loop from φ_{k+1} on.
#[test]
fn rates_meet_the_steps_after_their_own() {
    let cases: [(fn() -> Case, usize); 2] = [(|| mlp(6, 4), 4), (classes, 5)];
    for (case, steps) in cases {
        let (case, mut there) = (case(), case());
        let after = |k| case.run(&maml(case.rate), Setup::new(k)).fast;
        let places: Vec<Params<Tensor>> = (0..=steps).map(after).collect();
        for (degree, strategy) in
            (1..=steps).flat_map(|degree| STRATEGIES.map(|strategy| (degree, strategy)))
        {
            let algorithm = learned(binomial(&case, degree));
            let got = case.run(&algorithm, by(strategy, steps)).gradient;
            let later: Vec<Params<Tensor>> = (0..steps)
                .map(|k| {
                    there.theta.clone_from(&places[k + 1]);
                    there.run(&binomial(&case, degree), by(strategy, steps - k - 1)).gradient
                })
                .collect();
            let want = case.theta.map_named(|name, _| {
                let slope = |k: usize| {
                    let way = places[k][name].iter().zip(places[k + 1][name].iter());
                    let of_g = way.map(|(a, b)| (a - b) / case.rate);
                    -of_g.zip(later[k][name].iter()).map(|(g, u)| g * u).sum::<f64>()
                };
                Tensor::from_f64(&[steps], (0..steps).map(slope).collect())
            });
            let want = case.theta.names().iter().map(|name| (rate_name(name), want[name].clone()));
            let rates = got.filter(|name| name.starts_with(RATE_PREFIX));
            let name = format!("{}, {degree}, {strategy:?}", case.name);
            assert_same(&name, &rates, &want.collect(), 1e-10);
            let exact = case.run(&learned(maml(case.rate)), by(strategy, steps)).gradient;
            let off = relative_error(&flat(&got), &flat(&exact));
            assert!(degree == steps || off >= 1e-7, "{name}: {off}");
        }
    }
}
