//! Train, evaluate, inspect.

use std::fs;

use innerloop::lab::run_dir::RunDir;
use serde_json::Value;

use crate::command::Place;

#[test]
fn help_lists_the_commands() {
    let place = Place::new();
    let help = place.run(&["--help"]).ok();
    let expected = "\
Gradient-based meta-learning: train, evaluate and verify few-shot models

Usage: innerloop <COMMAND>

Commands:
  train      Train a preset or a configuration; without one, MAML on characters drawn on the fly
  evaluate   Evaluate a trained run on tasks of a split, after every number of inner steps
  compare    Run several methods on the same tasks, seeds and budget; one table and learning curves
  diagnose   Show what a run's inner loop encounters: curvature, eigenvalues, quality of approximations
  reproduce  Run shipped experiments and print published next to measured results
  metagrad   Write the meta-gradient of given weights and one given episode
  verify     Recompute another framework's reference case and compare
  inspect    Show a configuration's parameters, programs, work and memory
  bench      Time whole meta-iterations on built-in workloads
  data       List, check and look at task families and data sets
  help       Print this message or the help of the given subcommand(s)
";
    assert!(help.starts_with(expected), "{help}");
    assert!(place.run(&["--version"]).ok().starts_with("innerloop "));
    for command in [
        "train",
        "evaluate",
        "compare",
        "diagnose",
        "reproduce",
        "metagrad",
        "verify",
        "inspect",
        "bench",
        "data",
    ] {
        assert!(place.run(&[command, "--help"]).ok().contains("Usage: innerloop"), "{command}");
    }
    place.run(&["trian"]).fails(2, &["unrecognized subcommand 'trian'", "'train'"]);
}

