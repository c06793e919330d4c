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

/// Pickles of the same images at 2x2, as Python 3 with NumPy writes them (protocol 2), in hexadecimal.
const PICKLES: [(&str, &str); 3] = [
    (
        "train",
        "80027d710028580a000000696d6167655f646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c6174696e31710786710852710987710a52710b284b01284b044b024b024b0374710c636e756d70790a64747970650a710d58020000007531710e898887710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b007471126289680558300000000000090000090000090000090100090100090100090100090001090001090001090001090101090101090101090101097113680786711452711574711662580a000000636c6173735f6469637471177d71182858010000006171195d711a284b004b026568065d711b284b014b036575752e",
    ),
    (
        "validation",
        "80027d710028580a000000696d6167655f646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c6174696e31710786710852710987710a52710b284b01284b024b024b024b0374710c636e756d70790a64747970650a710d58020000007531710e898887710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b007471126289680558180000000200090200090200090200090201090201090201090201097113680786711452711574711662580a000000636c6173735f6469637471177d711858010000006371195d711a284b004b016573752e",
    ),
    (
        "test",
        "80027d710028580a000000696d6167655f646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c6174696e31710786710852710987710a52710b284b01284b024b024b024b0374710c636e756d70790a64747970650a710d58020000007531710e898887710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b007471126289680558180000000300090300090300090300090301090301090301090301097113680786711452711574711662580a000000636c6173735f6469637471177d711858010000006471195d711a284b004b016573752e",
    ),
];

/// The same in MetaOptNet's layout.
const LABELLED: [(&str, &str); 3] = [
    (
        "train_phase_train",
        "80027d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c6174696e31710786710852710987710a52710b284b01284b044b024b024b0374710c636e756d70790a64747970650a710d58020000007531710e898887710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b00747112628968055830000000000009000009000009000009010009010009010009010009000109000109000109000109010109010109010109010109711368078671145271157471166258060000006c6162656c7371175d7118284b004b014b004b0165752e",
    ),
    (
        "val",
        "80027d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c6174696e31710786710852710987710a52710b284b01284b024b024b024b0374710c636e756d70790a64747970650a710d58020000007531710e898887710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b00747112628968055818000000020009020009020009020009020109020109020109020109711368078671145271157471166258060000006c6162656c7371175d7118284b404b4065752e",
    ),
    (
        "test",
        "80027d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c6174696e31710786710852710987710a52710b284b01284b024b024b024b0374710c636e756d70790a64747970650a710d58020000007531710e898887710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b00747112628968055818000000030009030009030009030009030109030109030109030109711368078671145271157471166258060000006c6162656c7371175d7118284b504b5065752e",
    ),
];

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn with_pickles(change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (split, text) in PICKLES {
        let name = format!("mini-imagenet-cache-{split}.pkl");
        write(&dir, &name, &change(split, unhex(text)));
    }
    dir
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Oblong images, two per class, in `images/`, and the lists.
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
    read(&find(dir.path())?, 12, FEW, Reading::Anew)
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
    // EasyFSL's columns, the published name, and one image too many.
    for (name, text) in LISTS {
        let text = text.replace("filename,label", "image_name,class_name");
        write(&other, &format!("ravi_{name}"), text.as_bytes());
    }
    write(&other, "any/more.jpg", &png([1, 1, 3], &[0; 3]));
    let (same, report) = read_few(&other).unwrap();
    assert_eq!(same, images);
    assert!(report.to_string().contains("1 more images, which no list names"), "{report}");
    let note = report.note().unwrap();
    assert!(note.ends_with(": 1 images are not used, since no list names them"), "{note}");
    assert_eq!(read_few(&folders).unwrap().1.note(), None);

    let check = |name: &str, kind, words: &[&str]| {
        write(&folders, &format!("mini-imagenet/{name}"), &png([1, 1, 3], &[0; 3]));
        check_failure(read_few(&folders).map(|_| ()), kind, words);
        fs::remove_file(folders.path().join("mini-imagenet").join(name)).unwrap();
    };
    let unknown = ErrorKind::Unknown;
    check("extra/e/0.jpg", unknown, &["extra/e/0.jpg is in the wrong place", "train/<class>"]);
    check("0.jpg", unknown, &["0.jpg is in the wrong place"]);
    check("train/a/more/0.jpg", unknown, &["train/a/more/0.jpg is in the wrong place"]);
    check("test/d/0.webp", ErrorKind::Corrupt, &["test/d/0.webp is among the images", ".jpeg"]);
    write(&folders, "mini-imagenet/README.md", b"what this is");
    assert_eq!(read_few(&folders).unwrap().0, images);
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
    check("test.csv", Some(both), ErrorKind::Overlap, &words);
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

#[test]
fn pickles_hold_the_same() {
    let images = read_few(&with_lists()).unwrap().0;
    let (from_pickles, report) = read_few(&with_pickles(|_, bytes| bytes)).unwrap();
    assert_eq!(from_pickles, images);
    assert!(report.to_string().contains("of 2 images, from pickles"), "{report}");
}

#[test]
fn pickles_with_labels_hold_the_same_images() {
    let images = read_few(&with_lists()).unwrap().0;
    let dir = tempfile::tempdir().unwrap();
    for (part, text) in LABELLED {
        let name = format!("miniImageNet/miniImageNet_category_split_{part}.pickle");
        write(&dir, &name, &unhex(text));
    }
    let (labelled, report) = read_few(&dir).unwrap();
    assert_eq!(labelled.splits(), images.splits());
    let pixels = |images: &ImageClasses| -> Vec<Vec<u8>> {
        images.classes().iter().map(|class| class.pixels.clone()).collect()
    };
    assert_eq!(pixels(&labelled), pixels(&images));
    assert_eq!(labelled.classes()[2].name, "miniImageNet_category_split_val/064");
    assert!(report.to_string().contains("from pickles"), "{report}");
}

#[test]
fn wrong_pickles_are_explained() {
    let check = |change: &dyn Fn(&str, Vec<u8>) -> Vec<u8>, kind, words: &[&str]| {
        check_failure(read_few(&with_pickles(change)).map(|_| ()), kind, words);
    };
    let corrupt = ErrorKind::Corrupt;
    let words = ["mini-imagenet-cache-train.pkl: cannot be read to its end"];
    check(&|_, bytes| bytes[..bytes.len() / 2].to_vec(), corrupt, &words);
    check(&|_, _| b"I7\n.".to_vec(), corrupt, &["holds no dictionary", "image_data"]);
    check(&|_, _| b"}.".to_vec(), corrupt, &["image_data is missing"]);
    let same = |_: &str, _| unhex(PICKLES[1].1);
    check(&same, ErrorKind::Overlap, &["class c is in two of the pickles"]);
    let swapped = |split: &str, bytes| if split == "test" { unhex(PICKLES[0].1) } else { bytes };
    check(&swapped, ErrorKind::Overlap, &["class a is in two of the pickles", "memory"]);
    let dir = with_pickles(|_, bytes| bytes);
    fs::remove_file(dir.path().join("mini-imagenet-cache-test.pkl")).unwrap();
    let words =
        ["the test pickle is missing", "mini-imagenet-cache-train.pkl, mini-imagenet-cache-val"];
    check_failure(read_few(&dir).map(|_| ()), ErrorKind::NotFound, &words);
}
