//! Labelled images in memory, and which classes belong to which split.

use innerloop_engine::{Key, volume};

use crate::random;
use crate::{Error, ErrorKind, Split};

/// The images of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Name, unique in its data set.
    pub name: String,
    /// Samples one after another, each `[h, w, c]` row-major, 0 to 255.
    pub pixels: Vec<u8>,
}

/// Indices of the classes of each split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitLists {
    /// Classes to meta-train on.
    pub train: Vec<usize>,
    /// Classes for model selection.
    pub validation: Vec<usize>,
    /// Classes for the reported numbers.
    pub test: Vec<usize>,
}

/// A division by size: the seed alone determines which classes, or tasks, are in which split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Share for training.
    pub train: f64,
    /// Share for validation; the rest is for test.
    pub validation: f64,
    /// Seed of the order in which classes or tasks are dealt out.
    pub seed: u64,
}

impl SplitLists {
    /// The numbers below `n`, shuffled and dealt out, each list ascending. Sizes are rounded to the nearest integer.
    /// Fails when a share is not between 0 and 1, or when the two add up to more than 1.
    pub fn by_shares(n: usize, shares: Shares) -> Result<SplitLists, Error> {
        let Shares { train, validation, seed } = shares;
        let legal = train >= 0.0 && validation >= 0.0 && train + validation <= 1.0;
        if !legal {
            let message = format!(
                "shares of {train} for training and {validation} for validation: expected 0 or more each and at \
                 most 1 together; the rest is for test"
            );
            return Err(Error::new(ErrorKind::Unknown, message));
        }
        let end = |share: f64| ((n as f64 * share).round() as usize).min(n);
        let (first, second) = (end(train), end(train + validation));
        let mut train = random::shuffled(&mut Key::new(seed).with_stream("shares").rng(), n);
        let mut test = train.split_off(second);
        let mut validation = train.split_off(first);
        for list in [&mut train, &mut validation, &mut test] {
            list.sort_unstable();
        }
        Ok(SplitLists { train, validation, test })
    }

    /// The classes of one split.
    pub fn of(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }
}

/// Labelled images of one size that episodes are drawn from: stored ones ([`ImageClasses`]), or ones generated on
/// demand.
pub trait ImageSet: Send + Sync {
    /// Extents of an image: `[h, w, c]`.
    fn shape(&self) -> [usize; 3];

    /// Which classes belong to which split; no class is in two.
    fn splits(&self) -> &SplitLists;

    /// Name of a class, unique in the set.
    fn class_name(&self, class: usize) -> String;

    /// Number of samples of a class.
    fn samples(&self, class: usize) -> usize;

    /// One image, `[h, w, c]` row-major, 0 to 255: always the same for the same arguments. A set that generates its
    /// images does so in `space`, which is overwritten.
    fn image<'a>(&'a self, class: usize, sample: usize, space: &'a mut Vec<u8>) -> &'a [u8];
}

/// A data set of images of one size, one byte per value, with class-disjoint splits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageClasses {
    shape: [usize; 3],
    classes: Vec<Class>,
    splits: SplitLists,
}

impl ImageClasses {
    /// A data set of `[h, w, c]` images. Fails when a class does not hold whole images, when a split names a class that
    /// does not exist, or when two splits share a class.
    pub fn new(
        shape: [usize; 3],
        classes: Vec<Class>,
        splits: SplitLists,
    ) -> Result<ImageClasses, Error> {
        let size = volume(&shape);
        assert!(size > 0, "images of shape {shape:?} have no pixels");
        if let Some(Class { name, pixels }) = classes.iter().find(|c| c.pixels.len() % size != 0) {
            let message = format!(
                "class {name} holds {} bytes, which is not a whole number of {shape:?} images \
                 ({size} bytes each): resize its images before adding them",
                pixels.len()
            );
            return Err(Error::new(ErrorKind::Shape, message));
        }
        check_disjoint(&classes, &splits)?;
        Ok(ImageClasses { shape, classes, splits })
    }

    /// All classes, whatever their split.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }
}

impl ImageSet for ImageClasses {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn splits(&self) -> &SplitLists {
        &self.splits
    }

    fn class_name(&self, class: usize) -> String {
        self.classes[class].name.clone()
    }

    fn samples(&self, class: usize) -> usize {
        self.classes[class].pixels.len() / volume(&self.shape)
    }

    fn image<'a>(&'a self, class: usize, sample: usize, _: &'a mut Vec<u8>) -> &'a [u8] {
        let size = volume(&self.shape);
        &self.classes[class].pixels[sample * size..(sample + 1) * size]
    }
}

fn check_disjoint(classes: &[Class], splits: &SplitLists) -> Result<(), Error> {
    let mut owner = vec![None; classes.len()];
    for split in Split::ALL {
        for &class in splits.of(split) {
            let Some(slot) = owner.get_mut(class) else {
                let message = format!(
                    "the {split} split names class {class}, but there are {} classes: \
                     use indices from 0",
                    classes.len()
                );
                return Err(Error::new(ErrorKind::Unknown, message));
            };
            if let Some(other) = slot.replace(split) {
                let message = format!(
                    "class {} is listed in the {other} split and again in the {split} split: \
                     list each class once, or scores measure memory",
                    classes[class].name
                );
                return Err(Error::new(ErrorKind::Overlap, message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
