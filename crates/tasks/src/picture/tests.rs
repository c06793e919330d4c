use std::fs;

use image::codecs::jpeg::JpegEncoder;
use tempfile::TempDir;

use super::*;
use crate::{check_failure, test_files::png};

const AS_IT_IS: Form = Form { side: None, fit: Fit::Crop, channels: None };

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    dir
}

/// All files of the folder as one class.
fn read(dir: &TempDir, form: Form) -> Result<([usize; 3], Vec<u8>), Error> {
    let tree = Tree::open(dir.path())?;
    let files = (0..tree.names().count()).collect();
    let (shape, classes) = decode_all(&tree, &[Listed { name: "all".into(), files }], form)?;
    Ok((shape, classes.into_iter().next().unwrap().pixels))
}

/// Columns of 10, then equally many of 200.
fn halves(width: usize, height: usize) -> DynamicImage {
    let pixels = (0..width * height).map(|at| if at % width < width / 2 { 10 } else { 200 });
    image::GrayImage::from_vec(width as u32, height as u32, pixels.collect()).unwrap().into()
}

fn jpeg(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 95)).unwrap();
    bytes
}

#[test]
fn files_are_read_as_they_are() {
    let dir = folder(&[("a.png", png([2, 3, 3], &[1, 2, 3]))]);
    assert_eq!(read(&dir, AS_IT_IS).unwrap(), ([2, 3, 3], [1, 2, 3].repeat(6)));
    let dir = folder(&[("a.png", png([2, 3, 1], &[9]))]);
    assert_eq!(read(&dir, AS_IT_IS).unwrap(), ([2, 3, 1], vec![9; 6]));
    let rgb = Form { channels: Some(3), ..AS_IT_IS };
    assert_eq!(read(&dir, rgb).unwrap(), ([2, 3, 3], vec![9; 18]));
    let dir = folder(&[("wrongly_named.png", jpeg(&halves(16, 8)))]);
    let (shape, pixels) = read(&dir, AS_IT_IS).unwrap();
    assert_eq!(shape, [8, 16, 1]);
    assert!(pixels[0].abs_diff(10) <= 6 && pixels[15].abs_diff(200) <= 6, "{pixels:?}");
}

#[test]
fn oblong_images_are_cropped_or_stretched() {
    let dir = folder(&[("a.png", {
        let mut bytes = Cursor::new(Vec::new());
        halves(40, 20).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    })]);
    for fit in [Fit::Crop, Fit::Stretch] {
        let (shape, pixels) = read(&dir, Form { side: Some(10), fit, channels: None }).unwrap();
        assert_eq!(shape, [10, 10, 1]);
        assert!(pixels[1].abs_diff(10) <= 8 && pixels[8].abs_diff(200) <= 8, "{fit:?} {pixels:?}");
    }
}

#[test]
fn mixed_shapes_are_refused_with_advice() {
    let dir = folder(&[("a.png", png([2, 2, 1], &[0])), ("b.png", png([2, 3, 1], &[0]))]);
    let words =
        ["b.png: the image is 3x2 with 1 channels: expected 2x2 with 1, as", "a.png", "set size"];
    check_failure(read(&dir, AS_IT_IS), ErrorKind::Shape, &words);
    assert_eq!(read(&dir, Form { side: Some(2), ..AS_IT_IS }).unwrap().0, [2, 2, 1]);
    let dir = folder(&[("a.png", png([2, 2, 1], &[0])), ("b.png", png([2, 2, 3], &[0; 3]))]);
    let words = ["b.png: the image is 2x2 with 3 channels", "set channels"];
    check_failure(read(&dir, AS_IT_IS), ErrorKind::Shape, &words);
    assert_eq!(read(&dir, Form { channels: Some(1), ..AS_IT_IS }).unwrap().0, [2, 2, 1]);
}

#[test]
fn damaged_files_are_named() {
    let whole = png([20, 20, 3], &[1, 2, 3]);
    let photograph = jpeg(&halves(64, 64));
    let mut huge = png([1, 1, 1], &[0]);
    huge[16..20].copy_from_slice(&[0x7f; 4]);
    for bytes in [
        Vec::new(),
        b"no image at all, but text".to_vec(),
        whole[..whole.len() - 20].to_vec(),
        photograph[..100].to_vec(),
        b"GIF89a with more after it".to_vec(),
        huge,
    ] {
        let dir = folder(&[("a.png", bytes)]);
        let words = ["a.png", "bytes that are not a whole PNG or JPEG image"];
        check_failure(read(&dir, AS_IT_IS), ErrorKind::Corrupt, &words);
    }
    let words = ["no images found"];
    check_failure(
        decode_all(&Tree::open(folder(&[]).path()).unwrap(), &[], AS_IT_IS),
        ErrorKind::TooFew,
        &words,
    );
}
