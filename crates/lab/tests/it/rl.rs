//! Runs of reinforcement learning: files, resuming, threads, rejected configurations.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use innerloop_lab::config::rl::{MethodName, OptimizerName, OuterName};
use innerloop_lab::config::{Kind, presets};
use innerloop_lab::rl::{self, Event, Learner, Outcome, RlConfig};
use innerloop_lab::run_dir::RunDir;
use innerloop_lab::{Config, ErrorKind, Kept, Result};
use innerloop_rl::picture::{self, TaskPaths};
use innerloop_rl::{MetaRl, Navigation2d, Rollouts, Trajectory};

const SMALL: [&str; 3] = ["policy.hidden=[6]", "evaluation.tasks=2", "evaluation.steps=1"];

fn config(preset: &str, sets: &[&str]) -> RlConfig {
    let batch: &[&str] = if preset == "nav2d-es-maml" {
        &["outer.perturbations=2", "algorithm.queries=2"]
    } else {
        &["outer.meta_batch_size=2", "rl.trajectories=3", "evaluation.trajectories=2"]
    };
    let sets: Vec<String> =
        SMALL.iter().chain(batch).chain(sets).map(|set| set.to_string()).collect();
    RlConfig::load(preset, &sets).unwrap()
}

fn train(config: RlConfig, out: &Path, resume: bool) -> Result<Outcome> {
    rl::train(config, out, resume, &AtomicBool::new(false), &mut |_| {})
}

#[test]
fn every_preset_is_legal_and_comes_back_from_its_text() {
    for preset in presets::of(Kind::Rl) {
        let config = RlConfig::load(preset.name, &[]).unwrap();
        assert_eq!(RlConfig::parse(&config.to_toml(), "config.toml").unwrap(), config);
        let error = Config::load(preset.name, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("only train and evaluate"), "{error}");
    }
    let error = RlConfig::load("strokes-maml", &[]).unwrap_err();
    assert!(
        error.to_string().contains("few-shot learning; expected a configuration of reinforcement"),
        "{error}"
    );
}

#[test]
fn a_resumed_run_ends_as_one_that_was_not_stopped() {
    for preset in ["nav2d-maml", "nav2d-ppo", "nav2d-reptile", "nav2d-es-maml"] {
        let folder = tempfile::tempdir().unwrap();
        let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
        let long = config(preset, &["outer.iterations=4", "run.threads=1"]);
        let straight = train(long.clone(), &whole, false).unwrap();
        // Stopped after two iterations, and resumed on more threads.
        let stop = AtomicBool::new(false);
        let mut after_two = |event: Event<'_>| {
            if let Event::Step(progress) = event {
                stop.store(progress.iteration == 2, Ordering::Relaxed);
            }
        };
        let error = rl::train(long.clone(), &parts, false, &stop, &mut after_two).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
        let more = config(preset, &["outer.iterations=4", "run.threads=3"]);
        let resumed = train(more, &parts, true).unwrap();
        assert_eq!(straight.returns, resumed.returns, "{preset}");
        assert_eq!(same_lines(&whole, &parts), 4, "{preset}");
        for file in ["config.toml", "last.safetensors", "result.json", "curve.svg"] {
            assert!(whole.join(file).is_file(), "{preset}: {file}");
        }
        assert_eq!(whole.join("paths.svg").is_file(), preset != "nav2d-es-maml");
        assert_eq!([whole.as_path(), folder.path()].map(Kind::of_run), [Some(Kind::Rl), None]);
    }
}

/// Checks that two runs end at the same θ and leave the same lines except for the time; returns the number of lines.
#[track_caller]
fn same_lines(whole: &Path, parts: &Path) -> usize {
    let [a, b] = [whole, parts].map(|out| rl::open(out, None).unwrap().1);
    assert_eq!(a.theta().values(), b.theta().values());
    let [a, b] = [whole, parts].map(|out| {
        let mut lines = RunDir::open(out).unwrap().metrics().unwrap();
        lines.iter_mut().for_each(|line| line["seconds"] = 0.into());
        lines
    });
    assert_eq!(a, b);
    a.len()
}

