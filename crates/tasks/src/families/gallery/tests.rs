use std::fs;

use tempfile::TempDir;

use super::*;
use crate::picture::Fit;
use crate::{check_failure, test_files::png};

const AS_THEY_ARE: Form = Form { side: None, fit: Fit::Crop, channels: None };
const SHARES: Division = Division::Shares(Shares { train: 0.5, validation: 0.25, seed: 1 });

fn folder(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (at, name) in files.iter().enumerate() {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png([2, 2, 1], &[at as u8])).unwrap();
    }
    dir
}

fn names(images: &ImageClasses, split: Split) -> Vec<&str> {
    images.splits().of(split).iter().map(|&class| images.classes()[class].name.as_str()).collect()
}

const FOUR: [&str; 6] = [
    "top/ant/1.png",
    "top/ant/2.png",
    "top/bee/1.png",
    "top/cat/1.png",
    "top/cat/2.PNG",
    "top/dog/x.png",
];

#[test]
fn a_folder_is_a_class() {
    let dir = folder(&FOUR);
    fs::write(dir.path().join("README.txt"), "no image").unwrap();
    fs::write(dir.path().join("top/ant/.hidden"), "no image").unwrap();
    let images = load(dir.path(), AS_THEY_ARE, &SHARES).unwrap();
    let all: Vec<&str> = images.classes().iter().map(|class| class.name.as_str()).collect();
    assert_eq!(all, ["ant", "bee", "cat", "dog"]);
    assert_eq!(images.image(2, 1, &mut Vec::new()), [4; 4]);
    assert_eq!(Split::ALL.map(|split| images.splits().of(split).len()), [2, 1, 1]);
    assert_eq!(load(dir.path(), AS_THEY_ARE, &SHARES).unwrap(), images);
    let report = verify(dir.path(), AS_THEY_ARE, &SHARES).unwrap().to_string();
    assert!(report.contains("2x2x1 images, 1 to 2 per class"), "{report}");
    assert!(report.contains("split by shares with seed 1: 2 training, 1 val"), "{report}");
}

#[test]
fn folders_or_a_file_may_divide() {
    let dir = folder(&["train/ant/1.png", "train/bee/1.png", "val/cat/1.png", "test/dog/1.png"]);
    let images = load(dir.path(), AS_THEY_ARE, &SHARES).unwrap();
    assert_eq!(names(&images, Split::Train), ["train/ant", "train/bee"]);
    assert_eq!(names(&images, Split::Validation), ["val/cat"]);

    let file = dir.path().join("split.csv");
    fs::write(&file, "\u{feff}class,split\ndog, val\nbee,test\n\"ant\",train\ncat,TRAIN\n")
        .unwrap();
    let by_file = Division::File(file.clone());
    let both = ["splits its classes by the folders", "split.csv", "leave split_file out"];
    check_failure(load(dir.path(), AS_THEY_ARE, &by_file), ErrorKind::Unknown, &both);
    let images = load(folder(&FOUR).path(), AS_THEY_ARE, &by_file).unwrap();
    assert_eq!(names(&images, Split::Train), ["ant", "cat"]);
    assert_eq!(names(&images, Split::Validation), ["dog"]);
}

#[test]
fn wrong_split_files_are_explained() {
    let dir = folder(&FOUR);
    let file = dir.path().join("split.csv");
    let check = |text: &[u8], words: &[&str]| {
        fs::write(&file, text).unwrap();
        let result = load(dir.path(), AS_THEY_ARE, &Division::File(file.clone()));
        check_failure(result, ErrorKind::Unknown, words);
    };
    check(
        b"ant,train\n",
        &["split.csv, line 1: the header \"ant,train\": expected a header \"class,split\""],
    );
    check(b"class,split\nant\n", &["line 2: 1 cells"]);
    check(
        b"class,split\nant,trian\n",
        &["line 2: the split \"trian\"", "train, validation or test"],
    );
    check(b"class,split\nemu,train\n", &["line 2: the class \"emu\", which has no folder"]);
    check(b"class,split\nant,train\nant,test\n", &["line 3: the class \"ant\" a second time"]);
    check(b"class,split\nant,train\n", &["line 3: no line for the class \"bee\""]);
    fs::write(&file, [0xff, 0xfe]).unwrap();
    let result = load(dir.path(), AS_THEY_ARE, &Division::File(file.clone()));
    check_failure(result, ErrorKind::Corrupt, &["split.csv", "not UTF-8"]);
    let result = load(dir.path(), AS_THEY_ARE, &Division::File("none.csv".into()));
    check_failure(result, ErrorKind::NotFound, &["none.csv", "not found"]);
}

