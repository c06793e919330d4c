use std::collections::BTreeSet;

use super::*;
use crate::{Class, Sizes, SplitLists, episode_key};

const SAMPLES: usize = 9;

/// Twelve classes of 2x2 images; sample `s` of class `c` has pixels `c, s, 0, 255`.
fn data() -> ImageClasses {
    let class = |c: usize| Class {
        name: format!("c{c}"),
        pixels: (0..SAMPLES).flat_map(|s| [c as u8, s as u8, 0, 255]).collect(),
    };
    let splits =
        SplitLists { train: (0..6).collect(), validation: vec![6, 7, 8], test: vec![9, 10, 11] };
    ImageClasses::new([2, 2, 1], (0..12).map(class).collect(), splits).unwrap()
}

fn few_shot() -> FewShot {
    FewShot::with_sizes(3, Sizes { train_shots: 4, ..Sizes::new(2, 5) })
}

fn family(rotations: Rotations) -> ImageTasks {
    ImageTasks::new("toy", data(), few_shot(), rotations).unwrap()
}

fn episode(family: &ImageTasks, split: Split, task: u64) -> Episode {
    let mut episode = Episode::zeros(&family.spec(split));
    family.sample_into(split, episode_key(1, split, 0, task), &mut episode);
    episode
}

/// Per label, the (class, sample) pairs of a set.
fn contents(x: &Tensor, y: &Tensor) -> Vec<Vec<(usize, usize)>> {
    let mut sets = vec![Vec::new(); 3];
    let byte = |value: f32| (value * 255.0).round() as usize;
    for (image, &label) in x.as_f32().chunks_exact(4).zip(y.as_f32()) {
        sets[label as usize].push((byte(image[0]), byte(image[1])));
    }
    sets
}

#[test]
fn labels_ascend_and_sets_are_disjoint() {
    let family = family(Rotations::None);
    for (split, task) in Split::ALL.into_iter().flat_map(|s| (0..50).map(move |t| (s, t))) {
        let episode = episode(&family, split, task);
        assert!(episode.support_y.as_f32().is_sorted() && episode.query_y.as_f32().is_sorted());
        let support = contents(&episode.support_x, &episode.support_y);
        let query = contents(&episode.query_x, &episode.query_y);
        let mut classes = BTreeSet::new();
        for (support, query) in support.iter().zip(&query) {
            let (shots, queries) = few_shot().sizes.of(split);
            assert_eq!((support.len(), query.len()), (shots, queries));
            let all: BTreeSet<_> = support.iter().chain(query).collect();
            assert_eq!(all.len(), shots + queries, "a sample twice");
            assert!(all.iter().all(|(class, _)| *class == support[0].0), "one label, one class");
            assert!(family.data().splits().of(split).contains(&support[0].0));
            classes.insert(support[0].0);
        }
        assert_eq!(classes.len(), 3, "a class twice");
    }
}

#[test]
fn any_class_can_have_any_label_and_any_sample_any_place() {
    let family = family(Rotations::None);
    let mut seen = BTreeSet::new();
    for task in 0..400 {
        let episode = episode(&family, Split::Test, task);
        let support = contents(&episode.support_x, &episode.support_y);
        for (label, images) in support.iter().enumerate() {
            seen.extend(images.iter().map(|&(class, sample)| (label, class, sample)));
        }
    }
    assert_eq!(seen.len(), 3 * 3 * SAMPLES);
}

#[test]
fn every_ordered_choice_is_equally_likely() {
    let (mut counts, mut pair) = ([[0; 4]; 4], Vec::new());
    let mut rng = Key::new(5).rng();
    for _ in 0..12_000 {
        distinct(&mut rng, 4, 2, &mut pair);
        counts[pair[0]][pair[1]] += 1;
    }
    for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
        // 1000 expected off the diagonal, with standard deviation 30.
        let expected = if i == j { 0..=0 } else { 850..=1150 };
        assert!(expected.contains(&counts[i][j]), "{counts:?}");
    }
}

