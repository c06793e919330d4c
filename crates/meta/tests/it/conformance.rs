//! One suite for all algorithms.

use innerloop_engine::{Dtype, Key, Params, Tensor};
use innerloop_meta::algorithms::{InnerLoop, Maml};
use innerloop_meta::outer::{Optimizer, OptimizerState};
use innerloop_meta::{
    Adapter, Algorithm, MetaGradient, MetaState, RATE_PREFIX, Setup, StepLosses, Strategy,
    TaskResult, is_of_inner_rule, minibatch,
};

use crate::algorithms::{adapts_as_trained, algorithms, learned, maml};
use crate::problems::{
    Case, STRATEGIES, Support, Task, assert_results, assert_same, by, conv, flat, mlp, normalised,
    quadratic, run, run_in,
};

pub(crate) fn bits(result: &TaskResult) -> Vec<u64> {
    let parts = [&result.gradient, &result.fast, &result.statistics, &result.inner_state];
    let tensors = parts.iter().flat_map(|p| p.values()).chain([&result.output]);
    let losses = result.support_losses.iter().copied().chain([result.query_loss]);
    tensors.flat_map(Tensor::iter).chain(losses).map(f64::to_bits).collect()
}

/// Query losses after `0..=steps` inner steps, and the fast weights at the end.
fn adapt(
    case: &Case,
    algorithm: &dyn Algorithm,
    (trained, steps): (usize, usize),
    meta: &MetaState,
    task: &Task,
) -> (StepLosses, Vec<Tensor>) {
    let adapter = Adapter::new(case.problem.as_ref(), algorithm, (trained, steps), None);
    let (mut evaluation, mut fast) = (StepLosses::default(), Vec::new());
    let mut worker = adapter.worker(Dtype::F64);
    task.with(|data| {
        adapter.run(&mut worker, meta, data, &mut evaluation, |at| fast = at.fast.to_vec());
    });
    (evaluation, fast)
}

/// Mean query loss after adaptation to tasks not used in training.
fn score(case: &Case, algorithm: &dyn Algorithm, steps: usize, meta: &MetaState) -> f64 {
    let one = |i| adapt(case, algorithm, (steps, steps), meta, &case.task(i)).0.query_losses[steps];
    (1000..1008).map(one).sum::<f64>() / 8.0
}

/// Thirty outer steps of Adam, four tasks each.
fn train(case: &Case, algorithm: &dyn Algorithm, setup: Setup) -> MetaState {
    let learner = case.learner(algorithm, setup);
    let mut meta = case.meta(algorithm, setup.steps);
    let learned = meta.omega.filter(|name| learner.learned().iter().any(|other| other == name));
    let mut state = OptimizerState::new(&learned);
    let adam = Optimizer::Adam {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: false,
    };
    let mut worker = learner.worker(Dtype::F64);
    for iteration in 0..30 {
        let mut mean = learned.map(|x| Tensor::zeros(Dtype::F64, x.shape()));
        let mut inner_state = meta.inner_state.map(|x| Tensor::zeros(Dtype::F64, x.shape()));
        for i in 0..4 {
            let task = case.task(4 * iteration + i);
            let result = run_in(&learner, &mut worker, &meta, &task, Dtype::F64);
            for (sum, x) in [(&mut mean, result.gradient), (&mut inner_state, result.inner_state)] {
                *sum = sum.zip_map(&x, |sum, x| {
                    let all = sum.iter().zip(x.iter()).map(|(sum, x)| sum + 0.25 * x);
                    Tensor::from_f64(sum.shape(), all.collect())
                });
            }
        }
        adam.step(&mut meta.omega, &mean, 0.01, &mut state);
        if algorithm.keeps_state() {
            meta.inner_state = inner_state;
        }
    }
    meta
}

#[test]
fn training_helps() {
    let case = mlp(10, 10);
    for (name, algorithm) in algorithms(case.rate) {
        let algorithm = algorithm.as_ref();
        let setup = Setup::new(2);
        let before = score(&case, algorithm, 2, &case.meta(algorithm, 2));
        let trained = train(&case, algorithm, setup);
        let after = score(&case, algorithm, 2, &trained);
        assert!(after <= 0.95 * before, "{name}: {before} before training, {after} after");
        let again = train(&case, algorithm, setup);
        assert_eq!(trained.omega, again.omega, "{name}: the same seed, the same bits");
    }
}

