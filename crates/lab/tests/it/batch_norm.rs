//! Whose statistics normalise: what a prediction may depend on, and what is gathered.

use innerloop_engine::{Key, Tensor};
use innerloop_lab::{ErrorKind, Experiment, Trainer, Which, open};
use innerloop_meta::{Adapter, MetaState, StepLosses, TaskData};
use innerloop_nn::Conv4;
use innerloop_tasks::{Episode, Split, episode_key};

use crate::runs::{bits, complete, first_task, tiny};

fn experiment(mode: &str) -> Experiment {
    let mode = format!("model.batch_norm={mode}");
    Experiment::new(tiny("strokes-maml", &[&mode])).unwrap()
}

fn episode(experiment: &Experiment) -> Episode {
    let mut episode = Episode::zeros(&experiment.evaluate.spec);
    experiment.family.sample_into(Split::Test, episode_key(1, Split::Test, 0, 0), &mut episode);
    episode
}

/// Outputs on the query set after 0, 1, 2 inner steps, as evaluation computes them.
fn predictions(experiment: &Experiment, meta: &MetaState, episode: &Episode) -> Vec<Tensor> {
    let algorithm = experiment.algorithm.as_ref();
    let adapter = Adapter::new(&experiment.evaluate, algorithm, (2, 2), None);
    let mut worker = adapter.worker(experiment.config.run.dtype);
    let data = TaskData {
        support: &[&episode.support_x, &episode.support_y],
        query: &[&episode.query_x, &episode.query_y],
        key: Key::new(0),
    };
    let mut outputs = Vec::new();
    adapter.run(&mut worker, meta, data, &mut StepLosses::default(), |at| {
        outputs.push(at.output.clone());
    });
    outputs
}

/// The images, with the first of them inverted.
fn with_another_first(images: &Tensor) -> Tensor {
    let size: usize = images.shape()[1..].iter().product();
    let mut other = images.clone();
    (0..size).for_each(|i| other.set(i, 1.0 - images.get(i)));
    other
}

/// Bits of all rows but the first.
fn rest(output: &Tensor) -> Vec<u64> {
    bits(output)[output.shape()[1]..].to_vec()
}

/// What a query's prediction depends on besides itself: (other queries, the support set before any step).
fn depends_on(mode: &str) -> (bool, bool) {
    let experiment = experiment(mode);
    let meta = experiment.initial_state();
    let episode = episode(&experiment);
    let plain = predictions(&experiment, &meta, &episode);

    let query_x = with_another_first(&episode.query_x);
    let other = predictions(&experiment, &meta, &Episode { query_x, ..episode.clone() });
    let queries = plain.iter().zip(&other).map(|(a, b)| rest(a) != rest(b));
    let queries: Vec<bool> = queries.collect();
    assert!(queries.iter().all(|&q| q == queries[0]), "{mode}: {queries:?}");
    assert_ne!(bits(&plain[0]), bits(&other[0]), "{mode}: a query depends on itself");

    let support_x = with_another_first(&episode.support_x);
    let other = predictions(&experiment, &meta, &Episode { support_x, ..episode.clone() });
    assert_ne!(bits(&plain[1]), bits(&other[1]), "{mode}: adaptation depends on the support set");
    (queries[0], bits(&plain[0]) != bits(&other[0]))
}

#[test]
fn a_prediction_depends_on_what_its_mode_says() {
    assert_eq!(depends_on("transductive"), (true, false));
    assert_eq!(depends_on("with_support"), (false, true));
    assert_eq!(depends_on("running"), (false, false));
    assert_eq!(depends_on("per_step"), (false, false));
    assert_eq!(depends_on("per_step_batch"), (true, false));
    // The support set has an influence from the first step on.
    assert_eq!(depends_on("episode"), (false, false));
}

#[test]
fn running_statistics_normalise_evaluation() {
    for mode in ["running", "per_step"] {
        let experiment = experiment(mode);
        let (mut meta, episode) = (experiment.initial_state(), episode(&experiment));
        let plain = predictions(&experiment, &meta, &episode);
        let at = meta.carried.position("features.0.norm.mean").unwrap();
        let mean = &mut meta.carried.values_mut()[at];
        // The first channel after zero steps: the first row where there are rows.
        mean.set(0, 0.25);
        let other = predictions(&experiment, &meta, &episode);
        assert_ne!(bits(&plain[0]), bits(&other[0]), "{mode}");
    }
    for mode in ["transductive", "with_support", "episode", "per_step_batch"] {
        assert!(experiment(mode).initial_state().carried.is_empty(), "{mode}");
    }
}

