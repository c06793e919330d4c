//! Tasks that run together, for every algorithm.

use innerloop_engine::{Dtype, Tensor};
use innerloop_meta::{Grouping, Losses, Setup};

use crate::algorithms::{algorithms, maml};
use crate::conformance::bits;
use crate::problems::{
    STRATEGIES, Support, Task, assert_results, by, conv, mlp, quadratic, run, run_group,
};

/// Every value in a group's result equals what the task gives on its own.
#[test]
fn tasks_together_are_tasks_one_by_one() {
    for case in [mlp(7, 4), quadratic(4, Support::Quadratic)] {
        for (name, algorithm) in algorithms(case.rate) {
            for strategy in STRATEGIES {
                for (steps, batch) in [(0, None), (1, None), (3, None), (3, Some(3))] {
                    let setup = Setup { batch, losses: Losses::All, ..by(strategy, steps) };
                    let alone = case.learner(algorithm.as_ref(), setup);
                    let grouping = Grouping::Of(3);
                    let together = case.learner(algorithm.as_ref(), Setup { grouping, ..setup });
                    let name = format!("{}, {name}, {setup:?}", case.name);
                    assert_eq!((alone.group(), together.group()), (1, 3), "{name}");
                    assert_eq!(alone.strategy(), together.strategy(), "{name}");
                    let mut meta = case.meta(algorithm.as_ref(), steps);
                    meta.inner_state =
                        meta.inner_state.map(|x| Tensor::full(Dtype::F64, x.shape(), 0.5));
                    let tasks: Vec<Task> = (0..3).map(|i| case.task(i)).collect();
                    let want: Vec<_> = tasks.iter().map(|task| run(&alone, &meta, task)).collect();
                    let mut worker = together.worker(Dtype::F64);
                    // A full group, one with tasks missing, and a full one again.
                    for n in [3, 2, 1, 3] {
                        let got = run_group(&together, &mut worker, &meta, &tasks[..n]);
                        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                            assert_results(&format!("{name}, task {i} of {n}"), got, want, 1e-12);
                        }
                    }
                }
            }
        }
    }
}

/// A task that goes wrong does not affect the others, and a group leaves nothing behind.
#[test]
fn tasks_together_do_not_touch_one_another() {
    let case = mlp(6, 4);
    for (name, algorithm) in algorithms(case.rate) {
        for strategy in STRATEGIES {
            let setup = Setup { grouping: Grouping::Of(3), ..by(strategy, 2) };
            let learner = case.learner(algorithm.as_ref(), setup);
            let meta = case.meta(algorithm.as_ref(), 2);
            let mut tasks: Vec<Task> = (0..3).map(|i| case.task(i)).collect();
            let mut worker = learner.worker(Dtype::F64);
            let mut bits_of = |tasks: &[Task]| -> Vec<_> {
                run_group(&learner, &mut worker, &meta, tasks).iter().map(bits).collect()
            };
            let first = bits_of(&tasks);
            tasks[1] = tasks[1].map(|x| Tensor::full(Dtype::F64, x.shape(), f64::NAN));
            let lost = bits_of(&tasks);
            assert_ne!(lost[1], first[1], "{name}, {strategy:?}: not a number");
            for i in [0, 2] {
                assert_eq!(lost[i], first[i], "{name}, {strategy:?}: beside not a number");
            }
            tasks[1] = case.task(1);
            assert_eq!(bits_of(&tasks), first, "{name}, {strategy:?}: after not a number");
        }
    }
}

#[test]
fn what_cannot_be_grouped_runs_one_by_one() {
    let case = conv();
    let setup = Setup { grouping: Grouping::Of(3), ..Setup::new(2) };
    assert_eq!(case.learner(&maml(case.rate), setup).group(), 1);
    // Groups for a meta-batch are as equal as possible and no larger than allowed.
    let case = mlp(6, 4);
    for tasks in [1, 2, 12, 13, 14, 25, 27] {
        let setup = Setup { grouping: Grouping::Auto(tasks), ..Setup::new(1) };
        let group = case.learner(&maml(case.rate), setup).group();
        assert!(group <= Grouping::MOST && tasks.div_ceil(group) == tasks.div_ceil(Grouping::MOST));
    }
}
