//! N-way K-shot episodes over a data set of images.

use std::fmt;

use innerloop_engine::{Key, Tensor, volume};
use rand::Rng;

use crate::augment::Augmentation;
use crate::random::below;
use crate::scratch::Scratch;
use crate::{
    Episode, EpisodeSpec, Error, ErrorKind, FewShot, ImageClasses, ImageSet, Split, TaskFamily,
    TrainingClasses,
};

/// Whether the four quarter turns of a class count as four classes, as is customary on Omniglot since
/// Santoro et al. 2016. Turns are counter-clockwise, named `/rot000` to `/rot270`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rotations {
    /// Upright images only.
    None,
    /// Four times the classes in training, upright ones in validation and test.
    Train,
    /// Four times the classes in every split.
    All,
}

impl fmt::Display for Rotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rotations::None => "none",
            Rotations::Train => "train",
            Rotations::All => "all",
        })
    }
}

/// N-way K-shot classification tasks over an [`ImageSet`]. The classes of a task are distinct, its support and query
/// samples disjoint. Rotated images are rendered while sampling, not stored.
pub struct ImageTasks<D = ImageClasses> {
    name: String,
    data: D,
    few_shot: FewShot,
    rotations: Rotations,
    augmentation: Augmentation,
}

impl<D: ImageSet> ImageTasks<D> {
    /// Checks that the training and the test split can fill the episodes: enough classes, enough samples of each,
    /// square images if they are to be rotated. [`check`](TaskFamily::check) does the same for validation: Double MNIST
    /// has 20 classes for test and 16 for validation, so its published 20-way tasks do without a validation split.
    pub fn new(
        name: impl Into<String>,
        data: D,
        few_shot: FewShot,
        rotations: Rotations,
    ) -> Result<ImageTasks<D>, Error> {
        let augmentation = Augmentation::default();
        let tasks = ImageTasks { name: name.into(), data, few_shot, rotations, augmentation };
        tasks.check_square()?;
        for split in [Split::Train, Split::Test] {
            tasks.check(split)?;
        }
        Ok(tasks)
    }

    /// The same tasks with augmented training images. Fails for quarter turns of images that are not square.
    pub fn augmented(mut self, augmentation: Augmentation) -> Result<ImageTasks<D>, Error> {
        self.augmentation = augmentation;
        self.check_square()?;
        Ok(self)
    }

    /// The images sampled from.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// Number of classes of a split, including rotations.
    pub fn n_classes(&self, split: Split) -> usize {
        self.data.splits().of(split).len() * self.turns(split)
    }

    /// Name of class `class` of a split, with its rotation if it has one.
    pub fn class_name(&self, split: Split, class: usize) -> String {
        let turns = self.turns(split);
        let base = self.data.splits().of(split)[class / turns];
        let name = self.data.class_name(base);
        match turns {
            1 => name,
            _ => format!("{name}/rot{:03}", class % turns * 90),
        }
    }

    fn turns(&self, split: Split) -> usize {
        match (self.rotations, split) {
            (Rotations::None, _) => 1,
            (Rotations::Train, Split::Validation | Split::Test) => 1,
            (Rotations::Train, Split::Train) | (Rotations::All, _) => 4,
        }
    }

    /// Writes a training image, turned and then augmented.
    fn render_changed(&self, image: &[u8], turn: usize, rng: &mut impl Rng, pixels: &mut [f32]) {
        let shape = self.data.shape();
        let change = self.augmentation.draw(rng, shape);
        render(image, shape, (turn + change.turn) % 4, pixels);
        change.apply(pixels, shape);
    }

    fn draw(&self, split: Split, key: Key, episode: &mut Episode, scratch: &mut Scratch) {
        let (shots, query) = self.few_shot.sizes.of(split);
        let turns = self.turns(split);
        let bases = self.data.splits().of(split);
        let mut rng = key.rng();
        let Scratch { order: classes, samples, image: space } = scratch;
        distinct(&mut rng, bases.len() * turns, self.few_shot.ways_of(split), classes);

        let size = volume(&self.data.shape());
        let mut support = rows(&mut episode.support_x, &mut episode.support_y, size);
        let mut queries = rows(&mut episode.query_x, &mut episode.query_y, size);
        for (label, class) in classes.iter().enumerate() {
            let (base, turn) = (bases[class / turns], class % turns);
            distinct(&mut rng, self.data.samples(base), shots + query, samples);
            let slots = support.by_ref().take(shots).chain(queries.by_ref().take(query));
            for (&sample, (pixels, slot)) in samples.iter().zip(slots) {
                let image = self.data.image(base, sample, space);
                match split {
                    Split::Train => self.render_changed(image, turn, &mut rng, pixels),
                    _ => render(image, self.data.shape(), turn, pixels),
                }
                *slot = label as f32;
            }
        }
    }

