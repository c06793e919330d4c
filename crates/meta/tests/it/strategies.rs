//! Both strategies give the same numbers, for every algorithm.

use innerloop_engine::Dtype;
use innerloop_meta::{Losses, MetaGradient, Setup, Strategy};

use crate::algorithms::{algorithms, maml};
use crate::identities::ROUNDING;
use crate::problems::{Case, STRATEGIES, assert_results, by, conv, mlp, norm, normalised, run};

fn assert_strategies_agree(case: &Case, setup: Setup) {
    let [unrolled, adjoint] = STRATEGIES.map(|strategy| Setup { strategy, ..setup });
    for (name, algorithm) in algorithms(case.rate) {
        let want = case.run(algorithm.as_ref(), unrolled);
        let got = case.run(algorithm.as_ref(), adjoint);
        let name = format!("{}, {name}, {} steps", case.name, setup.steps);
        let still = algorithm.meta_gradient() == MetaGradient::Displacement && setup.steps == 0;
        assert!(still || norm(&want.gradient) >= 1e-3, "{name}: a degenerate problem");
        assert_results(&name, &got, &want, ROUNDING);
    }
}

#[test]
fn strategies_agree_on_a_smooth_network() {
    for steps in [0, 1, 2, 5, 10] {
        assert_strategies_agree(&mlp(6, 4), Setup::new(steps));
        assert_strategies_agree(&normalised(steps), Setup::new(steps));
    }
}

#[test]
fn strategies_agree_on_minibatches_and_on_all_losses() {
    for steps in [1, 4] {
        let setup = Setup { batch: Some(3), losses: Losses::All, ..Setup::new(steps) };
        assert_strategies_agree(&mlp(7, 4), setup);
        assert_strategies_agree(&normalised(steps), setup);
    }
    // No steps, so no minibatch is ever taken.
    let setup = Setup { batch: Some(3), losses: Losses::All, ..Setup::new(0) };
    assert_strategies_agree(&mlp(7, 4), setup);
}

#[test]
fn strategies_agree_on_a_convolutional_network() {
    for steps in [0, 1, 2, 5] {
        assert_strategies_agree(&conv(), Setup::new(steps));
    }
    let case = conv();
    let [want, got] = STRATEGIES.map(|strategy| case.run(&maml(case.rate), by(strategy, 10)));
    assert_results("conv, 10 steps", &got, &want, ROUNDING);
}

/// If no step is read again, none is kept: fifty steps take as much memory as five.
#[test]
fn memory_grows_with_the_steps_that_are_read_again() {
    let case = mlp(6, 4);
    for (name, algorithm) in algorithms(case.rate) {
        let bytes = |steps| {
            let setup = by(Strategy::Adjoint, steps);
            case.learner(algorithm.as_ref(), setup).worker(Dtype::F64).bytes()
        };
        let kind = algorithm.meta_gradient();
        let keeps_nothing = matches!(
            kind,
            MetaGradient::FirstOrder | MetaGradient::Displacement | MetaGradient::Implicit { .. }
        ) && algorithm.loss_weights(5, 0.0).is_none();
        let grows = bytes(50) - bytes(5);
        // The rates of each step, and its one-hot row, are inputs, not values kept on the way.
        let of_inputs = 45 * 8 * 10;
        if keeps_nothing {
            assert!(grows <= of_inputs, "{name}: {grows}");
        } else if kind == MetaGradient::Exact {
            assert!(grows >= 8 * 45, "{name}: {grows}");
        }
    }
}

#[test]
fn the_automatic_strategy_is_one_of_the_two() {
    let case = mlp(6, 4);
    for (name, algorithm) in algorithms(case.rate) {
        let learner = case.learner(algorithm.as_ref(), Setup::new(3));
        let strategy = learner.strategy();
        assert!(STRATEGIES.contains(&strategy), "{name}: {strategy:?}");
        let got = run(&learner, &case.meta(algorithm.as_ref(), 3), &case.task(0));
        let want = case.run(algorithm.as_ref(), by(strategy, 3));
        assert_results(name, &got, &want, 0.0);
    }
}
