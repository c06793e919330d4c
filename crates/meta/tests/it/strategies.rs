//! Both strategies give the same numbers, for every algorithm.

use innerloop_meta::{Losses, MetaGradient, Setup};

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
    // No step, so no minibatch is ever taken.
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