#[test]
fn a_final_evaluation_begins_again() {
    // A time limit that has passed stays passed: the second run has one iteration.
    for (preset, minutes, iterations) in
        [("nav2d-maml", "0", 2), ("nav2d-maml", "1e-9", 1), ("nav2d-es-maml", "0", 2)]
    {
        let folder = tempfile::tempdir().unwrap();
        let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
        let minutes = format!("run.minutes={minutes}");
        let config = config(preset, &["outer.iterations=2", "run.threads=2", &minutes]);
        let straight = train(config.clone(), &whole, false).unwrap();
        assert_eq!(straight.iterations, iterations);
        for (resume, taken) in [(false, iterations), (true, 0)] {
            let (stop, mut steps) = (AtomicBool::new(false), 0);
            let mut at_evaluation = |event: Event<'_>| match event {
                Event::Started { .. } => {}
                Event::Step(_) => steps += 1,
                Event::Evaluating => stop.store(true, Ordering::Relaxed),
            };
            let run = rl::train(config.clone(), &parts, resume, &stop, &mut at_evaluation);
            let error = run.unwrap_err();
            assert_eq!((error.kind(), steps), (ErrorKind::Interrupted, taken), "{error}");
            let out = parts.display();
            let how = "stopped during the final evaluation; go on with --resume and --out";
            assert_eq!(error.to_string(), format!("{how} {out}"));
            assert_eq!(RunDir::open(&parts).unwrap().result().unwrap(), None, "no result yet");
        }
        let again = train(config, &parts, true).unwrap();
        assert_eq!((&again.returns, &again.untrained), (&straight.returns, &straight.untrained));
        assert_eq!(again.iterations, iterations);
        assert_eq!(same_lines(&whole, &parts) as u64, iterations);
    }
}

#[test]
fn a_run_whose_time_is_over_only_evaluates() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["outer.iterations=5000", "run.minutes=0.0001"];
    let first = train(config("nav2d-plain", &sets), folder.path(), false).unwrap();
    assert!((1..5000).contains(&first.iterations), "{}", first.iterations);
    let again = train(config("nav2d-plain", &sets), folder.path(), true).unwrap();
    assert_eq!((again.iterations, again.returns), (first.iterations, first.returns));
}

#[test]
fn paths_are_those_of_the_episodes_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        config("nav2d-maml", &["outer.iterations=1", "evaluation.trajectories=5", "seed=3"]);
    train(settings, folder.path(), false).unwrap();
    let Learner::Gradient(learner) = rl::open(folder.path(), None).unwrap().1 else {
        panic!("a policy")
    };
    let of = |rollouts: &Rollouts| {
        let points = |t: &Trajectory| {
            let states = t.observations.chunks_exact(2).chain([t.end.as_slice()]);
            states.map(|state| [state[0], state[1]]).collect()
        };
        rollouts.trajectories.iter().take(3).map(points).collect()
    };
    let task = |task: usize| {
        let episodes = learner.episodes(task, 1, 5);
        let goal = Navigation2d::goal_of(MetaRl::test_key(3, task));
        TaskPaths { goal, before: of(&episodes[0]), after: of(&episodes[1]) }
    };
    let expected = picture::paths(&[0, 1, 2, 3].map(task));
    let drawn = std::fs::read_to_string(folder.path().join("paths.svg")).unwrap();
    assert!(drawn == expected, "other paths than the evaluation's");
}

