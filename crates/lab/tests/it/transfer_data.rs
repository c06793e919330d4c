//! The data sets of meta-transfer.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use innerloop_lab::config::transfer::FamilyName;
use innerloop_lab::run_dir::RunDir;
use innerloop_lab::transfer::{Outcome, TransferConfig, evaluate, train};
use innerloop_lab::{Error, ErrorKind, Kept};

use crate::transfer;

/// The smallest possible run.
fn config(more: &[&str]) -> Result<TransferConfig, Error> {
    transfer::config(&[&["outer.trials=1", "outer.iterations=2"], more].concat())
}

fn run(out: &Path, more: &[&str]) -> Result<Outcome, Error> {
    train(config(more)?, out, false, &AtomicBool::new(false), &mut |_| {})
}

/// A picture that differs from the others in every pixel.
fn picture(path: &Path, [side, channels]: [usize; 2], number: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), side as u32, side as u32);
    let kind = if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb };
    encoder.set_color(kind);
    let pixels: Vec<u8> =
        (0..side * side * channels).map(|i| (37 * number + i * (3 + number % 5)) as u8).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// Four classes of six images, each in a folder.
fn own(place: &Path, shape: [usize; 2]) {
    for (class, name) in ["ant", "bee", "cat", "dog"].iter().enumerate() {
        for sample in 0..6 {
            picture(&place.join(name).join(format!("{sample}.png")), shape, 10 * class + sample);
        }
    }
}

/// Three classes laid out like Tiny ImageNet, each with five training images and one of `val`, some of them grey.
fn tiny_imagenet(place: &Path) {
    let classes = ["n01", "n02", "n03"];
    let mut annotations = String::new();
    for (class, name) in classes.iter().enumerate() {
        for sample in 0..5 {
            let file = format!("train/{name}/images/{name}_{sample}.JPEG");
            let channels = if sample == 2 { 1 } else { 3 };
            picture(&place.join(file), [8, channels], 60 + 10 * class + sample);
        }
        picture(&place.join(format!("val/images/val_{class}.JPEG")), [8, 3], 99 + class);
        annotations += &format!("val_{class}.JPEG\t{name}\t0\t0\t7\t7\n");
        fs::write(place.join(format!("train/{name}/{name}_boxes.txt")), "").unwrap();
    }
    picture(&place.join("test/images/test_0.JPEG"), [8, 3], 200);
    fs::write(place.join("val/val_annotations.txt"), annotations).unwrap();
    fs::write(place.join("wnids.txt"), classes.join("\n")).unwrap();
}

