//! Reproduce: published numbers next to measured ones, and what does not count as a reproduction.

use std::fs;

use crate::command::{Place, small};

#[test]
fn the_list_says_what_has_been_run() {
    let place = Place::new();
    let shown = place.run(&["reproduce"]).ok();
    let line = shown.lines().find(|line| line.starts_with("omniglot-5w1s-maml ")).unwrap();
    for part in ["98.70 % ± 0.40", "not run yet"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let line = shown.lines().find(|line| line.starts_with("omniglot-5w1s-protonet ")).unwrap();
    assert!(line.contains("98.80 %") && !line.contains("NaN"), "published without ±: {line}");
}

#[test]
fn a_budget_of_time_gives_no_reproduction() {
    let place = Place::new();
    let budget = ["--budget", "0.05s", "--threads", "2"];
    let shown = place.run(&[&["reproduce", "sinusoid-5shot-maml"], &budget[..]].concat()).ok();
    for part in ["0.6900 ± 0.0700", "of 70000 iterations", "no reproduction", "arXiv 1703.03400"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(place.path("runs/reproduce/sinusoid-5shot-maml-0.05s/result.json").is_file());
    let listed = place.run(&["reproduce", "--budget", "0.05s"]).ok();
    let scaled = listed.lines().filter(|line| line.contains("scaled: ")).count();
    assert_eq!(scaled, 1, "{listed}");
}

#[test]
fn a_path_that_diverges_after_the_step_compared_is_judged() {
    let place = Place::new();
    let sets: Vec<_> = small("sinusoid-maml").into_iter().filter(|set| *set != "--set").collect();
    let sets = sets.join("\n").replace("evaluation.steps=3", "evaluation.steps=40");
    let text = |steps: usize| {
        format!(
            "preset = 'sinusoid-maml'\nalgorithm.inner_lr = 0.5\nalgorithm.adaptation_steps = 1\n{sets}\n[published]\n\
             source = 'nobody'\nmean_squared_error = 1e6\nsteps = {steps}\ntolerance = 0.5\n"
        )
    };
    fs::write(place.path("early.toml"), text(1)).unwrap();
    fs::write(place.path("late.toml"), text(40)).unwrap();
    let shown = place.run(&["reproduce", "early.toml"]).ok();
    assert!(shown.contains("better by more than"), "{shown}");
    let shown = place.run(&["reproduce", "late.toml"]).ok();
    assert!(
        shown.lines().any(|line| line.starts_with("late ") && line.ends_with("diverged")),
        "{shown}"
    );
}

#[test]
fn a_whole_run_is_judged() {
    let place = Place::new();
    let sets: Vec<_> = small("sinusoid-maml").into_iter().filter(|set| *set != "--set").collect();
    let text = |published: f64| {
        format!(
            "preset = 'sinusoid-maml'\n{}\n[published]\nsource = 'nobody'\nmean_squared_error = {published}\n\
             steps = 1\ntolerance = 0.5\n",
            sets.join("\n")
        )
    };
    fs::write(place.path("far.toml"), text(0.0)).unwrap();
    fs::write(place.path("easy.toml"), text(1e6)).unwrap();
    place.run(&["reproduce", "far.toml"]).fails(1, &["worse than published", "far first"]);
    let shown = place.run(&["reproduce", "easy.toml"]).ok();
    assert!(shown.contains("better by more than"), "{shown}");
    let changed = ["reproduce", "far.toml", "--set", "outer.lr=0.5", "--out", "changed"];
    let shown = place.run(&changed).ok();
    assert!(shown.contains("other settings (outer.lr); no reproduction"), "{shown}");
    place.run(&["reproduce", "omniglot-5w1s-mmaml"]).fails(2, &["no experiment", "did you mean"]);
    fs::write(place.path("bare.toml"), "seed = 1").unwrap();
    place.run(&["reproduce", "bare.toml"]).fails(3, &["no table [published]"]);
}
