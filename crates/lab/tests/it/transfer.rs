//! Runs of meta-transfer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use innerloop_lab::config::{Config, Kind, RlConfig, presets};
use innerloop_lab::run_dir::RunDir;
use innerloop_lab::transfer::{Event, Outcome, TransferConfig, evaluate, train};
use innerloop_lab::{Error, ErrorKind, Kept};

const SMALL: [&str; 13] = [
    "transfer.source_classes=3",
    "transfer.source_shots=4",
    "transfer.source_query=2",
    "transfer.target_classes=3",
    "transfer.target_shots=2",
    "transfer.target_query=4",
    "source.channels=[2, 3]",
    "source.iterations=3",
    "source.batch_size=6",
    "target.channels=[2, 2]",
    "outer.trials=2",
    "outer.iterations=4",
    "outer.batch_size=5",
];

pub(crate) fn config(more: &[&str]) -> Result<TransferConfig, Error> {
    // A source that is read from a file is not trained.
    let read = more.iter().any(|set| set.starts_with("source.weights"));
    let trains = |set: &&&str| {
        ["source.iterations", "source.batch_size"].iter().any(|key| set.starts_with(key))
    };
    let small = SMALL.iter().filter(|set| !(read && trains(set)));
    let sets: Vec<String> = small.chain(more).map(|set| set.to_string()).collect();
    TransferConfig::load("transfer-strokes", &sets)
}

fn run(out: &Path, sets: &[&str], resume: bool, stop: bool) -> Result<Outcome, Error> {
    let stop = AtomicBool::new(stop);
    train(config(sets)?, out, resume, &stop, &mut |_| {})
}

fn accuracies(outcome: &Outcome) -> Vec<Vec<f64>> {
    outcome.methods.iter().map(|method| method.accuracies.clone()).collect()
}

fn lines(out: &Path) -> Vec<serde_json::Value> {
    RunDir::open(out).unwrap().metrics().unwrap()
}

#[test]
fn threads_and_stops_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, stopped] = ["one", "two", "stopped"].map(|name| folder.path().join(name));
    let first = run(&one, &["run.threads=1", "run.checkpoint_every=2"], false, false).unwrap();
    let second = run(&two, &["run.threads=3", "run.checkpoint_every=2"], false, false).unwrap();
    let sets = ["run.threads=2", "run.checkpoint_every=2"];
    let error = run(&stopped, &sets, false, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    let third = run(&stopped, &sets, true, false).unwrap();
    assert_eq!(accuracies(&first), accuracies(&second));
    assert_eq!(accuracies(&first), accuracies(&third));
    assert_eq!(lines(&one).len(), 1 + 2 * 2 * 5);
    assert_eq!(lines(&one), lines(&two));
    assert_eq!(lines(&one), lines(&stopped));
    let of = |path: &Path| serde_json::to_value(&evaluate(path).unwrap().methods).unwrap();
    let [a, b, c] = [&one, &two, &stopped].map(|path| {
        let mut methods = of(path);
        for method in methods.as_array_mut().unwrap() {
            method["seconds_per_iteration"] = 0.into();
        }
        methods
    });
    assert_eq!((&a, &a), (&b, &c), "all that is not time");
    let svg = std::fs::read_to_string(one.join("matched.svg")).unwrap();
    assert!(svg.starts_with("<svg"));

    // The source of one run serves another; one of other extents is rejected.
    let weights = format!("source.weights={}", one.join("source.safetensors").display());
    let third = folder.path().join("third");
    let again = run(&third, &[&weights, "run.checkpoint_every=2"], false, false).unwrap();
    assert_eq!(accuracies(&first), accuracies(&again));
    let fourth = folder.path().join("fourth");
    let error = run(&fourth, &[&weights, "source.channels=[2, 4]"], false, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint, "{error}");
}

#[test]
fn a_source_that_was_stopped_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let sets = ["source.iterations=50", "run.checkpoint_every=4"];
    let first = run(&whole, &sets, false, false).unwrap();
    let error = run(&stopped, &sets, false, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    assert!(error.to_string().contains("iteration 20 of 50 of the source"), "{error}");
    let second = run(&stopped, &sets, true, false).unwrap();
    assert_eq!(first.source_accuracy, second.source_accuracy);
    assert_eq!(accuracies(&first), accuracies(&second));
}

#[test]
fn a_final_evaluation_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let sets = ["run.threads=1", "run.checkpoint_every=2"];
    let straight = run(&whole, &sets, false, false).unwrap();
    let during = "during the final evaluation";
    let at_end = |event: Event| matches!(event, Event::Step { iteration: 4, .. });
    let at_evaluation = |event: Event| matches!(event, Event::Evaluating);
    type Moment = fn(Event) -> bool;
    // A stop noticed as the last iterations end counts as a stop in training.
    let stops: [(Moment, _); 3] =
        [(at_end, "after iteration 4 of 4"), (at_evaluation, during), (at_evaluation, during)];
    for (i, (at, said)) in stops.into_iter().enumerate() {
        let stop = AtomicBool::new(false);
        let mut sink = |event| {
            if at(event) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let error = train(config(&sets).unwrap(), &parts, i > 0, &stop, &mut sink).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
        let out = parts.display();
        assert_eq!(
            error.to_string(),
            format!("stopped {said}; go on with --resume and --out {out}")
        );
        assert_eq!(RunDir::open(&parts).unwrap().result().unwrap(), None, "no result yet");
    }
    let again = run(&parts, &sets, true, false).unwrap();
    assert_eq!(accuracies(&again), accuracies(&straight));
    assert_eq!(lines(&parts), lines(&whole));
    assert!(parts.join("matched.svg").is_file());
}

