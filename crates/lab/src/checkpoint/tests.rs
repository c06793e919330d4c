use std::path::Path;

use innerloop_engine::Dtype;
use tempfile::TempDir;

use super::*;
use crate::ErrorKind;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn example() -> Checkpoint {
    let mut meta = Params::new();
    meta.push("head.weight", Tensor::from_f32(&[2, 3], vec![1.0, -0.0, 1e-40, 4.0, 5.0, f32::MAX]));
    meta.push("a/b", Tensor::from_f32(&[0, 7], vec![]));
    meta.push("\"quoted\"\n", Tensor::from_f32(&[1], vec![0.1]));
    let mut state = Params::new();
    state.push("head.weight", Tensor::scalar(Dtype::F64, std::f64::consts::PI));
    let groups = vec![
        ("meta".to_string(), meta),
        ("carry".to_string(), Params::new()),
        ("optimizer.m".to_string(), state),
    ];
    let metadata = [("iteration", "7"), ("note", "ü\n\"")];
    Checkpoint { groups, metadata: metadata.map(|(k, v)| (k.into(), v.into())).into() }
}

/// Names of everything in a folder.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn check_message(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

/// A file with a hand-made header.
fn write_raw(path: &Path, header: &str, data: &[u8]) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_comes_back_as_it_was() {
    let folder = folder();
    let path = folder.path().join("last.safetensors");
    let checkpoint = example();
    save(&path, &checkpoint).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded, checkpoint);
    assert_eq!(loaded.group("carry").map(Params::len), Some(0));
    assert!(loaded.group("none").is_none());
    assert_eq!(
        loaded.group("meta").unwrap()["head.weight"].as_f32()[1].to_bits(),
        (-0.0f32).to_bits()
    );

    let first = fs::read(&path).unwrap();
    save(&path, &loaded).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first, "equal contents give equal bytes");
    assert_eq!(listing(folder.path()), ["last.safetensors"]);
}

#[test]
fn other_programs_can_read_a_checkpoint() {
    let folder = folder();
    let path = folder.path().join("c.safetensors");
    save(&path, &example()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("meta/head.weight").unwrap();
    assert_eq!((view.dtype(), view.shape()), (safetensors::Dtype::F32, &[2, 3][..]));
    assert_eq!(view.data()[..4], 1.0f32.to_le_bytes());
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], FORMAT);
    assert_eq!(header % 8, 0);
    for (name, info) in metadata.tensors() {
        let size = info.dtype.bitsize() / 8;
        assert_eq!(info.data_offsets.0 % size, 0, "{name} is not aligned");
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let folder = folder();
    let path = folder.path().join("c.safetensors");
    save(&path, &example()).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let error = load(&path).expect_err("part of a file");
        check_message(
            &error,
            ErrorKind::Checkpoint,
            &["c.safetensors is not an intact safetensors file: "],
        );
    }
    fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    check_message(
        &load(&path).unwrap_err(),
        ErrorKind::Checkpoint,
        &["not an intact safetensors file"],
    );
}

#[test]
fn a_file_with_any_byte_changed_never_panics() {
    let folder = folder();
    let path = folder.path().join("c.safetensors");
    save(&path, &example()).unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            fs::write(&path, &bytes).unwrap();
            // Many changes give other valid numbers; none may panic.
            let _ = load(&path);
        }
    }
}

