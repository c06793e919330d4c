//! Every kind of failure has its exit code and a message that helps.

use std::fs;

use crate::command::Place;

#[test]
fn usage_is_2() {
    let place = Place::new();
    place
        .train("strokes-mamml", &[])
        .fails(2, &["no preset is named `strokes-mamml`", "did you mean `strokes-maml`?"]);
    place.run(&["train", "none.toml"]).fails(2, &["there is no file none.toml"]);
    place.run(&["train", "--set", "seed"]).fails(2, &["expected section.key=value"]);
    place.run(&["evaluate", "nowhere"]).fails(2, &["there is no folder nowhere"]);
    place.run(&["train", "--resume", "--out", "nowhere"]).fails(2, &["there is no folder nowhere"]);
    place.run(&["data", "preview", "--tasks", "0"]).fails(2, &["--tasks is 0, expected 1 to 64"]);

    place.train("sinusoid-maml", &["--out", "run"]).ok();
    place.train("sinusoid-maml", &["--out", "run"]).fails(2, &["run already holds a run"]);
    let other = ["--out", "run", "--resume", "--set", "outer.lr=0.5"];
    place
        .train("sinusoid-maml", &other)
        .fails(2, &["another configuration", "outer.lr: 0.001 there, 0.5 now"]);
    place.train("sinusoid-maml", &["--out", "run", "--resume"]).ok();
}

#[test]
fn configuration_is_3() {
    let place = Place::new();
    let set = |set: &str| place.run(&["inspect", "--set", set]);
    set("outer.leaning_rate=1").fails(3, &["unknown key `outer.leaning_rate`"]);
    set("algorithm.iner_lr=1")
        .fails(3, &["unknown key `algorithm.iner_lr`", "did you mean `inner_lr`?"]);
    set("algorithm.name=mamal").fails(3, &["did you mean `maml`?"]);
    set("model.filters=100000").fails(3, &["the network has", "expected at most", "model.filters"]);
    set("tasks.ways=100000").fails(3, &["the inputs of a task are", "expected at most"]);
    set("outer.lr=-1").fails(3, &["outer.lr is -1", "expected a finite number above 0"]);
    set("algorithm.frozen=[\"body.\"]").fails(3, &["\"body.\"", "features.0.conv.weight"]);
    fs::write(place.path("bad.toml"), "[tasks\n").unwrap();
    place.run(&["train", "bad.toml"]).fails(3, &["bad.toml, line 1", "expected TOML"]);
    assert!(!place.path("runs").exists(), "nothing is written for a wrong configuration");
}

#[test]
fn data_is_4() {
    let place = Place::new();
    let train = ["train", "omniglot-5w1s-maml", "--out", "run"];
    place.run(&train).fails(4, &["omniglot"]);
    assert!(!place.path("run").exists());
    place.run(&["data", "verify", "omniglot", "--data", "nowhere"]).fails(4, &["nowhere"]);
    for split in ["train", "test"] {
        fs::create_dir_all(place.path(&format!("own/{split}/ant"))).unwrap();
        fs::write(place.path(&format!("own/{split}/ant/1.png")), "").unwrap();
    }
    let again = "class ant is in the test split and again in the train split";
    place.run(&["data", "verify", "images", "--data", "own"]).fails(4, &[again]);
    place.run(&["data", "preview", "sinusoid-maml"]).fails(4, &["sinusoid", "contact sheet"]);
}

#[test]
fn checkpoint_is_5() {
    let place = Place::new();
    place.train("sinusoid-maml", &["--out", "run"]).ok();
    let best = place.path("run").join("best.safetensors");
    let whole = fs::read(&best).unwrap();
    for size in [0, 20, whole.len() - 1] {
        fs::write(&best, &whole[..size]).unwrap();
        place
            .run(&["evaluate", "run"])
            .fails(5, &["best.safetensors", "not an intact safetensors file"]);
    }
    // A checkpoint of another network.
    place.train("sinusoid-maml", &["--out", "wide", "--set", "model.hidden=[8]"]).ok();
    fs::copy(place.path("wide").join("best.safetensors"), &best).unwrap();
    place.run(&["evaluate", "run"]).fails(5, &["belongs to another configuration"]);
    place.run(&["evaluate", "run", "--checkpoint", "last"]).ok();
    fs::write(place.path("run").join("last.safetensors"), "no checkpoint").unwrap();
    place.train("sinusoid-maml", &["--out", "run", "--resume"]).fails(5, &["last.safetensors"]);
    place.run(&["verify", "none.safetensors"]).fails(5, &["there is no file none.safetensors"]);
}

#[test]
fn divergence_is_6() {
    let place = Place::new();
    let more = ["--out", "run", "--set", "algorithm.inner_lr=1e30"];
    place
        .train("strokes-maml", &more)
        .fails(6, &["diverged at iteration 1", "lower algorithm.inner_lr"]);
}

/// Training takes one inner step, the test forty, which is too many at this rate.
const UNSTABLE: [&str; 8] = [
    "--set",
    "algorithm.inner_lr=0.5",
    "--set",
    "algorithm.adaptation_steps=1",
    "--set",
    "evaluation.steps=40",
    "--out",
    "run",
];

#[test]
fn divergence_at_test_time_is_6_with_a_result() {
    let place = Place::new();
    let diverged = ["diverged on test tasks", "of 40 steps", "evaluation.steps"];
    place.train("sinusoid-maml", &UNSTABLE).fails(6, &diverged);
    assert!(place.path("run/result.json").is_file());
    place.run(&["evaluate", "run", "--checkpoint", "last"]).fails(6, &diverged);
    let all = place.run(&["evaluate", "run", "--checkpoint", "last", "--steps", "1"]).ok();
    assert!(!all.contains("diverged"), "{all}");
    let again = place.run(&["evaluate", "run", "--checkpoint", "last"]);
    let line = |k: &str| again.stdout.lines().find(|line| line.trim_start().starts_with(k));
    assert!(line("1 ").is_some_and(|line| line.contains('±')), "{}", again.stdout);
    assert!(line("40 ").is_some_and(|line| line.contains("diverged")), "{}", again.stdout);
}

#[test]
fn writing_is_7() {
    let place = Place::new();
    fs::write(place.path("file"), "kept").unwrap();
    let advice = "a part of the path is a file";
    place.train("sinusoid-maml", &["--out", "file/run"]).fails(7, &["file/run", advice]);
    place.run(&["data", "preview", "--out", "file/x.png"]).fails(7, &["file/x.png", advice]);
    let case = crate::command::golden("mlp_mse");
    let case = case.to_str().unwrap();
    place.run(&["verify", case, "--out", "file/g"]).fails(7, &["cannot write file/g", advice]);
    assert_eq!(fs::read(place.path("file")).unwrap(), b"kept");
    // A file in place of the folder is a usage error.
    place
        .train("sinusoid-maml", &["--out", "file"])
        .fails(2, &["file is a file, expected a folder"]);
}
