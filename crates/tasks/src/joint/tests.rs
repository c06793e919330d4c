use std::collections::BTreeSet;

use super::*;
use crate::{
    Augmentation, Class, FewShot, ImageClasses, ImageTasks, Rotations, Sinusoid, Sizes, SplitLists,
    Strokes, check_failure, contact_sheet, episode_key,
};

const FEW_SHOT: FewShot =
    FewShot::with_sizes(2, Sizes { shots: 1, query: 2, train_shots: 3, train_query: 4 });

/// Nine classes of 2×2 images; sample `s` of class `c` has pixels `c, s, 0, 255`.
fn images(rotations: Rotations) -> ImageTasks {
    let class = |c: usize| Class {
        name: format!("c{c}"),
        pixels: (0..8).flat_map(|s| [c as u8, s as u8, 0, 255]).collect(),
    };
    let splits = SplitLists { train: vec![4, 1, 7], validation: vec![0, 2], test: vec![3, 5] };
    let data = ImageClasses::new([2, 2, 1], (0..9).map(class).collect(), splits).unwrap();
    ImageTasks::new("toy", data, FEW_SHOT, rotations).unwrap()
}

fn episode(family: &Joint, split: Split, task: u64) -> Episode {
    let mut episode = Episode::zeros(&family.spec(split));
    family.sample_into(split, episode_key(1, split, 0, task), &mut episode);
    episode
}

/// Examples with their labels.
fn examples(episode: &Episode) -> Vec<(Vec<u8>, usize)> {
    let sets = [(&episode.support_x, &episode.support_y), (&episode.query_x, &episode.query_y)];
    let of = |(x, y): (&innerloop_engine::Tensor, &innerloop_engine::Tensor)| {
        let size = x.len() / y.len();
        let bytes = |x: &[f32]| x.iter().map(|x| (x * 255.0).round() as u8).collect();
        let rows = x.as_f32().chunks_exact(size).zip(y.as_f32());
        rows.map(|(x, &y)| (bytes(x), y as usize)).collect::<Vec<_>>()
    };
    sets.into_iter().flat_map(of).collect()
}

#[test]
fn minibatches_are_of_all_training_classes_with_their_labels() {
    let family = Joint::new(Box::new(images(Rotations::None))).unwrap();
    let spec = family.spec(Split::Train);
    assert_eq!((spec.target, spec.support, spec.query), (Target::Classes(3), 6, 8));
    let mut seen = BTreeSet::new();
    for task in 0..40 {
        let episode = episode(&family, Split::Train, task);
        for (pixels, label) in examples(&episode) {
            assert_eq!(usize::from(pixels[0]), [4, 1, 7][label], "a label is a class");
            seen.insert((label, pixels[1]));
        }
    }
    assert_eq!(seen.len(), 3 * 8, "every sample of every class");
}

#[test]
fn turned_classes_are_classes_and_images_are_changed() {
    let family = Joint::new(Box::new(images(Rotations::Train))).unwrap();
    assert_eq!(family.spec(Split::Train).outputs(), 12);
    for (pixels, label) in (0..40).flat_map(|task| examples(&episode(&family, Split::Train, task)))
    {
        // Counter-clockwise, the upper left pixel goes down first.
        let at = [0, 2, 3, 1][label % 4];
        assert_eq!(usize::from(pixels[at]), [4, 1, 7][label / 4], "{pixels:?} of {label}");
    }
    let flipped = Augmentation { flip: true, ..Augmentation::default() };
    let flipped = images(Rotations::None).augmented(flipped).unwrap();
    let family = Joint::new(Box::new(flipped)).unwrap();
    let all: Vec<_> = (0..40).flat_map(|t| examples(&episode(&family, Split::Train, t))).collect();
    let is_flipped = |(pixels, label): &&(Vec<u8>, usize)| {
        usize::from(pixels[1]) == [4, 1, 7][*label] && pixels[2] == 255
    };
    let n = all.iter().filter(is_flipped).count();
    assert!(n > all.len() / 3 && n < all.len() * 2 / 3, "{n} of {}", all.len());
}

#[test]
fn tasks_to_validate_and_test_on_are_those_of_the_family() {
    let (family, plain) = (Strokes { few_shot: FEW_SHOT }, Strokes { few_shot: FEW_SHOT });
    let family = Joint::new(Box::new(family)).unwrap();
    for split in [Split::Validation, Split::Test] {
        assert_eq!(family.spec(split), plain.spec(split));
        let mut want = Episode::zeros(&plain.spec(split));
        plain.sample_into(split, episode_key(1, split, 0, 3), &mut want);
        assert_eq!(episode(&family, split, 3), want);
    }
    assert!(
        family
            .describe()
            .ends_with("trained on minibatches of 14 examples of 1000 classes together")
    );
}

/// A character's redrawings are alike, and its label is the same in every minibatch.
#[test]
fn drawn_characters_keep_their_labels() {
    let strokes = Strokes { few_shot: FEW_SHOT };
    let classes = strokes.training_classes().unwrap();
    let mean = |class: usize, stream: &str| {
        let mut rng = Key::new(3).with_stream(stream).rng();
        let mut sum = vec![0.0; 28 * 28];
        let mut x = sum.clone();
        for _ in 0..20 {
            classes.example_into(class, &mut rng, &mut x);
            sum.iter_mut().zip(&x).for_each(|(sum, x)| *sum += x / 20.0);
        }
        sum
    };
    let far = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
    for class in 0..5 {
        let (one, same, other) = (mean(class, "a"), mean(class, "b"), mean(class + 1, "b"));
        assert!(far(&one, &same) < 0.5 * far(&one, &other), "{class}");
    }
}

#[test]
fn minibatches_are_no_tasks_to_look_at() {
    let family = Joint::new(Box::new(Strokes { few_shot: FEW_SHOT })).unwrap();
    let words = ["the train split of strokes", "minibatches of 1000 classes"];
    check_failure(contact_sheet(&family, Split::Train, 1, 1), ErrorKind::Shape, &words);
    assert!(contact_sheet(&family, Split::Test, 1, 1).is_ok());
}

#[test]
fn a_family_without_classes_is_refused() {
    let sinusoid = Sinusoid { sizes: Sizes::new(5, 5) };
    let refused = Joint::new(Box::new(sinusoid)).map(|family| family.classes);
    check_failure(refused, ErrorKind::Unknown, &["sinusoid", "no training classes", "labelled"]);
}