#[test]
fn source_and_target_may_be_of_two_data_sets() {
    let folder = tempfile::tempdir().unwrap();
    let [tiny, mine, out] = ["tiny-imagenet-200", "mine", "run"].map(|n| folder.path().join(n));
    tiny_imagenet(&tiny);
    own(&mine, [6, 1]);
    let target = format!("transfer.data={}", mine.display());
    let source = format!("source.data={}", tiny.display());
    let sets = ["transfer.family=images", &target, &source];

    // Each has all its classes if nothing divides them: three of three, and three of four.
    let sized = [&sets[..], &["transfer.size=8", "transfer.channels=3"]].concat();
    let outcome = run(&out, &sized).unwrap();
    let again = evaluate(&out).unwrap();
    let scores = |o: &Outcome| o.methods.iter().map(|m| m.accuracies.clone()).collect::<Vec<_>>();
    assert_eq!((scores(&outcome).len(), scores(&outcome)), (5, scores(&again)));

    let refused = |more: &[&str], kind, words: &[&str]| {
        let place = folder.path().join("refused");
        let error = run(&place, &[&sets[..], more].concat()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        assert!(RunDir::open(&place).is_err(), "{text}: left a run behind");
    };
    refused(&[], ErrorKind::Data, &["n01_2.JPEG", "with 1 channels", "set channels"]);
    refused(
        &["transfer.channels=3"],
        ErrorKind::Config,
        &["of the source are 8x8 with 3 channels", "the target 6x6 with 3", "set transfer.size"],
    );
    let five = ["transfer.size=8", "transfer.channels=3", "transfer.target_classes=5"];
    refused(&five, ErrorKind::Config, &["transfer.target_classes is 5, but the test split has 4"]);
    let seven = ["transfer.size=8", "transfer.channels=3", "transfer.source_query=3"];
    refused(&seven, ErrorKind::Config, &["source_query are 4 and 3, but class n01 has 6 images"]);
    let deep = ["transfer.channels=3", "transfer.size=8", "target.channels=[2,2,2,2,2]"];
    refused(&deep, ErrorKind::Config, &["at most 4 stages for images 8 pixels wide"]);

    // The same folder under another name would give the target the source's classes.
    let same = format!("source.data={}/../mine", mine.display());
    refused(&[&same], ErrorKind::Config, &["the same place as transfer.data", "leave source.data"]);

    // One folder is divided, by default into shares: of four classes one is left for the target.
    let one = ["transfer.family=images", &target];
    let error = run(&folder.path().join("one"), &one).unwrap_err();
    assert!(error.to_string().contains("but the test split has 1"), "{error}");
    let file = folder.path().join("split.csv");
    fs::write(&file, "class,split\nant,train\nbee,train\ncat,test\ndog,test\n").unwrap();
    let file = format!("transfer.split_file={}", file.display());
    let two = ["transfer.source_classes=2", "transfer.target_classes=2", "outer.batch_size=4"];
    let divided = [&one[..], &[&file], &two].concat();
    assert_eq!(run(&folder.path().join("divided"), &divided).unwrap().methods.len(), 5);
}

#[test]
fn extents_follow_from_the_set_that_has_no_others() {
    let of = |sets: &[&str]| {
        let config = config(sets).unwrap();
        let again = TransferConfig::parse(&config.to_toml(), "config.toml").unwrap();
        assert_eq!(again, config, "what a folder keeps reads back");
        [config.transfer.size, config.transfer.channels]
    };
    let (images, mine) = ("transfer.family=images", "transfer.data=mine");
    let tiny = ["source.family=images", "source.data=tiny"];
    assert_eq!(of(&[]), [0, 0]);
    assert_eq!(of(&[images, mine]), [0, 0]);
    assert_eq!(of(&[images, mine, "source.family=omniglot"]), [28, 1]);
    assert_eq!(of(&["transfer.family=cifar_fs", tiny[0], tiny[1]]), [32, 3]);
    assert_eq!(of(&["transfer.family=cifar_fs", "source.family=mini_imagenet"]), [32, 0]);
    assert_eq!(of(&["transfer.family=mini_imagenet"]), [84, 0]);
    assert_eq!(of(&["transfer.family=mini_imagenet", tiny[0], tiny[1]]), [84, 3]);
    assert_eq!(of(&["transfer.family=mini_imagenet", "transfer.size=42"]), [42, 0]);
    let [source, target] = config(&["source.family=omniglot"]).unwrap().data_sets();
    assert_eq!([source.family, target.family], [FamilyName::Omniglot, FamilyName::Strokes]);
}

#[test]
fn sets_that_do_not_go_together_are_refused() {
    let (images, mine) = ("transfer.family=images", "transfer.data=mine");
    let cases: [(&[&str], &str); 14] = [
        (
            &[images],
            "transfer.data is not set, expected the folder, or zip archive, of your images",
        ),
        (&["source.family=images"], "source.data is not set"),
        (
            &["source.family=cifar_fs"],
            "source.family is \"cifar_fs\" with 3 channels, and transfer.family \"strokes\" with 1, expected the same number",
        ),
        (&["transfer.data=mine"], "transfer.data does not apply: strokes are drawn, not read"),
        (&["source.data=mine"], "source.data does not apply: strokes are drawn"),
        (&["transfer.size=28"], "transfer.size does not apply: neither data set is resized"),
        (&["transfer.size=64"], "transfer.size is 64, expected 28, as strokes has"),
        (
            &["transfer.channels=1"],
            "transfer.channels does not apply: it goes with family = \"images\"",
        ),
        (&[images, mine, "transfer.channels=2"], "transfer.channels is 2, expected 1 for grey"),
        (&[images, mine, "transfer.size=4"], "transfer.size is 4, expected a whole number from 8"),
        (
            &[images, mine, "source.family=strokes", "transfer.channels=3"],
            "transfer.channels is 3, expected 1, as strokes has",
        ),
        (&["transfer.split_file=a.csv"], "transfer.split_file does not apply: it goes with family"),
        (
            &[images, mine, "source.split_file=a.csv"],
            "source.split_file does not apply: the source has the target's data set",
        ),
        (
            &["transfer.target_classes=100000"],
            "(transfer.target_shots + transfer.target_query) is 600000, expected at most 100000 images drawn",
        ),
    ];
    for (sets, message) in cases {
        let error = config(sets).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(message), "{message}: {error}");
    }
}

#[test]
fn a_source_of_ones_own_serves_real_targets() {
    let test = "a_source_of_ones_own_serves_real_targets";
    let data = std::env::var_os("INNERLOOP_DATA").map(std::path::PathBuf::from);
    let Some(data) = data.filter(|data| data.join("cifar-fs").exists()) else {
        return eprintln!("{test} skipped: INNERLOOP_DATA is not set, or holds no cifar-fs");
    };
    let folder = tempfile::tempdir().unwrap();
    let tiny = folder.path().join("tiny-imagenet-200");
    tiny_imagenet(&tiny);
    let source = format!("source.data={}", tiny.display());
    let target = format!("transfer.data={}", data.display());
    let families = ["transfer.family=cifar_fs", "source.family=images"];
    let out = folder.path().join("run");
    let sets = [&families[..], &[&source, &target]].concat();
    assert_eq!(run(&out, &sets).unwrap().methods.len(), 5);
    let kept = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(kept.contains("size = 32\nchannels = 3"), "{kept}");
    // No class is drawn and no source trained before both are known to have enough.
    let many = [&sets[..], &["transfer.target_classes=21"]].concat();
    let error = run(&folder.path().join("many"), &many).unwrap_err();
    assert!(error.to_string().contains("is 21, but the test split has 20"), "{error}");
}
