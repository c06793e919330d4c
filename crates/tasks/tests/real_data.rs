//! Real data sets, if present: the environment variable `INNERLOOP_DATA` names the folder that holds `mnist/`,
//! `cifar-fs/` and so on.

use std::path::PathBuf;

use innerloop_engine::Key;
use innerloop_tasks::cifar::{self, CifarSplit};
use innerloop_tasks::curves::{Columns, Curves};
use innerloop_tasks::multi_mnist::{self, MultiMnist, Places};
use innerloop_tasks::{
    Distance, Episode, EpisodeSpec, FewShot, ImageTasks, Rotations, Shares, Sizes, Split,
    TaskFamily, mini_imagenet, nearest_mean,
};

/// The folder of data sets, if it holds `name`.
fn data(test: &str, name: &str) -> Option<PathBuf> {
    let Some(data) = std::env::var_os("INNERLOOP_DATA").map(PathBuf::from) else {
        eprintln!("{test} skipped: INNERLOOP_DATA is not set");
        return None;
    };
    if !data.join(name).exists() {
        eprintln!("{test} skipped: no {name} in {}", data.display());
        return None;
    }
    Some(data)
}

fn percent(family: &dyn TaskFamily) -> f64 {
    let accuracies = nearest_mean(family, Split::Test, 1, 400, Distance::Cosine).unwrap();
    100.0 * accuracies.iter().sum::<f64>() / 400.0
}

#[test]
fn mnist_is_whole_and_composes() {
    let Some(dir) = data("mnist_is_whole_and_composes", "mnist") else { return };
    let report = multi_mnist::verify(&dir, Places::Three).unwrap().to_string();
    for part in [
        "MNIST, 70000 images",
        "[6903, 7877,",
        "is that of the official",
        "640 training, 160 validation, 200 test",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for places in [Places::Two, Places::Three] {
        for side in [places.canvas(), 28] {
            let set = MultiMnist::load(&dir, places, side, multi_mnist::SEED).unwrap();
            let few_shot = FewShot::new(5, 1, 15);
            let family = ImageTasks::new(places.name(), set, few_shot, Rotations::None).unwrap();
            let nearest = percent(&family);
            eprintln!("{} at {side}: nearest mean {nearest:.1} %", places.name());
            // Chance is 20 %. Digits lie at random heights, so that pixels tell little: an independent
            // composition in NumPy, with the same class lists, scores 22.1 and 23.5 (± 0.3) at full size.
            let expected = if places == Places::Two { 22.1 } else { 23.5 };
            assert!((nearest - expected).abs() <= 1.5, "{} {side}: {nearest}", places.name());
        }
    }
}

#[test]
fn cifar_splits_score_as_expected() {
    let Some(dir) = data("cifar_splits_score_as_expected", "cifar-fs") else { return };
    let report = cifar::verify(&dir, CifarSplit::Fs).unwrap().to_string();
    for part in
        ["100 classes of 50 images", "bertinetto: class lists agree", "fc100: class lists agree"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    // On pixels from 0 to 1, computed independently with NumPy and Pillow (± 0.5); and on pixels centred on their
    // middle, where the cosine tells more from one image and less from five.
    for (split, shots, from_zero, centred) in [
        (CifarSplit::Fs, 1, 29.7, 31.1),
        (CifarSplit::Fs, 5, 42.8, 38.7),
        (CifarSplit::Fc100, 1, 27.2, 28.3),
        (CifarSplit::Fc100, 5, 36.0, 34.2),
    ] {
        let few_shot = FewShot::new(5, shots, 15);
        let images = cifar::load(&dir, split).unwrap();
        let family = ImageTasks::new("cifar", images, few_shot, Rotations::None).unwrap();
        let found = (percent(&family), percent(&Centred(family)));
        eprintln!("{split} {shots}-shot: nearest mean {found:.1?} %");
        assert!((found.0 - from_zero).abs() <= 1.5, "{split} {shots}: {found:?}, not {from_zero}");
        assert!((found.1 - centred).abs() <= 1.5, "{split} {shots}: {found:?}, not {centred}");
    }
}

#[test]
fn published_lists_without_photographs_say_so() {
    let test = "published_lists_without_photographs_say_so";
    let Some(dir) = data(test, "mini-imagenet/ravi_train.csv.gz") else { return };
    match mini_imagenet::verify(&dir) {
        Ok(report) => {
            assert!(report.to_string().contains("64 training, 16 validation, 20 test"), "{report}");
        }
        Err(error) => assert!(error.to_string().contains("line 2: no image n"), "{error}"),
    }
}

#[test]
fn real_curves_are_read_whole() {
    let Some(dir) = data("real_curves_are_read_whole", "regression/ozone.csv") else { return };
    let long = |task: &[&str], x: &str, y: &str| Columns::Long {
        task: task.iter().map(|name| name.to_string()).collect(),
        x: vec![x.into()],
        y: vec![y.into()],
    };
    for (name, columns, tasks, points) in [
        ("ozone", Columns::Grid, 576, "72 to 72"),
        ("gait", Columns::Wide { x: vec!["rownames".into()] }, 78, "20 to 20"),
        ("gapminder", long(&["country"], "year", "lifeExp"), 142, "12 to 12"),
        ("Spruce", long(&["Tree"], "days", "logSize"), 79, "13 to 13"),
        ("Milk", long(&["Cow"], "Time", "protein"), 79, "12 to 19"),
        ("ChickWeight", long(&["Chick"], "Time", "weight"), 50, "2 to 12"),
        ("Soybean", long(&["Plot"], "Time", "weight"), 48, "8 to 10"),
        ("Orthodont", long(&["Subject"], "age", "distance"), 27, "4 to 4"),
        ("Oxboys", long(&["Subject"], "age", "height"), 26, "9 to 9"),
        ("sleepstudy", long(&["Subject"], "Days", "Reaction"), 18, "10 to 10"),
        ("Loblolly", long(&["Seed"], "age", "height"), 14, "6 to 6"),
        ("Theoph", long(&["Subject"], "Time", "conc"), 12, "11 to 11"),
        ("Ovary", long(&["Mare"], "Time", "follicles"), 11, "25 to 31"),
        ("DNase", long(&["Run"], "conc", "density"), 11, "16 to 16"),
        ("Indometh", long(&["Subject"], "time", "conc"), 6, "11 to 11"),
    ] {
        let file = dir.join("regression").join(name).with_extension("csv");
        let shares = Shares { train: 0.64, validation: 0.16, seed: 1 };
        let sizes = Sizes { shots: 1, query: 1, train_shots: 1, train_query: 1 };
        let curves = Curves::load(&file, &columns, shares, true, sizes).unwrap();
        let total: usize = Split::ALL.iter().map(|&split| curves.n_tasks(split)).sum();
        assert_eq!(total, tasks, "{name}");
        let text = curves.describe();
        assert!(text.contains(&format!("tasks of {points} points")), "{name}: {text}");
    }
}

/// Images from -1/2 to 1/2.
struct Centred<F>(F);

impl<F: TaskFamily> TaskFamily for Centred<F> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn spec(&self, split: Split) -> EpisodeSpec {
        self.0.spec(split)
    }

    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode) {
        self.0.sample_into(split, key, episode);
        for x in [&mut episode.support_x, &mut episode.query_x] {
            x.as_f32_mut().iter_mut().for_each(|value| *value -= 0.5);
        }
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}