#[test]
fn another_format_or_version_says_what_was_found() {
    let folder = folder();
    let path = folder.path().join("c.safetensors");
    let write = |entries: &[(&str, &str)]| {
        let metadata = entries.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        tensors::write(&path, &Params::new(), &metadata).unwrap();
        load(&path)
    };
    let check = |entries: &[(&str, &str)], parts: &[&str]| {
        check_message(&write(entries).unwrap_err(), ErrorKind::Checkpoint, parts);
    };
    let expected = "expected \"innerloop-checkpoint\"; it is a tensor file of another program";
    check(&[], &["has no format in its metadata", expected]);
    check(&[("format", "pt")], &["has format \"pt\" in its metadata", expected]);
    let format = ("format", FORMAT);
    check(&[format], &["checkpoint format version missing, expected 1"]);
    let newer = ("format_version", "2");
    check(
        &[format, newer],
        &["checkpoint format version 2, expected 1; use the version of innerloop"],
    );
    let version = ("format_version", FORMAT_VERSION);
    check(
        &[format, version],
        &["is damaged: its list of groups is \"\", expected a list of names"],
    );
    check(&[format, version, ("groups", "[1]")], &["is damaged: its list of groups is \"[1]\""]);
    check(&[format, version, ("groups", "[\"a\",\"a\"]")], &["it lists group \"a\" twice"]);
    assert_eq!(write(&[format, version, ("groups", "[]")]).unwrap(), Checkpoint::default());

    for (name, group) in [("stray", "meta"), ("other/x", "meta"), ("stray", "")] {
        let tensors = [(name.to_string(), Tensor::scalar(Dtype::F32, 0.0))].into_iter().collect();
        let groups = format!("[{group:?}]");
        let entries = [format, version, ("groups", groups.as_str())];
        let metadata = entries.map(|(k, v)| (k.to_string(), v.to_string())).into();
        tensors::write(&path, &tensors, &metadata).unwrap();
        match load(&path) {
            Ok(_) => assert_eq!((name, group), ("stray", "")),
            Err(error) => {
                check_message(
                    &error,
                    ErrorKind::Checkpoint,
                    &[&format!("tensor {name:?} is in none")],
                );
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_are_neither_saved_nor_loaded() {
    let folder = folder();
    let path = folder.path().join("c.safetensors");
    let mut checkpoint = example();
    save(&path, &checkpoint).unwrap();
    let before = fs::read(&path).unwrap();

    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        checkpoint.groups[0].1.values_mut()[0].set(4, value);
        let error = save(&path, &checkpoint).unwrap_err();
        let found = format!("meta/head.weight holds {value} at element 4, expected finite values");
        check_message(&error, ErrorKind::Diverged, &[&found, "is left as it was"]);
        assert_eq!(fs::read(&path).unwrap(), before);

        let (all, mut metadata) = tensors::read(&path).unwrap();
        let spoilt = all.map_named(|name, tensor| match name {
            "optimizer.m/head.weight" => Tensor::scalar(Dtype::F64, value),
            _ => tensor.clone(),
        });
        metadata.remove("iteration");
        let other = folder.path().join("spoilt.safetensors");
        tensors::write(&other, &spoilt, &metadata).unwrap();
        let found = format!("tensor \"optimizer.m/head.weight\" holds {value} at element 0");
        check_message(&load(&other).unwrap_err(), ErrorKind::Checkpoint, &["spoilt", &found]);
        assert_eq!(tensors::read(&other).unwrap().0.len(), 4, "plain files may hold any number");
    }
}

#[test]
fn a_missing_file_and_a_folder_are_told_apart() {
    let folder = folder();
    let path = folder.path().join("none.safetensors");
    check_message(
        &load(&path).unwrap_err(),
        ErrorKind::Checkpoint,
        &["there is no file", "none.safetensors"],
    );
    check_message(
        &load(folder.path()).unwrap_err(),
        ErrorKind::Checkpoint,
        &["is a folder, expected"],
    );
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    check_message(
        &load(&file.join("c")).unwrap_err(),
        ErrorKind::Io,
        &["cannot read ", "a part of the path"],
    );
}

#[test]
fn types_of_other_programs_are_converted_or_refused() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let header = concat!(
        "{\"z\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]},",
        "\"y\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[16,24]},",
        "\"x\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[24,28]},",
        "\"w\":{\"dtype\":\"U8\",\"shape\":[1,2],\"data_offsets\":[28,30]},",
        "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[30,30]},",
        "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[30,30]}}",
    );
    let mut data = Vec::new();
    data.extend((1i64 << 53).to_le_bytes());
    data.extend((-3i64).to_le_bytes());
    data.extend(0.5f64.to_le_bytes());
    data.extend((-7i32).to_le_bytes());
    data.extend([0, 255]);
    write_raw(&path, header, &data);
    let (tensors, metadata) = tensors::read(&path).unwrap();
    assert!(metadata.is_empty());
    assert_eq!(
        tensors.names(),
        ["z", "y", "x", "w", "a", "b"],
        "in the order of their places, then names"
    );
    assert_eq!(tensors["z"], Tensor::from_f64(&[2], vec![9007199254740992.0, -3.0]));
    assert_eq!(tensors["y"], Tensor::from_f64(&[], vec![0.5]));
    assert_eq!(tensors["x"], Tensor::from_f64(&[1], vec![-7.0]));
    assert_eq!(tensors["w"], Tensor::from_f64(&[1, 2], vec![0.0, 255.0]));

    write_raw(&path, "{\"h\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]}}", &[0, 0]);
    let found = "tensor \"h\" has type BF16, expected F32, F64, I64, I32 or U8";
    check_message(
        &tensors::read(&path).unwrap_err(),
        ErrorKind::Checkpoint,
        &["t.safetensors", found],
    );

    let large = ((1i64 << 53) + 1).to_le_bytes();
    write_raw(&path, "{\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", &large);
    let found = "tensor \"i\" holds 9007199254740993";
    check_message(&tensors::read(&path).unwrap_err(), ErrorKind::Checkpoint, &[found]);

    let huge = format!(
        "{{\"s\":{{\"dtype\":\"F32\",\"shape\":[{0},{0}],\"data_offsets\":[0,0]}}}}",
        u64::MAX
    );
    write_raw(&path, &huge, &[]);
    check_message(
        &tensors::read(&path).unwrap_err(),
        ErrorKind::Checkpoint,
        &["not an intact safetensors file"],
    );
}

#[test]
fn plain_files_come_back_with_wide_types_first() {
    let folder = folder();
    let path = folder.path().join("t.safetensors");
    let mut mixed = Params::new();
    mixed.push("z", Tensor::from_f32(&[1], vec![1.5]));
    mixed.push("y", Tensor::from_f64(&[1], vec![2.5]));
    mixed.push("x", Tensor::from_f32(&[1], vec![3.5]));
    let metadata = BTreeMap::from([("k".to_string(), "v".to_string())]);
    tensors::write(&path, &mixed, &metadata).unwrap();
    let (read, meta) = tensors::read(&path).unwrap();
    assert_eq!(read.names(), ["y", "z", "x"]);
    assert!(mixed.iter().all(|(name, tensor)| read[name] == *tensor));
    assert_eq!(meta, metadata);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = folder();
    let path = folder.path().join("c.safetensors");
    fs::write(&path, "old").unwrap();
    let failing = |file: &mut File| {
        file.write_all(b"half")?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    };
    let error = write_atomic(&path, failing).unwrap_err();
    check_message(&error, ErrorKind::Io, &["cannot write ", "c.safetensors", "free some space"]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(listing(folder.path()), ["c.safetensors"]);

    let panicking =
        std::panic::AssertUnwindSafe(|| write_atomic(&path, |_| panic!("in the middle")));
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert_eq!(listing(folder.path()), ["c.safetensors"]);
}

/// The real error of a full disk, on systems with a device that produces it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file() {
    let folder = folder();
    let path = folder.path().join("c.safetensors");
    save(&path, &example()).unwrap();
    let before = fs::read(&path).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full");
    let Ok(mut full) = full else { return };
    let error = write_atomic(&path, |file| {
        file.write_all(&before[..9])?;
        full.write_all(&before[9..])
    })
    .unwrap_err();
    check_message(&error, ErrorKind::Io, &["cannot write ", "free some space and try again"]);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(listing(folder.path()), ["c.safetensors"]);
    assert_eq!(load(&path).unwrap(), example());
}

/// Links and pipes are not replaced by files.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_written_through() {
    let folder = folder();
    let [target, link, pipe] = ["target", "link", "pipe"].map(|name| folder.path().join(name));
    write_file(&target, b"old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    write_file(&link, b"new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read(&target).unwrap(), b"new");

    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|made| made.success()) {
        return;
    }
    let read = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    write_file(&pipe, b"through").unwrap();
    assert_eq!(read.join().unwrap(), b"through");
    assert_eq!(listing(folder.path()), ["link", "pipe", "target"]);
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = folder();
    let directory = folder.path().join("is_a_folder");
    fs::create_dir(&directory).unwrap();
    check_message(
        &save(&directory, &example()).unwrap_err(),
        ErrorKind::Io,
        &["cannot write ", "is_a_folder"],
    );
    assert_eq!(listing(folder.path()), ["is_a_folder"]);

    let file = folder.path().join("file");
    fs::write(&file, "kept").unwrap();
    let below = file.join("c.safetensors");
    check_message(
        &save(&below, &example()).unwrap_err(),
        ErrorKind::Io,
        &["cannot write ", "c.safetensors"],
    );
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    let missing = folder.path().join("none").join("c.safetensors");
    check_message(&save(&missing, &example()).unwrap_err(), ErrorKind::Io, &["cannot write "]);
    assert_eq!(listing(folder.path()), ["file", "is_a_folder"]);
    let nameless = Path::new("..");
    check_message(&save(nameless, &example()).unwrap_err(), ErrorKind::Io, &["no file name"]);
}

#[test]
#[should_panic(expected = "\"a/b\" cannot name a group")]
fn a_group_name_has_no_slash() {
    let groups = vec![("a/b".to_string(), Params::new())];
    let _ = save(Path::new("never"), &Checkpoint { groups, metadata: BTreeMap::new() });
}

#[test]
#[should_panic(expected = "metadata key groups belongs to the format")]
fn metadata_cannot_take_the_formats_keys() {
    let metadata = BTreeMap::from([("groups".to_string(), String::new())]);
    let _ = save(Path::new("never"), &Checkpoint { groups: Vec::new(), metadata });
}
