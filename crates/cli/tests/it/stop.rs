//! A run stopped from outside can be resumed.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command};
use std::time::{Duration, Instant};

use innerloop::lab::run_dir::RunDir;
use innerloop::lab::{Which, open};

use crate::command::{Place, small, tiny};

/// Waits until training has begun.
fn begun(stdout: &mut BufReader<ChildStdout>) {
    let mut line = String::new();
    while !line.contains(" threads, ") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the run ended before it began");
    }
}

/// Starts a command that would run for a long time, and stops it by a signal after a wait; returns its exit code and
/// standard error.
fn interrupted(
    (mut command, signal): (Command, &str),
    wait: impl FnOnce(&mut BufReader<ChildStdout>),
) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    wait(&mut stdout);
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(!stderr.contains("panicked at"), "{stderr}");
    assert!(stderr.contains("stopping after this iteration"), "{stderr}");
    (ended.status.code(), stderr)
}

#[test]
fn an_interrupted_comparison_keeps_what_is_there() {
    let place = Place::new();
    let endless =
        ["--base", "sinusoid-maml", "--methods", "maml,fomaml", "--iterations", "100000000"];
    let arguments = [&["compare", "--out", "c"], &endless[..], &small("sinusoid-maml")].concat();
    let (code, stderr) = interrupted((place.command(&arguments), "-TERM"), begun);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("the same command goes on from there"), "{stderr}");
    let table = std::fs::read_to_string(place.path("c/compare.md")).unwrap();
    assert!(
        table.contains("unfinished (seed 1)") && table.contains("not run yet (seed 1)"),
        "{table}"
    );
    assert!(open(&place.path("c/maml/seed-1"), Which::Last).unwrap().iteration >= 1);
}

#[test]
fn an_interrupt_saves_and_the_run_goes_on() {
    let place = Place::new();
    // More iterations than anyone would wait for: only the signal ends this run.
    let endless =
        ["--out", "run", "--set", "outer.iterations=100000000", "--set", "run.minutes=600"];
    let endless = [&endless[..], &["--set", "evaluation.validate_every=0"]].concat();
    let (code, stderr) =
        interrupted((place.command(&tiny("sinusoid-maml", &endless)), "-INT"), begun);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("go on with --resume and --out run"), "{stderr}");
    assert!(RunDir::open(&place.path("run")).unwrap().result().unwrap().is_none());

    let stopped_at = open(&place.path("run"), Which::Last).unwrap().iteration;
    assert!(stopped_at >= 1);
    // None of the allowed time is left, so that only the evaluation remains. The run has its own configuration.
    place.run(&["train", "--resume", "--out", "run", "--set", "run.minutes=1e-9"]).ok();
    let result = RunDir::open(&place.path("run")).unwrap().result().unwrap().unwrap();
    assert_eq!(result["iterations"], stopped_at);
}

#[test]
fn an_interrupt_ends_the_final_evaluation_of_reinforcement_learning() {
    let place = Place::new();
    // More test tasks than anyone would wait for: only the signal ends this run.
    let arguments = [
        ["train", "nav2d-maml", "--out", "run"],
        ["--set", "outer.iterations=1", "--set", "outer.meta_batch_size=1"],
        ["--set", "rl.trajectories=2", "--set", "evaluation.tasks=20000"],
    ];
    // The only checkpoint is written when training is over.
    let last = place.path("run/last.safetensors");
    let trained = |_: &mut BufReader<ChildStdout>| {
        let start = Instant::now();
        while !last.exists() {
            assert!(start.elapsed() < Duration::from_secs(300), "training has not ended");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let (code, stderr) = interrupted((place.command(arguments.as_flattened()), "-INT"), trained);
    assert_eq!(code, Some(130), "{stderr}");
    let words = "stopped during the final evaluation; go on with --resume and --out run";
    assert!(stderr.contains(words), "{stderr}");
    assert_eq!(RunDir::open(&place.path("run")).unwrap().result().unwrap(), None);
}
