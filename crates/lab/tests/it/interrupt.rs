//! Interrupts during evaluation: a run stops between two tasks, and resumes to the same bits.

use std::fs;

use innerloop_lab::run_dir::RunDir;
use innerloop_lab::{ErrorKind, checkpoint};
use innerloop_tasks::Split;

use crate::runs::{check_same_run, complete, resumed, stopped, stopped_at_task, tiny};

/// On one thread, a run that is stopped in its `at`-th task of a split draws no other, and says where it stopped. It is
/// stopped again in the next task; then it continues, and leaves what an uninterrupted run leaves.
#[track_caller]
fn check_stops(preset: &str, sets: &[&str], (split, at): (Split, usize), said: &str) {
    let config = tiny(preset, &[&["run.threads=1", "run.snapshot_every=5"], sets].concat());
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let outcome = complete(&config, &whole);
    for (resume, at) in [(false, at), (true, 1)] {
        let (drawn, error) = stopped_at_task(&config, &parts, resume, (split, at));
        assert_eq!((drawn, error.kind()), (at, ErrorKind::Interrupted), "{error}");
        let message = error.to_string();
        let how = format!("stopped {said}; go on with --resume and --out {}", parts.display());
        assert_eq!(message, how);
        assert_eq!(RunDir::open(&parts).unwrap().result().unwrap(), None, "no result yet");
    }
    let again = resumed(&config, &parts).1.unwrap();
    check_same_run(&whole, &parts);
    assert_eq!((&again.test, &again.untrained), (&outcome.test, &outcome.untrained));
    assert_eq!(again.nearest_mean, outcome.nearest_mean);
    assert_eq!(again.evaluated_iteration, outcome.evaluated_iteration);
    assert_eq!((again.iterations, again.ensemble), (outcome.iterations, outcome.ensemble));
}

#[test]
fn a_validation_is_made_up_for() {
    // Three tasks at iteration 5 and again at 10.
    let middle = "after iteration 5 of 10, during its validation";
    check_stops("sinusoid-maml", &[], (Split::Validation, 1), middle);
    check_stops("strokes-maml", &[], (Split::Validation, 2), middle);
    let end = "after iteration 10 of 10, during its validation";
    check_stops("strokes-maml", &["model.batch_norm=running"], (Split::Validation, 5), end);
    let ensemble = ["evaluation.ensemble=2", "evaluation.validate_every=2"];
    let at_eight = "after iteration 8 of 10, during its validation";
    check_stops("strokes-maml", &ensemble, (Split::Validation, 10), at_eight);
}

/// Stopped in a validation, resumed, and killed before the next checkpoint: whatever the checkpoint does not know of
/// counts as not done, no matter what the kill left on disk.
#[test]
fn a_kill_after_a_validation_made_up_for_changes_nothing() {
    // At this rate nothing moves, and of equal scores the first, at 5, stays the best.
    let sets = ["run.threads=1", "outer.lr=1e-60", "evaluation.ensemble=2"];
    let config = tiny("sinusoid-maml", &sets);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let outcome = complete(&config, &whole);
    assert_eq!(outcome.evaluated_iteration, 5);
    let (_, error) = stopped_at_task(&config, &parts, false, (Split::Validation, 1));
    assert!(error.to_string().contains("during its validation"), "{error}");
    let dir = RunDir::open(&parts).unwrap();
    let checkpoint = fs::read(dir.last_path()).unwrap();
    // The kill comes after the best meta-parameters were written, or between the line and them.
    for best_is_there in [true, false] {
        resumed(&config, &parts).1.unwrap();
        fs::write(dir.last_path(), &checkpoint).unwrap();
        fs::remove_file(dir.result_path()).unwrap();
        if !best_is_there {
            fs::remove_file(dir.best_path()).unwrap();
            fs::remove_dir_all(parts.join("ensemble")).unwrap();
        }
        let again = resumed(&config, &parts).1.unwrap();
        check_same_run(&whole, &parts);
        assert_eq!(again.test, outcome.test);
        assert_eq!((again.evaluated_iteration, &again.ensemble), (5, &outcome.ensemble));
    }
}

#[test]
fn a_checkpoint_that_knows_of_no_validation_counts_all_before_it() {
    let config = tiny("sinusoid-maml", &[]);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    complete(&config, &whole);
    stopped(&config, &parts, 7);
    let last = RunDir::open(&parts).unwrap().last_path();
    let mut older = checkpoint::load(&last).unwrap();
    assert_eq!(older.metadata.remove("validated").as_deref(), Some("5"));
    checkpoint::save(&last, &older).unwrap();
    assert_eq!(resumed(&config, &parts).0, [8, 9, 10]);
    check_same_run(&whole, &parts);
}

#[test]
fn a_final_evaluation_begins_again() {
    // Four tasks after training, the same four before it.
    let said = "during the final evaluation";
    for at in [1, 3, 4, 6] {
        check_stops("sinusoid-maml", &[], (Split::Test, at), said);
    }
    check_stops("strokes-maml", &["evaluation.validate_every=0"], (Split::Test, 2), said);
    check_stops("strokes-maml", &["evaluation.ensemble=2"], (Split::Test, 2), said);
}

#[test]
fn time_that_is_over_stays_over() {
    // One iteration, validated, evaluated.
    let sets = ["run.minutes=1e-9"];
    let validation = "after iteration 1 of 10, during its validation";
    check_stops("sinusoid-maml", &sets, (Split::Validation, 2), validation);
    check_stops("sinusoid-maml", &sets, (Split::Test, 2), "during the final evaluation");
}

#[test]
fn an_evaluation_whose_last_task_has_begun_ends() {
    let config = tiny("sinusoid-maml", &["run.threads=1"]);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    complete(&config, &whole);
    let (drawn, error) = stopped_at_task(&config, &parts, false, (Split::Validation, 3));
    assert_eq!(drawn, 3);
    assert!(error.to_string().starts_with("stopped after iteration 5 of 10; go on"), "{error}");
    let lines = RunDir::open(&parts).unwrap().metrics().unwrap();
    assert!(lines.iter().any(|line| line["kind"] == "validation"), "the validation counts");
    resumed(&config, &parts).1.unwrap();
    check_same_run(&whole, &parts);
}

#[test]
fn several_threads_end_what_they_have_begun() {
    let config = tiny("sinusoid-maml", &["run.threads=3", "evaluation.tasks=40"]);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let outcome = complete(&config, &whole);
    let (drawn, error) = stopped_at_task(&config, &parts, false, (Split::Test, 5));
    assert!((5..=7).contains(&drawn), "{drawn}: {error}");
    assert_eq!(resumed(&config, &parts).1.unwrap().test, outcome.test);
}
