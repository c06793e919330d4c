use std::fs;
use std::io::{Cursor, Write};

use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::{ImageSet, check_failure, test_files::png};

type Files = BTreeMap<String, Vec<u8>>;

/// Two images per class, each of one colour, and the class lists.
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
    check_failure(verify(zipped(&files).path(), CifarSplit::Fs), kind, words);
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
    let report = verify(zipped(&files()).path(), CifarSplit::Fs).unwrap().to_string();
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
    check(insert("0.png", &image), ErrorKind::Unknown, &["0.png is in the wrong place"]);
    let words = ["data/seal/0.bmp is among the images of a class"];
    check(insert("data/seal/0.bmp", &image), ErrorKind::Corrupt, &words);
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
    check_failure(verify(empty.path(), CifarSplit::Fs), ErrorKind::NotFound, &words);
    let dir = zipped(&files());
    let archive = dir.path().join("cifar-few.zip");
    fs::copy(&archive, dir.path().join("cifar100.zip")).unwrap();
    let words = ["cifar-few.zip", "cifar100.zip both look like", "expected one archive"];
    check_failure(verify(dir.path(), CifarSplit::Fs), ErrorKind::Unknown, &words);
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    check_failure(
        verify(&archive, CifarSplit::Fs),
        ErrorKind::Corrupt,
        &["not an intact zip archive", "download it again"],
    );
}

/// A pickled dictionary as Python 2 writes it with protocol 2: an array of bytes of this shape, and a list of values.
fn pickled(
    shape: &[usize],
    bytes: &[u8],
    labels: (&str, impl Iterator<Item = Vec<u8>>),
) -> Vec<u8> {
    let mut string = vec![b'T'];
    string.extend((bytes.len() as u32).to_le_bytes());
    string.extend(bytes);
    pickled_with(shape, &string, labels)
}