#[test]
fn keys_that_mean_nothing_are_refused() {
    for key in [
        "rl.trajectories=20",
        "rl.discount=0.99",
        "rl.gae_lambda=1.0",
        "outer.meta_batch_size=40",
        "evaluation.trajectories=40",
    ] {
        RlConfig::load("nav2d-maml", &[key.to_string()]).unwrap();
        let error = RlConfig::load("nav2d-es-maml", &[key.to_string()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{key}: {error}");
        let name = key.split_once('=').unwrap().0;
        let words = format!("{name} does not apply: it goes with a method of policy gradients");
        assert!(error.to_string().contains(&words), "{key}: {error}");
    }
    let model = ["rl.model=\"a.xml\"".to_string()];
    let error = RlConfig::load("nav2d-maml", &model).unwrap_err();
    assert!(error.to_string().contains("rl.model does not apply"), "{error}");
    RlConfig::load("ant-dir", &model).unwrap();
}

#[test]
fn a_robot_that_cannot_run_says_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("rl.model=\"{}\"", folder.path().join("none.xml").display());
    let config = config("half-cheetah-dir", &[missing.as_str()]);
    let out = folder.path().join("run");
    let error = train(config, &out, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(!out.exists(), "no folder of a run that never was");
    let message = error.to_string();
    let words = ["none.xml is not there", "pip install", "INNERLOOP_MUJOCO_MODELS"];
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
}

/// A configuration built in code means the same as when it is written and read.
#[test]
fn defaults_are_those_of_what_is_read() {
    for (name, method, optimizer) in [
        (MethodName::Maml, OuterName::Trpo, None),
        (MethodName::MultiStep, OuterName::Ppo, None),
        (MethodName::Maml, OuterName::Plain, Some(OptimizerName::Sgd)),
        (MethodName::Reptile, OuterName::Plain, None),
        (MethodName::Reptile, OuterName::Plain, Some(OptimizerName::Adam)),
        (MethodName::EsMaml, OuterName::Es, None),
    ] {
        let mut made = RlConfig::default();
        (made.algorithm.name, made.outer.method) = (name, method);
        made.outer.optimizer = optimizer;
        let read = RlConfig::parse(&made.to_toml(), "config.toml").unwrap();
        assert_eq!(made.learner(), read.learner());
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (preset, set, words) in [
        ("nav2d-maml", "rl.trajectories=1", "rl.trajectories is 1, expected a whole number from 2"),
        ("nav2d-maml", "algorithm.inner_lr=-1", "algorithm.inner_lr is -1, expected a finite"),
        ("nav2d-maml", "rl.discount=1.5", "rl.discount is 1.5, expected a number from 0 to 1"),
        ("nav2d-maml", "outer.clip=0.1", "outer.clip does not apply"),
        ("nav2d-maml", "algorithm.window=2", "algorithm.window does not apply"),
        ("nav2d-maml", "outer.method=es", "only es_maml goes with \"es\""),
        ("nav2d-maml", "algorithm.name=reptile", "expected \"plain\" with reptile"),
        (
            "nav2d-maml",
            "algorithm.name=meta_sgd",
            "algorithm.name is \"meta_sgd\", expected one of",
        ),
        ("nav2d-maml", "outer.backtrack=0.5", "did you mean `backtrack_factor`?"),
        ("nav2d-maml", "rl.goal=1", "unknown key `rl.goal`; known in [rl]: environment, model"),
        ("nav2d-reptile", "algorithm.adaptation_steps=0", "1 or more with reptile"),
        ("nav2d-es-maml", "outer.method=trpo", "\"es\" with es_maml"),
    ] {
        let error = RlConfig::load(preset, &[set.to_string()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{set}: {error}");
        assert!(error.to_string().contains(words), "{set}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(config("nav2d-maml", &["outer.iterations=1"]), &out, false).unwrap();
    let other = config("nav2d-maml", &["outer.iterations=2", "algorithm.inner_lr=0.1"]);
    let error = train(other, &out, true).unwrap_err();
    assert!(error.to_string().contains("algorithm.inner_lr: 0.5 there, 0.1 now"), "{error}");
    let wild = config("nav2d-plain", &["algorithm.inner_lr=1e30"]);
    let error = train(wild, &folder.path().join("wild"), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
}
