//! Compare: what it writes, what it does not repeat, and runs that fail.

use std::fs;

use serde_json::Value;

use crate::command::{Place, Ran, small};

fn compare(place: &Place, more: &[&str]) -> Ran {
    let mut arguments = vec!["compare", "--base", "sinusoid-maml", "--out", "c", "--threads", "2"];
    arguments.extend(small("sinusoid-maml"));
    arguments.extend(more);
    place.run(&arguments)
}

fn table(place: &Place) -> Value {
    serde_json::from_str(&fs::read_to_string(place.path("c/compare.json")).unwrap()).unwrap()
}

const RUN: [&str; 6] = ["--methods", "maml,fomaml,reptile", "--seeds", "1,2", "--iterations", "20"];

#[test]
fn methods_stand_side_by_side() {
    let place = Place::new();
    let shown = compare(&place, &RUN).ok();
    for part in ["run 1 of 6: maml, seed 1", "run 6 of 6: reptile, seed 2", "fomaml, seed 2: "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let of = table(&place);
    assert_eq!((&of["budget"], &of["threads"]), (&"20 iterations".into(), &2.into()));
    let rows = of["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["maml", "fomaml", "reptile"]);
    for row in rows {
        assert_eq!(row["iterations"], 20.0, "{row}");
        for key in ["seeds_ci95", "training_seconds", "seconds_per_iteration", "workspaces"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key}: {row}");
        }
        assert!(row["score"]["mean"].as_f64().unwrap() > 0.0);
        for run in row["runs"].as_array().unwrap() {
            assert_eq!(run["status"], "finished");
            // A tenth of the iterations between validations.
            assert_eq!(run["curve"].as_array().unwrap().len(), 10);
        }
    }
    // Of 3 tasks: a gradient of the support loss and one of the query loss; for MAML also a Hessian-vector product.
    let counts = |i: usize| (&rows[i]["gradients"], &rows[i]["hessian_products"]);
    assert_eq!(counts(0), (&6.into(), &3.into()));
    assert_eq!(counts(1), (&6.into(), &0.into()));
    assert_eq!(counts(2), (&15.into(), &0.into()));
    // Both adapt in the same way, from the same weights, to the same tasks.
    assert_eq!(rows[0]["untrained"], rows[1]["untrained"]);
    assert_ne!(rows[0]["score"], rows[1]["score"]);

    let text = fs::read_to_string(place.path("c/compare.md")).unwrap();
    for part in ["| fomaml |", "seeds: 1, 2", "- fomaml: `algorithm.name = \"fomaml\"`", "1 / 3"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let svg = fs::read_to_string(place.path("c/curves.svg")).unwrap();
    assert!(svg.contains("training time (s)") && svg.contains(">reptile</text>"));
    assert!(place.path("c/maml/seed-1/result.json").is_file());
}

#[test]
fn what_is_finished_is_not_run_again() {
    let place = Place::new();
    let two = ["--methods", "maml,fomaml", "--iterations", "20"];
    compare(&place, &two).ok();
    let first = table(&place);
    fs::remove_file(place.path("c/fomaml/seed-1/result.json")).unwrap();
    let again = compare(&place, &two).ok();
    assert!(!again.contains("run 1 of 2") && again.contains("run 2 of 2: fomaml"), "{again}");
    let second = table(&place);
    assert_eq!(second["rows"][0]["runs"], first["rows"][0]["runs"]);
    assert_eq!(second["rows"][1]["score"], first["rows"][1]["score"]);
    compare(&place, &["--methods", "maml", "--iterations", "21"]).fails(2, &["budget", "--out"]);
    let other = ["--methods", "maml", "--iterations", "20", "--set", "outer.lr=0.5"];
    compare(&place, &other).fails(2, &["another configuration", "outer.lr"]);
}

#[test]
fn a_time_is_a_budget_too() {
    let place = Place::new();
    let time = ["--methods", "maml,fomaml", "--budget", "0.05s"];
    compare(&place, &time).ok();
    let of = table(&place);
    assert!(of["budget"].as_str().unwrap().starts_with("0.05 s of training"));
    for row in of["rows"].as_array().unwrap() {
        let result = &row["runs"][0]["result"];
        assert!(result["iterations"].as_u64() <= result["iterations_configured"].as_u64());
        assert_eq!(row["runs"][0]["status"], "finished");
    }
    // The measured number of iterations stays fixed.
    assert!(!compare(&place, &time).ok().contains("run 1 of 2"));
}

#[test]
fn a_diverged_run_is_a_row() {
    let place = Place::new();
    fs::write(
        place.path("mad.toml"),
        "preset = 'sinusoid-maml'\n[outer]\nlr = 1e300\noptimizer = 'sgd'\n",
    )
    .unwrap();
    let run = ["mad.toml", "--methods", "maml", "--iterations", "20"];
    let shown = compare(&place, &run).ok();
    assert!(shown.contains("mad, seed 1: training diverged at iteration"), "{shown}");
    let of = table(&place);
    assert_eq!(of["rows"][0]["runs"][0]["status"], "diverged");
    assert_eq!(of["rows"][0]["score"], Value::Null);
    assert_eq!(of["rows"][1]["runs"][0]["status"], "finished");
    let text = fs::read_to_string(place.path("c/compare.md")).unwrap();
    assert!(text.contains("diverged (seed 1)"), "{text}");
    assert!(!compare(&place, &run).ok().contains("run 1 of 2"), "it would diverge again");
    // Also while the time of an iteration is being measured.
    let run = ["mad.toml", "--budget", "1s", "--out", "timed"];
    let timed =
        |shown: String| assert!(shown.contains("mad, seed 1: training diverged"), "{shown}");
    let call = |place: &Place| place.run(&[&["compare"], &run[..]].concat()).ok();
    timed(call(&place));
    timed(call(&place));
}

#[test]
fn divergence_on_test_tasks_is_told() {
    let place = Place::new();
    let unstable =
        ["algorithm.inner_lr=0.5", "algorithm.adaptation_steps=1", "evaluation.steps=40"];
    let sets = unstable.iter().flat_map(|set| ["--set", set]);
    let call: Vec<&str> =
        ["--methods", "maml", "--iterations", "2"].into_iter().chain(sets).collect();
    compare(&place, &call).ok();
    let row = &table(&place)["rows"][0];
    assert_eq!((&row["score"], &row["runs"][0]["status"]), (&Value::Null, &"finished".into()));
    let text = fs::read_to_string(place.path("c/compare.md")).unwrap();
    assert!(text.contains("diverged on test tasks (seed 1)"), "{text}");
}

#[test]
fn bad_calls_are_usage_errors() {
    let place = Place::new();
    compare(&place, &[]).fails(2, &["nothing to compare"]);
    compare(&place, &["--methods", "mamml"]).fails(2, &["did you mean"]);
    compare(&place, &["--methods", "maml", "--budget", "30"]).fails(2, &["its unit"]);
    compare(&place, &["strokes-maml", "--methods", "maml"]).fails(2, &["same tasks"]);
    compare(&place, &["--methods", "maml", "--set", "seed=4"]).fails(2, &["seed=4", "--seeds"]);
    let both = ["--methods", "maml", "--budget", "1s", "--iterations", "1"];
    compare(&place, &both).fails(2, &["cannot be used with"]);
    assert!(!place.path("c").exists(), "nothing was written");
}