#[test]
fn a_run_leaves_everything_needed() {
    let place = Place::new();
    let shown = place.train("strokes-maml", &["--out", "run"]).ok();
    for part in ["run folder run", "maml", "trained", "untrained", "nearest mean", "accuracy"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.ends_with("evaluate it again: innerloop evaluate run\n"), "{shown}");
    let files =
        ["config.toml", "metrics.jsonl", "last.safetensors", "best.safetensors", "result.json"];
    for file in files {
        assert!(place.path("run").join(file).is_file(), "{file}");
    }

    let dir = RunDir::open(&place.path("run")).unwrap();
    assert_eq!(dir.config().unwrap().outer.iterations, 4);
    let lines = dir.metrics().unwrap();
    let of_kind = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let (steps, validations) = (of_kind("train"), of_kind("validation"));
    assert_eq!((steps.len(), validations.len()), (4, 2), "{lines:?}");
    for line in steps {
        for key in ["iteration", "seconds", "query_loss", "gradient_norm", "rate"] {
            assert!(line[key].is_number(), "{key}: {line}");
        }
        assert_eq!(line["support_losses"].as_array().unwrap().len(), 1, "{line}");
    }
    assert_eq!(validations[0]["scores"].as_array().unwrap().len(), 4);

    let result = dir.result().unwrap().unwrap();
    let protocol = &result["protocol"];
    assert_eq!(protocol["seed"], 1);
    assert_eq!(protocol["split"], "test");
    assert_eq!(protocol["batch_norm"], "transductive");
    assert_eq!(protocol["order"], "exact second order");
    assert_eq!(protocol["algorithm"], "maml");
    assert_eq!(protocol["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&protocol["train_steps"], &protocol["steps"]), (&1.into(), &3.into()));
    assert_eq!((&result["iterations"], &result["iterations_configured"]), (&4.into(), &4.into()));
    for report in ["test", "untrained"] {
        let report = &result[report];
        assert_eq!((&report["measure"], &report["tasks"]), (&"accuracy".into(), &6.into()));
        for list in ["scores", "losses"] {
            let entries = report[list].as_array().unwrap();
            assert_eq!(entries.len(), 4, "steps 0 to 3: {report}");
            assert!(entries.iter().all(|e| e["mean"].is_number() && e["ci95"].is_number()));
        }
    }
}

#[test]
fn evaluating_again_gives_the_same_numbers() {
    let place = Place::new();
    for (preset, batch_norm) in [("strokes-fomaml", "with_support"), ("sinusoid-maml", "none")] {
        let batch_norm_set = format!("model.batch_norm={batch_norm}");
        let more = ["--out", preset, "--set", &batch_norm_set];
        let more = if batch_norm == "none" { &more[..2] } else { &more[..] };
        place.train(preset, more).ok();
        let result = RunDir::open(&place.path(preset)).unwrap().result().unwrap().unwrap();

        let json = place.run(&["evaluate", preset, "--json"]).ok();
        let again: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(again["report"], result["test"], "{preset}");
        assert_eq!(again["protocol"], result["protocol"], "{preset}");
        assert_eq!(again["iteration"], result["evaluated_iteration"], "{preset}");

        let text = place.run(&["evaluate", preset]).ok();
        let heading = format!("batch norm {batch_norm}; seed 1");
        assert!(text.contains(&heading) && text.contains("split test; 6 tasks"), "{text}");
        let table: Vec<&str> =
            text.lines().skip_while(|line| !line.contains("query loss")).collect();
        assert_eq!(table.len(), 5, "a heading and steps 0 to 3: {text}");
        let mean = result["test"]["scores"][3]["mean"].as_f64().unwrap();
        let shown = match batch_norm {
            "none" => format!("{mean:.4} ±"),
            _ => format!("{:.2} % ±", 100.0 * mean),
        };
        assert!(table[4].contains(&shown), "{shown} in {text}");
    }

    let run = |more: &[&str]| -> Value {
        let arguments = [&["evaluate", "strokes-fomaml", "--json"], more].concat();
        serde_json::from_str(&place.run(&arguments).ok()).unwrap()
    };
    let more =
        run(&["--tasks", "5", "--steps", "1", "--split", "validation", "--checkpoint", "last"]);
    assert_eq!(more["report"]["tasks"], 5);
    assert_eq!(more["report"]["scores"].as_array().unwrap().len(), 2);
    assert_eq!((&more["protocol"]["split"], &more["iteration"]), (&"validation".into(), &4.into()));
    assert_eq!(run(&["--steps", "0"])["report"]["scores"].as_array().unwrap().len(), 1);
    assert_eq!(run(&["--threads", "1"]), run(&["--threads", "3"]), "threads change no number");
    place.run(&["evaluate", "strokes-fomaml", "--threads", "9999"]).fails(2, &["at most 4096"]);
    place.run(&["evaluate", "strokes-fomaml", "--tasks", "1"]).fails(2, &["at least 2"]);
    let train = ["evaluate", "strokes-fomaml", "--split", "train"];
    assert!(place.run(&train).ok().contains("split train"));
}

#[test]
fn a_run_without_a_place_gets_a_fresh_one() {
    let place = Place::new();
    let more = ["--set", "outer.iterations=1"];
    assert!(place.train("sinusoid-maml", &more).ok().contains("run folder runs/sinusoid-maml\n"));
    assert!(place.train("sinusoid-maml", &more).ok().contains("run folder runs/sinusoid-maml-2\n"));
    assert!(place.path("runs/sinusoid-maml-2/result.json").is_file());
}

#[test]
fn a_file_may_be_the_configuration() {
    let place = Place::new();
    place.train("sinusoid-maml", &["--out", "first"]).ok();
    let config = place.path("first").join("config.toml");
    fs::copy(config, place.path("mine.toml")).unwrap();
    place.run(&["train", "mine.toml", "--out", "second"]).ok();
    let metrics = |run: &str| {
        let mut lines = RunDir::open(&place.path(run)).unwrap().metrics().unwrap();
        for line in lines.iter_mut().map(|line| line.as_object_mut().unwrap()) {
            line.retain(|key, _| !key.ends_with("seconds"));
        }
        lines
    };
    assert_eq!(metrics("first"), metrics("second"), "a run's configuration repeats the run");
}

#[test]
fn inspect_shows_parameters_and_programs() {
    let place = Place::new();
    let set = ["--set", "model.filters=4"];
    let shown = place.run(&["inspect", "strokes-maml", set[0], set[1]]).ok();
    let parts = [
        "features.0.conv.weight",
        "[3, 3, 1, 4]",
        "[4, 1, 3, 3]",
        "head.bias",
        "in all",
        "programs of one task (maml",
        "MFLOP a run",
        "a worker holds",
    ];
    for part in parts {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Convolutions 9·(1 + 3·4)·4, four blocks of 3·4, a head of 4·5 + 5.
    assert!(shown.contains("  541 in all"), "{shown}");
    let graph = place.run(&["inspect", "strokes-reptile", set[0], set[1], "--graph"]).ok();
    assert!(graph.contains("graph step\n") && graph.contains("programs of one task (reptile"));
}

#[test]
fn a_reader_may_stop_reading() {
    use std::process::Stdio;
    let place = Place::new();
    let mut command = place.command(&["inspect", "sinusoid-maml", "--graph"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    crate::command::Ran::of(child.wait_with_output().unwrap()).ok();
}

#[test]
fn an_ensemble_is_evaluated_as_it_was_tested() {
    let place = Place::new();
    let three = ["--out", "run", "--set", "evaluation.ensemble=3", "--set", "outer.iterations=8"];
    let shown = place.train("sinusoid-maml", &three).ok();
    let result = RunDir::open(&place.path("run")).unwrap().result().unwrap().unwrap();
    let members = result["ensemble"].as_array().unwrap();
    let listed: Vec<String> = members.iter().map(Value::to_string).collect();
    let words = format!("the ensemble of iterations {}", listed.join(", "));
    assert!(members.len() == 3 && shown.contains(&words), "{shown}");
    let evaluate = |more: &[&str]| -> Value {
        let json = place.run(&[&["evaluate", "run", "--json"], more].concat()).ok();
        serde_json::from_str(&json).unwrap()
    };
    let again = evaluate(&[]);
    assert_eq!((&again["report"], &again["ensemble"]), (&result["test"], &result["ensemble"]));
    assert!(place.run(&["evaluate", "run"]).ok().contains(&words));
    assert_ne!(evaluate(&["--checkpoint", "last"])["report"], result["test"]);
}
