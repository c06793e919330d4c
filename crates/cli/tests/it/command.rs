//! Runs the built command in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The outcome of a call of the command.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The outcome of a process that has ended. Whatever happened, it must not have panicked.
    #[track_caller]
    pub(crate) fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command prints UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stderr.contains("panicked at"), "{stderr}");
        Ran { code: output.status.code().expect("the command ends by itself"), stdout, stderr }
    }

    /// The call succeeded; returns its standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// The call failed with this exit code, and its message contains these parts.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{:?} does not say {part:?}", self.stderr);
        }
    }
}

/// A folder to run the command in.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command, not yet started, without data sets from the environment, and with a cache in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_innerloop"));
        command.args(arguments).current_dir(self.folder.path()).env_remove("INNERLOOP_DATA");
        command.env("INNERLOOP_CACHE", self.path("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// `train` of a preset reduced to a few iterations, with additional arguments.
    #[track_caller]
    pub(crate) fn train(&self, preset: &str, more: &[&str]) -> Ran {
        self.run(&tiny(preset, more))
    }
}

/// Arguments of [`Place::train`].
pub(crate) fn tiny<'a>(preset: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", preset], &small(preset)[..], more].concat()
}

/// Settings that reduce a preset to a few iterations.
pub(crate) fn small(preset: &str) -> Vec<&'static str> {
    let mut sets = vec![
        "tasks.query=2",
        "tasks.train_query=2",
        "outer.meta_batch_size=3",
        "outer.iterations=4",
        "evaluation.steps=3",
        "evaluation.tasks=6",
        "evaluation.validation_tasks=4",
        "evaluation.validate_every=2",
        "run.threads=2",
        "run.log_every=1",
    ];
    if preset.starts_with("strokes") {
        sets.extend(["tasks.ways=3", "model.filters=4"]);
    }
    sets.into_iter().flat_map(|set| ["--set", set]).collect()
}

/// Path of a golden file.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(format!("{name}.safetensors"))
}
