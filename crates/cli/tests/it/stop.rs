//! Stopped from outside, a run can go on.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::Command;

use innerloop::lab::run_dir::RunDir;
use innerloop::lab::{Which, open};

use crate::command::{Place, tiny};

#[test]
fn an_interrupt_saves_and_the_run_goes_on() {
    let place = Place::new();
    // More iterations than anybody waits for: only the signal ends this run.
    let endless =
        ["--out", "run", "--set", "outer.iterations=100000000", "--set", "run.minutes=600"];
    let endless = [&endless[..], &["--set", "evaluation.validate_every=0"]].concat();
    let mut child = place.command(&tiny("sinusoid-maml", &endless)).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(" threads, ") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the run ended before it began");
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{stderr}");
    assert!(!stderr.contains("panicked at"), "{stderr}");
    assert!(stderr.contains("stopping after this iteration"), "{stderr}");
    assert!(stderr.contains("go on with --resume and --out run"), "{stderr}");
    assert!(RunDir::open(&place.path("run")).unwrap().result().unwrap().is_none());

    let stopped_at = open(&place.path("run"), Which::Last).unwrap().iteration;
    assert!(stopped_at >= 1);
    // Of the time allowed nothing is left, so it goes on for one iteration.
    let resume =
        [&endless[..4], &["--set", "run.minutes=1e-9", "--resume"], &endless[6..]].concat();
    place.run(&tiny("sinusoid-maml", &resume)).ok();
    let result = RunDir::open(&place.path("run")).unwrap().result().unwrap().unwrap();
    assert_eq!(result["iterations"], stopped_at + 1);
}
