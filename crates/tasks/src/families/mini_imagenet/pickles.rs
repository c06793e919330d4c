//! The pickles `mini-imagenet-cache-{train,val,test}.pkl`: a dictionary with `image_data`, an array `[n, 84, 84, 3]` of
//! bytes, and `class_dict`, the rows of each class.
//!
//! A pickled array is read as what NumPy restores it from: a version, the shape, the kind of its elements, whether
//! columns come first, and the bytes. While a split is read it is in memory twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_pickle::value::{HashableValue, Value};
use serde_pickle::{DeOptions, value_from_reader};

use crate::files::cannot_read;
use crate::{Class, Error, ErrorKind, Split, SplitLists, picture};

type Dictionary = BTreeMap<HashableValue, Value>;

/// The three files, if any of them is in the folder. Fails when not all are.
pub(super) fn find(folder: &Path) -> Result<Option<[PathBuf; 3]>, Error> {
    let names = [&["train"][..], &["val", "validation"], &["test"]];
    let place = |names: &[&str]| {
        let paths = names.iter().map(|name| folder.join(format!("mini-imagenet-cache-{name}.pkl")));
        paths.into_iter().find(|path| path.is_file())
    };
    match names.map(place) {
        [None, None, None] => Ok(None),
        [Some(train), Some(validation), Some(test)] => Ok(Some([train, validation, test])),
        found => {
            let missing = Split::ALL.into_iter().zip(&found).find(|(_, path)| path.is_none());
            let missing = missing.map_or(String::new(), |(split, _)| split.to_string());
            let message = format!(
                "{}: the {missing} pickle is missing: expected mini-imagenet-cache-train.pkl, -val.pkl and -test.pkl",
                folder.display()
            );
            Err(Error::new(ErrorKind::NotFound, message))
        }
    }
}

/// The classes in order of their splits and names, resized to a side.
pub(super) fn read(files: &[PathBuf; 3], side: usize) -> Result<(Vec<Class>, SplitLists), Error> {
    let mut classes = Vec::new();
    let mut ends = [0; 3];
    for (file, end) in files.iter().zip(&mut ends) {
        classes.append(&mut read_split(file, side)?);
        *end = classes.len();
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = classes.iter().find(|class| !seen.insert(&class.name)) {
        let message = format!(
            "class {} is in two of the pickles beside {}: expected classes of their own in each, or scores measure \
             memory",
            twice.name,
            files[0].display()
        );
        return Err(Error::new(ErrorKind::Unknown, message));
    }
    let [train, validation, test] = ends;
    let lists = SplitLists {
        train: (0..train).collect(),
        validation: (train..validation).collect(),
        test: (validation..test).collect(),
    };
    Ok((classes, lists))
}

fn read_split(path: &Path, side: usize) -> Result<Vec<Class>, Error> {
    let corrupt = |found: String| {
        let message = format!(
            "{}: {found}: expected a pickled dictionary with image_data, an array [n, h, w, 3] of bytes, and class_dict, \
             lists of its rows; copy or download it again",
            path.display()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    let file = File::open(path).map_err(|cause| cannot_read(path, &cause))?;
    let options = DeOptions::new().replace_unresolved_globals();
    let value = value_from_reader(BufReader::new(file), options)
        .map_err(|cause| corrupt(format!("cannot be read to its end ({cause})")))?;
    let Value::Dict(mut dictionary) = value else {
        return Err(corrupt("holds no dictionary".into()));
    };
    let array = take(&mut dictionary, "image_data").and_then(array);
    let Some(([n, h, w], pixels)) = array else {
        return Err(corrupt("image_data is missing or no such array".into()));
    };
    let Some(Value::Dict(rows)) = take(&mut dictionary, "class_dict") else {
        return Err(corrupt("class_dict is missing or no dictionary".into()));
    };
    let mut used = vec![false; n];
    let mut classes = Vec::new();
    for (name, rows) in rows {
        let (Some(name), Value::List(rows)) = (text(&name), rows) else {
            return Err(corrupt("class_dict holds something else than lists by name".into()));
        };
        let size = h * w * 3;
        let mut class = Class { pixels: Vec::with_capacity(rows.len() * side * side * 3), name };
        for row in rows {
            let index = match row {
                Value::I64(index) => usize::try_from(index).ok().filter(|&index| index < n),
                _ => None,
            };
            let Some(index) = index.filter(|&index| !std::mem::replace(&mut used[index], true))
            else {
                let found = format!("class {} has the row {row:?} of {n}, or again", class.name);
                return Err(corrupt(found));
            };
            let image = &pixels[index * size..(index + 1) * size];
            picture::append_colour(image, [h, w], side, &mut class.pixels);
        }
        classes.push(class);
    }
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(classes)
}

fn text(value: &HashableValue) -> Option<String> {
    match value {
        HashableValue::String(text) => Some(text.clone()),
        HashableValue::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

/// The value of a key, which Python 2 writes as bytes.
fn take(dictionary: &mut Dictionary, key: &str) -> Option<Value> {
    dictionary
        .remove(&HashableValue::String(key.into()))
        .or_else(|| dictionary.remove(&HashableValue::Bytes(key.into())))
}

/// Number, height and width of colour images, and their bytes.
fn array(value: Value) -> Option<([usize; 3], Vec<u8>)> {
    let Value::Tuple(state) = value else { return None };
    let [_, Value::Tuple(shape), _, Value::Bool(false), Value::Bytes(bytes)] =
        <[Value; 5]>::try_from(state).ok()?
    else {
        return None;
    };
    let extents: Option<Vec<usize>> = shape
        .iter()
        .map(|extent| match extent {
            Value::I64(extent) => usize::try_from(*extent).ok(),
            _ => None,
        })
        .collect();
    let &[n, h, w, 3] = extents?.as_slice() else { return None };
    let size = n.checked_mul(h)?.checked_mul(w)?.checked_mul(3)?;
    (size > 0 && bytes.len() == size).then_some(([n, h, w], bytes))
}
