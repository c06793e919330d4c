use std::io::Cursor;

use super::*;
use crate::Sizes;
use crate::{Class, FewShot, ImageClasses, ImageTasks, Rotations, Sinusoid, SplitLists, Strokes};

#[test]
fn a_sheet_is_a_picture_of_the_episodes() {
    let family = Strokes { few_shot: FewShot::new(3, 2, 4) };
    let sheet = contact_sheet(&family, Split::Train, 1, 2).unwrap();
    // Cells of 2·28 + 2 pixels, six a row and three a task; rules of 3 pixels.
    assert_eq!((sheet.width, sheet.height, sheet.channels), (6 * 58 + 3, 2 * (3 * 58 + 3), 1));

    let png = sheet.png();
    let mut reader = png::Decoder::new(Cursor::new(&png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    assert_eq!(pixels, sheet.pixels);
    for tone in [0, LINE, PAPER] {
        assert!(pixels.contains(&tone), "no pixel of value {tone}");
    }
}

#[test]
fn colours_are_shown_as_they_are() {
    let class = |i: u8| Class { name: i.to_string(), pixels: [200, 100, i].repeat(2 * 64 * 64) };
    let splits = SplitLists { train: vec![0], validation: vec![1], test: vec![2] };
    let data = ImageClasses::new([64, 64, 3], (0..3).map(class).collect(), splits).unwrap();
    let family = ImageTasks::new("rgb", data, FewShot::new(1, 1, 1), Rotations::None).unwrap();
    let sheet = contact_sheet(&family, Split::Test, 1, 1).unwrap();
    assert_eq!((sheet.width, sheet.height, sheet.channels), (2 * 66 + 3, 66 + 3, 3));
    let first_pixel = (sheet.width + 1) * 3;
    assert_eq!(sheet.pixels[first_pixel..first_pixel + 3], [200, 100, 2]);
    assert!(!sheet.png().is_empty());
}

#[test]
fn curves_are_not_pictures() {
    let family = Sinusoid { sizes: Sizes::new(5, 5) };
    let error = contact_sheet(&family, Split::Test, 1, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().starts_with("sinusoid has examples of shape [1]"), "{error}");
}
