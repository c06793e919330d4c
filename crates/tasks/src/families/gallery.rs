//! The user's own images: a folder, or zip archive, with a folder for each class.
//!
//! ```text
//! images/<class>/<image>.png                    and a split file, or shares
//! images/{train,val,test}/<class>/<image>.jpg   the split as folders ("validation" and "valid" are "val")
//! tiny-imagenet-200/                            Tiny ImageNet, as it is published (`tiny_imagenet`), and as above
//! ```
//!
//! Every folder that holds images is a class; its name is its path below the deepest folder that holds all of them.
//! Files that are not PNG or JPEG are rejected beside images, and ignored outside the classes' folders. A folder
//! without images beside those of classes, or of splits, is rejected: its class would be missing.

mod tiny_imagenet;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::successors;
use std::path::{Path, PathBuf};

use crate::cache::Reading;
use crate::files::{Tree, read_text};
use crate::picture::{self, Form, Listed, is_image};
use crate::{Error, ErrorKind, ImageClasses, ImageSet, Shares, Split, SplitLists};

/// How classes are split if the folders do not say.
#[derive(Clone, Debug, PartialEq)]
pub enum Division {
    /// At random.
    Shares(Shares),
    /// By a CSV file with the columns `class` and `split`, a line for each class; a split is `train`, `validation` (or
    /// `val`) or `test`.
    File(PathBuf),
}

/// The findings of [`verify`], which decodes every image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The folder or archive.
    pub place: PathBuf,
    /// Extents of all images: `[h, w, c]`.
    pub shape: [usize; 3],
    /// Where the split comes from, in words.
    pub division: String,
    /// Classes of each split.
    pub classes: [usize; 3],
    /// Smallest and largest number of images in a class.
    pub samples: (usize, usize),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { place, shape: [h, w, c], division, classes, samples: (fewest, most) } = self;
        let [train, validation, test] = classes;
        writeln!(f, "{}: {h}x{w}x{c} images, {fewest} to {most} per class", place.display())?;
        writeln!(
            f,
            "split by {division}: {train} training, {validation} validation, {test} test classes"
        )
    }
}

/// Reads the data set in a folder or zip archive.
pub fn load(place: &Path, form: Form, division: &Division) -> Result<ImageClasses, Error> {
    read(place, form, division, Reading::Kept).map(|(images, _)| images)
}

/// Reads and decodes everything, and reports what was found.
pub fn verify(place: &Path, form: Form, division: &Division) -> Result<Report, Error> {
    let (images, division) = read(place, form, division, Reading::Anew)?;
    let samples = (0..images.classes().len()).map(|class| images.samples(class));
    let samples = (samples.clone().min().unwrap_or(0), samples.max().unwrap_or(0));
    Ok(Report {
        place: place.to_path_buf(),
        shape: images.shape(),
        division,
        classes: Split::ALL.map(|split| images.splits().of(split).len()),
        samples,
    })
}

