//! Which images belong to which class, and which classes to which split.

use std::collections::BTreeMap;

use crate::files::Tree;
use crate::picture::{Listed, is_image};
use crate::{Error, ErrorKind, Split, SplitLists};

/// The classes in order of their splits and names.
pub(super) struct Lists {
    pub(super) classes: Vec<Listed>,
    pub(super) splits: SplitLists,
    /// Images that belong to no class, which only CSV files may leave out.
    pub(super) unlisted: usize,
}

/// Names that the list or folder of a split may have.
fn names(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train"],
        Split::Validation => &["val", "validation"],
        Split::Test => &["test"],
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Combines the files of each class of each split; a class may be in one split only.
fn assemble(
    tree: &Tree,
    parts: [BTreeMap<String, Vec<usize>>; 3],
    unlisted: usize,
) -> Result<Lists, Error> {
    let mut lists = Lists { classes: Vec::new(), splits: SplitLists::default(), unlisted };
    let mut owners = BTreeMap::new();
    for (split, part) in Split::ALL.into_iter().zip(parts) {
        for (name, files) in part {
            if let Some(other) = owners.insert(name.clone(), split) {
                let message = format!(
                    "{}: class {name} is in the {other} split and again in the {split} split: expected disjoint \
                     classes, or scores measure memory",
                    tree.place().display()
                );
                return Err(Error::new(ErrorKind::Overlap, message));
            }
            let list = match split {
                Split::Train => &mut lists.splits.train,
                Split::Validation => &mut lists.splits.validation,
                Split::Test => &mut lists.splits.test,
            };
            list.push(lists.classes.len());
            lists.classes.push(Listed { name, files });
        }
    }
    Ok(lists)
}

/// The lists of the CSV files, if there are any.
pub(super) fn by_csv(tree: &mut Tree) -> Result<Option<Lists>, Error> {
    let find = |split: Split| {
        let is_list = |path: &str| {
            let name = file_name(path);
            let name = name.strip_suffix(".gz").unwrap_or(name);
            let Some(name) = name.strip_suffix(".csv") else { return false };
            names(split).contains(&name.strip_prefix("ravi_").unwrap_or(name))
        };
        let found: Vec<usize> =
            tree.names().enumerate().filter(|(_, name)| is_list(name)).map(|(at, _)| at).collect();
        (split, found)
    };
    let found = Split::ALL.map(find);
    if found.iter().all(|(_, files)| files.is_empty()) {
        return Ok(None);
    }
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (file, name) in tree.names().enumerate().filter(|(_, name)| is_image(name)) {
        by_name.entry(file_name(name).to_string()).or_default().push(file);
    }
    let images: usize = by_name.values().map(Vec::len).sum();
    let mut listed = 0;
    let mut parts: [BTreeMap<String, Vec<usize>>; 3] = Default::default();
    for (part, (split, files)) in parts.iter_mut().zip(found) {
        let &[list] = files.as_slice() else {
            let shown: Vec<String> = files.iter().map(|&file| tree.full_name(file)).collect();
            let message = format!(
                "{}: {} lists of the {split} split ({}): expected one, such as {}.csv; add or remove lists",
                tree.place().display(),
                files.len(),
                shown.join(", "),
                names(split)[0]
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        listed += read_list(tree, list, &mut by_name, part)?;
    }
    assemble(tree, parts, images - listed).map(Some)
}

/// Adds the images of a list to its classes, and removes them from the images found by name. Returns their number.
fn read_list(
    tree: &mut Tree,
    list: usize,
    by_name: &mut BTreeMap<String, Vec<usize>>,
    part: &mut BTreeMap<String, Vec<usize>>,
) -> Result<usize, Error> {
    let text = tree.text(list)?;
    let shown = tree.full_name(list);
    let corrupt = |found: String| {
        let expected = "expected the columns filename and label, or image_name and class_name";
        Error::new(ErrorKind::Corrupt, format!("{shown}: {found}: {expected}"))
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|cause| corrupt(cause.to_string()))?.clone();
    let column = |names: [&str; 2]| header.iter().position(|name| names.contains(&name));
    let (Some(file), Some(label)) =
        (column(["filename", "image_name"]), column(["label", "class_name"]))
    else {
        let found: Vec<&str> = header.iter().collect();
        return Err(corrupt(format!("the columns are {}", found.join(", "))));
    };
    let mut count = 0;
    for record in reader.records() {
        let record = record.map_err(|cause| corrupt(cause.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        // The CSV reader guarantees that all rows have the header's length.
        let name = file_name(&record[file]);
        let image = match by_name.remove(name).as_deref() {
            Some(&[image]) => image,
            Some(several) => {
                let message = format!(
                    "{shown}, line {line}: {name} is there {} times, as {} and elsewhere: expected it once; remove the \
                     others",
                    several.len(),
                    tree.full_name(several[0])
                );
                return Err(Error::new(ErrorKind::Unknown, message));
            }
            None => {
                let message = format!(
                    "{shown}, line {line}: no image {name}, or a second line for it: expected each image once, in \
                     images/ or elsewhere in {}; the photographs are not part of the lists",
                    tree.place().display()
                );
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        };
        part.entry(record[label].to_string()).or_default().push(image);
        count += 1;
    }
    Ok(count)
}

/// The lists defined by the folders `train`, `val` and `test`. Images elsewhere, and other files among images, are
/// rejected.
pub(super) fn by_folders(tree: &Tree) -> Result<Lists, Error> {
    let place = tree.place().display();
    let mut parts: [BTreeMap<String, Vec<usize>>; 3] = Default::default();
    let (mut elsewhere, mut strangers) = (Vec::new(), Vec::new());
    for (file, path) in tree.names().enumerate() {
        let mut folders = path.rsplit('/').skip(1);
        let (class, top) = (folders.next(), folders.next());
        let split = Split::ALL.iter().position(|&s| top.is_some_and(|top| names(s).contains(&top)));
        match (class, split, is_image(path)) {
            (Some(class), Some(split), true) => {
                parts[split].entry(class.to_string()).or_default().push(file);
            }
            (_, Some(_), false) => strangers.push(path),
            (.., true) => elsewhere.push(path),
            (_, None, false) => {}
        }
    }
    if parts.iter().all(BTreeMap::is_empty) {
        let message = format!(
            "miniImageNet not found: {place} holds {} images, none of them in train/<class>, val/<class> or \
             test/<class>, and no lists: expected these folders, or train.csv, val.csv, test.csv and the images",
            elsewhere.len()
        );
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    if let Some(path) = elsewhere.first() {
        let message = format!(
            "{place}: {path} is in the wrong place: expected images only in train/<class>, val/<class> and \
             test/<class>; keep other images elsewhere"
        );
        return Err(Error::new(ErrorKind::Unknown, message));
    }
    if let Some(path) = strangers.first() {
        let message = format!(
            "{place}: {path} is among the images of a class: expected .png, .jpg or .jpeg files; convert or remove it"
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    assemble(tree, parts, 0)
}
