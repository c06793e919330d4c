//! The folder of a run: everything that a report needs, and enough to resume after a stop.
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
use crate::config::{Difference, Kept};
use crate::{Config, Error, Result};

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";
const RESULT: &str = "result.json";
const DIVERGED: &str = "diverged.json";
const SNAPSHOTS: &str = "snapshots";
const ENSEMBLE: &str = "ensemble";

/// Settings that may differ when a run is resumed: none of them changes a result.
const FREE: [&str; 6] = [
    "tasks.data",
    "run.threads",
    "run.minutes",
    "run.checkpoint_every",
    "run.snapshot_every",
    "run.log_every",
];

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

    /// The same for configurations of any kind.
    pub fn kept<C: Kept>(&self) -> Result<C> {
        let path = self.config_path();
        let text = fs::read_to_string(&path).map_err(|cause| Error::io("read", &path, &cause))?;
        C::parse(&text, &path.display().to_string())
    }

    /// The lines of `metrics.jsonl`. An incomplete last line, as a power cut leaves it, is dropped.
    pub fn metrics(&self) -> Result<Vec<Value>> {
        let path = self.metrics_path();
        let lines = Lines::read(&path)?;
        lines.parse(&path)?.into_iter().map(|(_, value)| Ok(value)).collect()
    }

    /// `result.json`, if the run has got that far.
    pub fn result(&self) -> Result<Option<Value>> {
        read_json(&self.result_path(), "evaluate the run again")
    }

    /// `diverged.json`, if the run has ended that way.
    pub fn diverged(&self) -> Result<Option<Value>> {
        read_json(&self.path.join(DIVERGED), "remove it to run again")
    }

    /// The error for a run that was stopped at some point and can be resumed.
    pub(crate) fn interrupted(&self, at: &str) -> Error {
        let folder = self.path.display();
        Error::interrupted(format!("stopped {at}; go on with --resume and --out {folder}"))
    }

    /// Checks that the run was started with this configuration, up to settings that change no result; returns those
    /// differences.
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

    /// A file that only a run leaves behind. An empty `metrics.jsonl` may come from a failed start.
    fn holds_a_run(&self) -> Option<&'static str> {
        let there = |file: &&str| {
            let found = fs::metadata(self.path.join(file));
            found.is_ok_and(|found| *file != METRICS || found.len() > 0)
        };
        [CONFIG, METRICS, LAST, BEST, RESULT].into_iter().find(there)
    }
}

/// The folder of a run, for writing. Only one process at a time can hold it.
#[derive(Debug)]
pub struct RunWriter {
    dir: RunDir,
    metrics: File,
}

impl RunWriter {
    /// Starts a run in a new folder, or in one that holds no run.
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

    /// Resumes the run in a folder. The configuration must be the one it was started with; only `run.threads`,
    /// `run.minutes`, `run.checkpoint_every`, `run.snapshot_every` and `run.log_every` may differ.
    pub fn resume(path: &Path, config: &impl Kept) -> Result<RunWriter> {
        let dir = RunDir::open(path)?;
        let differences = dir.check_same(config)?;
        let writer = RunWriter::lock(dir)?;
        if !differences.is_empty() {
            writer.write_config(config)?;
        }
        Ok(writer)
    }

    /// Begins the run in a folder again, under another configuration. What was learned is removed first: a stop in between
    /// leaves a run at its start.
    pub(crate) fn begin_anew(path: &Path, config: &impl Kept) -> Result<()> {
        let mut writer = RunWriter::lock(RunDir::open(path)?)?;
        let dir = writer.dir.clone();
        let snapshots = dir.snapshots()?.into_iter().map(|at| dir.snapshot_path(at));
        for file in [dir.last_path(), dir.best_path()].into_iter().chain(snapshots) {
            remove_if_there(&file)?;
        }
        writer.keep_members(&[])?;
        writer.keep_until(0, 0)?;
        writer.write_config(config)
    }

    /// The folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Cuts `metrics.jsonl` before the first line of a later iteration or of a validation later than `validated`, and
    /// removes an incomplete line.
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

    /// Appends a line to `metrics.jsonl`. After a failure the file is unchanged.
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

    /// Removes the best checkpoint, if there is one.
    pub fn forget_best(&self) -> Result<()> {
        remove_if_there(&self.dir.best_path())
    }

    /// Keeps only the checkpoints of these iterations in `ensemble/`.
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
            // Some file systems do not support locks; there the user must avoid two writers.
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
        Error::data(format!("{} is not JSON: {cause}; {advice}", path.display()))
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

    /// Number of bytes up to the end of the last complete line.
    fn whole(&self) -> usize {
        self.0.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
    }

    /// Complete lines with the byte at which each starts.
    fn parse(&self, path: &Path) -> Result<Vec<(usize, Value)>> {
        let mut start = 0;
        let mut parsed = Vec::new();
        for (i, line) in self.0[..self.whole()].split_inclusive(|&byte| byte == b'\n').enumerate() {
            let value = serde_json::from_slice(line).map_err(|cause| {
                let place = path.display();
                Error::data(format!(
                    "{place}, line {}, is not JSON: {cause}; remove the line",
                    i + 1
                ))
            })?;
            parsed.push((start, value));
            start += line.len();
        }
        Ok(parsed)
    }
}

fn remove_if_there(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", file, &cause))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
