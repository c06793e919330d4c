//! The folder of a run: everything a report needs, and enough to go on after a stop.
//!
//! | file | content |
//! | --- | --- |
//! | `config.toml` | the configuration as run, every key written |
//! | `metrics.jsonl` | a JSON object a line, each with the `iteration` it was measured at |
//! | `last.safetensors` | the newest checkpoint |
//! | `best.safetensors` | the checkpoint with the best validation score |
//! | `snapshots/ITERATION.safetensors` | checkpoints kept every `run.snapshot_every` iterations |
//! | `ensemble/ITERATION.safetensors` | with `evaluation.ensemble`, the checkpoints with the best validation scores |
//! | `result.json` | the final evaluation |
//! | `curve.svg`, `paths.svg` | of reinforcement learning: returns in training; paths before and after adaptation |
//! | `source.safetensors`, `matched.svg` | of meta-transfer: the pretrained network; what was matched |
//! | `diverged.json` | in a comparison: why there will be no result |

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::checkpoint::write_atomic;
use crate::config::{Difference, RlConfig, TransferConfig};
use crate::{Config, Error, Result};

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";
const RESULT: &str = "result.json";
const DIVERGED: &str = "diverged.json";
const SNAPSHOTS: &str = "snapshots";
const ENSEMBLE: &str = "ensemble";

/// Settings that may differ when a run goes on: none of them changes a number.
const FREE: [&str; 5] =
    ["run.threads", "run.minutes", "run.checkpoint_every", "run.snapshot_every", "run.log_every"];

/// A configuration that a folder keeps.
pub trait Kept: Sized {
    /// Reads TOML text; `source` names it in messages.
    fn parse(text: &str, source: &str) -> Result<Self>;
    /// The whole configuration as TOML.
    fn to_toml(&self) -> String;
    /// Settings that differ.
    fn differences(&self, other: &Self) -> Vec<Difference>;
}

macro_rules! kept {
    ($($name:ident)*) => { $(
        impl Kept for $name {
            fn parse(text: &str, source: &str) -> Result<$name> {
                $name::parse(text, source)
            }

            fn to_toml(&self) -> String {
                $name::to_toml(self)
            }

            fn differences(&self, other: &$name) -> Vec<Difference> {
                $name::differences(self, other)
            }
        }
    )* };
}

kept!(Config RlConfig TransferConfig);

/// The folder of a run, for reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The folder at `path`; fails if there is no run in it.
    pub fn open(path: &Path) -> Result<RunDir> {
        let dir = RunDir { path: path.to_path_buf() };
        if dir.config_path().is_file() {
            return Ok(dir);
        }
        let found = if path.is_dir() {
            format!("{} holds no run: it has no {CONFIG}", path.display())
        } else if path.exists() {
            format!("{} is a file", path.display())
        } else {
            format!("there is no folder {}", path.display())
        };
        Err(Error::usage(format!(
            "{found}; expected the folder of a run, as innerloop train writes it"
        )))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `metrics.jsonl`
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `last.safetensors`
    pub fn last_path(&self) -> PathBuf {
        self.path.join(LAST)
    }

    /// `best.safetensors`
    pub fn best_path(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// A file of `snapshots/`.
    pub fn snapshot_path(&self, iteration: u64) -> PathBuf {
        self.path.join(SNAPSHOTS).join(format!("{iteration}.safetensors"))
    }

    /// Iterations of the checkpoints in `snapshots/`, in order.
    pub fn snapshots(&self) -> Result<Vec<u64>> {
        self.iterations(SNAPSHOTS)
    }

    /// A file of `ensemble/`.
    pub fn member_path(&self, iteration: u64) -> PathBuf {
        self.path.join(ENSEMBLE).join(format!("{iteration}.safetensors"))
    }

    /// Iterations of the checkpoints in `ensemble/`, in order.
    pub fn members(&self) -> Result<Vec<u64>> {
        self.iterations(ENSEMBLE)
    }

    fn iterations(&self, folder: &str) -> Result<Vec<u64>> {
        let folder = self.path.join(folder);
        let entries = match fs::read_dir(&folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|cause| Error::io("read", &folder, &cause))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry.map_err(|cause| Error::io("read", &folder, &cause))?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".safetensors"));
            all.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// `result.json`
    pub fn result_path(&self) -> PathBuf {
        self.path.join(RESULT)
    }

    /// The configuration the run was started with.
    pub fn config(&self) -> Result<Config> {
        self.kept()
    }

    /// The same of any kind.
    pub fn kept<C: Kept>(&self) -> Result<C> {
        let path = self.config_path();
        let text = fs::read_to_string(&path).map_err(|cause| Error::io("read", &path, &cause))?;
        C::parse(&text, &path.display().to_string())
    }

    /// The lines of `metrics.jsonl`. A last line without its end, as a power cut leaves it, is dropped.
    pub fn metrics(&self) -> Result<Vec<Value>> {
        let path = self.metrics_path();
        let lines = Lines::read(&path)?;
        lines.parse(&path)?.into_iter().map(|(_, value)| Ok(value)).collect()
    }

    /// `result.json`, if the run has come that far.
    pub fn result(&self) -> Result<Option<Value>> {
        read_json(&self.result_path(), "evaluate the run again")
    }

    /// `diverged.json`, if the run has ended that way.
    pub fn diverged(&self) -> Result<Option<Value>> {
        read_json(&self.path.join(DIVERGED), "remove it to run again")
    }

    /// The error of a run that was stopped at some point, and can go on.
    pub(crate) fn interrupted(&self, at: &str) -> Error {
        let folder = self.path.display();
        Error::interrupted(format!("stopped {at}; go on with --resume and --out {folder}"))
    }

    /// That the run was started with this configuration, up to what changes no number; those differences.
    pub fn check_same<C: Kept>(&self, config: &C) -> Result<Vec<Difference>> {
        let differences = self.kept::<C>()?.differences(config);
        let hard: Vec<&Difference> = differences
            .iter()
            .filter(|difference| !FREE.contains(&difference.key.as_str()))
            .collect();
        if !hard.is_empty() {
            let line =
                |d: &&Difference| format!("\n  {}: {} there, {} now", d.key, d.this, d.other);
            let list: String = hard.iter().map(line).collect();
            return Err(Error::usage(format!(
                "{} holds a run with another configuration; resume it with its own, or choose another \
                 folder. Different:{list}",
                self.path.display()
            )));
        }
        Ok(differences)
    }

    /// A file that only a run leaves. An empty `metrics.jsonl` is what a failed start leaves.
    fn holds_a_run(&self) -> Option<&'static str> {
        let there = |file: &&str| {
            let found = fs::metadata(self.path.join(file));
            found.is_ok_and(|found| *file != METRICS || found.len() > 0)
        };
        [CONFIG, METRICS, LAST, BEST, RESULT].into_iter().find(there)
    }
}

