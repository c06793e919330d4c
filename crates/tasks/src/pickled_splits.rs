//! Data sets with one pickle per split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_pickle::Value;

use crate::pickle::{self, Array, array, take};
use crate::{Class, Error, ErrorKind, Split, SplitLists, picture};

/// The three files, if any of them is in the folder. Fails when some are missing. Each part has one or several names,
/// from which `name` makes the file's name.
pub(crate) fn find(
    folder: &Path,
    parts: [&[&str]; 3],
    name: impl Fn(&str) -> String,
) -> Result<Option<[PathBuf; 3]>, Error> {
    let place = |names: &[&str]| {
        let paths = names.iter().map(|part| folder.join(name(part)));
        paths.into_iter().find(|path| path.is_file())
    };
    match parts.map(place) {
        [None, None, None] => Ok(None),
        [Some(train), Some(validation), Some(test)] => Ok(Some([train, validation, test])),
        found => {
            let missing = Split::ALL.into_iter().zip(&found).find(|(_, path)| path.is_none());
            let missing = missing.map_or(String::new(), |(split, _)| split.to_string());
            let [train, validation, test] = parts.map(|names| name(names[0]));
            let message = format!(
                "{}: the {missing} pickle is missing: expected {train}, {validation} and {test}",
                folder.display()
            );
            Err(Error::new(ErrorKind::NotFound, message))
        }
    }
}

/// The classes in order of their splits and names, as `split` reads them from each file.
pub(crate) fn read(
    files: &[PathBuf; 3],
    split: impl Fn(&Path) -> Result<Vec<Class>, Error>,
) -> Result<(Vec<Class>, SplitLists), Error> {
    let mut classes = Vec::new();
    let mut ends = [0; 3];
    for (file, end) in files.iter().zip(&mut ends) {
        classes.append(&mut split(file)?);
        *end = classes.len();
    }
    let (mut names, mut images) = (BTreeSet::new(), BTreeSet::new());
    // Numbers may start over in each file, but a class with the same images as another is the same class.
    if let Some(twice) =
        classes.iter().find(|c| !(names.insert(&c.name) && images.insert(&c.pixels)))
    {
        let message = format!(
            "class {} is in two of the pickles beside {}: expected disjoint classes, or scores measure \
             memory",
            twice.name,
            files[0].display()
        );
        return Err(Error::new(ErrorKind::Overlap, message));
    }
    let [train, validation, test] = ends;
    let lists = SplitLists {
        train: (0..train).collect(),
        validation: (train..validation).collect(),
        test: (validation..test).collect(),
    };
    Ok((classes, lists))
}

/// MetaOptNet's pickles: dictionaries with `data`, an array `[n, h, w, 3]` of bytes, and `labels`, a number for each
/// image. Classes are named by file and number, since the meaning of the numbers is not stored.
pub(crate) fn read_labelled(
    files: &[PathBuf; 3],
    side: usize,
) -> Result<(Vec<Class>, SplitLists), Error> {
    read(files, |path| {
        let part = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into());
        let (images, rows) = labelled(path)?;
        let name = |label: usize| format!("{part}/{label:03}");
        let rows = rows.into_iter().map(|(label, rows)| (name(label), rows)).collect();
        Ok(picture::sort_out(images, side, rows))
    })
}

/// The images of a file, and the rows of each label.
fn labelled(path: &Path) -> Result<(Array, BTreeMap<usize, Vec<usize>>), Error> {
    let corrupt = |found: String| {
        let message = format!(
            "{}: {found}: expected a pickled dictionary with data, an array [n, h, w, 3] of bytes, and labels, n whole \
             numbers; copy or download it again",
            path.display()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    let mut dictionary = pickle::dictionary(path, &corrupt)?;
    let images = take(&mut dictionary, "data").and_then(array);
    let Some(images) = images.and_then(Array::of_colour_images) else {
        return Err(corrupt("data is missing or not such an array".into()));
    };
    let labels = match take(&mut dictionary, "labels") {
        Some(Value::List(labels)) if labels.len() == images.count() => labels,
        Some(Value::List(labels)) => {
            return Err(corrupt(format!("{} labels of {} images", labels.len(), images.count())));
        }
        _ => return Err(corrupt("labels is missing or not a list".into())),
    };
    let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        let label = pickle::index(label).ok_or_else(|| corrupt(format!("a label is {label:?}")))?;
        rows.entry(label).or_default().push(row);
    }
    Ok((images, rows))
}
