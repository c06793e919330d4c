use std::fs;
use std::io::{Cursor, Write};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::check_failure;
use crate::picture::{self, Fit, Form};

mod real;

/// Two alphabets instead of fifty.
const TABLE: [Alphabet; 3] = [
    Alphabet { name: "Elvish", part: Part::Background, vinyals: [1, 1, 0] },
    Alphabet { name: "Runic", part: Part::Background, vinyals: [0, 0, 1] },
    Alphabet { name: "Other", part: Part::Evaluation, vinyals: [0, 0, 7] },
];
const CLASSES: [&str; 3] = ["Elvish/character01", "Elvish/character02", "Runic/character01"];

type Files = Vec<(String, Vec<u8>)>;

/// An image with ink (0) where `ink` says so, one bit per pixel.
fn png(side: usize, ink: impl Fn(usize, usize) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side as u32, side as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut packed = vec![0xff; side * side.div_ceil(8)];
    for (i, j) in (0..side).flat_map(|i| (0..side).map(move |j| (i, j))).filter(|&(i, j)| ink(i, j))
    {
        packed[i * side.div_ceil(8) + j / 8] ^= 0x80 >> (j % 8);
    }
    encoder.write_header().unwrap().write_image_data(&packed).unwrap();
    bytes
}

/// Sample `s` of each class: ink in all rows above `5 s`.
fn files() -> Files {
    let image = |class: &&str, s: usize| {
        (format!("{class}/0001_{:02}.png", s + 1), png(PUBLISHED, |i, _| i < 5 * s))
    };
    CLASSES.iter().flat_map(|class| (0..SAMPLES).map(move |s| image(class, s))).collect()
}

fn zipped(files: &Files) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let path = format!("images_background/{name}");
        writer.start_file(path, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn with_zip(bytes: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("images_background.zip"), bytes).unwrap();
    dir
}

fn with_folder(files: &Files) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join("images_background").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn read_part(dir: &TempDir) -> Result<Vec<Class>, Error> {
    load_part(dir.path(), Part::Background, &TABLE, Reading::Anew).map(|(_, classes)| classes)
}

/// A part, read through images kept in a folder, and whether it was decoded.
fn read_kept(root: &Path, part: Part, table: &[Alphabet], kept: &Path) -> (Vec<Class>, bool) {
    let tree = archive::open(root, part).unwrap();
    let listed = archive::list(&tree, part, table).unwrap();
    let mut decoded = false;
    let (images, note) = cache::through(kept, (&tree, &listed, Decoding::Omniglot), || {
        decoded = true;
        archive::decode_all(&tree, &listed)
    });
    assert_eq!(note, None);
    let (shape, classes) = images.unwrap();
    assert_eq!(shape, [SIDE, SIDE, 1]);
    (classes, decoded)
}

#[test]
fn archives_and_folders_hold_the_same() {
    let (zip, folder) = (
        read_part(&with_zip(&zipped(&files()))).unwrap(),
        read_part(&with_folder(&files())).unwrap(),
    );
    assert_eq!(zip, folder);
    assert_eq!(zip.iter().map(|class| class.name.as_str()).collect::<Vec<_>>(), CLASSES);
    for (s, image) in zip[2].pixels.chunks_exact(SIDE * SIDE).enumerate() {
        // Away from the edge at source row 5 s, ink is 255 and paper 0; samples are in order.
        for i in 0..SIDE {
            let edge = (5 * s) as f64 / 3.75 - i as f64;
            let expected = if edge > 2.5 { 255 } else { 0 };
            if !(-1.5..=2.5).contains(&edge) {
                assert!(image[i * SIDE + 14].abs_diff(expected) <= 25, "sample {s} row {i}");
            }
        }
    }
}

#[test]
fn what_is_kept_is_what_was_decoded() {
    let kept = tempfile::tempdir().unwrap();
    for dir in [with_zip(&zipped(&files())), with_folder(&files())] {
        let through = || read_kept(dir.path(), Part::Background, &TABLE, kept.path());
        let fresh = read_part(&dir).unwrap();
        assert_eq!(through(), (fresh.clone(), true));
        assert_eq!(through(), (fresh, false));
    }
}

