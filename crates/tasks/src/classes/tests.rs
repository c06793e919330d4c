use super::*;

fn classes(n: usize) -> Vec<Class> {
    (0..n).map(|i| Class { name: format!("c{i}"), pixels: vec![i as u8; 2 * 3 * 4] }).collect()
}

fn splits(train: &[usize], validation: &[usize], test: &[usize]) -> SplitLists {
    SplitLists { train: train.to_vec(), validation: validation.to_vec(), test: test.to_vec() }
}

#[test]
fn images_are_found_by_class_and_sample() {
    let data = ImageClasses::new([2, 3, 1], classes(3), splits(&[0], &[1], &[2])).unwrap();
    assert_eq!(data.samples(1), 4);
    assert_eq!(data.image(2, 3, &mut Vec::new()), [2; 6]);
}

#[test]
fn splits_share_no_class() {
    let error = ImageClasses::new([2, 3, 1], classes(3), splits(&[0, 1], &[2], &[1])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert_eq!(
        error.to_string(),
        "class c1 is listed in the train split and again in the test split: list each class once, or \
         scores measure memory"
    );
}

#[test]
fn splits_name_classes_that_are_there() {
    let error = ImageClasses::new([2, 3, 1], classes(3), splits(&[0], &[3], &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert!(error.to_string().contains("names class 3, but there are 3 classes"), "{error}");
}

#[test]
fn classes_hold_whole_images() {
    let error = ImageClasses::new([5, 1, 1], classes(1), splits(&[0], &[], &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains("class c0 holds 24 bytes"), "{error}");
}
