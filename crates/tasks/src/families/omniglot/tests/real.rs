//! The real data set, if present: the environment variable `INNERLOOP_DATA` names the folder that holds `omniglot/`.
//! Nothing is read from the user's cache, or written to it.

use std::collections::BTreeSet;

use super::*;
use crate::{Distance, FewShot, ImageSet, ImageTasks, Rotations, TaskFamily, nearest_mean};

fn data(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("INNERLOOP_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("{test} skipped: INNERLOOP_DATA is not set");
    }
    data
}

fn load_anew(dir: &Path, split: OmniglotSplit, ink: Ink) -> ImageClasses {
    read(dir, split, ink, Reading::Anew).unwrap()
}

#[test]
fn the_published_set_is_kept_as_decoded() {
    let Some(dir) = data("the_published_set_is_kept_as_decoded") else { return };
    let (root, kept) = (find_root(&dir).unwrap(), tempfile::tempdir().unwrap());
    for part in Part::ALL {
        let through = || read_kept(&root, part, &ALPHABETS, kept.path());
        let (_, fresh) = load_part(&root, part, &ALPHABETS, Reading::Anew).unwrap();
        assert!(through() == (fresh.clone(), true), "{part:?}: decoded");
        assert!(through() == (fresh, false), "{part:?}: kept");
    }
}

#[test]
fn the_published_set_is_whole() {
    let Some(dir) = data("the_published_set_is_whole") else { return };
    let report = verify(&dir).unwrap();
    let counts: Vec<_> = report.parts.iter().map(|p| (p.alphabets, p.classes, p.samples)).collect();
    assert_eq!(counts, [(30, 964, 19_280), (20, 659, 13_180)]);
    let text = report.to_string();
    assert!(
        text.contains("split vinyals: 1028 training, 172 validation, 423 test classes"),
        "{text}"
    );
    if dir.join("omniglot/splits/vinyals").is_dir() {
        assert!(text.contains("class lists agree with the built-in split"), "{text}");
    }
}

#[test]
fn raw_pixels_score_as_expected() {
    let Some(dir) = data("raw_pixels_score_as_expected") else { return };
    let data = load_anew(&dir, OmniglotSplit::Lake, Ink::One);
    let few_shot = FewShot::new(5, 1, 15);
    let family = ImageTasks::new("omniglot", data, few_shot, Rotations::None).unwrap();
    let accuracies = nearest_mean(&family, Split::Test, 1, 400, Distance::Cosine).unwrap();
    let mean = accuracies.iter().sum::<f64>() / 400.0;
    assert!((mean - 0.478).abs() <= 0.03, "{mean}");
}

#[test]
fn the_two_kinds_of_ink_are_negatives() {
    let Some(dir) = data("the_two_kinds_of_ink_are_negatives") else { return };
    let one = load_anew(&dir, OmniglotSplit::Vinyals, Ink::One);
    let zero = load_anew(&dir, OmniglotSplit::Vinyals, Ink::Zero);
    assert_eq!(one.splits(), zero.splits());
    for (one, zero) in one.classes().iter().zip(zero.classes()) {
        assert_eq!(one.name, zero.name);
        assert!(one.pixels.iter().zip(&zero.pixels).all(|(one, zero)| one + zero == 255));
    }
    let mean =
        |pixels: &[u8]| pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64;
    let ink = one.classes().iter().map(|class| mean(&class.pixels)).sum::<f64>() / 1623.0;
    assert!((10.0..40.0).contains(&ink), "mean value {ink} of 255: ink is the lesser part");
}

#[test]
fn rotated_training_classes_are_those_of_the_literature() {
    let Some(dir) = data("rotated_training_classes_are_those_of_the_literature") else { return };
    let data = load_anew(&dir, OmniglotSplit::Vinyals, Ink::One);
    let few_shot = FewShot::new(20, 5, 15);
    let family = ImageTasks::new("omniglot", data, few_shot, Rotations::All).unwrap();
    assert_eq!(Split::ALL.map(|split| family.n_classes(split)), [4112, 688, 1692]);
    let names: BTreeSet<String> = Split::ALL
        .into_iter()
        .flat_map(|split| (0..family.n_classes(split)).map(move |class| (split, class)))
        .map(|(split, class)| family.class_name(split, class))
        .collect();
    assert_eq!(names.len(), 6492);
    assert!(names.contains("Gurmukhi/character42/rot270"));
    assert!(family.describe().contains("4112 training, 688 validation and 1692 test classes"));
}
