use std::fs;
use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;
use crate::check_failure;

const PARTS: [(&str, usize); 2] = [("train", 20), ("t10k", 10)];

fn idx(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut bytes = (0x800 + shape.len() as u32).to_be_bytes().to_vec();
    shape.iter().for_each(|&extent| bytes.extend((extent as u32).to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// Image `i` of a part is filled with `i + 1`, its label is `i % 10`; the training part is compressed.
fn files() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mnist")).unwrap();
    for (part, count) in PARTS {
        let pixels: Vec<u8> = (0..count).flat_map(|i| [i as u8 + 1; SIDE * SIDE]).collect();
        let labels: Vec<u8> = (0..count).map(|i| i as u8 % 10).collect();
        write(&dir, &format!("{part}-images-idx3-ubyte"), &idx(&[count, SIDE, SIDE], &pixels));
        write(&dir, &format!("{part}-labels-idx1-ubyte"), &idx(&[count], &labels));
    }
    dir
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
    let folder = dir.path().join("mnist");
    if name.starts_with("t10k") {
        return fs::write(folder.join(name), bytes).unwrap();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    fs::write(folder.join(format!("{name}.gz")), encoder.finish().unwrap()).unwrap();
}

fn digits(dir: &TempDir) -> Result<Digits, Error> {
    Digits::load_counted(dir.path(), &PARTS)
}

fn set(places: Places, side: usize, seed: u64) -> MultiMnist {
    MultiMnist::new(digits(&files()).unwrap(), places, side, seed).unwrap()
}

fn image(set: &MultiMnist, class: usize, sample: usize) -> Vec<u8> {
    set.image(class, sample, &mut Vec::new()).to_vec()
}

#[test]
fn splits_are_the_published_ones() {
    for (digits, sizes) in [(2, [64, 16, 20]), (3, [640, 160, 200])] {
        let lists = splits::lists(digits);
        assert_eq!(Split::ALL.map(|split| lists.of(split).len()), sizes);
        let mut all: Vec<usize> =
            Split::ALL.into_iter().flat_map(|split| lists.of(split).to_vec()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..sizes.iter().sum()).collect::<Vec<_>>(), "every class once");
    }
    assert_eq!(splits::lists(2).train[..4], [0, 1, 4, 5]);
}

#[test]
fn each_digit_lies_in_its_column() {
    for (places, class) in [(Places::Two, 37), (Places::Three, 905)] {
        let side = places.canvas();
        let set = set(places, side, SEED);
        let mut tops = std::collections::BTreeSet::new();
        for sample in 0..40 {
            let image = image(&set, class, sample);
            let name = set.class_name(class);
            for (place, digit) in name.bytes().map(|byte| byte - b'0').enumerate() {
                let column = side / places.digits();
                let ink: Vec<(usize, u8)> = (0..side * column)
                    .map(|at| {
                        (at / column, image[at / column * side + place * column + at % column])
                    })
                    .filter(|&(_, value)| value > 0)
                    .collect();
                assert_eq!(ink.len(), SIDE * SIDE, "the whole digit");
                // Images of a digit have the values digit + 1, + 11 and + 1 again.
                assert!(ink.iter().all(|&(_, value)| (value - 1) % 10 == digit), "{name}");
                tops.insert(ink[0].0);
            }
        }
        assert!(tops.len() > 10 && *tops.last().unwrap() < side - SIDE, "{tops:?}");
    }
}

#[test]
fn an_image_follows_from_seed_class_and_sample() {
    let set_a = set(Places::Two, 64, 1);
    assert_eq!(image(&set_a, 7, 3), image(&set(Places::Two, 64, 1), 7, 3));
    assert_ne!(image(&set_a, 7, 3), image(&set_a, 7, 4));
    assert_ne!(image(&set_a, 7, 3), image(&set(Places::Two, 64, 2), 7, 3));
    let mut space = vec![9; 5000];
    assert_eq!(set_a.image(7, 3, &mut space), image(&set_a, 7, 3), "nothing of before is left");
}

#[test]
fn images_are_shrunk_on_request() {
    let (large, small) = (set(Places::Two, 64, 1), set(Places::Two, 32, 1));
    assert_eq!(small.shape(), [32, 32, 1]);
    let mean = |image: Vec<u8>| {
        image.iter().map(|&value| f64::from(value)).sum::<f64>() / image.len() as f64
    };
    let (large, small) = (mean(image(&large, 99, 0)), mean(image(&small, 99, 0)));
    assert!((large - small).abs() < 0.1 * large, "{large} {small}");
    for side in [0, 65] {
        let result = MultiMnist::new(digits(&files()).unwrap(), Places::Two, side, 1);
        check_failure(result.map(|_| ()), ErrorKind::Unknown, &["side", "expected 1 to 64"]);
    }
}

#[test]
fn missing_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let words = ["MNIST not found", "holds no train-images-idx3-ubyte", "or in mnist"];
    check_failure(digits(&empty).map(|_| ()), ErrorKind::NotFound, &words);
    let dir = files();
    fs::remove_file(dir.path().join("mnist/t10k-labels-idx1-ubyte")).unwrap();
    let words = ["t10k-labels-idx1-ubyte is missing", "download it again"];
    check_failure(digits(&dir).map(|_| ()), ErrorKind::NotFound, &words);
}

#[test]
fn damaged_files_are_named() {
    let name = "train-images-idx3-ubyte";
    let shape = [20, SIDE, SIDE];
    let whole = idx(&shape, &[1; 20 * SIDE * SIDE]);
    let check = |bytes: &[u8], words: &[&str]| {
        let dir = files();
        write(&dir, name, bytes);
        check_failure(digits(&dir).map(|_| ()), ErrorKind::Corrupt, words);
    };
    check(&whole[..15], &[name, "holds an array of shape [20, 28]: expected [20, 28, 28]"]);
    check(&whole[..whole.len() - 1], &[name, "15695 bytes: expected 15696"]);
    check(&[&whole[..], &[0]].concat(), &[name, "15697 or more bytes: expected 15696"]);
    check(&[1, 2, 3], &[name, "begins with fewer than 4 bytes: expected the number 2051"]);
    check(&idx(&[20], &[0; 20]), &[name, "begins with 2049"]);
    check(&idx(&[19, SIDE, SIDE], &[]), &[name, "[19, 28, 28]: expected [20, 28, 28]"]);

    let dir = files();
    let path = dir.path().join("mnist").join(format!("{name}.gz"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    check_failure(
        digits(&dir).map(|_| ()),
        ErrorKind::Corrupt,
        &[name, "cannot be read to its end"],
    );

    let dir = files();
    write(&dir, "t10k-labels-idx1-ubyte", &idx(&[10], &[0, 1, 2, 3, 10, 5, 6, 7, 8, 9]));
    let words = ["t10k-labels-idx1-ubyte", "label 4 is 10: expected a digit"];
    check_failure(digits(&dir).map(|_| ()), ErrorKind::Corrupt, &words);
}

#[test]
fn another_set_of_this_format_is_not_mnist() {
    check_failure(
        verify(files().path(), Places::Two),
        ErrorKind::Corrupt,
        &["[20, 28, 28]: expected"],
    );
}

#[test]
fn files_other_than_the_official_ones_are_noted() {
    let notes = idx::unofficial(&files().path().join("mnist")).unwrap();
    assert_eq!(notes.len(), 4);
    // Computed with sha256sum from the training labels of `files`, decompressed.
    let words = [
        "train-labels-idx1-ubyte.gz",
        "be5713d8829571e59f34b543f7eeb521b1207d313487555fc3ab72f4165083f4",
        "official file 65a50cbb",
    ];
    for word in words {
        assert!(notes[1].contains(word), "{word}: {}", notes[1]);
    }
}