#[test]
fn a_run_leaves_nothing_behind() {
    for case in [mlp(6, 4), normalised(2)] {
        for (name, algorithm) in algorithms(case.rate) {
            for (strategy, batch) in [
                (Strategy::Unrolled, None),
                (Strategy::Adjoint, None),
                (Strategy::Unrolled, Some(3)),
                (Strategy::Adjoint, Some(3)),
            ] {
                let setup = Setup { batch, ..by(strategy, 2) };
                let learner = case.learner(algorithm.as_ref(), setup);
                let again = case.learner(algorithm.as_ref(), setup);
                let meta = case.meta(algorithm.as_ref(), 2);
                let mut elsewhere = meta.clone();
                elsewhere.inner_state =
                    meta.inner_state.map(|x| Tensor::full(Dtype::F64, x.shape(), 0.5));
                let (task, other) = (case.task(0), case.task(1));
                let lost = task.map(|x| Tensor::full(Dtype::F64, x.shape(), f64::NAN));
                let mut worker = learner.worker(Dtype::F64);
                let mut result = learner.result(Dtype::F64);
                let mut run = |meta: &MetaState, task: &Task| {
                    task.with(|data| learner.run(&mut worker, meta, data, &mut result));
                    bits(&result)
                };
                let name = format!("{}, {name}, {setup:?}", case.name);
                let first = run(&meta, &task);
                assert_ne!(run(&elsewhere, &other), first, "{name}: another task");
                assert_eq!(run(&meta, &task), first, "{name}: after another task");
                assert_ne!(run(&meta, &lost), first, "{name}: not a number");
                assert_eq!(run(&meta, &task), first, "{name}: after not a number");
                let mut fresh = again.result(Dtype::F64);
                let mut memory = again.worker(Dtype::F64);
                task.with(|data| again.run(&mut memory, &meta, data, &mut fresh));
                assert_eq!(bits(&fresh), first, "{name}: compiled again");
            }
        }
    }
}

#[test]
fn threads_share_a_learner() {
    let case = mlp(6, 4);
    for strategy in STRATEGIES {
        let algorithm = maml(case.rate);
        let learner = case.learner(&algorithm, by(strategy, 3));
        let meta = case.meta(&algorithm, 3);
        let tasks: Vec<Task> = (0..4).map(|i| case.task(i)).collect();
        let alone: Vec<_> = tasks.iter().map(|task| bits(&run(&learner, &meta, task))).collect();
        let (learner, meta) = (&learner, &meta);
        let together: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                tasks.iter().map(|task| scope.spawn(|| bits(&run(learner, meta, task)))).collect();
            threads.into_iter().map(|t| t.join().expect("a thread does not panic")).collect()
        });
        assert_eq!(together, alone, "{strategy:?}");
    }
}

#[test]
fn few_steps_and_few_examples() {
    for case in [mlp(1, 1), mlp(1, 5), quadratic(1, Support::Quadratic)] {
        for (name, algorithm) in algorithms(case.rate) {
            for steps in [0, 1] {
                let [want, got] =
                    STRATEGIES.map(|strategy| case.run(algorithm.as_ref(), by(strategy, steps)));
                let name = format!("{}, {name}, {steps} steps", case.name);
                assert_eq!(got.support_losses.len(), steps, "{name}");
                assert_results(&name, &got, &want, 1e-12);
                if steps == 0 {
                    let start = case.theta.filter(|name| got.fast.get(name).is_some());
                    assert_eq!(got.fast, start, "{name}: nothing moves");
                }
            }
        }
    }
}

