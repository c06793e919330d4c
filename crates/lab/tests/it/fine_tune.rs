//! Fine-tuning from pre-training: one network for minibatches of all classes, and for tasks with their own head.

use innerloop_engine::{Dtype, Key, Tensor};
use innerloop_lab::{Config, ErrorKind, Evaluator, Experiment, Trainer, Which, diagnose, open};
use innerloop_meta::{Adapter, Learner, Losses, MetaState, StepLosses, TaskData, TaskResult};
use innerloop_nn::{Conv4, Downsampling, Head, Init, Model};
use innerloop_tasks::{Episode, EpisodeSpec, Sinusoid, Sizes, Split, episode_key};

use crate::runs::{check_refused, complete, first_task, tiny};

fn experiment(sets: &[&str]) -> Experiment {
    Experiment::new(tiny("strokes-fine-tune", &[&["run.dtype=f64"], sets].concat())).unwrap()
}

/// The loss on a minibatch, its gradient, and their cost.
fn on_minibatch(experiment: &Experiment) -> impl FnMut(&MetaState) -> TaskResult {
    let setup = experiment.setup(Losses::Training);
    let learner = Learner::new(&experiment.train, experiment.algorithm.as_ref(), setup);
    let of = learner.derivatives();
    assert_eq!((of.gradients, of.hessian_products), (1, 0));
    first_task(experiment)
}

/// Outputs on the first test task after 0, 1, 2 steps.
fn adapted(experiment: &Experiment, meta: &MetaState) -> Vec<Tensor> {
    let adapter = Adapter::new(&experiment.evaluate, experiment.algorithm.as_ref(), (0, 2), None);
    let mut episode = Episode::zeros(&experiment.evaluate.spec);
    experiment.family.sample_into(Split::Test, episode_key(1, Split::Test, 0, 0), &mut episode);
    let data = TaskData {
        support: &[&episode.support_x, &episode.support_y],
        query: &[&episode.query_x, &episode.query_y],
        key: Key::new(0),
    };
    let mut outputs = Vec::new();
    let mut worker = adapter.worker(Dtype::F64);
    adapter.run(&mut worker, meta, data, &mut StepLosses::default(), |at| {
        outputs.push(at.output.clone());
    });
    outputs
}

fn shifted(meta: &MetaState, name: &str, by: f64) -> MetaState {
    let mut meta = meta.clone();
    let at = meta.omega.position(name).unwrap();
    let value = &mut meta.omega.values_mut()[at];
    (0..value.len()).for_each(|i| value.set(i, value.get(i) + by * (i as f64).sin()));
    meta
}

#[test]
fn the_gradient_is_that_of_the_loss_on_all_classes() {
    let experiment = experiment(&[]);
    let meta = experiment.initial_state();
    let mut run = on_minibatch(&experiment);
    let first = run(&meta);
    // A minibatch is a whole training episode: three ways of one shot and two queries.
    assert_eq!(first.output.shape(), [9, 1000]);
    let chance = 1000_f64.ln();
    assert!((first.query_loss - chance).abs() < 1.0, "{} and {chance}", first.query_loss);
    assert!(first.gradient.names().iter().all(|name| !name.starts_with("head.")));
    for name in ["features.0.norm.bias", "features.3.conv.weight", "classifier.weight"] {
        let slope: f64 =
            first.gradient[name].iter().enumerate().map(|(i, g)| g * (i as f64).sin()).sum();
        let mut loss = |by: f64| run(&shifted(&meta, name, by)).query_loss;
        // Short, so that no ReLU or pooling changes its branch.
        let difference = (loss(1e-7) - loss(-1e-7)) / 2e-7;
        assert!(slope.abs() > 1e-3, "{name}: nothing depends on it");
        let close = (slope - difference).abs() <= 1e-6 * (1.0 + difference.abs());
        assert!(close, "{name}: {slope} and {difference}");
    }
}

#[test]
fn training_and_tasks_have_last_layers_of_their_own() {
    let experiment = experiment(&[]);
    let meta = experiment.initial_state();
    assert_eq!(meta.omega["head.weight"], Tensor::zeros(Dtype::F64, &[3, 4]));
    assert_eq!(meta.omega["classifier.weight"].shape(), [1000, 4]);
    let mut run = on_minibatch(&experiment);
    let loss = run(&meta).query_loss;
    assert_eq!(run(&shifted(&meta, "head.weight", 1.0)).query_loss, loss);
    assert_ne!(run(&shifted(&meta, "classifier.weight", 1.0)).query_loss, loss);
    let outputs = adapted(&experiment, &meta);
    assert!(outputs[0].iter().all(|x| x == 0.0), "a new head is zero");
    assert!(outputs[1].iter().any(|x| x != 0.0));
    assert_eq!(adapted(&experiment, &shifted(&meta, "classifier.weight", 1.0)), outputs);
    assert_ne!(adapted(&experiment, &shifted(&meta, "features.3.conv.weight", 1.0)), outputs);
}

