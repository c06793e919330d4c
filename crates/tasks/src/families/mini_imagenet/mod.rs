//! miniImageNet: 100 classes of 600 photographs, 64 / 16 / 20, in the split of Ravi and Larochelle 2017.
//!
//! Read from a folder or zip archive in one of these layouts; pickles are tried first, then lists:
//!
//! ```text
//! {train,val,test}.csv        columns filename,label (or image_name,class_name), also as ravi_train.csv and with .gz;
//!                             images anywhere below, found by their file names
//! mini-imagenet-cache-{train,val,test}.pkl            arrays of bytes, in a folder; val is also validation
//! miniImageNet_category_split_{train_phase_train,val,test}.pickle     the same with labels: MetaOptNet's
//! {train,val,test}/<class>/   images in a folder for each class, and no other images
//! ```
//!
//! CSV files may leave images out, for example where all of ImageNet lies below them; a note on standard error says how
//! many. Images of another size are resized to the given side, without keeping proportions, by the Lanczos filter, as
//! is customary. All 60,000 at 84x84 take 1.18 GiB.

mod lists;
mod pickles;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache::Reading;
use crate::files::Tree;
use crate::picture::{self, Fit, Form};
use crate::{Error, ErrorKind, ImageClasses, ImageSet, Split, SplitLists};
use lists::Lists;

/// Side of the images as used in the literature.
pub const SIDE: usize = 84;

/// Expected numbers of classes and images.
#[derive(Clone, Copy)]
struct Counts {
    /// Classes of each split.
    classes: [usize; 3],
    /// Images per class.
    samples: usize,
}

const PUBLISHED: Counts = Counts { classes: [64, 16, 20], samples: 600 };

/// What [`verify`] found; every image was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The folder or archive.
    pub place: PathBuf,
    /// Where the classes come from, in words.
    pub layout: &'static str,
    /// Training, validation and test classes.
    pub classes: [usize; 3],
    /// Images per class.
    pub samples: usize,
    /// Images that no list names.
    pub unlisted: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { place, layout, classes: [train, validation, test], samples, unlisted } = self;
        writeln!(
            f,
            "{}: {train} training, {validation} validation, {test} test classes of {samples} images, from {layout}",
            place.display()
        )?;
        match unlisted {
            0 => Ok(()),
            _ => writeln!(f, "{unlisted} more images, which no list names and no task uses"),
        }
    }
}

impl Report {
    /// A note for a run that reads the data set.
    fn note(&self) -> Option<String> {
        let Report { place, unlisted, .. } = self;
        (*unlisted > 0).then(|| {
            let place = place.display();
            format!("{place}: {unlisted} images are not used, since no list names them")
        })
    }
}

/// Reads the data set as `[side, side, 3]` images from `dir`, or from `mini-imagenet`, `mini_imagenet` or
/// `miniImageNet` below it.
pub fn load(dir: &Path, side: usize) -> Result<ImageClasses, Error> {
    let (images, report) = read(&find(dir)?, side, PUBLISHED, Reading::Kept)?;
    if let Some(note) = report.note() {
        eprintln!("note: {note}");
    }
    Ok(images)
}

/// Reads and decodes everything, and reports what was there. Fails at the first thing that is missing, damaged or
/// different from the published data set.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    // Decoding is all of the work; a small side is enough to show that the images can be decoded.
    read(&find(dir)?, 8, PUBLISHED, Reading::Anew).map(|(_, report)| report)
}

fn find(dir: &Path) -> Result<PathBuf, Error> {
    let below = ["mini-imagenet", "mini_imagenet", "miniImageNet"].map(|name| dir.join(name));
    if let Some(place) = below.into_iter().find(|place| place.is_dir()) {
        return Ok(place);
    }
    if dir.exists() {
        return Ok(dir.to_path_buf());
    }
    let message = format!(
        "miniImageNet not found: {} is not there: expected a folder or zip archive with train.csv, val.csv, test.csv and \
         the images, or with the folders train, val and test, or pickles",
        dir.display()
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

fn read(
    place: &Path,
    side: usize,
    expected: Counts,
    reading: Reading,
) -> Result<(ImageClasses, Report), Error> {
    let (images, layout, unlisted) = match pickles::find(place)? {
        Some(files) => {
            let (classes, splits) = pickles::read(&files, side)?;
            (ImageClasses::new([side, side, 3], classes, splits)?, "pickles", 0)
        }
        None => read_files(place, side, expected, reading)?,
    };
    let counts = (0..images.classes().len()).map(|class| images.samples(class)).collect();
    let names = images.classes().iter().map(|class| class.name.as_str()).collect();
    check(place, (images.splits(), names, counts), layout, expected)?;
    let classes = Split::ALL.map(|split| images.splits().of(split).len());
    let samples = expected.samples;
    Ok((images, Report { place: place.to_path_buf(), layout, classes, samples, unlisted }))
}

/// The images, where the classes come from, and the number of images that no list names.
fn read_files(
    place: &Path,
    side: usize,
    expected: Counts,
    reading: Reading,
) -> Result<(ImageClasses, &'static str, usize), Error> {
    let mut tree = Tree::open(place)?;
    let (Lists { classes, splits, unlisted }, layout) = match lists::by_csv(&mut tree)? {
        Some(lists) => (lists, "CSV lists"),
        None => (lists::by_folders(&tree)?, "folders"),
    };
    // Checked before the work of decoding, too.
    let counts = classes.iter().map(|class| class.files.len()).collect();
    let names = classes.iter().map(|class| class.name.as_str()).collect();
    check(place, (&splits, names, counts), layout, expected)?;
    let form = Form { side: Some(side), fit: Fit::Stretch, channels: Some(3) };
    let (shape, pixels) = picture::load(&tree, &classes, form, reading)?;
    Ok((ImageClasses::new(shape, pixels, splits)?, layout, unlisted))
}

/// Fails unless the numbers of classes, and of images in each, are as expected.
fn check(
    place: &Path,
    (splits, names, counts): (&SplitLists, Vec<&str>, Vec<usize>),
    layout: &str,
    expected: Counts,
) -> Result<(), Error> {
    let place = place.display();
    let found = Split::ALL.map(|split| splits.of(split).len());
    if found != expected.classes {
        let message = format!(
            "{place}: {found:?} training, validation and test classes in its {layout}: expected {:?}; for a set of your \
             own use the family \"images\"",
            expected.classes
        );
        return Err(Error::new(ErrorKind::TooFew, message));
    }
    match names.iter().zip(counts).find(|(_, count)| *count != expected.samples) {
        None => Ok(()),
        Some((name, count)) => {
            let message = format!(
                "{place}: class {name} has {count} images in its {layout}: expected {}; copy or download it again",
                expected.samples
            );
            Err(Error::new(ErrorKind::TooFew, message))
        }
    }
}

#[cfg(test)]
mod tests;