#[test]
fn single_precision_is_close_to_double() {
    for case in [mlp(6, 4), normalised(3), conv()] {
        for (name, algorithm) in algorithms(case.rate) {
            for strategy in STRATEGIES {
                let learner = case.learner(algorithm.as_ref(), by(strategy, 3));
                let meta = case.meta(algorithm.as_ref(), 3);
                let want = run(&learner, &meta, &case.task(0));
                let single = |x: &Tensor| x.cast(Dtype::F32);
                let meta = MetaState {
                    omega: meta.omega.map(single),
                    carried: meta.carried.map(single),
                    inner_state: meta.inner_state.map(single),
                    scheduled: meta.scheduled.map(single),
                };
                let task = case.task(0).map(single);
                let mut worker = learner.worker(Dtype::F32);
                let mut got = run_in(&learner, &mut worker, &meta, &task, Dtype::F32);
                let parts = [&mut got.gradient, &mut got.fast, &mut got.statistics];
                for part in parts.into_iter().chain([&mut got.inner_state]) {
                    assert!(part.values().iter().all(|x| x.dtype() == Dtype::F32), "{name}");
                    *part = part.map(|x| x.cast(Dtype::F64));
                }
                let name = format!("{}, {name}, {strategy:?}", case.name);
                assert_results(&name, &got, &want, 1e-3);
            }
        }
    }
}

#[test]
fn adaptation_is_the_inner_loop_of_training() {
    let steps = 3;
    for case in [mlp(6, 4), normalised(steps), conv()] {
        for (name, algorithm) in algorithms(case.rate) {
            let algorithm = algorithm.as_ref();
            if !adapts_as_trained(algorithm) {
                continue;
            }
            let meta = case.meta(algorithm, steps);
            let task = case.task(0);
            let (evaluation, fast) = adapt(&case, algorithm, (steps, steps), &meta, &task);
            assert_eq!(evaluation.query_losses.len(), steps + 1);
            for strategy in STRATEGIES {
                let want = run(&case.learner(algorithm, by(strategy, steps)), &meta, &task);
                let name = format!("{}, {name}, {strategy:?}", case.name);
                assert_same(&name, &want.fast.with_values(fast.clone()), &want.fast, 1e-12);
                let row = |x: &[f64]| Tensor::from_f64(&[x.len()], x.to_vec());
                let (got, losses) = (&evaluation.support_losses, &want.support_losses);
                let close = innerloop_engine::check::relative_error(&row(got), &row(losses));
                assert!(close <= 1e-12, "{name}: {got:?} and {losses:?}");
                let (got, loss) = (evaluation.query_losses[steps], want.query_loss);
                match algorithm.meta_gradient() {
                    MetaGradient::Displacement => assert!(loss.is_nan() && got.is_finite()),
                    _ => assert!((got - loss).abs() <= 1e-12 * loss.abs(), "{name}: {got}, {loss}"),
                }
            }
        }
    }
}

#[test]
fn adaptation_on_minibatches_is_that_of_training() {
    let case = mlp(7, 4);
    let algorithm = maml(case.rate);
    let meta = case.meta(&algorithm, 4);
    let adapter = Adapter::new(case.problem.as_ref(), &algorithm, (4, 9), Some(3));
    let mut worker = adapter.worker(Dtype::F64);
    let (mut evaluation, mut fast) = (StepLosses::default(), Vec::new());
    case.task(0).with(|data| {
        adapter.run(&mut worker, &meta, data, &mut evaluation, |at| {
            if at.k == 4 {
                fast = at.fast.to_vec();
            }
        });
    });
    let setup = Setup { batch: Some(3), ..Setup::new(4) };
    let want = case.run(&algorithm, setup).fast;
    assert_same("fast weights", &want.with_values(fast), &want, 1e-12);
    assert!(evaluation.query_losses.iter().all(|loss| loss.is_finite()));
}

/// Steps beyond those trained use the last step's rate; so do steps of a learner trained with none.
#[test]
fn longer_adaptation_repeats_the_last_rate() {
    let case = mlp(6, 4);
    let algorithm = learned(Maml { inner: InnerLoop::new(case.rate) });
    let with_rates = |rates: &[f64]| {
        let mut meta = case.meta(&algorithm, rates.len());
        let names = meta.omega.names().to_vec();
        for (name, value) in names.iter().zip(meta.omega.values_mut()) {
            if name.starts_with(RATE_PREFIX) {
                *value = Tensor::from_f64(&[rates.len()], rates.to_vec());
            }
        }
        adapt(&case, &algorithm, (rates.len(), 5), &meta, &case.task(0))
    };
    let (short, short_fast) = with_rates(&[0.05, 0.2]);
    let (long, long_fast) = with_rates(&[0.05, 0.2, 0.2, 0.2, 0.2]);
    let (other, _) = with_rates(&[0.05, 0.2, 0.05, 0.05, 0.05]);
    assert_eq!(short.query_losses, long.query_losses);
    assert_eq!(short_fast, long_fast);
    assert_ne!(short.query_losses, other.query_losses, "rates matter");
    for (name, algorithm) in algorithms(case.rate) {
        let meta = case.meta(algorithm.as_ref(), 0);
        let (untrained, fast) = adapt(&case, algorithm.as_ref(), (0, 3), &meta, &case.task(0));
        assert_eq!(untrained.query_losses.len(), 4, "{name}");
        assert!(fast.iter().all(Tensor::is_finite), "{name}");
    }
}

