//! Reinforcement learning.

use crate::command::{Place, Ran};

const SMALL: [&str; 12] = [
    "--set",
    "outer.iterations=2",
    "--set",
    "outer.meta_batch_size=2",
    "--set",
    "policy.hidden=[5]",
    "--set",
    "evaluation.tasks=2",
    "--set",
    "evaluation.trajectories=2",
    "--set",
    "rl.trajectories=3",
];

#[test]
fn navigation_is_trained_and_evaluated() {
    let place = Place::new();
    let train = [&["train", "nav2d-maml", "--out", "run"], SMALL.as_slice()].concat();
    let shown = place.run(&train).ok();
    for part in
        ["maml on 2D navigation", "2 of 2 iterations", "mean return, 2 test tasks", "paths.svg"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for file in ["metrics.jsonl", "last.safetensors", "result.json", "paths.svg", "curve.svg"] {
        assert!(place.path("run").join(file).is_file(), "{file}");
    }
    let again = place.run(&["evaluate", "run"]).ok();
    let table = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains('±')).take(4).map(String::from).collect()
    };
    assert_eq!(table(&again), table(&shown), "the same episodes once more");
    let alone = place.run(&["evaluate", "run", "--threads", "1"]).ok();
    assert_eq!(table(&alone), table(&shown), "threads change no number");
    place.run(&train).fails(2, &["already holds a run"]);
    place.run(&["evaluate", "run", "--split", "train"]).fails(2, &["test tasks only"]);
    place.run(&["inspect", "nav2d-maml"]).fails(2, &["only train and evaluate take"]);
    place
        .run(&["train", "nav2d-maml", "--set", "algorithm.name=reptile", "--out", "other"])
        .fails(3, &["outer.method is \"trpo\", expected \"plain\" with reptile"]);
}

const ROBOT: [&str; 4] = ["train", "half-cheetah-dir", "--out", "run"];

#[test]
fn without_mujoco_a_robot_says_what_to_do() {
    let place = Place::new();
    let folder = place.path("");
    std::fs::write(place.path("half_cheetah.xml"), "<mujoco/>").unwrap();
    std::fs::write(place.path("text"), "no library").unwrap();
    let advice = ["pip install mujoco==3.17.0", "INNERLOOP_MUJOCO", "docs/reinforcement.md"];
    for (library, models, words) in [
        ("nowhere", "", "nowhere is not there"),
        ("", "", "holds no "),
        ("text", "", "MuJoCo's library cannot be loaded: "),
        ("nowhere", "nowhere", "half_cheetah.xml is not there"),
    ] {
        let mut command = place.command(&ROBOT);
        command.env("INNERLOOP_MUJOCO", folder.join(library));
        command.env("INNERLOOP_MUJOCO_MODELS", folder.join(models));
        Ran::of(command.output().unwrap()).fails(4, &[&[words], advice.as_slice()].concat());
        assert!(!place.path("run").exists(), "no folder of a run that never was");
    }
}

#[test]
fn with_mujoco_a_robot_is_trained() {
    let named = |name| std::env::var_os(name).is_some();
    if !named("INNERLOOP_MUJOCO") || !named("INNERLOOP_MUJOCO_MODELS") {
        eprintln!(
            "with_mujoco_a_robot_is_trained skipped: INNERLOOP_MUJOCO and INNERLOOP_MUJOCO_MODELS are not both set"
        );
        return;
    }
    let place = Place::new();
    let shown = place.run(&[ROBOT.as_slice(), &SMALL].concat()).ok();
    for part in ["maml on HalfCheetah's direction", "2 of 2 iterations", "mean return"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
