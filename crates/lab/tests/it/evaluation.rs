//! Scores: closed forms, hand-made predictors, and the same tasks for the same seed.

use innerloop_engine::{Dtype, Key, Params, Tensor};
use innerloop_lab::run_dir::RunDir;
use innerloop_lab::{ErrorKind, Estimate, Evaluator, Experiment, Measure, Report, thread_pool};
use innerloop_meta::MetaState;
use innerloop_tasks::{
    Class, Episode, EpisodeSpec, FewShot, ImageClasses, ImageTasks, Rotations, Split, SplitLists,
    Target, TaskFamily,
};

use serde_json::Value;

use crate::runs::{complete, tiny};

#[test]
fn an_estimate_is_a_mean_and_its_interval() {
    let Estimate { mean, ci95 } = Estimate::of(&[1.0, 2.0, 3.0, 4.0]);
    // Unbiased variance 5/3, of the mean 5/12.
    let expected = 1.96 * (5.0f64 / 12.0).sqrt();
    assert!(mean == 2.5 && (ci95 - expected).abs() <= 1e-15, "{mean} ± {ci95}");
    assert_eq!(Estimate::of(&[0.5; 9]), Estimate { mean: 0.5, ci95: 0.0 });
    let one = Estimate::of(&[0.25]);
    assert_eq!((one.mean, one.ci95), (0.25, f64::INFINITY), "one value has no spread");
}

#[test]
fn better_depends_on_the_measure() {
    assert!(Measure::Accuracy.better(0.6, 0.5) && !Measure::Accuracy.better(0.5, 0.5));
    assert!(Measure::MeanSquaredError.better(0.5, 0.6));
    for measure in [Measure::Accuracy, Measure::MeanSquaredError] {
        assert!(!measure.better(f64::NAN, 0.5), "{measure:?}");
    }
}

/// The class is the position of the one.
struct OneHot;

impl TaskFamily for OneHot {
    fn name(&self) -> &str {
        "one-hot"
    }

    fn spec(&self, _: Split) -> EpisodeSpec {
        EpisodeSpec { x: vec![3], target: Target::Classes(3), support: 3, query: 6 }
    }

    fn sample_into(&self, _: Split, _: Key, episode: &mut Episode) {
        let fill = |x: &mut Tensor, y: &mut Tensor| {
            for i in 0..y.len() {
                y.set(i, (i % 3) as f64);
                (0..3).for_each(|c| x.set(3 * i + c, f64::from(i % 3 == c)));
            }
        };
        fill(&mut episode.support_x, &mut episode.support_y);
        fill(&mut episode.query_x, &mut episode.query_y);
    }

    fn describe(&self) -> String {
        "the class is the position of the one".into()
    }
}

/// Accuracy before any step of an ensemble of linear predictors with these weights, `[class, input]`.
fn accuracy_of(members: &[[f64; 9]]) -> f64 {
    let sets = ["model.kind=mlp", "model.hidden=[]", "run.dtype=f64"];
    let experiment =
        Experiment::with_family(tiny("strokes-maml", &sets), Box::new(OneHot)).unwrap();
    let state = |weights: &[f64; 9]| {
        let mut theta = Params::new();
        theta.push("head.weight", Tensor::from_f64(&[3, 3], weights.to_vec()));
        theta.push("head.bias", Tensor::zeros(Dtype::F64, &[3]));
        experiment.state(theta)
    };
    let states: Vec<MetaState> = members.iter().map(state).collect();
    let members: Vec<&MetaState> = states.iter().collect();
    let evaluator = Evaluator::new(&experiment, 2, 1);
    // From a thread outside any pool of the evaluator's.
    let report = evaluator.run_ensemble(&experiment, &members, Split::Test, 5).unwrap();
    assert_eq!((report.measure, report.tasks), (Measure::Accuracy, 5));
    assert_eq!(report.scores[0].ci95, 0.0, "all tasks are alike");
    report.scores[0].mean
}

const RIGHT: [f64; 9] = [2., 0., 0., 0., 2., 0., 0., 0., 2.];
const WRONG: [f64; 9] = [0., 2., 0., 0., 0., 2., 2., 0., 0.];