#[test]
fn what_is_out_of_place_is_named() {
    let check = |dir: &TempDir, kind, words: &[&str]| {
        check_failure(load(dir.path(), AS_THEY_ARE, &SHARES), kind, words);
    };
    let words = ["class ant is in the test split and again in the train split", "memory"];
    check(&folder(&["test/ant/1.png", "train/ant/1.png"]), ErrorKind::Overlap, &words);
    let words = ["class extra/cat lies beside the folders of splits", "move or remove it"];
    let files = ["train/ant/1.png", "test/bee/1.png", "extra/cat/1.png"];
    check(&folder(&files), ErrorKind::Unknown, &words);
    // A class may have this name.
    assert!(load(folder(&["test/a/1.png", "b/c/1.png"]).path(), AS_THEY_ARE, &SHARES).is_ok());
    let words = ["loose.png lies beside the classes' folders"];
    check(&folder(&["ant/1.png", "bee/1.png", "loose.png"]), ErrorKind::Unknown, &words);
    check(&folder(&["ant/1.png", "ant/2.png"]), ErrorKind::Unknown, &["two classes or more"]);
    let dir = folder(&FOUR);
    fs::write(dir.path().join("top/ant/film.gif"), "GIF89a").unwrap();
    check(
        &dir,
        ErrorKind::Corrupt,
        &["top/ant/film.gif is among the images", "convert or remove it"],
    );
    check(&folder(&[]), ErrorKind::TooFew, &["no images found"]);
    let result = load(Path::new("nowhere"), AS_THEY_ARE, &SHARES);
    check_failure(
        result,
        ErrorKind::NotFound,
        &["nowhere: not found", "a folder, or a zip archive"],
    );
}

/// Files, and folders (names that end with `/`), as a folder and as an archive.
fn both_forms(files: &[&str]) -> (TempDir, [PathBuf; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let (place, archive) = (dir.path().join("folder"), dir.path().join("images.zip"));
    let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
    let plain = zip::write::SimpleFileOptions::default();
    for (at, name) in files.iter().enumerate() {
        let path = place.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            zip.add_directory(*name, plain).unwrap();
            continue;
        }
        let bytes = if is_image(name) { png([2, 2, 1], &[at as u8]) } else { b"RIFF".to_vec() };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &bytes).unwrap();
        zip.start_file(*name, plain).unwrap();
        std::io::Write::write_all(&mut zip, &bytes).unwrap();
    }
    zip.finish().unwrap();
    (dir, [place, archive])
}

#[test]
fn a_class_without_images_is_refused() {
    let refuses = |files: &[&str], words: &[&str]| {
        let (_dir, places) = both_forms(files);
        for place in places {
            check_failure(load(&place, AS_THEY_ARE, &SHARES), ErrorKind::TooFew, words);
        }
    };
    let expected = "expected .png, .jpg or .jpeg files in the folder of each class";
    refuses(
        &["ant/1.png", "bee/1.png", "cat/1.webp"],
        &["the folder cat holds cat/1.webp and no images", expected],
    );
    refuses(
        &["x/ant/1.png", "x/bee/1.png", "x/cat/1.webp", "x/cat/2.webp", "x/cat/more/3.gif"],
        &["the folder x/cat holds x/cat/1.webp, 2 more and no images", expected],
    );
    refuses(&["ant/1.png", "bee/1.png", "cat/"], &["the folder cat is empty", expected]);
    refuses(&["ant/1.png", "bee/1.webp"], &["the folder bee holds bee/1.webp", expected]);
    let greek = ["greek/a/1.png", "greek/b/1.png", "latin/a/1.png", "runic/a/1.bmp"];
    refuses(&greek, &["the folder runic holds", expected]);
    // Splits hold classes too, and may be missing themselves.
    let within = ["train/ant/1.png", "val/bee/1.png", "val/cat/1.webp", "test/dog/1.png"];
    refuses(&within, &["the folder val/cat holds val/cat/1.webp"]);
    let missing = ["train/ant/1.png", "train/bee/1.png", "val/cat/1.webp", "test/"];
    refuses(&missing, &["the folder test is empty"]);
}

#[test]
fn folders_beside_all_classes_may_hold_anything() {
    for files in [
        ["images/ant/1.png", "images/bee/1.png", "boxes/ant.xml", "empty/"],
        ["train/ant/1.png", "test/bee/1.png", "boxes/ant.xml", "empty/"],
        ["ant/1.png", "bee/1.png", "bee/notes/", ".empty/"],
    ] {
        let (_dir, places) = both_forms(&files);
        for place in places {
            assert_eq!(load(&place, AS_THEY_ARE, &SHARES).unwrap().classes().len(), 2);
        }
    }
}