#[test]
fn quarter_turns_go_counter_clockwise() {
    let (image, shape) = ([1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3, 1]);
    let turned = |turn| {
        let mut out = [0.0; 9];
        render(&image, shape, turn, &mut out);
        out.map(|value| (value * 255.0).round() as u8)
    };
    assert_eq!(turned(0), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(turned(1), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
    assert_eq!(turned(2), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(turned(3), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
}

#[test]
fn quarter_turns_keep_colours_together() {
    let mut out = [0.0; 12];
    render(&[10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42], [2, 2, 3], 1, &mut out);
    let bytes = out.map(|value| (value * 255.0).round() as u8);
    assert_eq!(bytes, [20, 21, 22, 40, 41, 42, 10, 11, 12, 30, 31, 32]);
}

#[test]
fn values_run_from_zero_to_one() {
    let mut out = [0.0; 2];
    render(&[0, 255], [1, 2, 1], 0, &mut out);
    assert_eq!(out, [0.0, 1.0]);
}

#[test]
fn rotations_are_classes_of_the_splits_they_are_for() {
    let counts = |rotations| Split::ALL.map(|split| family(rotations).n_classes(split));
    assert_eq!(counts(Rotations::None), [6, 3, 3]);
    assert_eq!(counts(Rotations::Train), [24, 3, 3]);
    assert_eq!(counts(Rotations::All), [24, 12, 12]);
    assert_eq!(family(Rotations::None).class_name(Split::Test, 1), "c10");
    assert_eq!(family(Rotations::All).class_name(Split::Test, 5), "c10/rot090");
}

#[test]
fn a_rotated_class_has_one_rotation() {
    let family = family(Rotations::All);
    let mut places = BTreeSet::new();
    for task in 0..50 {
        let episode = episode(&family, Split::Train, task);
        for images in episode.support_x.as_f32().chunks_exact(4 * 4) {
            let white = |image: &[f32]| image.iter().position(|&value| value == 1.0);
            let place = white(&images[..4]);
            assert!(images.chunks_exact(4).all(|image| white(image) == place));
            places.insert(place);
        }
    }
    assert_eq!(places.len(), 4, "every rotation occurs");
}

fn failure(few_shot: FewShot, rotations: Rotations) -> Error {
    ImageTasks::new("toy", data(), few_shot, rotations).map(|_| ()).unwrap_err()
}

#[test]
fn too_few_classes_or_samples_are_refused() {
    let error = failure(FewShot::new(4, 1, 1), Rotations::Train);
    assert_eq!(error.kind(), ErrorKind::TooFew);
    assert_eq!(
        error.to_string(),
        "toy: the test split has 3 classes, but a 4-way task needs 4: lower the ways or give the split more classes"
    );
    let error = failure(FewShot::new(3, 5, 5), Rotations::None);
    assert_eq!(error.kind(), ErrorKind::TooFew);
    assert_eq!(
        error.to_string(),
        "toy: class c0 of the train split has 9 samples, but 5 shots and 5 queries need 10: lower the \
         shots or the queries"
    );
}

#[test]
fn a_short_validation_split_is_refused_when_it_is_used() {
    let mut splits = data().splits().clone();
    splits.validation.pop();
    let classes = (0..12).map(|c| Class { name: format!("c{c}"), pixels: vec![0; 4 * SAMPLES] });
    let data = ImageClasses::new([2, 2, 1], classes.collect(), splits).unwrap();
    let family = ImageTasks::new("toy", data, FewShot::new(3, 1, 1), Rotations::None).unwrap();
    family.check(Split::Test).unwrap();
    let message = "toy: the validation split has 2 classes, but a 3-way task needs 3: lower the ways or give \
                   the split more classes";
    assert_eq!(family.check(Split::Validation).unwrap_err().to_string(), message);
    let sheet = crate::contact_sheet(&family, Split::Validation, 1, 1);
    assert_eq!(sheet.map(drop).unwrap_err().to_string(), message);
    let nearest = crate::nearest_mean(&family, Split::Validation, 1, 1, crate::Distance::Cosine);
    assert_eq!(nearest.map(drop).unwrap_err().to_string(), message);
}

#[test]
fn oblong_images_are_not_rotated() {
    let classes = vec![Class { name: "a".into(), pixels: vec![0; 12] }];
    let data = ImageClasses::new([2, 3, 1], classes, SplitLists::default()).unwrap();
    let error = ImageTasks::new("toy", data, FewShot::new(0, 1, 1), Rotations::All);
    let error = error.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().starts_with("toy: images are 2x3"), "{error}");
    assert!(error.to_string().ends_with("or set rotations to \"none\""), "{error}");
    let classes = vec![Class { name: "a".into(), pixels: vec![0; 12] }];
    let splits = SplitLists { train: vec![0], validation: vec![], test: vec![] };
    let data = ImageClasses::new([2, 3, 1], classes, splits).unwrap();
    let turns = Augmentation { rotate: true, ..Augmentation::default() };
    let sizes = FewShot::new(0, 1, 1);
    let error = ImageTasks::new("toy", data, sizes, Rotations::None).unwrap().augmented(turns);
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with("or leave \"rotate\" out of augment"), "{error}");
}

#[test]
fn the_description_counts_classes() {
    assert_eq!(
        family(Rotations::Train).describe(),
        "toy: 2x2x1 images, 24 training, 3 validation and 3 test classes (rotations as classes: \
         train); 3-way 2-shot, 5 queries per class (training: 4-shot, 5 queries)"
    );
}

#[test]
fn training_images_alone_are_changed() {
    let augmentation = Augmentation { crop: false, flip: true, rotate: true };
    let (plain, changed) =
        (family(Rotations::None), family(Rotations::None).augmented(augmentation).unwrap());
    for split in [Split::Validation, Split::Test] {
        assert_eq!(episode(&plain, split, 0), episode(&changed, split, 0));
    }
    let mut seen = BTreeSet::new();
    for task in 0..50 {
        let Episode { support_x, query_x, .. } = episode(&changed, Split::Train, task);
        for image in [support_x.as_f32(), query_x.as_f32()].concat().chunks_exact(4) {
            let place = |byte: f32| image.iter().position(|&value| value == byte / 255.0);
            seen.insert(place(255.0));
            assert!(place(0.0).is_some() && place(255.0).is_some());
        }
    }
    assert_eq!(seen.len(), 4, "white comes to every corner");
    assert!(
        changed.describe().contains("(rotations as classes: none; training images: flip, rotate)")
    );
}
