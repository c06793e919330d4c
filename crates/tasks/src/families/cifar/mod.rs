//! CIFAR-FS and FC100: the 100 classes of CIFAR-100's 32x32 photographs in two splits.
//!
//! Read from one of these layouts, which are tried in this order:
//!
//! ```text
//! cifar100/data/<class>/<image>.png              Bertinetto's: a folder, or a zip archive cifar*.zip; the whole set (600
//!                                                images a class) or a part of it
//! cifar-100-python/{train,test,meta}             the original pickles, unpacked
//! CIFAR_FS_{train,val,test}.pickle               MetaOptNet's, for CIFAR-FS
//! FC100_{train,val,test}.pickle                  the same for FC100
//! ```
//!
//! Class lists in an archive, `cifar100/splits/{bertinetto,fc100}/{train,val,test}.txt`, are compared with the built-in
//! ones. MetaOptNet's pickles define a split themselves; their classes are named by numbers.

mod classes;
mod python;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache::Reading;
use crate::files::{Tree, entries};
use crate::picture::{self, Fit, Form, Listed, is_image};
use crate::{Class, Error, ErrorKind, ImageClasses, ImageSet, Split, SplitLists, pickled_splits};

/// Side of an image, in pixels.
const SIDE: usize = 32;
/// Images per class in the whole set.
const WHOLE: usize = 600;
const AGAIN: &str = "copy or download it again";

/// The two splits in use. Scores are comparable only within a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CifarSplit {
    /// CIFAR-FS, 64 / 16 / 20 classes at random: Bertinetto et al. 2019.
    Fs,
    /// FC100, 60 / 20 / 20 classes by superclass, which makes test classes less like training classes:
    /// Oreshkin et al. 2018.
    Fc100,
}

impl CifarSplit {
    /// Both of them.
    pub const ALL: [CifarSplit; 2] = [CifarSplit::Fs, CifarSplit::Fc100];

    /// Folders, below the one named, that it may lie in.
    fn places(self) -> &'static [&'static str] {
        match self {
            CifarSplit::Fs => &["cifar-fs", "cifar_fs", "CIFAR-FS"],
            CifarSplit::Fc100 => &["fc100", "FC100", "cifar-fs", "cifar_fs", "CIFAR-FS"],
        }
    }

    /// Prefix of the names of MetaOptNet's pickles.
    fn prefix(self) -> &'static str {
        match self {
            CifarSplit::Fs => "CIFAR_FS",
            CifarSplit::Fc100 => "FC100",
        }
    }

    /// Name of the folder of its lists in the archive.
    fn folder(self) -> &'static str {
        match self {
            CifarSplit::Fs => "bertinetto",
            CifarSplit::Fc100 => "fc100",
        }
    }
}

impl fmt::Display for CifarSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CifarSplit::Fs => "cifar_fs",
            CifarSplit::Fc100 => "fc100",
        })
    }
}

/// What [`verify`] found; every image was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The archive or folder.
    pub place: PathBuf,
    /// Where the classes come from, in words.
    pub layout: &'static str,
    /// Images per class.
    pub samples: usize,
    /// Each split that can be drawn from, with its training, validation and test classes.
    pub splits: Vec<(CifarSplit, [usize; 3])>,
    /// The splits whose lists are also in the archive; they agree with the built-in ones.
    pub lists: Vec<CifarSplit>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { place, layout, samples, splits, lists } = self;
        let part = if *samples == WHOLE { "the whole set" } else { "a part of the 600" };
        let place = place.display();
        writeln!(f, "{place}: 100 classes of {samples} images ({part}), from {layout}")?;
        for split in lists {
            writeln!(f, "splits/{}: class lists agree with the built-in split", split.folder())?;
        }
        for (split, [train, validation, test]) in splits {
            writeln!(f, "{split}: {train} training, {validation} validation, {test} test classes")?;
        }
        Ok(())
    }
}

/// Reads the data set: 100 classes of `[32, 32, 3]` images, in the given split.
///
/// `dir` is the archive, or the folder that holds it or its unpacked contents, directly or in a folder such as
/// `cifar-fs`.
pub fn load(dir: &Path, split: CifarSplit) -> Result<ImageClasses, Error> {
    read(&find(dir, split)?, split, Reading::Kept).map(|(images, _)| images)
}

/// Reads and decodes everything without keeping it, and reports what was there. Fails at the first thing that is
/// missing, damaged or different from the published data set.
pub fn verify(dir: &Path, split: CifarSplit) -> Result<Report, Error> {
    read(&find(dir, split)?, split, Reading::Anew).map(|(_, report)| report)
}

