use super::*;
use crate::experiment::pretraining;

#[test]
fn every_experiment_of_the_folder_is_shipped_and_legal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut shipped: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    names.sort();
    shipped.sort_unstable();
    assert_eq!(shipped, names);
    for name in shipped {
        let experiment = Shipped::find(name).unwrap_or_else(|error| panic!("{error}"));
        assert!(experiment.published.tolerance > 0.0, "{name}");
        assert_eq!(experiment.changed(&experiment.config), [""; 0], "{name}");
    }
}

#[test]
fn nothing_in_an_experiment_is_from_memory() {
    // A number that nobody has looked up cannot decide a pass or failure, nor justify a setting.
    for (name, text) in SHIPPED {
        let line = text.lines().find(|line| line.to_lowercase().contains("recall"));
        assert_eq!(line, None, "{name}");
    }
}

#[test]
fn thirty_epochs_of_pretraining_come_before_three_hundred() {
    for name in ["mini-imagenet-5w1s-shot-pretrained", "mini-imagenet-5w5s-shot-pretrained"] {
        let config = Shipped::find(name).unwrap().config;
        let before = pretraining(&config);
        assert_eq!((before, config.outer.iterations as u64 - before), (3000, 30_000), "{name}");
    }
}

#[test]
fn verdicts_follow_the_tolerance() {
    let mut published = Shipped::find("omniglot-5w1s-maml").unwrap().published;
    assert_eq!((published.measure, published.tolerance), (Measure::Accuracy, 0.01));
    assert!((published.value - 0.987).abs() <= 1e-12 && published.ci95 == Some(0.4 * 0.01));
    let of = |published: &Published, measured| published.verdict(measured);
    assert_eq!(of(&published, 0.98), Verdict::Agrees);
    assert_eq!(of(&published, 0.97), Verdict::Worse);
    assert_eq!(of(&published, 0.999), Verdict::Better);
    assert_eq!(of(&published, f64::NAN), Verdict::Worse);
    published.measure = Measure::MeanSquaredError;
    assert_eq!(of(&published, 0.5), Verdict::Better);
    assert_eq!(of(&published, 1.5), Verdict::Worse);
}

#[test]
fn a_bad_table_is_refused() {
    let table = |published: &str| {
        Shipped::parse("x", &format!("{published}\n[tasks]\nfamily = 'sinusoid'"))
            .unwrap_err()
            .to_string()
    };
    let says = |message: String, part: &str| assert!(message.contains(part), "{part}: {message}");
    says(table(""), "no table [published]");
    let rest = "source = 'a'\nsteps = 1\ntolerance = 0.1\n";
    says(table(&format!("[published]\n{rest}")), "or neither");
    says(table(&format!("[published]\n{rest}accuracy = 3")), "another kind than the tasks");
    says(table(&format!("[published]\n{rest}mean_squared_error = nan")), "expected numbers");
    says(table(&format!("[published]\n{rest}mean_squared_error = 1\nmore = 1")), "more");
    let steps = "[published]\nsource = 'a'\nsteps = 99\ntolerance = 1\nmean_squared_error = 1";
    says(table(steps), "at most evaluation.steps");
    says(Shipped::find("omniglot-5w1s-mamml").unwrap_err().to_string(), "did you mean");
}
