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
    assert_eq!(error.kind(), ErrorKind::Overlap);
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

#[test]
fn shares_deal_everything_out_once() {
    let shares = |train, validation, seed| Shares { train, validation, seed };
    let lists = SplitLists::by_shares(101, shares(0.64, 0.16, 1)).unwrap();
    let sizes = Split::ALL.map(|split| lists.of(split).len());
    assert_eq!(sizes, [65, 16, 20]);
    let mut all = [lists.train.clone(), lists.validation.clone(), lists.test.clone()].concat();
    assert_ne!(lists.train, (0..65).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..101).collect::<Vec<_>>());
    assert_eq!(SplitLists::by_shares(101, shares(0.64, 0.16, 1)).unwrap(), lists);
    assert_ne!(SplitLists::by_shares(101, shares(0.64, 0.16, 2)).unwrap(), lists);
    for (train, validation) in [(0.9, 0.2), (-0.1, 0.5), (f64::NAN, 0.1)] {
        let error = SplitLists::by_shares(9, shares(train, validation, 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
        assert!(error.to_string().contains("at most 1 together"), "{error}");
    }
}