/// The data set, and where its split comes from.
fn read(
    place: &Path,
    form: Form,
    division: &Division,
    reading: Reading,
) -> Result<(ImageClasses, String), Error> {
    if !place.exists() {
        let message = format!(
            "{}: not found: expected a folder, or a zip archive, that holds a folder of images for each class",
            place.display()
        );
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let mut tree = Tree::open(place)?;
    let listed = match tiny_imagenet::listed_classes(&mut tree)? {
        Some(listed) => listed,
        None => listed_classes(&tree)?,
    };
    let names: Vec<&str> = listed.iter().map(|class| class.name.as_str()).collect();
    let (lists, words) = match (by_folders(&tree, &names)?, division) {
        (Some(lists), Division::Shares(_)) => (lists, "folders".to_string()),
        (None, Division::Shares(shares)) => {
            let words = format!("shares with seed {}", shares.seed);
            (SplitLists::by_shares(names.len(), *shares)?, words)
        }
        (None, Division::File(file)) => (by_file(file, &names, place)?, file.display().to_string()),
        (Some(_), Division::File(file)) => {
            let message = format!(
                "{} splits its classes by the folders train, val and test, and {} by its lines: expected only one of \
                 these; leave split_file out",
                place.display(),
                file.display()
            );
            return Err(Error::new(ErrorKind::Unknown, message));
        }
    };
    let (shape, classes) = picture::load(&tree, &listed, form, reading)?;
    Ok((ImageClasses::new(shape, classes, lists)?, words))
}

/// The classes by name, after checking that their folders hold only images, and that none is empty.
fn listed_classes(tree: &Tree) -> Result<Vec<Listed>, Error> {
    let place = tree.place().display();
    let images: Vec<&str> = tree.names().filter(|name| is_image(name)).collect();
    let common = common_folder(&images);
    if let Some(folder) = without_images(tree, &images) {
        let mut files = tree.names().filter(|name| is_below(name, folder));
        let found = match (files.next(), files.count()) {
            (None, _) => "is empty".to_string(),
            (Some(file), 0) => format!("holds {file} and no images"),
            (Some(file), more) => format!("holds {file}, {more} more and no images"),
        };
        let message = format!(
            "{place}: the folder {folder} {found}: expected .png, .jpg or .jpeg files in the folder of each class; add or \
             convert them, or remove the folder"
        );
        return Err(Error::new(ErrorKind::TooFew, message));
    }
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (file, name) in tree.names().enumerate().filter(|(_, name)| is_image(name)) {
        let Some((class, _)) = name[common..].rsplit_once('/') else {
            let message = format!(
                "{place}: {name} lies beside the classes' folders: expected <class>/<image>, and two classes or \
                 more; move it into the folder of its class"
            );
            return Err(Error::new(ErrorKind::Unknown, message));
        };
        classes.entry(class).or_default().push(file);
    }
    let beside = tree.names().filter(|name| !is_image(name)).find(|name| {
        let folder = name.get(common..).and_then(|rest| rest.rsplit_once('/'));
        folder.is_some_and(|(folder, _)| classes.contains_key(folder))
    });
    if let Some(name) = beside {
        let message = format!(
            "{place}: {name} is among the images of a class: expected .png, .jpg or .jpeg files; convert or \
             remove it"
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    if classes.is_empty() {
        let message = format!(
            "{place}: no images found: expected .png, .jpg or .jpeg files in a folder for each class"
        );
        return Err(Error::new(ErrorKind::TooFew, message));
    }
    Ok(classes.into_iter().map(|(name, files)| Listed { name: name.into(), files }).collect())
}

/// The first folder without images in a place where classes are. Folders within a class's folder, beside the one folder
/// that holds all classes, or beside the folders of splits are ignored, except for the folder of another split.
fn without_images<'a>(tree: &'a Tree, images: &[&str]) -> Option<&'a str> {
    let classes: BTreeSet<&str> = images.iter().map(|image| parent(image)).collect();
    let mut holders = classes.clone();
    for class in &classes {
        holders.extend(successors(Some(*class), |of| (!of.is_empty()).then(|| parent(of))));
    }
    let mut top = images.first().map_or("", |first| &first[..common_folder(images)]);
    top = top.trim_end_matches('/');
    // If all images are in one folder, that is a class, and others are beside it.
    if classes.contains(top) {
        top = parent(top);
    }
    let is_split = |folder: &str| split_of(folder.rsplit('/').next().unwrap_or("")).is_some();
    let is_divided = |folder: &str| {
        let parts = holders.iter().filter(|part| !part.is_empty() && parent(part) == folder);
        parts.clone().next().is_some() && parts.copied().all(is_split)
    };
    tree.folders().find(|folder| {
        let within = parent(folder);
        let may_be_missed = holders.contains(within) && !classes.contains(within);
        let stands = match is_divided(within) {
            true => is_split(folder),
            false => within == top || is_below(within, top),
        };
        may_be_missed && !holders.contains(folder) && stands
    })
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(name: &str, folder: &str) -> bool {
    folder.is_empty() || name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Length of the common prefix of all names, up to and including its last `/`.
fn common_folder(names: &[&str]) -> usize {
    let Some(first) = names.first() else { return 0 };
    let shared = |name: &&str| first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let length = names.iter().map(shared).min().unwrap_or(0);
    first.as_bytes()[..length].iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1)
}

fn split_of(word: &str) -> Option<Split> {
    match word.to_lowercase().as_str() {
        "train" => Some(Split::Train),
        "val" | "valid" | "validation" => Some(Split::Validation),
        "test" => Some(Split::Test),
        _ => None,
    }
}

fn push(lists: &mut SplitLists, split: Split, class: usize) {
    match split {
        Split::Train => lists.train.push(class),
        Split::Validation => lists.validation.push(class),
        Split::Test => lists.test.push(class),
    }
}

/// The split that each name begins with, if all begin with one. Fails if a class is in two splits, or if some classes
/// are in folders of splits and others beside them.
fn by_folders(tree: &Tree, names: &[&str]) -> Result<Option<SplitLists>, Error> {
    let part = |name: &&str| {
        let (top, class) = name.split_once('/')?;
        Some((split_of(top)?, class.to_string()))
    };
    let parts: Vec<Option<(Split, String)>> = names.iter().map(part).collect();
    let found = |split| parts.iter().flatten().any(|(of, _)| *of == split);
    if let Some(beside) = parts.iter().position(Option::is_none) {
        if Split::ALL.into_iter().filter(|&split| found(split)).count() < 2 {
            return Ok(None);
        }
        let message = format!(
            "{}: class {} lies beside the folders of splits: expected every class in train, val or test; move or remove \
             it",
            tree.place().display(),
            names[beside]
        );
        return Err(Error::new(ErrorKind::Unknown, message));
    }
    let (mut lists, mut seen) = (SplitLists::default(), BTreeMap::new());
    for (class, (split, name)) in parts.into_iter().flatten().enumerate() {
        if let Some(other) = seen.insert(name.clone(), split) {
            let message = format!(
                "{}: class {name} is in the {other} split and again in the {split} split: expected separate \
                 classes in each, or scores measure memory",
                tree.place().display()
            );
            return Err(Error::new(ErrorKind::Overlap, message));
        }
        push(&mut lists, split, class);
    }
    Ok(Some(lists))
}

fn by_file(file: &Path, names: &[&str], place: &Path) -> Result<SplitLists, Error> {
    let text = read_text(file)?;
    let shown = file.display();
    let wrong = |line: u64, found: String| {
        let message = format!(
            "{shown}, line {line}: {found}: expected a header \"class,split\" and a line for each class of {}, with \
             train, validation or test",
            place.display()
        );
        Error::new(ErrorKind::Unknown, message)
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let (mut lists, mut seen) = (SplitLists::default(), BTreeSet::new());
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|cause| wrong(at as u64 + 1, cause.to_string()))?;
        let line = record.position().map_or(at as u64 + 1, csv::Position::line);
        let cells: Vec<&str> = record.iter().collect();
        let &[name, split] = cells.as_slice() else {
            return Err(wrong(line, format!("{} cells", cells.len())));
        };
        if at == 0 {
            match (name, split) {
                ("class", "split") => continue,
                _ => return Err(wrong(line, format!("the header \"{name},{split}\""))),
            }
        }
        let Some(split) = split_of(split) else {
            return Err(wrong(line, format!("the split {split:?}")));
        };
        let Some(class) = names.iter().position(|known| *known == name) else {
            return Err(wrong(line, format!("the class {name:?}, which has no folder")));
        };
        if !seen.insert(name.to_string()) {
            return Err(wrong(line, format!("the class {name:?} a second time")));
        }
        push(&mut lists, split, class);
    }
    match names.iter().find(|name| !seen.contains(**name)) {
        Some(name) => Err(wrong(seen.len() as u64 + 2, format!("no line for the class {name:?}"))),
        None => Ok(lists),
    }
}

#[cfg(test)]
mod tests;
