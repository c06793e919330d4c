//! Real data sets, where they are: the environment variable `INNERLOOP_DATA` names the folder that holds
//! `mnist/`, `cifar-fs/` and so on.

use std::path::PathBuf;

use innerloop_tasks::multi_mnist::{self, MultiMnist, Places};
use innerloop_tasks::{Distance, FewShot, ImageTasks, Rotations, Split, TaskFamily, nearest_mean};

/// The folder of data sets if it holds `name`.
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
    100.0 * nearest_mean(family, Split::Test, 1, 400, Distance::Cosine).unwrap().mean
}

#[test]
fn mnist_is_whole_and_composes() {
    let Some(dir) = data("mnist_is_whole_and_composes", "mnist") else { return };
    let report = multi_mnist::verify(&dir, Places::Three).unwrap().to_string();
    for part in ["MNIST, 70000 images", "[6903, 7877,", "640 training, 160 validation, 200 test"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for places in [Places::Two, Places::Three] {
        for side in [places.canvas(), 28] {
            let set = MultiMnist::load(&dir, places, side, multi_mnist::SEED).unwrap();
            let few_shot = FewShot::new(5, 1, 15);
            let family = ImageTasks::new(places.name(), set, few_shot, Rotations::None).unwrap();
            let nearest = percent(&family);
            eprintln!("{} at {side}: nearest mean {nearest:.1} %", places.name());
            // Chance is 20 %; the places are random, so that pixels tell little.
            assert!((24.0..45.0).contains(&nearest), "{} {side}: {nearest}", places.name());
        }
    }
}
