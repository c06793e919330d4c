use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{check_failure, test_files::png};

const FEW: Counts = Counts { classes: [2, 1, 1], samples: 2 };
const LISTS: [(&str, &str); 3] = [
    ("train.csv", "filename,label\na0.jpg,a\nb0.jpg,b\na1.jpg,a\nb1.jpg,b\n"),
    ("val.csv", "filename,label\nc0.jpg,c\nc1.jpg,c\n"),
    ("test.csv", "filename,label\nd0.jpg,d\nd1.jpg,d\n"),
];

fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Oblong images, two a class, in `images/`, and the lists.
fn with_lists() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (value, class) in "abcd".chars().enumerate() {
        for sample in 0..2 {
            let image = png([10, 20, 3], &[value as u8, sample, 9]);
            write(&dir, &format!("images/{class}{sample}.jpg"), &image);
        }
    }
    LISTS.iter().for_each(|(name, text)| write(&dir, name, text.as_bytes()));
    dir
}

fn read_few(dir: &TempDir) -> Result<(ImageClasses, Report), Error> {
    read(&find(dir.path())?, 12, FEW)
}

#[test]
fn all_layouts_hold_the_same() {
    let (images, report) = read_few(&with_lists()).unwrap();
    assert_eq!(images.shape(), [12, 12, 3]);
    assert_eq!(images.image(1, 1, &mut Vec::new())[..3], [1, 1, 9]);
    assert_eq!(
        (images.splits().train.as_slice(), images.splits().test.as_slice()),
        (&[0, 1][..], &[3][..])
    );
    let text = report.to_string();
    assert!(
        text.contains("2 training, 1 validation, 1 test classes of 2 images, from CSV lists"),
        "{text}"
    );

    let (folders, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (split, class) in [("train", "a"), ("train", "b"), ("validation", "c"), ("test", "d")] {
        for sample in 0..2 {
            let value = class.as_bytes()[0] - b'a';
            let image = png([10, 20, 3], &[value, sample, 9]);
            write(&folders, &format!("mini-imagenet/{split}/{class}/{sample}.jpg"), &image);
            write(&other, &format!("any/{class}/{class}{sample}.jpg"), &image);
        }
    }
    assert_eq!(read_few(&folders).unwrap().0, images);
    // EasyFSL's columns, the published name, and an image too many.
    for (name, text) in LISTS {
        let text = text.replace("filename,label", "image_name,class_name");
        write(&other, &format!("ravi_{name}"), text.as_bytes());
    }
    write(&other, "any/more.jpg", &png([1, 1, 3], &[0; 3]));
    let (same, report) = read_few(&other).unwrap();
    assert_eq!(same, images);
    assert!(report.to_string().contains("1 more images, which no list names"), "{report}");
}

#[test]
fn what_is_wrong_is_named() {
    let check = |name: &str, text: Option<&str>, kind, words: &[&str]| {
        let dir = with_lists();
        match text {
            Some(text) => write(&dir, name, text.as_bytes()),
            None => fs::remove_file(dir.path().join(name)).unwrap(),
        }
        check_failure(read_few(&dir).map(|_| ()), kind, words);
    };
    let (corrupt, missing) = (ErrorKind::Corrupt, ErrorKind::NotFound);
    check("images/b1.jpg", None, missing, &["train.csv, line 5: no image b1.jpg", "images/"]);
    check("val.csv", None, missing, &["0 lists of the validation split", "such as val.csv"]);
    let twice = "filename,label\nd0.jpg,d\nd0.jpg,d\n";
    check("test.csv", Some(twice), missing, &["line 3: no image d0.jpg, or a second line"]);
    let short = "filename,label\nd0.jpg,d\n";
    check("test.csv", Some(short), ErrorKind::TooFew, &["class d has 1 images", "expected 2"]);
    let many = "filename,label\nd0.jpg,d\nd1.jpg,e\n";
    check("test.csv", Some(many), ErrorKind::TooFew, &["[2, 1, 2] training", "expected [2, 1, 1]"]);
    let both = "filename,label\nd0.jpg,a\nd1.jpg,a\n";
    let words = ["class a is in the train split and again in the test split", "memory"];
    check("test.csv", Some(both), ErrorKind::Unknown, &words);
    check("test.csv", Some("name,class\n"), corrupt, &["test.csv: the columns are name, class"]);
    check("test.csv", Some("filename,label\nd0.jpg\n"), corrupt, &["test.csv"]);
    check(
        "images/a0.jpg",
        Some("no image"),
        corrupt,
        &["images/a0.jpg", "not a whole PNG or JPEG"],
    );
    let words = ["a0.jpg is there 2 times"];
    check("images/more/a0.jpg", Some(""), ErrorKind::Unknown, &words);
    let words = ["miniImageNet not found", "holds 0 images", "or train.csv"];
    check_failure(read_few(&tempfile::tempdir().unwrap()).map(|_| ()), missing, &words);
    check_failure(verify(Path::new("nowhere")), missing, &["miniImageNet not found: nowhere"]);
}