/// The folder of a run, for writing. Only one process at a time has it.
#[derive(Debug)]
pub struct RunWriter {
    dir: RunDir,
    metrics: File,
}

impl RunWriter {
    /// Starts a run in a new folder, or in one that holds none.
    pub fn create(path: &Path, config: &impl Kept) -> Result<RunWriter> {
        let dir = RunDir { path: path.to_path_buf() };
        if path.exists() && !path.is_dir() {
            let found = format!("{} is a file, expected a folder or nothing", path.display());
            return Err(Error::usage(format!("{found}; choose another place for the run")));
        }
        if let Some(file) = dir.holds_a_run() {
            let found = format!("{} already holds a run ({file})", path.display());
            return Err(Error::usage(format!(
                "{found}; resume it, remove it, or choose another folder"
            )));
        }
        fs::create_dir_all(path).map_err(|cause| Error::io("make folder", path, &cause))?;
        let writer = RunWriter::lock(dir)?;
        writer.write_config(config)?;
        Ok(writer)
    }

    /// Goes on with the run in a folder. The configuration must be the one it was started with; only
    /// `run.threads`, `run.minutes`, `run.checkpoint_every`, `run.snapshot_every` and `run.log_every` may differ.
    pub fn resume(path: &Path, config: &impl Kept) -> Result<RunWriter> {
        let dir = RunDir::open(path)?;
        let differences = dir.check_same(config)?;
        let writer = RunWriter::lock(dir)?;
        if !differences.is_empty() {
            writer.write_config(config)?;
        }
        Ok(writer)
    }

    /// The folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Cuts `metrics.jsonl` before the first line of a later iteration, or of a validation later than `validated`, and a
    /// line without its end.
    pub fn keep_until(&mut self, iteration: u64, validated: u64) -> Result<()> {
        let path = self.dir.metrics_path();
        let lines = Lines::read(&path)?;
        let parsed = lines.parse(&path)?;
        let later = |value: &Value| {
            let until = if value["kind"] == "validation" { validated } else { iteration };
            value["iteration"].as_u64().is_some_and(|at| at > until)
        };
        let end = parsed
            .iter()
            .find(|(_, value)| later(value))
            .map_or(lines.whole(), |&(start, _)| start);
        self.metrics.set_len(end as u64).map_err(|cause| Error::io("shorten", &path, &cause))
    }