#[test]
fn a_kill_before_the_first_checkpoint_leaves_no_line_twice() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["run.threads=1", "algorithm.methods=['scratch']"];
    let first = run(folder.path(), &sets, false, false).unwrap();
    let whole = lines(folder.path());
    std::fs::remove_file(folder.path().join("last.safetensors")).unwrap();
    let again = run(folder.path(), &sets, true, false).unwrap();
    assert_eq!((accuracies(&again), lines(folder.path())), (accuracies(&first), whole));
}

#[test]
fn bad_settings_are_named() {
    for (set, message) in [
        (
            "outer.batch_size=7",
            "outer.batch_size is 7, expected 2 to 6, the number of labelled images",
        ),
        ("outer.momentum=1.0", "outer.momentum is 1, expected at least 0 and below 1"),
        ("algorithm.window=0", "algorithm.window is 0, expected a whole number from 1 to 1000000"),
        ("algorithm.methods=[]", "algorithm.methods is [], expected at least one method"),
        (
            "algorithm.methods=['warp']",
            "algorithm.methods is [\"warp\"], expected a list, each item one of",
        ),
        ("outer.rate=1", "unknown key `outer.rate`; known in [outer]: trials, iterations"),
        ("target.channels=[2,2,2,2,2,2]", "expected at most 5 stages"),
        ("target.depths=[1,2]", "target.depths is [1, 2], expected 2 numbers above 0"),
        ("algorithm.window=3", "algorithm.window is 3, expected at most 2, the steps it can share"),
        (
            "algorithm.window_mode='forward'",
            "window_mode does not apply: it goes with algorithm.window",
        ),
    ] {
        let error = config(&[set]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let alone = ["algorithm.methods=['scratch']", "algorithm.window=2"];
    let error = config(&alone).unwrap_err();
    assert!(error.to_string().contains("algorithm.window does not apply: no method"), "{error}");
}

#[test]
fn a_source_that_is_read_is_not_trained() {
    let weights = "source.weights=a";
    for set in ["source.iterations=5", "source.batch_size=5", "source.lr=0.1"] {
        for sets in [[weights, set], [set, weights]] {
            let sets = sets.map(String::from);
            let error = TransferConfig::load("transfer-omniglot", &sets).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let key = set.split_once('=').unwrap().0;
            let message = format!("{key} does not apply: source.weights names a network");
            assert!(error.to_string().contains(&message), "{error}");
        }
    }
    // The lower layer, a preset or the file of another run, gives way.
    let trained = TransferConfig::load("transfer-omniglot", &[]).unwrap();
    assert_eq!(trained.source.iterations, Some(1000));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, trained.to_toml()).unwrap();
    for source in ["transfer-omniglot", file.to_str().unwrap()] {
        let read = TransferConfig::load(source, &[weights.into()]).unwrap();
        assert_eq!((read.source.iterations, read.source.lr), (None, None), "{source}");
        assert_eq!(TransferConfig::parse(&read.to_toml(), "config.toml").unwrap(), read);
    }
}

#[test]
fn stages_of_a_plain_network_have_depths_of_their_own() {
    let vgg = "target.network='vgg'";
    for wrong in ["target.depths=[1]", "target.depths=[1,0]", "target.blocks=2"] {
        let error = config(&[vgg, "target.depths=[1,2]", wrong]).unwrap_err();
        assert!(error.to_string().contains("one for each stage"), "{wrong}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let nine = [vgg, "target.channels=[2,2,2,2,2]", "target.depths=[1,1,2,2,2]"];
    let bytes = |name: &str, depths: &[&str]| {
        let sets = [&nine[..2], depths, &["outer.trials=1"]].concat();
        let outcome = run(&folder.path().join(name), &sets, false, false).unwrap();
        outcome.methods[0].workspace_bytes
    };
    assert!(bytes("nine", &nine[2..]) > bytes("six", &[]), "more layers need more memory");
}

#[test]
fn every_kind_of_configuration_is_told_from_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    let path = file.to_str().unwrap();
    for kind in Kind::ALL {
        for preset in presets::of(kind) {
            assert_eq!(Kind::named(preset.name).unwrap(), kind, "{}", preset.name);
        }
        // A file that only names its preset.
        let preset = presets::of(kind).next().unwrap().name;
        std::fs::write(&file, format!("preset = {preset:?}\n")).unwrap();
        for name in [preset, path] {
            assert_eq!(Kind::named(name).unwrap(), kind, "{name}");
            let errors = [
                (Kind::FewShot, Config::load(name, &[]).err()),
                (Kind::Rl, RlConfig::load(name, &[]).err()),
                (Kind::Transfer, TransferConfig::load(name, &[]).err()),
            ];
            for (asked, error) in errors {
                let Some(error) = error else {
                    assert_eq!(asked, kind, "{name} was read");
                    continue;
                };
                assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
                let words = format!("expected a configuration of {asked}");
                assert!(asked != kind && error.to_string().contains(&words), "{error}");
            }
        }
    }
    for preset in presets::of(Kind::Transfer) {
        let config = TransferConfig::load(preset.name, &[]).unwrap();
        assert_eq!(TransferConfig::parse(&config.to_toml(), "config.toml").unwrap(), config);
    }
}
