//! Tiny ImageNet as published, with images rather than classes split.
//!
//! ```text
//! wnids.txt                           the classes
//! train/<class>/images/<image>.JPEG   beside <class>_boxes.txt
//! val/images/<image>.JPEG             with their classes in val/val_annotations.txt: image, class, box; or sorted into
//!                                     folders like those of train
//! test/images/<image>.JPEG            without labels: ignored
//! ```
//!
//! A class gets its images of `train`, then those of `val`.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::Tree;
use crate::picture::{Listed, is_image};
use crate::{Error, ErrorKind};

const CLASSES: &str = "wnids.txt";
const ANNOTATIONS: &str = "val/val_annotations.txt";
const AGAIN: &str = "copy or unpack it again";

/// The classes by name, if the layout is this one, with `wnids.txt` beside the folder `train`. Fails if a class has no
/// folder, a folder has no line, or an image of `val` has no class.
pub(super) fn listed_classes(tree: &mut Tree) -> Result<Option<Vec<Listed>>, Error> {
    let names: Vec<String> = tree.names().map(str::to_owned).collect();
    let is_root = |root: &&str| names.iter().any(|name| name.starts_with(&format!("{root}train/")));
    let roots = names.iter().filter_map(|name| name.strip_suffix(CLASSES));
    let Some(root) = roots.filter(|root| root.is_empty() || root.ends_with('/')).find(is_root)
    else {
        return Ok(None);
    };
    let place = tree.place().display().to_string();
    let wrong = |kind, found: String, expected: &str| {
        Err(Error::new(kind, format!("{place}: {root}{found}: expected {expected}; {AGAIN}")))
    };
    let at = |name: &str| names.iter().position(|other| other.strip_prefix(root) == Some(name));
    let lines = tree.lines(at(CLASSES).expect("the root is where it lies"))?;
    let mut classes: BTreeMap<&str, Vec<usize>> =
        lines.iter().map(|name| (name.as_str(), Vec::new())).collect();
    let mut unlabelled = BTreeMap::new();
    for (file, name) in names.iter().enumerate() {
        let parts: Vec<&str> = name.strip_prefix(root).unwrap_or("").split('/').collect();
        match parts.as_slice() {
            ["train" | "val", _, "images", _] | ["val", "images", _] if !is_image(name) => {
                let expected = "only .JPEG files among the images";
                return wrong(ErrorKind::Corrupt, parts.join("/"), expected);
            }
            ["train" | "val", class, "images", _] => match classes.get_mut(class) {
                Some(files) => files.push(file),
                None => {
                    let found = format!("{} is of a class", parts.join("/"));
                    return wrong(ErrorKind::Unknown, found, &format!("one that {CLASSES} lists"));
                }
            },
            ["val", "images", image] => drop(unlabelled.insert(*image, file)),
            ["train" | "val", ..] if is_image(name) => {
                let expected = "train/<class>/images/<image> or val/images/<image>";
                return wrong(ErrorKind::Unknown, parts.join("/"), expected);
            }
            _ => {}
        }
    }
    if let Some((class, _)) = classes.iter().find(|(_, files)| files.is_empty()) {
        let found = format!("train/{class}/images has no images");
        return wrong(ErrorKind::TooFew, found, &format!("some of each class of {CLASSES}"));
    }
    let annotations = match at(ANNOTATIONS) {
        Some(file) => tree.lines(file)?,
        None => Vec::new(),
    };
    let mut labelled = BTreeSet::new();
    for (i, line) in annotations.iter().enumerate() {
        let mut cells = line.split_whitespace();
        let (image, class) = (cells.next().unwrap_or(""), cells.next().unwrap_or(""));
        let (Some(&file), Some(files)) = (unlabelled.get(image), classes.get_mut(class)) else {
            let found =
                format!("{ANNOTATIONS}, line {}: image {image:?} of class {class:?}", i + 1);
            return wrong(
                ErrorKind::Unknown,
                found,
                &format!("one of val/images, and a class of {CLASSES}"),
            );
        };
        if !labelled.insert(image) {
            let found = format!("{ANNOTATIONS}, line {}: image {image:?} a second time", i + 1);
            return wrong(ErrorKind::Unknown, found, "each once");
        }
        files.push(file);
    }
    if let Some((image, _)) = unlabelled.iter().find(|(image, _)| !labelled.contains(*image)) {
        let expected = format!("its class in {ANNOTATIONS}");
        return wrong(ErrorKind::TooFew, format!("val/images/{image} has no class"), &expected);
    }
    let listed = |(name, files): (&str, _)| Listed { name: name.into(), files };
    Ok(Some(classes.into_iter().map(listed).collect()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::super::{Division, load, verify};
    use crate::picture::{Fit, Form};
    use crate::{ErrorKind, ImageSet, Shares, Split, check_failure, test_files::png};

    const COLOUR: Form = Form { side: Some(4), fit: Fit::Crop, channels: Some(3) };
    const HALF: Division = Division::Shares(Shares { train: 0.5, validation: 0.0, seed: 1 });
    const ROOT: &str = "tiny-imagenet-200";

    fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
        let path = dir.path().join(ROOT).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Two classes: one black and white, the other with a grey image, as in the published set.
    fn folder() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "wnids.txt", b"n02\nn01\n");
        write(&dir, "words.txt", b"n01\tgoldfish\n");
        write(&dir, "train/n01/n01_boxes.txt", b"n01_0.JPEG\t0\t0\t3\t3\n");
        write(&dir, "train/n01/images/n01_0.JPEG", &png([8, 8, 3], &[10; 3]));
        write(&dir, "train/n01/images/n01_1.JPEG", &png([8, 8, 3], &[20; 3]));
        write(&dir, "train/n02/images/n02_0.JPEG", &png([8, 8, 1], &[30]));
        write(&dir, "val/images/val_0.JPEG", &png([8, 8, 3], &[40; 3]));
        write(&dir, "val/images/val_1.JPEG", &png([8, 8, 3], &[50; 3]));
        write(
            &dir,
            "val/val_annotations.txt",
            b"val_1.JPEG\tn01\t0\t0\t1\t1\nval_0.JPEG\tn02\t0\t0\t1\t1\n",
        );
        write(&dir, "test/images/test_0.JPEG", &png([8, 8, 3], &[60; 3]));
        dir
    }

    #[test]
    fn classes_have_their_images_of_both_parts() {
        let dir = folder();
        for place in [dir.path().to_path_buf(), dir.path().join(ROOT)] {
            let images = load(&place, COLOUR, &HALF).unwrap();
            let names: Vec<&str> =
                images.classes().iter().map(|class| class.name.as_str()).collect();
            assert_eq!((names, images.shape()), (vec!["n01", "n02"], [4, 4, 3]));
            let first = |class, sample| images.image(class, sample, &mut Vec::new())[0];
            assert_eq!([first(0, 0), first(0, 1), first(0, 2)], [10, 20, 50]);
            assert_eq!([first(1, 0), first(1, 1)], [30, 40]);
            assert_eq!(Split::ALL.map(|split| images.splits().of(split).len()), [1, 0, 1]);
        }
        let report = verify(dir.path(), COLOUR, &HALF).unwrap().to_string();
        assert!(report.contains("4x4x3 images, 2 to 3 per class"), "{report}");
        // As some sort it.
        write(&dir, "val/n02/images/val_2.JPEG", &png([8, 8, 3], &[70; 3]));
        let images = load(dir.path(), COLOUR, &HALF).unwrap();
        assert_eq!((images.samples(0), images.samples(1)), (3, 3));
        let as_is = Form { side: None, fit: Fit::Crop, channels: None };
        check_failure(load(dir.path(), as_is, &HALF), ErrorKind::Shape, &["n02_0", "channels"]);
    }

    #[test]
    fn what_is_out_of_place_is_named() {
        let check = |change: &dyn Fn(&TempDir), kind, words: &[&str]| {
            let dir = folder();
            change(&dir);
            check_failure(load(dir.path(), COLOUR, &HALF), kind, words);
        };
        let stray = |dir: &TempDir| write(dir, "train/n03/images/a.JPEG", &png([8, 8, 3], &[1; 3]));
        let words = ["tiny-imagenet-200/train/n03/images/a.JPEG is of a class", "wnids.txt lists"];
        check(&stray, ErrorKind::Unknown, &words);
        let remove = |name: &'static str| {
            move |dir: &TempDir| fs::remove_file(dir.path().join(ROOT).join(name)).unwrap()
        };
        let words = ["train/n02/images has no images", "some of each class", "unpack it again"];
        check(&remove("train/n02/images/n02_0.JPEG"), ErrorKind::TooFew, &words);
        let words = ["val_annotations.txt, line 2: image \"val_0.JPEG\" of class \"n02\""];
        check(&remove("val/images/val_0.JPEG"), ErrorKind::Unknown, &words);
        let words = ["val/images/val_0.JPEG has no class", "val_annotations.txt"];
        check(&remove("val/val_annotations.txt"), ErrorKind::TooFew, &words);
        let twice = |dir: &TempDir| {
            write(dir, "val/val_annotations.txt", b"val_1.JPEG n01\nval_1.JPEG n02\n")
        };
        check(&twice, ErrorKind::Unknown, &["line 2: image \"val_1.JPEG\" a second time"]);
        let other = |dir: &TempDir| write(dir, "val/n01/val_2.JPEG", &png([8, 8, 3], &[1; 3]));
        let words = ["val/n01/val_2.JPEG: expected train/<class>/images/<image>"];
        check(&other, ErrorKind::Unknown, &words);
        let other = |dir: &TempDir| write(dir, "val/images/notes.txt", b"?");
        check(&other, ErrorKind::Corrupt, &["val/images/notes.txt: expected only .JPEG files"]);
        assert!(load(Path::new("nowhere"), COLOUR, &HALF).is_err());
    }
}
