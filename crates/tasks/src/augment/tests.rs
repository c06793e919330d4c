use std::collections::BTreeSet;

use innerloop_engine::Key;

use super::*;

const STILL: Change = Change { shift: [0, 0], flip: false, turn: 0 };

fn changed(change: Change) -> Vec<f32> {
    let mut pixels: Vec<f32> = (1..=6).map(|value| value as f32).collect();
    change.apply(&mut pixels, [2, 3, 1]);
    pixels
}

#[test]
fn changes_are_what_they_say() {
    assert_eq!(changed(STILL), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(changed(Change { flip: true, ..STILL }), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    assert_eq!(changed(Change { shift: [1, 0], ..STILL }), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(changed(Change { shift: [0, -1], ..STILL }), [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
    let mut colours = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    Change { flip: true, ..STILL }.apply(&mut colours, [1, 2, 3]);
    assert_eq!(colours, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
}

#[test]
fn every_change_occurs_and_no_other() {
    let draw = |augmentation: Augmentation| -> BTreeSet<([isize; 2], bool, usize)> {
        let mut rng = Key::new(1).rng();
        (0..2000)
            .map(|_| augmentation.draw(&mut rng, [16, 8, 1]))
            .map(|change| (change.shift, change.flip, change.turn))
            .collect()
    };
    let none = Augmentation::default();
    assert_eq!(draw(none), BTreeSet::from([([0, 0], false, 0)]));
    assert_eq!(draw(Augmentation { flip: true, ..none }).len(), 2);
    assert_eq!(draw(Augmentation { rotate: true, ..none }).len(), 4);
    let shifts = draw(Augmentation { crop: true, ..none });
    assert_eq!(shifts.len(), 5 * 3);
    assert!(shifts.iter().all(|(shift, ..)| shift[0].abs() <= 2 && shift[1].abs() <= 1));
    assert_eq!(draw(Augmentation { crop: true, flip: true, rotate: true }).len(), 5 * 3 * 2 * 4);
}