/// Equal scales and shifts for all steps act like a single set.
#[test]
fn steps_with_the_same_scales_are_as_one() {
    let [per_step, plain] = ["per_step_batch", "transductive"].map(|mode| {
        let experiment = experiment(mode);
        let (meta, episode) = (experiment.initial_state(), episode(&experiment));
        predictions(&experiment, &meta, &episode)
    });
    // Before adaptation, which moves scales and shifts in one of the two.
    assert_eq!(bits(&per_step[0]), bits(&plain[0]));
    assert_ne!(bits(&per_step[1]), bits(&plain[1]));
}

fn is_kernel(name: &str) -> bool {
    name.starts_with("features.") && name.ends_with("conv.weight")
}

#[test]
fn every_mode_trains() {
    for mode in ["transductive", "with_support", "running", "per_step", "per_step_batch", "episode"]
    {
        let folder = tempfile::tempdir().unwrap();
        let set = format!("model.batch_norm={mode}");
        let config = tiny("strokes-maml", &[&set, "outer.iterations=3"]);
        let outcome = complete(&config, folder.path());
        assert_eq!(outcome.protocol.batch_norm, mode);
        assert_eq!(outcome.test.scores.len(), 4);
        let start = Experiment::new(config).unwrap().initial_state();
        let end = open(folder.path(), Which::Last).unwrap().meta;
        for (name, value) in end.omega.iter().filter(|(name, _)| is_kernel(name)) {
            assert_ne!(bits(value), bits(&start.omega[name]), "{mode}: {name} was not trained");
        }
    }
}

/// Statistics after one iteration at momentum 1: those of its passes alone.
fn gathered(preset: &str, mode: &str, sets: &[&str]) -> MetaState {
    let mode = format!("model.batch_norm={mode}");
    let sets = [&[mode.as_str(), "model.batch_norm_momentum=1"], sets].concat();
    let mut trainer = Trainer::new(Experiment::new(tiny(preset, &sets)).unwrap()).unwrap();
    trainer.step().unwrap();
    trainer.meta
}

/// Rows of a `[steps + 1, channels]` tensor.
fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    let values: Vec<f64> = tensor.iter().collect();
    values.chunks(tensor.shape()[1]).map(<[f64]>::to_vec).collect()
}

#[track_caller]
fn check_near(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} and {b}");
    }
}

#[test]
fn statistics_are_gathered_in_training() {
    // Scales and shifts do not adapt where there is a set for each step.
    let norms = Conv4::NORMS.map(|norm| format!("{norm:?}")).join(", ");
    let sets = ["outer.meta_batch_size=2", &format!("algorithm.frozen=[{norms}]")];
    let per_step = gathered("strokes-maml", "per_step", &sets);
    let running = gathered("strokes-maml", "running", &sets);
    assert_eq!(per_step.carried.len(), 8, "mean and variance of four layers");
    for (name, value) in per_step.carried.iter() {
        let rows = rows(value);
        assert_eq!(rows.len(), 3, "two support passes and the query pass");
        assert!(rows[0] != rows[1] && rows[1] != rows[2], "{name}: {rows:?}");
        if name.ends_with(".var") {
            assert!(rows.iter().flatten().all(|&var| var >= 0.0), "{name}: {rows:?}");
        }
        // Running statistics average over the passes.
        let mean: Vec<f64> =
            (0..rows[0].len()).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / 3.0).collect();
        check_near(&mean, &running.carried[name].iter().collect::<Vec<_>>());
    }
}

