//! Meta-transfer.

use crate::command::Place;

const SMALL: [&str; 26] = [
    "--set",
    "transfer.source_classes=3",
    "--set",
    "transfer.source_shots=4",
    "--set",
    "transfer.source_query=2",
    "--set",
    "transfer.target_classes=3",
    "--set",
    "transfer.target_shots=2",
    "--set",
    "transfer.target_query=4",
    "--set",
    "source.channels=[2, 3]",
    "--set",
    "source.iterations=3",
    "--set",
    "source.batch_size=6",
    "--set",
    "target.channels=[2, 2]",
    "--set",
    "outer.trials=2",
    "--set",
    "outer.iterations=4",
    "--set",
    "outer.batch_size=5",
];

#[test]
fn targets_are_trained_and_evaluated() {
    let place = Place::new();
    let train = [&["train", "transfer-strokes", "--out", "run"], SMALL.as_slice()].concat();
    let shown = place.run(&train).ok();
    for part in ["source network: accuracy", "4 iterations, 2 trials; seed 1", "matched.svg"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for file in
        ["metrics.jsonl", "last.safetensors", "source.safetensors", "result.json", "matched.svg"]
    {
        assert!(place.path("run").join(file).is_file(), "{file}");
    }
    let rows = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains('±')).map(String::from).collect()
    };
    // Method, accuracy, spread; the rest is time.
    let [first, again] = [rows(&shown), rows(&place.run(&["evaluate", "run"]).ok())];
    assert_eq!((first.len(), &first), (5, &again));
    let json = place.run(&["evaluate", "run", "--json"]).ok();
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["methods"][3]["method"], "l2t_ww");
    // Held gradients leave no meta-gradient.
    assert_eq!(found["methods"][4]["gradient_norm"], 0.0);
    assert!(found["methods"][3]["gradient_norm"].as_f64().unwrap() > 0.0);

    place.run(&train).fails(2, &["already holds a run"]);
    place.run(&["evaluate", "run", "--split", "train"]).fails(2, &["test images alone"]);
    place.run(&["evaluate", "run", "--steps", "3"]).fails(2, &["leave --tasks, --steps"]);
    place.run(&["diagnose", "run"]).fails(2, &["meta-transfer", "only train and evaluate take"]);
    place.run(&["inspect", "transfer-strokes"]).fails(2, &["only train and evaluate take"]);
    std::fs::remove_file(place.path("run").join("last.safetensors")).unwrap();
    place.run(&["evaluate", "run"]).fails(5, &["last.safetensors"]);
}

#[test]
fn what_cannot_be_run_is_refused() {
    let place = Place::new();
    let with = |sets: &[&'static str]| {
        let mut all = [&["train", "transfer-strokes", "--out", "other"], SMALL.as_slice()].concat();
        sets.iter().for_each(|set| all.extend(["--set", set]));
        place.run(&all)
    };
    with(&["algorithm.window=0"]).fails(3, &["algorithm.window is 0"]);
    with(&["transfer.classes=3"]).fails(3, &["unknown key `transfer.classes`"]);
    with(&["transfer.family=\"cifar_fs\""]).fails(4, &["cifar"]);
    let weights = "source.weights=\"none.safetensors\"";
    with(&[weights]).fails(3, &["source.iterations does not apply", "leave it out"]);
    place.run(&["train", "transfer-strokes", "--set", weights]).fails(5, &["none.safetensors"]);
    with(&["source.lr=1e30"]).fails(6, &["source: the loss is", "lower source.lr"]);
}