/// The same with the array's bytes as they are written.
fn pickled_with(
    shape: &[usize],
    bytes: &[u8],
    (labels, values): (&str, impl Iterator<Item = Vec<u8>>),
) -> Vec<u8> {
    let mut out = b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n".to_vec();
    out.extend(b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01(");
    for &extent in shape {
        out.push(b'M');
        out.extend((extent as u16).to_le_bytes());
    }
    out.extend(b"tcnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89");
    out.extend(bytes);
    out.extend(b"tbU");
    out.push(labels.len() as u8);
    out.extend(labels.as_bytes());
    out.extend(b"](");
    values.for_each(|value| out.extend(value));
    out.extend(b"eu.");
    out
}

fn numbers(labels: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    labels.iter().map(|&label| vec![b'K', label])
}

/// A part of the original set.
fn python(images: &[u8], labels: &[u8]) -> Vec<u8> {
    pickled(&[labels.len(), 3 * 1024], images, ("fine_labels", numbers(labels)))
}

fn python_folder(train: &[u8], test: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cifar-100-python");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("train"), train).unwrap();
    fs::write(folder.join("test"), test).unwrap();
    dir
}

/// For class `c`: red `c`, green `sample`, blue 200.
fn part(sample: u8) -> Vec<u8> {
    let planes = |class: u8| [class, sample, 200].into_iter().flat_map(|v| [v; SIDE * SIDE]);
    let labels: Vec<u8> = (0..100).rev().collect();
    python(&labels.iter().flat_map(|&class| planes(class)).collect::<Vec<u8>>(), &labels)
}

/// The list of the original set's classes.
fn meta(names: &[&str]) -> Vec<u8> {
    let names = names.iter().map(|name| [&[b'U', name.len() as u8], name.as_bytes()].concat());
    pickled(&[1], &[0], ("fine_label_names", names))
}

#[test]
fn the_original_pickles_hold_the_same() {
    let dir = python_folder(&part(0), &part(1));
    let same = |dir: &TempDir| {
        for split in CifarSplit::ALL {
            let zip = zipped(&files());
            assert_eq!(load(dir.path(), split).unwrap(), load(zip.path(), split).unwrap());
        }
    };
    same(&dir);
    let list = dir.path().join("cifar-100-python").join("meta");
    let mut names = classes::names();
    fs::write(&list, meta(&names)).unwrap();
    same(&dir);
    names.swap(0, 1);
    fs::write(&list, meta(&names)).unwrap();
    let words = ["meta: the classes are aquarium_fish, apple", "from apple to worm"];
    check_failure(verify(dir.path(), CifarSplit::Fs), ErrorKind::Corrupt, &words);
}

#[test]
fn wrong_original_pickles_are_explained() {
    let whole = part(0);
    let check = |train: &[u8], kind, words: &[&str]| {
        let dir = python_folder(train, &part(1));
        check_failure(verify(dir.path(), CifarSplit::Fc100), kind, words);
    };
    let corrupt = ErrorKind::Corrupt;
    let words = ["train: cannot be read to its end", "cifar-100-python.tar.gz"];
    check(&whole[..whole.len() / 2], corrupt, &words);
    check(b"I7\n.", corrupt, &["train: holds no dictionary"]);
    check(&python(&[0; 3 * 1024], &[100]), corrupt, &["a label is I64(100)", "below 100"]);
    check(&python(&[0; 3 * 1024], &[1, 2]), corrupt, &["data is missing or not such an array"]);
    let one = python(&[0; 3 * 1024], &[0]);
    let words = ["class aquarium_fish has 1 images and class apple has 2", "as many in each"];
    check(&one, ErrorKind::TooFew, &words);
}

/// Python 3 writes bytes with protocol 2 as `_codecs.encode(text, "latin1")`: a character for each, of two bytes from 128 on.
#[test]
fn bytes_may_be_written_as_text() {
    let text = |bytes: &[u8]| {
        let text: String = bytes.iter().copied().map(char::from).collect();
        let mut out = b"c_codecs\nencode\nX".to_vec();
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
        out.extend(b"X\x06\x00\x00\x00latin1\x86R");
        out
    };
    // All values there are, four times in each plane of one class.
    let bytes: Vec<u8> = (0..3 * 1024).map(|i| (i % 256) as u8).collect();
    let images: Vec<u8> = [&bytes[..], &vec![200; 99 * 3 * 1024]].concat();
    let labels: Vec<u8> = (0..100).collect();
    let part = pickled_with(&[100, 3 * 1024], &text(&images), ("fine_labels", numbers(&labels)));
    assert!(part.len() > images.len() + images.len() / 2, "most bytes take two");
    let dir = python_folder(&part, &part);
    let read = load(dir.path(), CifarSplit::Fs).unwrap();
    let names = classes::names();
    let of = |name: &str| (0..100).find(|&class| read.class_name(class) == name).unwrap();
    let image = read.image(of(names[0]), 0, &mut Vec::new()).to_vec();
    // The planes of the file side by side.
    let expected: Vec<u8> = (0..1024).flat_map(|i| [(i % 256) as u8; 3]).collect();
    assert_eq!(image, expected);
    assert_eq!(read.image(of(names[99]), 0, &mut Vec::new()), [200; 3 * 1024]);
    let short = text(&images[1..]);
    let part = pickled_with(&[100, 3 * 1024], &short, ("fine_labels", numbers(&labels)));
    let words = ["train: data is missing or not such an array"];
    check_failure(
        verify(python_folder(&part, &part).path(), CifarSplit::Fs),
        ErrorKind::Corrupt,
        &words,
    );
}

/// MetaOptNet's: `classes` classes starting at `first`, two images each, with the images of one class apart.
fn labelled(first: u8, classes: u8) -> Vec<u8> {
    let labels: Vec<u8> = (first..first + classes).chain((first..first + classes).rev()).collect();
    let colour = |(at, &label): (usize, &u8)| [label, u8::from(at >= classes.into()), 200];
    let images: Vec<u8> =
        labels.iter().enumerate().flat_map(|image| colour(image).repeat(SIDE * SIDE)).collect();
    pickled(&[labels.len(), SIDE, SIDE, 3], &images, ("labels", numbers(&labels)))
}

fn labelled_files(prefix: &str, parts: [Vec<u8>; 3]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (part, bytes) in ["train", "val", "test"].into_iter().zip(parts) {
        fs::write(dir.path().join(format!("{prefix}_{part}.pickle")), bytes).unwrap();
    }
    dir
}

#[test]
fn pickles_with_labels_are_read() {
    let dir = labelled_files("CIFAR_FS", [labelled(0, 64), labelled(64, 16), labelled(80, 20)]);
    let images = load(dir.path(), CifarSplit::Fs).unwrap();
    assert_eq!(sizes(images.splits()), [64, 16, 20]);
    assert_eq!((images.class_name(65), images.samples(65)), ("CIFAR_FS_val/065".into(), 2));
    assert_eq!(images.image(65, 1, &mut Vec::new())[3..6], [65, 1, 200]);
    let report = verify(dir.path(), CifarSplit::Fs).unwrap().to_string();
    for part in ["from MetaOptNet's pickles", "cifar_fs: 64 training, 16 validation, 20 test"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("fc100"), "{report}");
    let words = ["FC100 not found", "FC100_{train,val,test}.pickle", "fc100, FC100"];
    check_failure(verify(dir.path(), CifarSplit::Fc100), ErrorKind::NotFound, &words);
    let dir = labelled_files("FC100", [labelled(0, 60), labelled(60, 20), labelled(80, 20)]);
    assert_eq!(sizes(load(dir.path(), CifarSplit::Fc100).unwrap().splits()), [60, 20, 20]);
}

#[test]
fn wrong_pickles_with_labels_are_explained() {
    let check = |train: Vec<u8>, kind, words: &[&str]| {
        let dir = labelled_files("CIFAR_FS", [train, labelled(64, 16), labelled(80, 20)]);
        check_failure(verify(dir.path(), CifarSplit::Fs), kind, words);
    };
    let few = ["[63, 16, 20] training, validation and test", "expected [64, 16, 20]"];
    check(labelled(0, 63), ErrorKind::TooFew, &few);
    let shared = ["class CIFAR_FS_val/064 is in two of the pickles", "memory"];
    check(labelled(1, 64), ErrorKind::Overlap, &shared);
    let flat = python(&[0; 3 * 1024], &[0]);
    check(
        flat,
        ErrorKind::Corrupt,
        &["CIFAR_FS_train.pickle: data is missing or not such an array"],
    );
    let short = pickled(&[1, 32, 32, 3], &[0; 3072], ("labels", numbers(&[1, 2])));
    check(short, ErrorKind::Corrupt, &["2 labels of 1 images"]);
    let none = pickled(&[1, 32, 32, 3], &[0; 3072], ("names", numbers(&[1])));
    check(none, ErrorKind::Corrupt, &["labels is missing"]);
    let dir = labelled_files("CIFAR_FS", [labelled(0, 64), labelled(64, 16), labelled(80, 20)]);
    fs::remove_file(dir.path().join("CIFAR_FS_val.pickle")).unwrap();
    let words = ["the validation pickle is missing", "CIFAR_FS_train.pickle, CIFAR_FS_val.pickle"];
    check_failure(verify(dir.path(), CifarSplit::Fs), ErrorKind::NotFound, &words);
}