#[test]
fn minibatches_go_through_the_examples() {
    let key = Key::new(5).at(3, 1);
    for (examples, batch) in [(5, 5), (6, 2), (7, 3), (5, 4), (1, 1), (3, 7)] {
        let passes = 6;
        let steps = (passes * examples) / batch;
        let drawn: Vec<usize> =
            (0..steps).flat_map(|step| minibatch(key, examples, batch, step)).collect();
        assert_eq!(drawn.len(), steps * batch);
        let mut orders = Vec::new();
        for pass in drawn.chunks_exact(examples) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..examples), "{examples}, {batch}: {pass:?}");
            orders.push(pass);
        }
        if examples > 4 {
            assert!(orders.windows(2).any(|pair| pair[0] != pair[1]), "passes are shuffled anew");
        }
        // A pure function of its arguments: steps may be requested in any order.
        let again = minibatch(key, examples, batch, steps - 1);
        assert_eq!(again, drawn[drawn.len() - batch..]);
    }
    let other =
        (0..4).any(|task| minibatch(key.at(3, task + 2), 9, 9, 0) != minibatch(key, 9, 9, 0));
    assert!(other, "tasks have orders of their own");
}

/// The learned names are those of the gradient, and the values are in the right places.
#[test]
fn gradients_have_the_structure_of_what_is_learned() {
    let case = mlp(6, 4);
    for (name, algorithm) in algorithms(case.rate) {
        for strategy in STRATEGIES {
            let learner = case.learner(algorithm.as_ref(), by(strategy, 2));
            let result = run(&learner, &case.meta(algorithm.as_ref(), 2), &case.task(0));
            let meta = case.meta(algorithm.as_ref(), 2);
            assert_eq!(result.gradient.names(), learner.learned(), "{name}");
            let fits = |(of, g): (&str, &Tensor)| g.shape() == meta.omega[of].shape();
            assert!(result.gradient.iter().all(fits), "{name}");
            let rates = learner.learned().iter().any(|name| is_of_inner_rule(name));
            assert_eq!(rates, algorithm.learns_rates(), "{name}");
            assert!(!learner.programs().is_empty() && !learner.graphs().is_empty(), "{name}");
            assert!(flat(&result.gradient).is_finite(), "{name}");
        }
    }
}

#[test]
#[should_panic(expected = "belongs to another learner")]
fn a_worker_of_another_strategy_is_refused() {
    let case = mlp(6, 4);
    let algorithm = maml(case.rate);
    let [a, b] = STRATEGIES.map(|strategy| case.learner(&algorithm, by(strategy, 1)));
    let meta = case.meta(&algorithm, 1);
    run_in(&a, &mut b.worker(Dtype::F64), &meta, &case.task(0), Dtype::F64);
}

/// Initial values: rates as the algorithm says, variances one, everything else carried zero.
#[test]
fn a_run_starts_from_these_values() {
    let case = normalised(2);
    let algorithm = maml(case.rate);
    let meta = MetaState::new(
        case.problem.as_ref(),
        &algorithm,
        2,
        case.theta.map(|x| x.cast(Dtype::F32)),
    );
    assert!(meta.omega.values().iter().all(|x| x.dtype() == Dtype::F32));
    assert_eq!(meta.carried["shift"], Tensor::zeros(Dtype::F32, &[3, 4]));
    assert_eq!(meta.omega.names().len(), 8);
    let none: Params<Tensor> = Params::new();
    assert_eq!(meta.inner_state, none);
}
