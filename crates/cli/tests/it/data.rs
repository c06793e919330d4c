//! Task families and data sets.

use std::ffi::OsString;
use std::fs;

use crate::command::{Place, Ran};

#[test]
fn families_and_presets_are_listed() {
    let listed = Place::new().run(&["data", "list"]).ok();
    let names = [
        "strokes ",
        "sinusoid ",
        "omniglot ",
        "double_mnist ",
        "cifar_fs ",
        "images ",
        "curves ",
        "strokes-maml ",
        "omniglot-5w1s-meta-sgd ",
        "ozone-maml ",
    ];
    for name in names {
        assert!(listed.contains(&format!("  {name}")), "{name}: {listed}");
    }
}

#[test]
fn a_preview_is_a_picture() {
    let place = Place::new();
    let sets = ["--set", "evaluation.tasks=20", "--set", "tasks.ways=3", "--set", "tasks.query=2"];
    let arguments = ["data", "preview", "strokes-maml", "--tasks", "2", "--out", "tasks.png"];
    let shown = place.run(&[&arguments[..], &sets].concat()).ok();
    for part in ["tasks.png (", "support left, query right", "nearest class mean on raw pixels, 20"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let png = fs::read(place.path("tasks.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert!(shown.contains(&format!("({}×{} pixels)", number(16), number(20))), "{shown}");
    assert!(png.ends_with(b"IEND\xae\x42\x60\x82"));
    let again = place.run(&[&arguments[..6], &["other.png"], &sets[..]].concat()).ok();
    assert!(again.contains("other.png ("));
    assert_eq!(
        fs::read(place.path("other.png")).unwrap(),
        png,
        "the same seed draws the same tasks"
    );
    // An existing file is replaced, not overwritten: another link to it keeps the old contents.
    fs::write(place.path("old.png"), "old").unwrap();
    fs::hard_link(place.path("old.png"), place.path("kept.png")).unwrap();
    place.run(&[&arguments[..6], &["old.png"], &sets[..]].concat()).ok();
    assert_eq!(fs::read(place.path("old.png")).unwrap(), png);
    assert_eq!(fs::read(place.path("kept.png")).unwrap(), b"old");
}

/// The folder of data sets, if there is one.
fn data(test: &str) -> Option<OsString> {
    let data = std::env::var_os("INNERLOOP_DATA");
    if data.is_none() {
        eprintln!("{test} skipped: INNERLOOP_DATA is not set");
    }
    data
}

#[test]
fn omniglot_is_whole_and_trains() {
    let Some(data) = data("omniglot_is_whole_and_trains") else { return };
    let place = Place::new();
    let run = |arguments: &[&str]| {
        Ran::of(place.command(arguments).env("INNERLOOP_DATA", &data).output().unwrap()).ok()
    };
    let report = run(&["data", "verify", "omniglot"]);
    assert!(report.contains("1028 training, 172 validation, 423 test classes"), "{report}");
    assert!(!place.path("cache").exists(), "nothing is kept when all is read");
    let sets = [
        "model.filters=4",
        "outer.meta_batch_size=2",
        "outer.iterations=3",
        "evaluation.tasks=3",
        "evaluation.validation_tasks=2",
        "evaluation.steps=2",
        "run.threads=2",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let train = [&["train", "omniglot-5w1s-maml", "--out", "run"], &sets[..]].concat();
    let shown = run(&train);
    let kept = fs::read_dir(place.path("cache")).unwrap().count();
    assert_eq!(kept, 2, "a file for each archive");
    for part in ["maml: 3 of 3 iterations", "omniglot/vinyals", "split test; 3 tasks"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn an_unknown_data_set_is_told_from_the_known_ones() {
    let ran = Place::new().run(&["data", "verify", "omniglott"]);
    ran.fails(2, &["not a family (strokes, omniglot,", "no preset is named `omniglott`"]);
}

#[test]
fn own_curves_are_checked_and_learned() {
    let place = Place::new();
    let rows = (0..200).map(|at| format!("t{},{},{}\n", at % 20, at / 20, at % 20 * (at / 20)));
    fs::write(place.path("own.csv"), format!("task,x,y\n{}", rows.collect::<String>())).unwrap();
    let sets = ["--set", "tasks.file=own.csv", "--set", "tasks.shots=3", "--set", "tasks.query=7"];
    let verify = [&["data", "verify", "curves", "--data", "."], &sets[..]].concat();
    let report = place.run(&verify).ok();
    let expected = "own: 13 training, 3 validation and 4 test tasks of 10 to 10 points, 1 inputs and 1 targets";
    assert!(report.contains(expected), "{report}");
    fs::write(
        place.path("own.toml"),
        "tasks = { family = 'curves', data = '.', file = 'own.csv', shots = 3, query = 7 }\n\
         outer = { iterations = 3, meta_batch_size = 2 }\n\
         evaluation = { tasks = 3, validation_tasks = 2 }",
    )
    .unwrap();
    let shown = place.run(&["train", "own.toml", "--out", "run"]).ok();
    assert!(shown.contains("maml: 3 of 3 iterations"), "{shown}");
    fs::write(place.path("own.csv"), "task,x,y\na,1,2\na,NA,3\n").unwrap();
    let refused = place.run(&verify);
    refused.fails(4, &["line 3, column \"x\": found \"NA\", expected a number"]);
}

#[test]
fn data_sets_in_files_are_whole_and_train() {
    let Some(data) = data("data_sets_in_files_are_whole_and_train") else { return };
    let place = Place::new();
    let run = |arguments: &[&str]| {
        Ran::of(place.command(arguments).env("INNERLOOP_DATA", &data).output().unwrap()).ok()
    };
    for (set, expected) in [
        ("double_mnist", "MNIST, 70000 images"),
        ("cifar_fs", "cifar_fs: 64 training, 16 validation, 20 test classes"),
        ("fc100", "fc100: 60 training, 20 validation, 20 test classes"),
        ("ozone-maml", "ozone: 369 training, 92 validation and 115 test tasks of 72 to 72 points"),
    ] {
        let report = run(&["data", "verify", set]);
        assert!(report.contains(expected), "{expected}: {report}");
    }
    let sets = [
        "outer.meta_batch_size=2",
        "outer.iterations=2",
        "evaluation.tasks=3",
        "evaluation.validation_tasks=2",
        "evaluation.steps=1",
        "algorithm.adaptation_steps=1",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    for (preset, more) in [
        ("double-mnist-5w1s-maml", "model.filters=4"),
        ("triple-mnist-5w1s-maml", "model.filters=4"),
        ("cifar-fs-5w1s-maml", "model.filters=4"),
        ("fc100-5w1s-maml", "model.filters=4"),
        ("ozone-maml", "model.hidden=[8]"),
        ("gapminder-maml", "model.hidden=[8]"),
        ("spruce-maml", "model.hidden=[8]"),
    ] {
        let train = [&["train", preset, "--out", preset, "--set", more], &sets[..]].concat();
        let shown = run(&train);
        assert!(shown.contains("maml: 2 of 2 iterations"), "{preset}: {shown}");
    }
}
