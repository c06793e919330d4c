use std::collections::BTreeSet;

use super::*;
use crate::{Distance, nearest_mean};

fn drawing(class: Key, hand: u64) -> Vec<f32> {
    let mut image = vec![0.5; SIDE * SIDE];
    Trace::redraw(&Glyph::draw(class), &mut Key::new(hand).rng()).render(&mut image);
    image
}

#[test]
fn a_key_names_one_character_and_one_drawing_of_it() {
    let class = class_key(Split::Train, 3);
    assert_eq!(Glyph::draw(class), Glyph::draw(class));
    assert_eq!(drawing(class, 1), drawing(class, 1));
    assert_ne!(drawing(class, 1), drawing(class, 2));
}

#[test]
fn classes_and_splits_have_characters_of_their_own() {
    let mut keys = BTreeSet::new();
    let mut glyphs = Vec::new();
    for (split, class) in Split::ALL.into_iter().flat_map(|s| (0..50).map(move |c| (s, c))) {
        let key = class_key(split, class);
        keys.insert((key.seed, key.stream, key.iteration, key.task));
        let glyph = Glyph::draw(key);
        assert!(!glyphs.contains(&glyph), "{split} class {class} is there twice");
        glyphs.push(glyph);
    }
    assert_eq!(keys.len(), 150);
}

#[test]
fn drawings_are_ink_on_a_page() {
    for class in 0..200 {
        let image = drawing(class_key(Split::Test, class), class);
        assert!(image.iter().all(|ink| (0.0..=1.0).contains(ink)));
        let ink: f32 = image.iter().sum();
        assert!((6.0..350.0).contains(&ink), "class {class} has {ink} pixels of ink");
        // Nothing is cut off at the edge.
        let edge = |at: usize| {
            [0, SIDE - 1].contains(&(at / SIDE)) || [0, SIDE - 1].contains(&(at % SIDE))
        };
        let outside: f32 = (0..SIDE * SIDE).filter(|&at| edge(at)).map(|at| image[at]).sum();
        assert!(outside <= 1.0, "class {class} has {outside} pixels of ink on the edge");
    }
}

#[test]
fn edges_are_anti_aliased() {
    let image = drawing(class_key(Split::Train, 1), 1);
    let grey = image.iter().filter(|ink| (0.05..0.95).contains(*ink)).count();
    assert!(grey >= 20, "{grey} grey pixels");
}

/// As hard as Omniglot, on which the same baseline scores 47.8 % (evaluation set).
#[test]
fn raw_pixels_do_not_give_the_classes_away() {
    let family = Strokes { few_shot: FewShot::new(5, 1, 15) };
    let accuracies = nearest_mean(&family, Split::Test, 1, 100, Distance::Cosine).unwrap();
    let mean = accuracies.iter().sum::<f64>() / 100.0;
    assert!((0.45..=0.60).contains(&mean), "{mean}");
}
