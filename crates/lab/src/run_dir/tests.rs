use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::ErrorKind;

fn config(sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    Config::load("strokes-maml", &sets).unwrap()
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs").join("one");
    (folder, path)
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn a_run_leaves_its_files() {
    let (_folder, path) = place();
    let config = config(&[]);
    let mut writer = RunWriter::create(&path, &config).unwrap();
    writer.append(&json!({"iteration": 1, "loss": 0.5})).unwrap();
    writer.append(&json!({"iteration": 2, "loss": f64::NAN})).unwrap();
    assert_eq!(writer.dir().result().unwrap(), None);
    writer.write_result(&json!({"accuracy": 0.75})).unwrap();

    let dir = RunDir::open(&path).unwrap();
    assert_eq!(dir, *writer.dir());
    assert_eq!(dir.config().unwrap(), config);
    let lines = [json!({"iteration": 1, "loss": 0.5}), json!({"iteration": 2, "loss": null})];
    assert_eq!(dir.metrics().unwrap(), lines);
    assert_eq!(dir.result().unwrap(), Some(json!({"accuracy": 0.75})));
    assert_eq!(fs::read_to_string(dir.metrics_path()).unwrap().lines().count(), 2);
    assert_eq!(dir.last_path().parent(), Some(path.as_path()));
    assert_eq!(dir.best_path().file_name().unwrap(), "best.safetensors");
}

#[test]
fn a_folder_with_a_run_is_not_overwritten() {
    let (_folder, path) = place();
    drop(RunWriter::create(&path, &config(&[])).unwrap());
    let parts =
        ["already holds a run (config.toml)", "resume it, remove it, or choose another folder"];
    check_refused(RunWriter::create(&path, &config(&[])), ErrorKind::Usage, &parts);

    let (_other, path) = place();
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    fs::write(path.join("metrics.jsonl"), "").unwrap();
    drop(RunWriter::create(&path, &config(&[])).expect("a folder with no run will do"));
    fs::remove_file(path.join("config.toml")).unwrap();
    fs::write(path.join("best.safetensors"), "").unwrap();
    let parts = ["already holds a run (best.safetensors)"];
    check_refused(RunWriter::create(&path, &config(&[])), ErrorKind::Usage, &parts);
}

#[test]
fn resuming_wants_the_same_configuration() {
    let (_folder, path) = place();
    drop(RunWriter::create(&path, &config(&[])).unwrap());
    let free =
        config(&["run.threads=2", "run.minutes=5", "run.log_every=1", "run.checkpoint_every=7"]);
    drop(RunWriter::resume(&path, &free).unwrap());
    assert_eq!(
        RunDir::open(&path).unwrap().config().unwrap(),
        free,
        "the folder holds what runs now"
    );

    let other = config(&["outer.lr=0.5", "seed=2", "run.dtype=f64", "run.threads=9"]);
    let parts = [
        "holds a run with another configuration",
        "\n  outer.lr: 0.003 there, 0.5 now",
        "\n  run.dtype: \"f32\" there, \"f64\" now",
        "\n  seed: 1 there, 2 now",
    ];
    check_refused(RunWriter::resume(&path, &other), ErrorKind::Usage, &parts);
    let message = RunWriter::resume(&path, &other).unwrap_err().to_string();
    assert!(!message.contains("run.threads"), "{message}");
    assert_eq!(RunDir::open(&path).unwrap().config().unwrap(), free);
}

#[test]
fn resuming_cuts_what_came_after_the_checkpoint() {
    let (_folder, path) = place();
    let mut writer = RunWriter::create(&path, &config(&[])).unwrap();
    for iteration in [10, 20, 30, 40] {
        writer.append(&json!({ "iteration": iteration })).unwrap();
    }
    drop(writer);
    let metrics = path.join("metrics.jsonl");
    let whole = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, format!("{whole}{{\"iteration\": 4")).unwrap();
    let dir = RunDir::open(&path).unwrap();
    assert_eq!(dir.metrics().unwrap().len(), 4, "a line without its end is dropped");

    let mut writer = RunWriter::resume(&path, &config(&[])).unwrap();
    writer.keep_until(99, 99).unwrap();
    assert_eq!(fs::read_to_string(&metrics).unwrap(), whole);
    writer.keep_until(20, 20).unwrap();
    writer.append(&json!({ "iteration": 21 })).unwrap();
    let iterations: Vec<u64> =
        dir.metrics().unwrap().iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
    assert_eq!(iterations, [10, 20, 21]);
    writer.keep_until(0, 0).unwrap();
    assert_eq!(fs::read(&metrics).unwrap(), b"");
}

