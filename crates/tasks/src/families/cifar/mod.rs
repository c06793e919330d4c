//! CIFAR-FS and FC100: the 100 classes of CIFAR-100's 32x32 photographs in two splits.
//!
//! Read from a zip archive, or the folder it unpacks to, with `cifar100/data/<class>/<image>.png` in it: the layout
//! of Bertinetto's archive, whole (600 images a class) or a part of it. Class lists in the archive,
//! `cifar100/splits/{bertinetto,fc100}/{train,val,test}.txt`, are compared with the built-in ones.

mod classes;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::{Tree, entries};
use crate::picture::{self, Fit, Form, Listed, is_image};
use crate::{Class, Error, ErrorKind, ImageClasses, Split};

/// Side of an image, in pixels.
const SIDE: usize = 32;
/// Images of a class in the whole set.
const WHOLE: usize = 600;
const AGAIN: &str = "download the archive cifar100.zip of CIFAR-FS again";

/// The two splits in use. Scores are comparable only within one.
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
    /// Images of each class.
    pub samples: usize,
    /// The splits whose lists are in the archive too; they agree with the built-in ones.
    pub lists: Vec<CifarSplit>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { place, samples, lists } = self;
        let part = if *samples == WHOLE { "the whole set" } else { "a part of the 600" };
        writeln!(f, "{}: 100 classes of {samples} images ({part})", place.display())?;
        for split in lists {
            writeln!(f, "splits/{}: class lists agree with the built-in split", split.folder())?;
        }
        for split in CifarSplit::ALL {
            let [train, validation, test] = Split::ALL.map(|s| classes::lists(split).of(s).len());
            writeln!(f, "{split}: {train} training, {validation} validation, {test} test classes")?;
        }
        Ok(())
    }
}

/// Reads the data set: 100 classes of `[32, 32, 3]` images, in alphabetical order.
///
/// `dir` is the archive or the folder that holds it or what it unpacks to, directly or in `cifar-fs` or `cifar_fs`.
pub fn load(dir: &Path, split: CifarSplit) -> Result<ImageClasses, Error> {
    let (_, classes, _) = read(&find(dir)?)?;
    ImageClasses::new([SIDE, SIDE, 3], classes, classes::lists(split))
}

/// Reads and decodes everything without keeping it, and says what was there. Fails at the first thing that is
/// missing, damaged or different from the published data set.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    let (place, classes, lists) = read(&find(dir)?)?;
    let samples = classes[0].pixels.len() / (SIDE * SIDE * 3);
    Ok(Report { place, samples, lists })
}

fn find(dir: &Path) -> Result<PathBuf, Error> {
    if dir.is_file() {
        return Ok(dir.to_path_buf());
    }
    for base in [dir.to_path_buf(), dir.join("cifar-fs"), dir.join("cifar_fs")] {
        for folder in [base.clone(), base.join("cifar100")] {
            if folder.join("data").join("apple").is_dir() {
                return Ok(folder);
            }
        }
        let is_archive = |path: &&PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
            path.is_file() && name.is_some_and(|n| n.starts_with("cifar") && n.ends_with(".zip"))
        };
        let all = if base.is_dir() { entries(&base)? } else { Vec::new() };
        let archives: Vec<&PathBuf> = all.iter().filter(is_archive).collect();
        match archives.as_slice() {
            [] => {}
            [archive] => return Ok((*archive).clone()),
            [first, second, ..] => {
                let message = format!(
                    "{} and {} both look like the data set: expected one archive; name the one to use \
                     itself (tasks.data)",
                    first.display(),
                    second.display()
                );
                return Err(Error::new(ErrorKind::Unknown, message));
            }
        }
    }
    let found = if dir.is_dir() { "holds none of its files" } else { "is not a file or folder" };
    let message = format!(
        "CIFAR-FS not found: {} {found}: expected an archive cifar*.zip, or the folder cifar100 it unpacks to with \
         data/<class>/<image>.png, there or in cifar-fs or cifar_fs below it",
        dir.display()
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

/// Where the data set is, its classes in alphabetical order, and the splits whose lists it holds.
fn read(place: &Path) -> Result<(PathBuf, Vec<Class>, Vec<CifarSplit>), Error> {
    let mut tree = Tree::open(place)?;
    let listed = listed_classes(&tree)?;
    let lists = check_lists(&mut tree)?;
    let form = Form { side: None, fit: Fit::Stretch, channels: Some(3) };
    let (shape, classes) = picture::load(&tree, &listed, form)?;
    if shape != [SIDE, SIDE, 3] {
        let message = format!(
            "{}: images are {}x{}: expected {SIDE}x{SIDE}; {AGAIN}",
            place.display(),
            shape[1],
            shape[0]
        );
        return Err(Error::new(ErrorKind::Shape, message));
    }
    Ok((place.to_path_buf(), classes, lists))
}

/// The images of each class, after checking that all classes are there, with as many each.
fn listed_classes(tree: &Tree) -> Result<Vec<Listed>, Error> {
    let place = tree.place().display();
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (file, name) in tree.names().enumerate().filter(|(_, name)| is_image(name)) {
        let mut parts = name.rsplit('/').skip(1);
        let (class, above) = (parts.next(), parts.next());
        // In the folder `cifar100` itself, and in what holds it.
        let (Some(class), Some("data")) = (class, above) else {
            let message = format!(
                "{place}: {name} lies elsewhere: expected images in data/<class>; keep other images elsewhere"
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
    let count = listed[0].files.len();
    if let Some(other) = listed.iter().find(|class| class.files.len() != count) {
        let (name, found) = (&other.name, other.files.len());
        let message = format!(
            "{place}: class {name} has {found} images and class {} has {count}: expected as many in each; \
             {AGAIN}",
            listed[0].name
        );
        return Err(Error::new(ErrorKind::TooFew, message));
    }
    Ok(listed)
}

/// Compares the class lists in the archive with the built-in ones; those that are there agree.
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
