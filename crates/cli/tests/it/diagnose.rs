//! Diagnose: over the checkpoints of a run.

use std::fs;

use serde_json::Value;

use crate::command::Place;

fn found(place: &Place, folder: &str) -> Value {
    let path = place.path(folder).join("diagnose.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_run_is_diagnosed_from_start_to_end() {
    let place = Place::new();
    let kept = ["--set", "run.snapshot_every=2", "--set", "algorithm.adaptation_steps=2"];
    place.train("sinusoid-maml", &[&["--out", "run"], &kept[..]].concat()).ok();
    assert!(place.path("run/snapshots/2.safetensors").is_file());
    let shown = place.run(&["diagnose", "run", "--tasks", "5", "--lanczos", "8"]).ok();
    for part in ["straightness", "top eigenvalue", "first order", "binomial of degree 1"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let of = found(&place, "run");
    let points = of["points"].as_array().unwrap();
    let iterations: Vec<_> = points.iter().map(|at| at["iteration"].as_u64().unwrap()).collect();
    assert_eq!(iterations, [0, 2, 4]);
    assert_ne!(points[0]["steps"], points[2]["steps"]);
    for at in points {
        let steps = at["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 3, "φ_0 to φ_2");
        let value = |key: &str| steps[0][key]["mean"].as_f64().unwrap();
        assert!(value("curvature") <= value("top_eigenvalue"), "{at}");
        assert!(value("curvature") >= value("bottom_eigenvalue"), "{at}");
        assert!((value("cosine_with_first") - 1.0).abs() <= 1e-6);
        let straightness = at["straightness"]["mean"].as_f64().unwrap();
        assert!(straightness > 0.0 && straightness <= 1.0, "{at}");
        assert_eq!(at["lines"].as_array().unwrap().len(), 11);
        assert_eq!(at["straightness"]["tasks"], 5, "all tasks count: {at}");
    }
    let svg = fs::read_to_string(place.path("run/diagnose.svg")).unwrap();
    assert!(svg.contains("meta-gradients: direction") && !svg.contains("NaN"));
    // The seed determines the tasks, and the number of threads changes nothing.
    let more = ["--tasks", "5", "--lanczos", "8", "--threads", "1", "--out", "again"];
    place.run(&[&["diagnose", "run"], &more[..]].concat()).ok();
    assert_eq!(found(&place, "again"), of);
    let more = ["--tasks", "2", "--steps", "4", "--split", "test", "--out", "longer"];
    place.run(&[&["diagnose", "run"], &more[..]].concat()).ok();
    let longer = found(&place, "longer");
    assert_eq!(longer["protocol"]["split"], "test");
    assert_eq!(longer["points"][0]["steps"].as_array().unwrap().len(), 5);
}

/// Query sets of test tasks are normalised as in training.
#[test]
fn test_tasks_are_diagnosed_with_every_batch_norm() {
    let place = Place::new();
    for mode in ["transductive", "with_support", "running", "per_step", "per_step_batch", "episode"]
    {
        let set = format!("model.batch_norm={mode}");
        place.train("strokes-fomaml", &["--out", mode, "--set", &set]).ok();
        let few = ["--tasks", "2", "--lanczos", "2", "--split"];
        let of = |split: &str| {
            let out = format!("{mode}-{split}");
            place.run(&[&["diagnose", mode, "--out", &out], &few[..], &[split]].concat()).ok();
            found(&place, &out)["points"].as_array().unwrap().len()
        };
        assert_eq!((of("test"), of("train")), (2, 2), "{mode}");
    }
}

/// Rules that are not linear in the gradient share no Hessian, and have a derivative where no gradient has come.
#[test]
fn rules_with_a_memory_are_diagnosed() {
    let place = Place::new();
    let shared = |method: &str, sets: &[&str]| {
        let name = format!("algorithm.name={method}");
        let all =
            [&["--out", method, "--set", &name, "--set", "algorithm.adaptation_steps=2"], sets];
        place.train("sinusoid-maml", &all.concat()).ok();
        place.run(&["diagnose", method, "--tasks", "3", "--lanczos", "2"]).ok();
        let of = found(&place, method);
        let all = of["points"][0]["approximations"].as_array().unwrap();
        let first = all.iter().find(|row| row["name"] == "first order").unwrap();
        assert_eq!(first["cosine"]["tasks"], 3, "{method}: {first}");
        all.iter().any(|row| row["name"] == "multi-step, backward 2")
    };
    assert!(shared("maml", &[]));
    assert!(!shared("lstm", &[]));
    let dead = ["--set", "algorithm.inner_optimizer=adam", "--set", "tasks.train_query=1"];
    assert!(!shared("reptile", &dead));
}

#[test]
fn learned_rates_have_their_steps() {
    let place = Place::new();
    let learned = ["--set", "algorithm.learn_inner_lr=true"];
    place.train("sinusoid-maml", &[&["--out", "run"], &learned[..]].concat()).ok();
    place
        .run(&["diagnose", "run", "--tasks", "2", "--steps", "3"])
        .fails(2, &["leave --steps out"]);
}

#[test]
fn methods_of_every_kind_can_be_diagnosed() {
    let place = Place::new();
    for preset in ["strokes-shot", "strokes-reptile", "strokes-imaml", "strokes-meta-sgd"] {
        place.train(preset, &["--out", preset, "--set", "evaluation.validate_every=0"]).ok();
        let shown = place.run(&["diagnose", preset, "--tasks", "2", "--lanczos", "3"]).ok();
        let expected = match preset {
            "strokes-shot" => "as trained (",
            "strokes-reptile" => "as trained (reptile)",
            "strokes-imaml" => "as trained (imaml)",
            _ => "top eigenvalue",
        };
        assert!(shown.contains(expected), "{preset}: {shown}");
        assert!(shown.contains("first order"), "{preset}: {shown}");
    }
}

#[test]
fn what_is_no_run_is_said() {
    let place = Place::new();
    place.run(&["diagnose", "nothing"]).fails(2, &["there is no folder nothing"]);
    place.run(&["diagnose", "nothing", "--tasks", "1"]).fails(2, &["--tasks"]);
}

#[test]
fn what_was_trained_is_that_of_its_time() {
    let place = Place::new();
    let sets = [
        "run.snapshot_every=2",
        "outer.iterations=4",
        "algorithm.adaptation_steps=2",
        "algorithm.regularizer=shot",
        "algorithm.shot_pretraining_until=0.5",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    place.train("sinusoid-maml", &[&["--out", "run"], &sets[..]].concat()).ok();
    place.run(&["diagnose", "run", "--tasks", "3"]).ok();
    let of = found(&place, "run");
    let cosine = |at: usize| {
        let first = &of["points"][at]["approximations"][0];
        assert_eq!(first["name"], "as trained (maml+shot)");
        first["cosine"]["mean"].as_f64().unwrap()
    };
    assert!(cosine(0) <= 0.99, "the distance alone at first: {}", cosine(0));
    assert!(cosine(1) >= 0.999999, "ordinary training after it: {}", cosine(1));
}
