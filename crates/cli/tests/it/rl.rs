//! Reinforcement learning.

use crate::command::Place;

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
    place.run(&train).fails(2, &["already holds a run"]);
    place.run(&["evaluate", "run", "--split", "train"]).fails(2, &["test tasks alone"]);
    place.run(&["inspect", "nav2d-maml"]).fails(2, &["only train and evaluate take"]);
    place
        .run(&["train", "nav2d-maml", "--set", "algorithm.name=reptile", "--out", "other"])
        .fails(3, &["outer.method is \"trpo\", expected \"plain\" with reptile"]);
}