    /// Appends a line to `metrics.jsonl`. After a failure the file is as it was.
    pub fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let path = self.dir.metrics_path();
        let failed = |cause: io::Error| Error::io("write", &path, &cause);
        let mut text = serde_json::to_string(line).map_err(|cause| failed(cause.into()))?;
        text.push('\n');
        let before = self.metrics.metadata().map_err(failed)?.len();
        self.metrics.write_all(text.as_bytes()).map_err(|cause| {
            // Half a line would spoil the next one; if this fails too, reading drops or reports it.
            let _ = self.metrics.set_len(before);
            failed(cause)
        })
    }

    /// Writes a text file of the run, atomically.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        write_atomic(&self.dir.path.join(name), |file| file.write_all(text.as_bytes()))
    }

    /// Writes `result.json`, atomically.
    pub fn write_result(&self, result: &impl Serialize) -> Result<()> {
        write_json(&self.dir.result_path(), result)
    }

    /// Writes `diverged.json`, atomically.
    pub fn write_diverged(&self, why: &impl Serialize) -> Result<()> {
        write_json(&self.dir.path.join(DIVERGED), why)
    }

    /// [`RunDir::snapshot_path`], for writing.
    pub fn snapshot_path(&self, iteration: u64) -> Result<PathBuf> {
        self.make(SNAPSHOTS)?;
        Ok(self.dir.snapshot_path(iteration))
    }

    /// [`RunDir::member_path`], for writing.
    pub fn member_path(&self, iteration: u64) -> Result<PathBuf> {
        self.make(ENSEMBLE)?;
        Ok(self.dir.member_path(iteration))
    }

    /// Leaves in `ensemble/` the checkpoints of these iterations alone.
    pub fn keep_members(&self, iterations: &[u64]) -> Result<()> {
        for other in self.dir.members()?.into_iter().filter(|at| !iterations.contains(at)) {
            let path = self.dir.member_path(other);
            fs::remove_file(&path).map_err(|cause| Error::io("remove", &path, &cause))?;
        }
        Ok(())
    }

    fn make(&self, folder: &str) -> Result<()> {
        let folder = self.dir.path.join(folder);
        fs::create_dir_all(&folder).map_err(|cause| Error::io("make folder", &folder, &cause))
    }

    fn lock(dir: RunDir) -> Result<RunWriter> {
        let path = dir.metrics_path();
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let metrics = open.map_err(|cause| Error::io("write", &path, &cause))?;
        match metrics.try_lock() {
            Ok(()) => {}
            // Some file systems know no locks; then two writers are the user's to avoid.
            Err(TryLockError::Error(cause)) if cause.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(cause)) => return Err(Error::io("lock", &path, &cause)),
            Err(TryLockError::WouldBlock) => {
                let place = dir.path.display();
                return Err(Error::usage(format!(
                    "another process is writing to {place}; wait for it, or choose another folder"
                )));
            }
        }
        Ok(RunWriter { dir, metrics })
    }

    fn write_config(&self, config: &impl Kept) -> Result<()> {
        write_atomic(&self.dir.config_path(), |file| file.write_all(config.to_toml().as_bytes()))
    }
}

/// Writes a file of JSON, atomically.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|cause| Error::io("write", path, &cause.into()))?;
    text.push('\n');
    write_atomic(path, |file| file.write_all(text.as_bytes()))
}

/// Reads a file of JSON, if there is one.
pub(crate) fn read_json(path: &Path, advice: &str) -> Result<Option<Value>> {
    let text = match fs::read_to_string(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|cause| Error::io("read", path, &cause))?,
    };
    let value = serde_json::from_str(&text).map_err(|cause| {
        Error::data(format!("{} is no JSON: {cause}; {advice}", path.display()))
    })?;
    Ok(Some(value))
}

/// Bytes of `metrics.jsonl`.
struct Lines(Vec<u8>);

impl Lines {
    fn read(path: &Path) -> Result<Lines> {
        match fs::read(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Lines(Vec::new())),
            other => other.map(Lines).map_err(|cause| Error::io("read", path, &cause)),
        }
    }

    /// Bytes up to the end of the last whole line.
    fn whole(&self) -> usize {
        self.0.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
    }

    /// Whole lines with the byte each starts at.
    fn parse(&self, path: &Path) -> Result<Vec<(usize, Value)>> {
        let mut start = 0;
        let mut parsed = Vec::new();
        for (i, line) in self.0[..self.whole()].split_inclusive(|&byte| byte == b'\n').enumerate() {
            let value = serde_json::from_slice(line).map_err(|cause| {
                let place = path.display();
                Error::data(format!(
                    "{place}, line {}, is no JSON: {cause}; remove the line",
                    i + 1
                ))
            })?;
            parsed.push((start, value));
            start += line.len();
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
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
        let free = config(&[
            "run.threads=2",
            "run.minutes=5",
            "run.log_every=1",
            "run.checkpoint_every=7",
        ]);
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
        let parts = ["metrics.jsonl, line 2, is no JSON", "remove the line"];
        check_refused(dir.metrics(), ErrorKind::Data, &parts);
        let mut writer = RunWriter::resume(&path, &config(&[])).unwrap();
        check_refused(writer.keep_until(5, 5), ErrorKind::Data, &parts);
        drop(writer);
        fs::write(dir.result_path(), "{").unwrap();
        check_refused(dir.result(), ErrorKind::Data, &["result.json is no JSON"]);
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
}