#[test]
fn a_changed_drawing_is_decoded_anew() {
    let mut changed = files();
    changed[30].1 = png(PUBLISHED, |_, j| j < 50);
    let expected = read_part(&with_folder(&changed)).unwrap();
    for zip in [false, true] {
        let dir = if zip { with_zip(&zipped(&files())) } else { with_folder(&files()) };
        let kept = tempfile::tempdir().unwrap();
        let through = || read_kept(dir.path(), Part::Background, &TABLE, kept.path());
        let (before, _) = through();
        let (name, bytes) = match zip {
            true => ("images_background.zip".into(), zipped(&changed)),
            false => (format!("images_background/{}", changed[30].0), changed[30].1.clone()),
        };
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        let (after, decoded) = through();
        assert!(decoded && after == expected, "zip: {zip}");
        assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
        assert_ne!(after[1], before[1]);
    }
}

/// The same files in the same classes, as the user's own images at 28x28: ink is then 0.
#[test]
fn images_of_another_family_are_not_taken() {
    let (dir, kept) = (with_folder(&files()), tempfile::tempdir().unwrap());
    let (ours, _) = read_kept(dir.path(), Part::Background, &TABLE, kept.path());
    let tree = archive::open(dir.path(), Part::Background).unwrap();
    let listed = archive::list(&tree, Part::Background, &TABLE).unwrap();
    let form = Form { side: Some(SIDE), fit: Fit::Crop, channels: Some(1) };
    let sources = (&tree, listed.as_slice(), Decoding::Picture(form));
    let decode = || picture::decode_all(&tree, &listed, form);
    let (shape, theirs) = cache::through(kept.path(), sources, decode).0.unwrap();
    assert!(shape == [SIDE, SIDE, 1] && theirs[0] != ours[0]);
    assert_eq!(
        read_kept(dir.path(), Part::Background, &TABLE, kept.path()),
        (ours, false),
        "each has a file of its own"
    );
}

#[test]
fn any_encoding_of_grey_is_read() {
    let pixel = |at: usize| if at / PUBLISHED < 40 { 0 } else { 255 };
    let encoded = |color: png::ColorType| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, PUBLISHED as u32, PUBLISHED as u32);
        encoder.set_color(color);
        let data: Vec<u8> =
            (0..PUBLISHED * PUBLISHED).flat_map(|at| vec![pixel(at); color.samples()]).collect();
        encoder.write_header().unwrap().write_image_data(&data).unwrap();
        bytes
    };
    let mut files = files();
    files[0].1 = png(PUBLISHED, |i, _| i < 40);
    files[1].1 = encoded(png::ColorType::Grayscale);
    files[2].1 = encoded(png::ColorType::Rgb);
    let classes = read_part(&with_zip(&zipped(&files))).unwrap();
    let images: Vec<&[u8]> = classes[0].pixels.chunks_exact(SIDE * SIDE).collect();
    assert_eq!(images[0], images[1]);
    assert_eq!(images[0], images[2]);
}

#[test]
fn parts_are_counted() {
    let dir = with_zip(&zipped(&files()));
    let report = verify_part(dir.path(), Part::Background, &TABLE).unwrap();
    assert_eq!((report.alphabets, report.classes, report.samples), (2, 3, 60));
}

#[test]
fn nothing_there_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let find = |path: &Path| load(path, OmniglotSplit::Vinyals, Ink::One).map(|_| ());
    check_failure(
        find(dir.path()),
        ErrorKind::NotFound,
        &["Omniglot not found", "holds neither archive", "images_background.zip", "download"],
    );
    check_failure(find(&dir.path().join("x")), ErrorKind::NotFound, &["x is not a folder"]);
}

#[test]
fn one_archive_of_two_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("omniglot-py/images_evaluation")).unwrap();
    check_failure(
        verify(dir.path()),
        ErrorKind::NotFound,
        &["omniglot-py", "images_background not found", "expected images_background.zip"],
    );
}

#[test]
fn a_truncated_archive_is_corrupt() {
    let bytes = zipped(&files());
    let words =
        ["images_background.zip", "bytes that are not an intact zip archive", "download it again"];
    for size in [0, 100, bytes.len() / 2, bytes.len() - 10] {
        check_failure(read_part(&with_zip(&bytes[..size])), ErrorKind::Corrupt, &words);
    }
}

#[test]
fn a_damaged_member_is_corrupt() {
    let mut bytes = zipped(&files());
    // Inside the first member's data, past its 30 byte header and its name.
    let at = 30 + "images_background/Elvish/character01/0001_01.png".len() + 60;
    bytes[at] ^= 0x55;
    let words = [
        "images_background.zip: images_background/Elvish/character01/0001_01.png",
        "the archive is probably damaged",
        "download it again from github.com",
    ];
    check_failure(read_part(&with_zip(&bytes)), ErrorKind::Corrupt, &words);
}