    fn check_square(&self) -> Result<(), Error> {
        let [h, w, _] = self.data.shape();
        let wanted = (self.rotations != Rotations::None, self.augmentation.rotate);
        let instead = match wanted {
            _ if h == w => return Ok(()),
            (false, false) => return Ok(()),
            (true, false) => "set rotations to \"none\"",
            (false, true) => "leave \"rotate\" out of augment",
            (true, true) => "set rotations to \"none\" and leave \"rotate\" out of augment",
        };
        let message = format!(
            "{}: images are {h}x{w}, and only square ones can be rotated: crop them to a square or \
             {instead}",
            self.name
        );
        Err(Error::new(ErrorKind::Shape, message))
    }
}

impl<D: ImageSet> TaskFamily for ImageTasks<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self, split: Split) -> EpisodeSpec {
        self.few_shot.spec(split, self.data.shape())
    }

    fn check(&self, split: Split) -> Result<(), Error> {
        let ways = self.few_shot.ways_of(split);
        let (shots, query) = self.few_shot.sizes.of(split);
        let found = self.n_classes(split);
        if found < ways {
            let message = format!(
                "{}: the {split} split has {found} classes, but a {ways}-way task needs {ways}: \
                 lower the ways or give the split more classes",
                self.name
            );
            return Err(Error::new(ErrorKind::TooFew, message));
        }
        let needed = shots + query;
        let splits = self.data.splits();
        let Some(&short) = splits.of(split).iter().find(|&&c| self.data.samples(c) < needed) else {
            return Ok(());
        };
        let message = format!(
            "{}: class {} of the {split} split has {} samples, but {shots} shots and {query} queries \
             need {needed}: lower the shots or the queries",
            self.name,
            self.data.class_name(short),
            self.data.samples(short)
        );
        Err(Error::new(ErrorKind::TooFew, message))
    }

    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode) {
        self.few_shot.assert_fits(episode, split, self.data.shape());
        Scratch::lend(|scratch| self.draw(split, key, episode, scratch));
    }

    fn training_classes(&self) -> Option<&dyn TrainingClasses> {
        Some(self)
    }

    fn describe(&self) -> String {
        let [h, w, c] = self.data.shape();
        let [train, validation, test] = Split::ALL.map(|split| self.n_classes(split));
        format!(
            "{}: {h}x{w}x{c} images, {train} training, {validation} validation and {test} test classes \
             (rotations as classes: {}{}); {}",
            self.name, self.rotations, self.augmentation, self.few_shot
        )
    }
}

impl<D: ImageSet> TrainingClasses for ImageTasks<D> {
    fn count(&self) -> usize {
        self.n_classes(Split::Train)
    }

    fn example_into(&self, class: usize, mut rng: &mut dyn Rng, x: &mut [f32]) {
        let turns = self.turns(Split::Train);
        let (base, turn) = (self.data.splits().of(Split::Train)[class / turns], class % turns);
        let sample = below(&mut rng, self.data.samples(base));
        let mut space = Vec::new();
        let image = self.data.image(base, sample, &mut space);
        self.render_changed(image, turn, &mut rng, x);
    }
}

/// Each example's values with its label.
fn rows<'a>(
    x: &'a mut Tensor,
    y: &'a mut Tensor,
    size: usize,
) -> impl Iterator<Item = (&'a mut [f32], &'a mut f32)> {
    x.as_f32_mut().chunks_exact_mut(size).zip(y.as_f32_mut())
}

/// Draws `count` distinct numbers below `n`, every ordered choice equally likely.
fn distinct(rng: &mut impl Rng, n: usize, count: usize, chosen: &mut Vec<usize>) {
    chosen.clear();
    // Floyd's algorithm draws each set with equal chance, in a biased order.
    for last in n - count..n {
        let candidate = below(rng, last + 1);
        chosen.push(if chosen.contains(&candidate) { last } else { candidate });
    }
    for at in (1..count).rev() {
        chosen.swap(at, below(rng, at + 1));
    }
}

/// Writes an image, turned counter-clockwise by `turn` quarters, as values from 0 to 1. A turned image must be square.
fn render(image: &[u8], [h, w, c]: [usize; 3], turn: usize, out: &mut [f32]) {
    let value = |byte: u8| f32::from(byte) / 255.0;
    if turn == 0 {
        out.iter_mut().zip(image).for_each(|(out, &byte)| *out = value(byte));
        return;
    }
    for (i, row) in out.chunks_exact_mut(w * c).enumerate() {
        for (j, pixel) in row.chunks_exact_mut(c).enumerate() {
            let from = match turn {
                1 => j * w + (w - 1 - i),
                2 => (h - 1 - i) * w + (w - 1 - j),
                _ => (h - 1 - j) * w + i,
            };
            let source = &image[from * c..(from + 1) * c];
            pixel.iter_mut().zip(source).for_each(|(out, &byte)| *out = value(byte));
        }
    }
}

#[cfg(test)]
mod tests;