#[test]
fn resuming_cuts_a_validation_that_the_checkpoint_lacks() {
    let (_folder, path) = place();
    let mut writer = RunWriter::create(&path, &config(&[])).unwrap();
    for (kind, iteration) in
        [("train", 5), ("validation", 5), ("train", 10), ("validation", 10), ("train", 11)]
    {
        writer.append(&json!({ "kind": kind, "iteration": iteration })).unwrap();
    }
    for (iteration, validated, kept) in [(11, 10, 5), (10, 10, 4), (10, 5, 3), (5, 0, 1)] {
        writer.keep_until(iteration, validated).unwrap();
        let lines = writer.dir().metrics().unwrap().len();
        assert_eq!(lines, kept, "until {iteration}, validated at {validated}");
    }
}

#[test]
fn one_process_writes_at_a_time() {
    let (_folder, path) = place();
    let writer = RunWriter::create(&path, &config(&[])).unwrap();
    let parts = ["another process is writing to", "wait for it"];
    check_refused(RunWriter::resume(&path, &config(&[])), ErrorKind::Usage, &parts);
    drop(writer);
    RunWriter::resume(&path, &config(&[])).unwrap();
}

#[test]
fn a_place_that_is_no_run_is_named() {
    let (folder, path) = place();
    check_refused(
        RunDir::open(&path),
        ErrorKind::Usage,
        &["there is no folder", "expected the folder of a run"],
    );
    let parts = ["holds no run: it has no config.toml"];
    check_refused(RunDir::open(folder.path()), ErrorKind::Usage, &parts);
    check_refused(RunWriter::resume(folder.path(), &config(&[])), ErrorKind::Usage, &parts);

    let file = folder.path().join("file");
    fs::write(&file, "kept").unwrap();
    check_refused(RunDir::open(&file), ErrorKind::Usage, &["is a file"]);
    let parts = ["is a file, expected a folder or nothing"];
    check_refused(RunWriter::create(&file, &config(&[])), ErrorKind::Usage, &parts);
    let parts = ["cannot make folder", "a part of the path is a file"];
    check_refused(RunWriter::create(&file.join("run"), &config(&[])), ErrorKind::Io, &parts);
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

#[test]
fn damaged_files_are_placed() {
    let (_folder, path) = place();
    drop(RunWriter::create(&path, &config(&[])).unwrap());
    let dir = RunDir::open(&path).unwrap();
    fs::write(dir.metrics_path(), "{\"iteration\": 1}\nnot json\n").unwrap();
    let parts = ["metrics.jsonl, line 2, is not JSON", "remove the line"];
    check_refused(dir.metrics(), ErrorKind::Data, &parts);
    let mut writer = RunWriter::resume(&path, &config(&[])).unwrap();
    check_refused(writer.keep_until(5, 5), ErrorKind::Data, &parts);
    drop(writer);
    fs::write(dir.result_path(), "{").unwrap();
    check_refused(dir.result(), ErrorKind::Data, &["result.json is not JSON"]);
    fs::write(dir.config_path(), "seed = 'x'").unwrap();
    check_refused(dir.config(), ErrorKind::Config, &["config.toml: seed is \"x\""]);
    check_refused(
        RunWriter::resume(&path, &config(&[])),
        ErrorKind::Config,
        &["config.toml: seed"],
    );
    fs::remove_file(dir.metrics_path()).unwrap();
    assert_eq!(dir.metrics().unwrap(), Vec::<Value>::new());
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let (_folder, path) = place();
    fs::create_dir_all(path.join("metrics.jsonl/x")).unwrap();
    let created = RunWriter::create(&path, &config(&[]));
    check_refused(created, ErrorKind::Usage, &["already holds a run (metrics.jsonl)"]);

    let (_folder, path) = place();
    let mut writer = RunWriter::create(&path, &config(&[])).unwrap();
    fs::create_dir(path.join("result.json")).unwrap();
    check_refused(writer.write_result(&1), ErrorKind::Io, &["cannot write", "result.json"]);
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    check_refused(writer.append(&no_json), ErrorKind::Io, &["cannot write", "metrics.jsonl"]);
    writer.append(&json!({"iteration": 1})).unwrap();
    assert_eq!(writer.dir().metrics().unwrap().len(), 1);
}
