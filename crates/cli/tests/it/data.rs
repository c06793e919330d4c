//! Task families and data sets.

use std::ffi::OsString;
use std::fs;

use crate::command::{Place, Ran};

#[test]
fn families_and_presets_are_listed() {
    let listed = Place::new().run(&["data", "list"]).ok();
    let names = ["strokes ", "sinusoid ", "omniglot ", "strokes-maml ", "omniglot-5w1s-meta-sgd "];
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
    for part in ["maml: 3 of 3 iterations", "omniglot/vinyals", "split test; 3 tasks"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
