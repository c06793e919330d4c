use std::fs;
use std::io::{Cursor, Write};

use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::{ImageSet, check_failure, test_files::png};

type Files = BTreeMap<String, Vec<u8>>;

/// Two images a class, all of one colour each, and the class lists.
fn files() -> Files {
    let mut files = Files::new();
    for (class, name) in classes::names().into_iter().enumerate() {
        for sample in 0..2 {
            let colour = [class as u8, sample, 200];
            files.insert(format!("data/{name}/{sample}.png"), png([SIDE, SIDE, 3], &colour));
        }
    }
    for split in CifarSplit::ALL {
        for (part, file) in Split::ALL.into_iter().zip(["train.txt", "val.txt", "test.txt"]) {
            let lists = classes::lists(split);
            let listed: Vec<&str> =
                lists.of(part).iter().rev().map(|&class| classes::names()[class]).collect();
            files.insert(format!("splits/{}/{file}", split.folder()), listed.join("\n").into());
        }
    }
    files.insert("coarse_labels.csv".into(), b"fine,coarse\n".to_vec());
    files
}

fn zipped(files: &Files) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(format!("cifar100/{name}"), SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    fs::write(dir.path().join("cifar-few.zip"), writer.finish().unwrap().into_inner()).unwrap();
    dir
}

fn check(change: impl FnOnce(&mut Files), kind: ErrorKind, words: &[&str]) {
    let mut files = files();
    change(&mut files);
    check_failure(verify(zipped(&files).path()), kind, words);
}

#[test]
fn archives_and_folders_hold_the_same() {
    let zip = zipped(&files());
    let from_zip = load(zip.path(), CifarSplit::Fs).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files() {
        let path = folder.path().join("cifar-fs").join("cifar100").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(load(folder.path(), CifarSplit::Fs).unwrap(), from_zip);
    let named = zip.path().join("cifar-few.zip");
    assert_eq!(load(&named, CifarSplit::Fs).unwrap(), from_zip);
    assert_eq!(from_zip.image(7, 1, &mut Vec::new())[..6], [7, 1, 200, 7, 1, 200]);
    assert_eq!(Split::ALL.map(|s| from_zip.splits().of(s).len()), [64, 16, 20]);
    let fc100 = load(zip.path(), CifarSplit::Fc100).unwrap();
    assert_eq!(Split::ALL.map(|s| fc100.splits().of(s).len()), [60, 20, 20]);
}

#[test]
fn the_report_says_what_is_there() {
    let report = verify(zipped(&files()).path()).unwrap().to_string();
    for part in
        ["100 classes of 2 images (a part", "bertinetto: class lists agree", "fc100: 60 training"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let remove = |name: &'static str| move |files: &mut Files| drop(files.remove(name));
    let insert = |name: &str, bytes: &[u8]| {
        let (name, bytes) = (name.to_string(), bytes.to_vec());
        move |files: &mut Files| drop(files.insert(name, bytes))
    };
    let words = ["class wolf has 1 images and class apple has 2", "as many in each"];
    check(remove("data/wolf/0.png"), ErrorKind::TooFew, &words);
    let whole = |files: &mut Files| files.retain(|name, _| !name.starts_with("data/seal/"));
    check(whole, ErrorKind::NotFound, &["class seal is missing", "data/seal"]);
    let image = png([SIDE, SIDE, 3], &[1, 2, 3]);
    check(insert("data/ogre/0.png", &image), ErrorKind::Unknown, &["found class ogre"]);
    check(insert("0.png", &image), ErrorKind::Unknown, &["0.png lies elsewhere"]);
    let half = &image[..image.len() / 2];
    let words = ["cifar100/data/tank/1.png", "not a whole PNG or JPEG image"];
    check(insert("data/tank/1.png", half), ErrorKind::Corrupt, &words);
    let words = ["data/tank/1.png", "28x28 with 3 channels: expected 32x32"];
    check(insert("data/tank/1.png", &png([28, 28, 3], &[0; 3])), ErrorKind::Shape, &words);
    let words = ["splits/fc100/val.txt lists apple", "expected the 20 validation classes of fc100"];
    check(insert("splits/fc100/val.txt", b"apple"), ErrorKind::Unknown, &words);
    let words = ["splits/bertinetto/test.txt lists 0 classes: expected the 20"];
    check(insert("splits/bertinetto/test.txt", b""), ErrorKind::Unknown, &words);
}

#[test]
fn what_is_not_there_is_explained() {
    let empty = tempfile::tempdir().unwrap();
    let words = ["CIFAR-FS not found", "holds none", "expected an archive cifar*.zip"];
    check_failure(verify(empty.path()), ErrorKind::NotFound, &words);
    let dir = zipped(&files());
    let archive = dir.path().join("cifar-few.zip");
    fs::copy(&archive, dir.path().join("cifar100.zip")).unwrap();
    let words = ["cifar-few.zip", "cifar100.zip both look like", "expected one archive"];
    check_failure(verify(dir.path()), ErrorKind::Unknown, &words);
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    check_failure(
        verify(&archive),
        ErrorKind::Corrupt,
        &["not a whole zip archive", "download it again"],
    );
}