/// The first step moves only the zero head, whatever is frozen: its logits are those of centred class means. From then
/// on the body follows where it may.
#[test]
fn the_body_moves_unless_it_is_frozen() {
    let (whole, head) = (experiment(&[]), experiment(&["algorithm.frozen=[\"features.\"]"]));
    let meta = whole.initial_state();
    let [whole, head] = [adapted(&whole, &meta), adapted(&head, &meta)];
    assert_eq!(whole[1], head[1]);
    assert_ne!(whole[2], head[2]);
    for row in head[1].as_f64().chunks_exact(3) {
        assert!(row.iter().sum::<f64>().abs() < 1e-12, "{row:?}");
    }
}

#[test]
fn a_new_head_starts_at_zero_after_training_too() {
    let folder = tempfile::tempdir().unwrap();
    for mode in ["transductive", "with_support", "running", "per_step", "per_step_batch", "episode"]
    {
        let out = folder.path().join(mode);
        let mode = format!("model.batch_norm={mode}");
        let outcome = complete(&tiny("strokes-fine-tune", &[&mode]), &out);
        // Class means are of one batch of support and query set.
        let one_batch = !(mode.ends_with("with_support") || mode.ends_with("episode"));
        assert_eq!(outcome.nearest_mean_of_features.is_some(), one_batch, "{mode}");
        assert_eq!((outcome.gradients, outcome.hessian_products), (3, 0));
        assert!(outcome.protocol.tasks.contains("1000 classes together"));
        assert_eq!(outcome.test.scores[0].mean, 1.0 / 3.0, "all logits alike");
        let end = open(&out, Which::Last).unwrap();
        let start = end.experiment.initial_state().omega;
        for (name, value) in end.meta.omega.iter() {
            let learned = name.starts_with("features.") || name.starts_with("classifier.");
            // A convolution's bias before batch norm has no derivative.
            let moved = learned && !name.ends_with("conv.bias");
            assert_eq!(*value != start[name], moved, "{name}");
        }
    }
}

/// The nearest class mean of a pre-trained network's features is a prototypical network with its weights.
#[test]
fn its_features_have_class_means() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let outcome = complete(&tiny("strokes-fine-tune", &[]), &out);
    let got = outcome.nearest_mean_of_features.unwrap();
    let trained = open(&out, Which::Best).unwrap().meta;
    let prototypes = Experiment::new(tiny("strokes-protonet", &[])).unwrap();
    let theta = prototypes.initial_state().omega.map_named(|name, _| trained.omega[name].clone());
    let evaluator = Evaluator::new(&prototypes, 0, 1);
    let of = |theta| evaluator.run(&prototypes, &prototypes.state(theta), Split::Test, 4).unwrap();
    assert_eq!(got, of(theta).last());
    assert_ne!(got, of(prototypes.initial_state().omega).last());
    assert_eq!(
        complete(&tiny("strokes-maml", &[]), &folder.path().join("maml")).nearest_mean_of_features,
        None
    );
}

#[test]
fn a_perceptron_is_pre_trained_too() {
    let sets = ["model.kind=mlp", "model.hidden=[8]"].map(String::from);
    let config = Config::load("strokes-fine-tune", &sets).unwrap();
    let mut trainer = Trainer::new(Experiment::new(config).unwrap()).unwrap();
    assert!(trainer.step().unwrap().query_loss.unwrap().is_finite());
    let evaluator = Evaluator::new(&trainer.experiment, 2, 1);
    let report = evaluator.run(&trainer.experiment, &trainer.meta, Split::Test, 2).unwrap();
    assert_eq!(report.scores.len(), 3);
}

#[test]
fn adaptation_can_be_diagnosed_and_pre_training_cannot() {
    let folder = tempfile::tempdir().unwrap();
    complete(&tiny("strokes-fine-tune", &["outer.iterations=1"]), folder.path());
    let of = |split| {
        let (steps, threads) = (Some(2), Some(1));
        let settings = diagnose::Settings { tasks: 2, steps, split, lanczos: 2, threads };
        diagnose::diagnose(folder.path(), settings, folder.path())
    };
    assert_eq!(of(Split::Test).unwrap().points[0].steps.len(), 3);
    check_refused(of(Split::Train), ErrorKind::Usage, &["minibatches of all classes", "--split"]);
}

#[test]
fn what_cannot_be_pre_trained_is_refused() {
    let config = || tiny("strokes-fine-tune", &[]);
    let sinusoid = Sinusoid { sizes: Sizes::new(5, 5) };
    let refused = Experiment::with_family(config(), Box::new(sinusoid));
    check_refused(refused, ErrorKind::Config, &["sinusoid has no training classes"]);
    let headless = |spec: &EpisodeSpec| -> Box<dyn Model> {
        let shape = (Downsampling::MaxPool, Head::Flatten);
        let conv4 = Conv4::new([28, 28, 1], 4, spec.outputs(), shape, (Init::He, 1e-5));
        Box::new(conv4.without_head())
    };
    let refused = Experiment::with_model(config(), headless);
    check_refused(
        refused,
        ErrorKind::Config,
        &["\"head.weight\"", "features.0", "name it accordingly"],
    );
}