/// Where the data set is, and in which layout.
enum Place {
    /// An archive, or the folder it unpacks to.
    Images(PathBuf),
    /// A folder with the original pickles.
    Python(PathBuf),
    /// MetaOptNet's pickles and their folder.
    Splits(PathBuf, [PathBuf; 3]),
}

fn find(dir: &Path, split: CifarSplit) -> Result<Place, Error> {
    if dir.is_file() {
        return Ok(Place::Images(dir.to_path_buf()));
    }
    let below = split.places().iter().map(|name| dir.join(name));
    for base in std::iter::once(dir.to_path_buf()).chain(below) {
        for folder in [base.clone(), base.join("cifar100")] {
            if folder.join("data").join("apple").is_dir() {
                return Ok(Place::Images(folder));
            }
        }
        let python = [base.clone(), base.join("cifar-100-python")];
        if let Some(folder) = python.into_iter().find(|folder| python::is_in(folder)) {
            return Ok(Place::Python(folder));
        }
        if let Some(archive) = find_archive(&base)? {
            return Ok(Place::Images(archive));
        }
        let name = |part: &str| format!("{}_{part}.pickle", split.prefix());
        if let Some(files) = pickled_splits::find(&base, [&["train"], &["val"], &["test"]], name)? {
            return Ok(Place::Splits(base, files));
        }
    }
    let found = if dir.is_dir() { "holds none of its files" } else { "is not a file or folder" };
    let message = format!(
        "{} not found: {} {found}: expected an archive cifar*.zip, or the folder cifar100 it unpacks to with \
         data/<class>/<image>.png, or the folder cifar-100-python, or {}_{{train,val,test}}.pickle, there or in {} \
         below it",
        match split {
            CifarSplit::Fs => "CIFAR-FS",
            CifarSplit::Fc100 => "FC100",
        },
        dir.display(),
        split.prefix(),
        split.places().join(", ")
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

/// The archive in a folder, if there is one. Fails if there are several.
fn find_archive(base: &Path) -> Result<Option<PathBuf>, Error> {
    let is_archive = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
        path.is_file() && name.is_some_and(|n| n.starts_with("cifar") && n.ends_with(".zip"))
    };
    let mut archives = if base.is_dir() { entries(base)? } else { Vec::new() };
    archives.retain(is_archive);
    if let [first, second, ..] = archives.as_slice() {
        let message = format!(
            "{} and {} both look like the data set: expected one archive; name the one to use itself as data",
            first.display(),
            second.display()
        );
        return Err(Error::new(ErrorKind::Unknown, message));
    }
    Ok(archives.pop())
}

/// The data set and the facts to report.
fn read(
    place: &Place,
    split: CifarSplit,
    reading: Reading,
) -> Result<(ImageClasses, Report), Error> {
    let built_in = CifarSplit::ALL.map(|split| (split, sizes(&classes::lists(split)))).to_vec();
    let (place, (classes, lists), layout, splits, agreeing) = match place {
        Place::Images(place) => {
            let (classes, agreeing) = read_images(place, reading)?;
            (place, (classes, classes::lists(split)), "images", built_in, agreeing)
        }
        Place::Python(folder) => {
            let read = (python::read(folder)?, classes::lists(split));
            (folder, read, "the original pickles", built_in, Vec::new())
        }
        Place::Splits(folder, files) => {
            let read = pickled_splits::read_labelled(files, SIDE)?;
            let sizes = check_sizes(folder, &read.1, split)?;
            (folder, read, "MetaOptNet's pickles", vec![(split, sizes)], Vec::new())
        }
    };
    let images = ImageClasses::new([SIDE, SIDE, 3], classes, lists)?;
    let names = images.classes().iter().enumerate();
    let counts = names.map(|(at, class)| (class.name.as_str(), images.samples(at)));
    check_counts(place, counts)?;
    let (place, samples) = (place.clone(), images.samples(0));
    Ok((images, Report { place, layout, samples, splits, lists: agreeing }))
}

/// Training, validation and test classes.
fn sizes(lists: &SplitLists) -> [usize; 3] {
    Split::ALL.map(|part| lists.of(part).len())
}

/// The sizes of a split, after checking them against the published ones.
fn check_sizes(folder: &Path, lists: &SplitLists, split: CifarSplit) -> Result<[usize; 3], Error> {
    let (found, expected) = (sizes(lists), sizes(&classes::lists(split)));
    if found == expected {
        return Ok(found);
    }
    let message = format!(
        "{}: {found:?} training, validation and test classes in its pickles: expected {expected:?} for {split}; {AGAIN}",
        folder.display()
    );
    Err(Error::new(ErrorKind::TooFew, message))
}

/// The classes in alphabetical order, and the splits whose lists lie beside them.
fn read_images(place: &Path, reading: Reading) -> Result<(Vec<Class>, Vec<CifarSplit>), Error> {
    let mut tree = Tree::open(place)?;
    let listed = listed_classes(&tree)?;
    let lists = check_lists(&mut tree)?;
    let form = Form { side: None, fit: Fit::Stretch, channels: Some(3) };
    let (shape, classes) = picture::load(&tree, &listed, form, reading)?;
    if shape != [SIDE, SIDE, 3] {
        let message = format!(
            "{}: images are {}x{}: expected {SIDE}x{SIDE}; {AGAIN}",
            place.display(),
            shape[1],
            shape[0]
        );
        return Err(Error::new(ErrorKind::Shape, message));
    }
    Ok((classes, lists))
}

/// The images of each class, after checking that all classes are there, with equally many images each.
fn listed_classes(tree: &Tree) -> Result<Vec<Listed>, Error> {
    let place = tree.place().display();
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (file, name) in tree.names().enumerate() {
        let mut parts = name.rsplit('/').skip(1);
        let (class, above) = (parts.next(), parts.next());
        if !is_image(name) {
            if above == Some("data") {
                let message = format!(
                    "{place}: {name} is among the images of a class: expected .png files; keep other files elsewhere"
                );
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            continue;
        }
        // In the folder `cifar100` itself, and in the folder that holds it.
        let (Some(class), Some("data")) = (class, above) else {
            let message = format!(
                "{place}: {name} is in the wrong place: expected images in data/<class>; keep other images elsewhere"
            );
            return Err(Error::new(ErrorKind::Unknown, message));
        };
        found.entry(class).or_default().push(file);
    }
    let mut listed = Vec::new();
    for name in classes::names() {
        let Some(files) = found.remove(name) else {
            let message =
                format!("{place}: class {name} is missing: expected data/{name}; {AGAIN}");
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        listed.push(Listed { name: name.to_string(), files });
    }
    if let Some(class) = found.into_keys().next() {
        let message = format!(
            "{place}: found class {class}: expected the 100 classes of CIFAR-100 and nothing else; keep other \
             images elsewhere"
        );
        return Err(Error::new(ErrorKind::Unknown, message));
    }
    let counts = listed.iter().map(|class| (class.name.as_str(), class.files.len()));
    check_counts(tree.place(), counts)?;
    Ok(listed)
}

/// Fails unless every class has as many images as the first, and at least one.
fn check_counts<'a>(
    place: &Path,
    mut counts: impl Iterator<Item = (&'a str, usize)>,
) -> Result<(), Error> {
    let Some((first, count)) = counts.next() else { return Ok(()) };
    let odd = match count {
        0 => Some((first, 0)),
        _ => counts.find(|(_, other)| *other != count),
    };
    let Some((name, found)) = odd else { return Ok(()) };
    let message = format!(
        "{}: class {name} has {found} images and class {first} has {count}: expected as many in each; {AGAIN}",
        place.display()
    );
    Err(Error::new(ErrorKind::TooFew, message))
}

/// Compares the class lists in the archive with the built-in ones; returns the splits whose lists are there.
fn check_lists(tree: &mut Tree) -> Result<Vec<CifarSplit>, Error> {
    let (names, mut agreeing) = (classes::names(), Vec::new());
    for split in CifarSplit::ALL {
        let built_in = classes::lists(split);
        let mut files = 0;
        for (part, file) in Split::ALL.into_iter().zip(["train.txt", "val.txt", "test.txt"]) {
            let ending = format!("splits/{}/{file}", split.folder());
            let Some(at) = tree.names().position(|name| name.ends_with(&ending)) else { continue };
            let mut listed = tree.lines(at)?;
            listed.sort();
            let expected: Vec<&str> = built_in.of(part).iter().map(|&class| names[class]).collect();
            if listed != expected {
                let stranger = listed.iter().find(|name| !expected.contains(&name.as_str()));
                let found = match stranger {
                    Some(name) => format!("lists {name}"),
                    None => format!("lists {} classes", listed.len()),
                };
                let message = format!(
                    "{} {found}: expected the {} {part} classes of {split} as published; {AGAIN}, or use the \
                     family \"images\" for a split of your own",
                    tree.full_name(at),
                    expected.len()
                );
                return Err(Error::new(ErrorKind::Unknown, message));
            }
            files += 1;
        }
        if files == Split::ALL.len() {
            agreeing.push(split);
        }
    }
    Ok(agreeing)
}

#[cfg(test)]
mod tests;
