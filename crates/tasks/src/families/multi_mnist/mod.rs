//! Double and Triple MNIST: numbers of two or three handwritten digits side by side.
//!
//! Composed like github.com/shaohua0116/MultiDigitMNIST, from MNIST's four original files: the canvas is 64x64 (84x84),
//! and each digit has its own column of 32x64 (28x84), in which it lies at a random place. Classes are the numbers
//! 00-99 (000-999), 1000 images each, split 64/16/20 (640/160/200) as in the published archives and torchmeta. The
//! images themselves differ from those of the archives, which use Python's random numbers: image `i` of class `c`
//! depends only on the set's seed, `c` and `i`, and is composed on demand. As in the original, all classes are made of
//! the same 70,000 digits; what is new in a test class is the number.

mod idx;
mod splits;

use std::fmt;
use std::path::{Path, PathBuf};

use innerloop_engine::Key;

use crate::random::below;
use crate::resize::Shrink;
use crate::{Error, ErrorKind, ImageSet, Split, SplitLists};
use idx::Digits;

/// Side of a digit's image.
const SIDE: usize = 28;
/// Images per class, as in the published archives.
const SAMPLES: usize = 1000;
/// Default seed of the images.
pub const SEED: u64 = 123;

/// How many digits a number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Places {
    /// Double MNIST.
    Two,
    /// Triple MNIST.
    Three,
}

impl Places {
    /// Digits of a number.
    pub fn digits(self) -> usize {
        match self {
            Places::Two => 2,
            Places::Three => 3,
        }
    }

    /// Side of the canvas, as published.
    pub fn canvas(self) -> usize {
        match self {
            Places::Two => 64,
            Places::Three => 84,
        }
    }

    /// `double_mnist` or `triple_mnist`.
    pub fn name(self) -> &'static str {
        match self {
            Places::Two => "double_mnist",
            Places::Three => "triple_mnist",
        }
    }
}

/// Numbers of several digits, `[side, side, 1]`, ink 255 on 0, made on the fly.
pub struct MultiMnist {
    digits: Digits,
    places: Places,
    side: usize,
    shrink: Option<Shrink>,
    seed: u64,
    splits: SplitLists,
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the files are.
    pub folder: PathBuf,
    /// Images of each digit.
    pub counts: [usize; 10],
    /// Training, validation and test classes.
    pub classes: [usize; 3],
    /// Which set.
    pub places: Places,
    /// How the files differ from the official ones, whose SHA-256 is known; empty if they are identical.
    pub notes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.counts.iter().sum();
        writeln!(f, "{}: MNIST, {total} images", self.folder.display())?;
        writeln!(f, "images of the digits 0 to 9: {:?}", self.counts)?;
        match self.notes.as_slice() {
            [] => writeln!(
                f,
                "SHA-256 of all four files, decompressed, is that of the official ones"
            )?,
            notes => notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?,
        }
        let [train, validation, test] = self.classes;
        let name = self.places.name();
        writeln!(
            f,
            "{name}: {train} training, {validation} validation, {test} test classes of {SAMPLES} images, \
             composed on the fly"
        )
    }
}

/// Reads the four files and reports what was there. Fails at the first thing that is missing, damaged or different from
/// the published data set.
pub fn verify(dir: &Path, places: Places) -> Result<Report, Error> {
    let digits = Digits::load(dir)?;
    let counts = std::array::from_fn(|digit| digits.count(digit));
    // Of the training and test parts together.
    let published = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958];
    if counts != published {
        let message = format!(
            "{}: images of the digits 0 to 9: {counts:?}: expected {published:?}; images or labels are not \
             MNIST's",
            digits.folder.display()
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let lists = splits::lists(places.digits());
    let classes = Split::ALL.map(|split| lists.of(split).len());
    let notes = idx::unofficial(&digits.folder)?;
    Ok(Report { folder: digits.folder, counts, classes, places, notes })
}

impl MultiMnist {
    /// The set made from the MNIST files in `dir` (or in `mnist` or `MNIST/raw` below it), with images shrunk to `side`
    /// by the Lanczos filter where that is less than the canvas.
    pub fn load(dir: &Path, places: Places, side: usize, seed: u64) -> Result<MultiMnist, Error> {
        MultiMnist::new(Digits::load(dir)?, places, side, seed)
    }

    fn new(digits: Digits, places: Places, side: usize, seed: u64) -> Result<MultiMnist, Error> {
        let canvas = places.canvas();
        if side == 0 || side > canvas {
            let name = places.name();
            let message = format!("{name} in images of side {side}: expected 1 to {canvas}");
            return Err(Error::new(ErrorKind::Unknown, message));
        }
        let shrink = (side < canvas).then(|| Shrink::new(canvas, side));
        let splits = splits::lists(places.digits());
        Ok(MultiMnist { digits, places, side, shrink, seed, splits })
    }

    /// Writes the image on the whole canvas.
    fn compose(&self, class: usize, sample: usize, canvas: &mut Vec<u8>) {
        let (n, side) = (self.places.digits(), self.places.canvas());
        let key =
            Key::new(self.seed).with_stream(self.places.name()).at(class as u64, sample as u64);
        let mut rng = key.rng();
        canvas.clear();
        canvas.resize(side * side, 0);
        for place in 0..n {
            let digit = class / 10usize.pow((n - 1 - place) as u32) % 10;
            let image = self.digits.image(digit, below(&mut rng, self.digits.count(digit)));
            // Drawn like the original, which leaves out the last row and column.
            let free = side / n - SIDE;
            let top = below(&mut rng, side - SIDE);
            let left = side / n * place + if free > 0 { below(&mut rng, free) } else { 0 };
            for (i, row) in image.chunks_exact(SIDE).enumerate() {
                let start = (top + i) * side + left;
                canvas[start..start + SIDE].copy_from_slice(row);
            }
        }
    }
}

impl ImageSet for MultiMnist {
    fn shape(&self) -> [usize; 3] {
        [self.side, self.side, 1]
    }

    fn splits(&self) -> &SplitLists {
        &self.splits
    }

    fn class_name(&self, class: usize) -> String {
        format!("{class:0width$}", width = self.places.digits())
    }

    fn samples(&self, _class: usize) -> usize {
        SAMPLES
    }

    fn image<'a>(&'a self, class: usize, sample: usize, space: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.shrink {
            None => self.compose(class, sample, space),
            Some(shrink) => {
                let mut canvas = Vec::new();
                self.compose(class, sample, &mut canvas);
                space.clear();
                shrink.append(&canvas, space);
            }
        }
        space
    }
}

#[cfg(test)]
mod tests;