#[test]
fn a_damaged_image_is_corrupt() {
    let whole = files()[25].1.clone();
    let garbage = b"<html>404 Not Found</html>".to_vec();
    for bytes in [garbage, Vec::new(), whole[..40].to_vec(), whole[..whole.len() - 20].to_vec()] {
        let mut files = files();
        files[25].1 = bytes;
        let words =
            ["Elvish/character02/0001_06.png", "not a whole PNG image", "download it again"];
        check_failure(read_part(&with_zip(&zipped(&files))), ErrorKind::Corrupt, &words);
        check_failure(read_part(&with_folder(&files)), ErrorKind::Corrupt, &words);
    }
}

#[test]
fn an_image_of_another_size_is_refused() {
    let mut files = files();
    files[59].1 = png(28, |_, _| true);
    let words =
        ["Runic/character01/0001_20.png: the image is 28x28", "expected 105x105", "original"];
    check_failure(read_part(&with_folder(&files)), ErrorKind::Shape, &words);
}

#[test]
fn missing_samples_characters_and_alphabets_are_named() {
    let without = |drop: &dyn Fn(&str) -> bool| {
        let kept: Files = files().into_iter().filter(|(name, _)| !drop(name)).collect();
        read_part(&with_zip(&zipped(&kept)))
    };
    check_failure(
        without(&|name| name.ends_with("character02/0001_07.png")),
        ErrorKind::TooFew,
        &["class Elvish/character02 has 19 images", "expected 20"],
    );
    check_failure(
        without(&|name| name.contains("Elvish/character02")),
        ErrorKind::TooFew,
        &["alphabet Elvish has 1 characters", "expected its 2 characters"],
    );
    check_failure(
        without(&|name| name.starts_with("Runic")),
        ErrorKind::NotFound,
        &["images_background.zip: alphabet Runic is missing"],
    );
}

#[test]
fn classes_that_were_not_published_are_named() {
    let mut files = files();
    files.push(("Klingon/character01/0001_01.png".into(), png(PUBLISHED, |_, _| false)));
    let words = ["found class Klingon/character01", "expected the published alphabets"];
    check_failure(read_part(&with_zip(&zipped(&files))), ErrorKind::Unknown, &words);
}

#[test]
fn files_beside_the_images_are_named() {
    for name in ["Runic/character01/0001_21.jpg", "0001_01.png"] {
        let mut files = files();
        files.push((name.into(), png(PUBLISHED, |_, _| false)));
        let words = [name, ": expected the published images", "keep other files"];
        check_failure(read_part(&with_folder(&files)), ErrorKind::Unknown, &words);
    }
    let mut files = files();
    files.push(("README.txt".into(), b"what this is".to_vec()));
    assert_eq!(read_part(&with_folder(&files)).unwrap().len(), 3);
}

#[test]
fn splits_have_the_published_sizes_and_cover_everything() {
    let expected = [
        (OmniglotSplit::Vinyals, [1028, 172, 423]),
        (OmniglotSplit::Finn, [1100, 100, 423]),
        (OmniglotSplit::Lake, [792, 172, 659]),
    ];
    for (split, sizes) in expected {
        let lists = split.lists();
        assert_eq!(Split::ALL.map(|s| lists.of(s).len()), sizes, "{split}");
        let mut all: Vec<usize> = Split::ALL.iter().flat_map(|&s| lists.of(s).to_vec()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1623), "{split}: each character once");
    }
}

/// Split lists are indices into the classes sorted by name, so the table has to be in that order.
#[test]
fn the_table_is_in_the_order_of_the_classes() {
    assert!(ALPHABETS.is_sorted_by_key(|alphabet| alphabet.name));
    let names = |a: &Alphabet| {
        let name = a.name;
        (1..=a.characters()).map(move |number| splits::class_name(name, number))
    };
    assert!(ALPHABETS.iter().flat_map(names).is_sorted());
    let size = |part: Part| -> usize {
        ALPHABETS.iter().filter(|a| a.part == part).map(Alphabet::characters).sum()
    };
    assert_eq!(Part::ALL.map(size), [964, 659]);
}

#[test]
fn class_lists_that_differ_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(splits::check_lists(dir.path()).unwrap(), None);
    let folder = dir.path().join("splits/vinyals");
    fs::create_dir_all(&folder).unwrap();
    let words = ["train.txt", "cannot read the class list"];
    check_failure(splits::check_lists(dir.path()), ErrorKind::Io, &words);
    fs::write(folder.join("train.txt"), "Greek/character01/rot000\n").unwrap();
    let words = ["train.txt: 1 classes", "expected the 1028 train classes", "remove the folder"];
    check_failure(splits::check_lists(dir.path()), ErrorKind::Unknown, &words);
}
