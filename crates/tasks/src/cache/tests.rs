use std::fs;

use tempfile::TempDir;

use super::*;
use crate::test_files::png;
use crate::{ErrorKind, picture};

const FORM: Form = Form { side: None, fit: picture::Fit::Crop, channels: None };

/// Two classes of two images of 2x3 pixels, and a folder to keep them in.
fn set() -> (TempDir, TempDir) {
    let (sources, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (at, name) in ["a0.png", "a1.png", "b0.png", "b1.png"].into_iter().enumerate() {
        fs::write(sources.path().join(name), png([2, 3, 1], &[at as u8])).unwrap();
    }
    (sources, kept)
}

fn listed() -> Vec<Listed> {
    let class = |name: &str, files: [usize; 2]| Listed { name: name.into(), files: files.into() };
    vec![class("a", [0, 1]), class("b", [2, 3])]
}

/// The images, whether they were decoded, and the note.
fn load_as(sources: &Path, kept: &Path, classes: &[Listed], form: Form) -> (Images, bool, String) {
    let tree = Tree::open(sources).unwrap();
    let mut decoded = false;
    let (images, note) = through(kept, (&tree, classes, Decoding::Picture(form)), || {
        decoded = true;
        picture::decode_all(&tree, classes, form)
    });
    (images.unwrap(), decoded, note.unwrap_or_default())
}

fn load((sources, kept): &(TempDir, TempDir)) -> (Images, bool, String) {
    load_as(sources.path(), kept.path(), &listed(), FORM)
}

#[test]
fn the_second_time_nothing_is_decoded() {
    let set = set();
    let (images, decoded, note) = load(&set);
    assert!(decoded && note.is_empty(), "{note}");
    assert_eq!(images.0, [2, 3, 1]);
    assert_eq!(images.1[1].pixels, [2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]);
    assert_eq!(load(&set), (images, false, String::new()));
    assert_eq!(fs::read_dir(set.1.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn what_changed_is_decoded_again() {
    let set = set();
    let (first, ..) = load(&set);
    // Other contents of another size, another class list, another form.
    fs::write(set.0.path().join("b1.png"), png([2, 3, 1], &[200])).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    File::options()
        .write(true)
        .open(set.0.path().join("b1.png"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let (second, decoded, _) = load(&set);
    assert!(decoded && second.1[1].pixels[6..] == [200; 6], "{second:?}");
    assert_eq!(second.1[0], first.1[0]);
    assert!(!load(&set).1);
    let mut classes = listed();
    classes[0].files.reverse();
    let (third, decoded, _) = load_as(set.0.path(), set.1.path(), &classes, FORM);
    assert!(decoded && third.1[0].pixels[0] == 1, "{third:?}");
    let form = Form { channels: Some(3), ..FORM };
    let (fourth, decoded, _) = load_as(set.0.path(), set.1.path(), &listed(), form);
    assert!(decoded && fourth.0 == [2, 3, 3], "{fourth:?}");
    // Whatever was kept last, the first settings find their own images or decode.
    assert_eq!(load(&set).0, second);
}

#[test]
fn other_contents_of_an_archive_are_noticed_whatever_its_size_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.zip");
    let write = |value: u8| {
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for (at, name) in ["a0.png", "a1.png", "b0.png", "b1.png"].into_iter().enumerate() {
            writer.start_file(name, stored).unwrap();
            writer.write_all(&png([2, 3, 1], &[value + at as u8])).unwrap();
        }
        let file = writer.finish().unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        stamp(&path).unwrap()
    };
    let kept = tempfile::tempdir().unwrap();
    let before = write(1);
    assert_eq!(load_as(&path, kept.path(), &listed(), FORM).0.1[0].pixels[0], 1);
    assert!(!load_as(&path, kept.path(), &listed(), FORM).1);
    assert_eq!(write(101), before, "a stamp tells nothing");
    let (images, decoded, note) = load_as(&path, kept.path(), &listed(), FORM);
    assert!(decoded && note.is_empty(), "{note}");
    assert_eq!(images.1[0].pixels[0], 101);
}

#[test]
fn every_damaged_byte_is_noticed() {
    let set = set();
    let (images, ..) = load(&set);
    let path = fs::read_dir(set.1.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, damaged).unwrap();
        let (again, decoded, note) = load(&set);
        assert!(decoded && again == images && note.is_empty(), "byte {at}: {note}");
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(load(&set).1, "cut at {length}");
    }
    fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
    assert!(load(&set).1, "a byte more");
    assert!(!load(&set).1);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_note() {
    let (sources, kept) = set();
    let file = kept.path().join("file");
    fs::write(&file, "").unwrap();
    let (images, decoded, note) = load_as(sources.path(), &file.join("folder"), &listed(), FORM);
    assert!(decoded && images.1.len() == 2);
    assert!(note.contains("are not kept") && note.contains("INNERLOOP_CACHE"), "{note}");
}

#[test]
fn errors_are_passed_on_and_nothing_is_kept() {
    let (sources, kept) = set();
    fs::write(sources.path().join("b0.png"), "no image").unwrap();
    let tree = Tree::open(sources.path()).unwrap();
    let classes = listed();
    let decode = || picture::decode_all(&tree, &classes, FORM);
    let (result, note) = through(kept.path(), (&tree, &classes, Decoding::Picture(FORM)), decode);
    assert_eq!((result.unwrap_err().kind(), note), (ErrorKind::Corrupt, None));
    assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0);
    assert_eq!(folder(WORTHWHILE - 1), None);
}