#[test]
fn without_validation_its_split_may_be_short_of_classes() {
    let experiment = |validate_every: &str| {
        let class =
            |c: u8| Class { name: format!("c{c}"), pixels: (0..12).map(|i| i * c).collect() };
        let splits = SplitLists { train: vec![0, 1, 2], validation: vec![3], test: vec![4, 5, 6] };
        let images = ImageClasses::new([2, 2, 1], (0..7).map(class).collect(), splits).unwrap();
        let tasks = ImageTasks::new("toy", images, FewShot::new(3, 1, 2), Rotations::None).unwrap();
        let config = tiny("strokes-maml", &["model.kind=mlp", "model.hidden=[]", validate_every]);
        Experiment::with_family(config, Box::new(tasks))
    };
    let short = "toy: the validation split has 1 classes, but a 3-way task needs 3";
    let refused = experiment("evaluation.validate_every=1").map(drop).unwrap_err().to_string();
    assert!(refused.contains(short) && refused.contains("validate_every = 0"), "{refused}");

    let experiment = experiment("evaluation.validate_every=0").unwrap();
    let evaluator = Evaluator::new(&experiment, 2, 1);
    let run = |split| evaluator.run(&experiment, &experiment.initial_state(), split, 5);
    assert_eq!(run(Split::Test).unwrap().tasks, 5);
    assert!(run(Split::Validation).unwrap_err().to_string().contains(short));
}

#[test]
fn accuracy_counts_what_is_right() {
    assert_eq!(accuracy_of(&[RIGHT]), 1.0);
    assert_eq!(accuracy_of(&[WRONG]), 0.0);
    let two_of_three = accuracy_of(&[[2., 0., 2., 0., 2., 0., 0., 0., 1.]]);
    assert!((two_of_three - 2.0 / 3.0).abs() <= 1e-15, "{two_of_three}");
    let undecided = accuracy_of(&[[0.; 9]]);
    assert!((undecided - 1.0 / 3.0).abs() <= 1e-15, "the first among equals: {undecided}");
}

#[test]
fn an_ensemble_predicts_with_the_mean_of_its_outputs() {
    let half = WRONG.map(|weight| 0.5 * weight);
    assert_eq!(accuracy_of(&[RIGHT, half]), 1.0);
    assert_eq!(accuracy_of(&[half, RIGHT]), 1.0);
    assert_eq!(accuracy_of(&[RIGHT, WRONG, half]), 0.0, "the others together weigh more");
}

fn sinusoid_report(seed: &str, threads: usize, split: Split) -> Report {
    let experiment = Experiment::new(tiny("sinusoid-maml", &[seed])).unwrap();
    // One seed's initial parameters for all, so that only the tasks differ.
    let meta = Experiment::new(tiny("sinusoid-maml", &[])).unwrap().initial_state();
    let evaluator = Evaluator::new(&experiment, 4, threads);
    let pool = thread_pool(threads).unwrap();
    pool.install(|| evaluator.run(&experiment, &meta, split, 600)).unwrap()
}

#[test]
fn a_seed_and_a_split_name_the_tasks() {
    let first = sinusoid_report("seed=1", 1, Split::Test);
    assert_eq!((first.scores.len(), first.losses.len(), first.tasks), (5, 5, 600));
    assert_eq!(first.measure, Measure::MeanSquaredError);
    assert_eq!(first.last(), first.scores[4]);
    for threads in [1, 2, 3] {
        assert_eq!(sinusoid_report("seed=1", threads, Split::Test), first, "{threads} threads");
    }
    assert_ne!(sinusoid_report("seed=2", 1, Split::Test).scores, first.scores);
    assert_ne!(sinusoid_report("seed=1", 1, Split::Validation).scores, first.scores);
    // The squared error is both the score and, up to rounding, the loss.
    for (score, loss) in first.scores.iter().zip(&first.losses) {
        assert!((score.mean - loss.mean).abs() <= 1e-5 * loss.mean, "{score:?} {loss:?}");
    }
}

/// One inner step is fine, forty at this rate are not.
const UNSTABLE: [&str; 4] = [
    "algorithm.inner_lr=0.5",
    "algorithm.adaptation_steps=1",
    "outer.iterations=2",
    "evaluation.steps=40",
];

#[test]
fn a_path_that_diverges_late_leaves_the_earlier_scores() {
    let sets = [&UNSTABLE[..], &["evaluation.validate_every=1"]].concat();
    let folder = tempfile::tempdir().unwrap();
    let outcome = complete(&tiny("sinusoid-maml", &sets), folder.path());
    let scores = &outcome.test.scores;
    assert!(scores[1].mean.is_finite() && outcome.test.last().mean.is_nan(), "{scores:?}");
    let refused = outcome.test.check(Split::Test).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Diverged);
    assert!(refused.to_string().contains("of 40 steps"), "{refused}");
    // A validation without a score is never the best.
    assert_eq!(outcome.evaluated_iteration, 2);
    let dir = RunDir::open(folder.path()).unwrap();
    assert!(!dir.best_path().exists());
    let written = dir.result().unwrap().unwrap();
    assert_eq!(written["test"]["scores"][40]["mean"], Value::Null);
    assert_eq!(written["test"]["scores"][1]["mean"], scores[1].mean);
}