/// The gradient of the query loss with respect to each step's scales and shifts, against central differences.
#[test]
fn scales_and_shifts_of_every_step_are_differentiated() {
    let modes = ["per_step", "per_step_batch"];
    for (strategy, mode) in
        ["unrolled", "adjoint"].iter().flat_map(|strategy| modes.map(|mode| (strategy, mode)))
    {
        let strategy = format!("algorithm.strategy={strategy}");
        let mode = format!("model.batch_norm={mode}");
        let sets = [mode.as_str(), "run.dtype=f64", &strategy];
        let experiment = Experiment::new(tiny("strokes-maml", &sets)).unwrap();
        let mut run = first_task(&experiment);
        let mut meta = experiment.initial_state();
        let gradient = run(&meta).gradient;
        for name in ["features.0.norm.bias", "features.2.norm.weight"] {
            assert!(!experiment.algorithm.adapts(name));
            assert_eq!(gradient[name].shape(), [3, 4], "two steps and the query pass");
            let tensor = meta.omega.position(name).unwrap();
            // One channel of each row. The step is short, so that no ReLU or pooling of the inner loop changes its
            // branch.
            for at in [0, 5, 10] {
                let start = meta.omega.values()[tensor].get(at);
                let mut loss = |by: f64| {
                    meta.omega.values_mut()[tensor].set(at, start + by);
                    run(&meta).query_loss
                };
                let difference = (loss(1e-7) - loss(-1e-7)) / 2e-7;
                loss(0.0);
                let found = gradient[name].get(at);
                assert!(found.abs() > 1e-6, "{name} {at}: nothing depends on it");
                assert!(
                    (found - difference).abs() <= 1e-6 * (1.0 + difference.abs()),
                    "{name} {at}: {found} and {difference}"
                );
            }
        }
    }
}

#[test]
fn momentum_weighs_the_newest_batch() {
    let at = |momentum: &str| {
        let momentum = format!("model.batch_norm_momentum={momentum}");
        let state = gathered("strokes-maml", "running", &[&momentum]);
        state.carried["features.2.norm.var"].iter().collect::<Vec<f64>>()
    };
    let (whole, quarter) = (at("1"), at("0.25"));
    // Variances start at one.
    let expected: Vec<f64> = whole.iter().map(|var| 0.75 + 0.25 * var).collect();
    check_near(&quarter, &expected);
}

#[test]
fn reptile_has_no_query_pass_to_gather_from() {
    // With almost no step, all passes over the support set see the same weights.
    let sets = ["tasks.train_shots=3", "algorithm.inner_batch=0", "algorithm.inner_lr=1e-12"];
    let per_step = gathered("strokes-reptile", "per_step", &sets);
    let running = gathered("strokes-reptile", "running", &sets);
    for (name, value) in per_step.carried.iter() {
        let rows = rows(value);
        assert!(rows[0].iter().any(|x| x.abs() > 1e-3), "{name}: {rows:?}");
        check_near(&rows[0], &rows[1]);
        // After the last step, queries are predicted with the last support pass's values.
        check_near(&rows[1], &rows[2]);
        check_near(&rows[0], &running.carried[name].iter().collect::<Vec<_>>());
    }
}

#[test]
fn an_mlp_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = complete(&tiny("sinusoid-maml", &["outer.iterations=2"]), folder.path());
    assert_eq!(outcome.protocol.batch_norm, "none");
    let sets = ["model.batch_norm=running".to_string()];
    let error = innerloop_lab::Config::load("sinusoid-maml", &sets).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

/// With a query set equal to the support set, and almost no step, its own statistics are those of the support pass.
#[test]
fn a_task_gathers_statistics_of_its_own() {
    let after = |mode: &str, momentum: &str| {
        let sets = [
            "tasks.query=1",
            "algorithm.inner_lr=1e-12",
            &format!("model.batch_norm={mode}"),
            &format!("model.batch_norm_momentum={momentum}"),
        ];
        let experiment = Experiment::new(tiny("strokes-maml", &sets)).unwrap();
        let mut episode = episode(&experiment);
        episode.query_x = episode.support_x.clone();
        predictions(&experiment, &experiment.initial_state(), &episode)
    };
    let (own, newest) = (after("transductive", "1"), after("episode", "1"));
    check_near(&newest[1].iter().collect::<Vec<_>>(), &own[1].iter().collect::<Vec<_>>());
    assert_ne!(bits(&newest[0]), bits(&newest[1]), "nothing is gathered before the first step");
    // Two passes of weight 1/2 leave a quarter of the averages' starting value.
    let half = after("episode", "0.5");
    assert_ne!(bits(&half[1]), bits(&newest[1]));
    let quarter = after("episode", "0.75");
    check_near(&half[2].iter().collect::<Vec<_>>(), &quarter[1].iter().collect::<Vec<_>>());
}
