//! Omniglot: Lake, Salakhutdinov, Tenenbaum 2015. 1623 handwritten characters of 50 alphabets, each
//! drawn by the same 20 people.
//!
//! Read in place from the published archives `images_background.zip` and `images_evaluation.zip`
//! (github.com/brendenlake/omniglot, folder `python`) or from the folders they unpack to. Images are
//! shrunk from 105x105 to 28x28 with the Lanczos filter, as learn2learn does. Published checksums are
//! not compared: what is inside is.

mod alphabets;
mod archive;
mod splits;

use std::fmt;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use crate::resize::Shrink;
use crate::{Class, Error, ErrorKind, FewShot, ImageClasses, ImageTasks, Rotations, Split};
use alphabets::{ALPHABETS, Alphabet};
use archive::{Archive, Character};
pub use splits::OmniglotSplit;

/// Side of a published image, in pixels.
const PUBLISHED: usize = 105;
/// Side of an image as used in the literature.
const SIDE: usize = 28;
/// People who drew each character.
const SAMPLES: usize = 20;

/// Which of two values ink has. The files hold black ink (0) on white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ink {
    /// Ink is 1 on a background of 0, as in nearly all published work ("inverted").
    #[default]
    One,
    /// Ink is 0 on a background of 1, as in the files.
    Zero,
}

/// The two published archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Background,
    Evaluation,
}

impl Part {
    const ALL: [Part; 2] = [Part::Background, Part::Evaluation];

    /// Name of the folder; that of the archive has `.zip` added.
    fn folder(self) -> &'static str {
        match self {
            Part::Background => "images_background",
            Part::Evaluation => "images_evaluation",
        }
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The archives or folders read.
    pub parts: Vec<PartReport>,
    /// The folder of Vinyals' class lists, if there is one; it agrees with the built-in split.
    pub lists: Option<PathBuf>,
    /// Training, validation and test classes of each split, before rotations.
    pub splits: Vec<(OmniglotSplit, [usize; 3])>,
}

/// Contents of one archive or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartReport {
    /// Where it is.
    pub place: PathBuf,
    /// Alphabets in it.
    pub alphabets: usize,
    /// Characters of all its alphabets.
    pub classes: usize,
    /// Images of all its characters, every one decoded.
    pub samples: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for PartReport { place, alphabets, classes, samples } in &self.parts {
            let place = place.display();
            writeln!(f, "{place}: {alphabets} alphabets, {classes} classes, {samples} images")?;
        }
        if let Some(lists) = &self.lists {
            writeln!(f, "{}: class lists agree with the built-in split", lists.display())?;
        }
        for (split, [train, validation, test]) in &self.splits {
            writeln!(
                f,
                "split {split}: {train} training, {validation} validation, {test} test classes"
            )?;
        }
        Ok(())
    }
}

/// Tasks on the data set in `dir` with ink 1 on 0: [`load`] and a sampler.
pub fn tasks(
    dir: &Path,
    split: OmniglotSplit,
    few_shot: FewShot,
    rotations: Rotations,
) -> Result<ImageTasks, Error> {
    ImageTasks::new(format!("omniglot/{split}"), load(dir, split, Ink::One)?, few_shot, rotations)
}

/// Reads the data set: 1623 classes named `Alphabet/characterNN` of 20 `[28, 28, 1]` images each.
///
/// `dir` holds the two archives or folders, directly or in `omniglot` or `omniglot-py`; where both an
/// archive and its folder are present, the archive is read.
pub fn load(dir: &Path, split: OmniglotSplit, ink: Ink) -> Result<ImageClasses, Error> {
    let root = find_root(dir)?;
    let mut classes = Vec::new();
    for part in Part::ALL {
        classes.append(&mut load_part(&root, part, &ALPHABETS, ink)?.1);
    }
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    ImageClasses::new([SIDE, SIDE, 1], classes, split.lists())
}

/// Reads and decodes everything without keeping it, and says what was there. Fails at the first thing
/// that is missing, damaged or different from the published data set.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    let root = find_root(dir)?;
    let parts = Part::ALL.into_iter().map(|part| verify_part(&root, part, &ALPHABETS));
    let parts = parts.collect::<Result<Vec<PartReport>, Error>>()?;
    let lists = splits::check_lists(&root)?;
    let sizes = |split: OmniglotSplit| Split::ALL.map(|s| split.lists().of(s).len());
    let splits = OmniglotSplit::ALL.map(|split| (split, sizes(split))).to_vec();
    Ok(Report { parts, lists, splits })
}

fn verify_part(root: &Path, part: Part, table: &[Alphabet]) -> Result<PartReport, Error> {
    let (place, classes) = load_part(root, part, table, Ink::One)?;
    Ok(PartReport {
        place,
        alphabets: table.iter().filter(|alphabet| alphabet.part == part).count(),
        classes: classes.len(),
        samples: classes.iter().map(|class| class.pixels.len() / (SIDE * SIDE)).sum(),
    })
}

fn find_root(dir: &Path) -> Result<PathBuf, Error> {
    let places = [dir.to_path_buf(), dir.join("omniglot"), dir.join("omniglot-py")];
    let holds_data = |place: &&PathBuf| {
        let there = |part: Part| archive::find(place, part).is_some();
        Part::ALL.into_iter().any(there)
    };
    if let Some(root) = places.iter().find(holds_data) {
        return Ok(root.clone());
    }
    let found = if dir.is_dir() { "holds neither archive" } else { "is not a folder" };
    let message = format!(
        "Omniglot not found: {} {found}: expected images_background.zip and images_evaluation.zip, or \
         the folders they unpack to, there or in omniglot or omniglot-py below it; download them from \
         github.com/brendenlake/omniglot (folder python), or use the family \"strokes\", which needs no \
         files",
        dir.display()
    );
    Err(Error::new(ErrorKind::NotFound, message))
}

/// Where the part was found, and its classes in the table's order.
fn load_part(
    root: &Path,
    part: Part,
    table: &[Alphabet],
    ink: Ink,
) -> Result<(PathBuf, Vec<Class>), Error> {
    let archive = Archive::open(root, part)?;
    let characters = archive.characters(table)?;
    // One contiguous share per thread: the first error is the same whatever the number of threads.
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = characters.len().div_ceil(threads).max(1);
    let shrink = Shrink::new(PUBLISHED, SIDE);
    let decoded: Vec<Result<Vec<Class>, Error>> = thread::scope(|scope| {
        let decode = |share| {
            let (mut archive, shrink) = (archive.clone(), &shrink);
            move || decode_share(&mut archive, share, shrink, ink)
        };
        let workers: Vec<_> =
            characters.chunks(share).map(|share| scope.spawn(decode(share))).collect();
        workers.into_iter().map(|w| w.join().expect("decoding reports errors")).collect()
    });
    let shares = decoded.into_iter().collect::<Result<Vec<_>, Error>>()?;
    Ok((archive.place().to_path_buf(), shares.into_iter().flatten().collect()))
}

fn decode_share(
    archive: &mut Archive,
    characters: &[Character],
    shrink: &Shrink,
    ink: Ink,
) -> Result<Vec<Class>, Error> {
    let decode = |character: &Character| {
        let mut pixels = Vec::with_capacity(SAMPLES * SIDE * SIDE);
        for image in &character.images {
            let mut published = archive.read(image)?;
            published.iter_mut().for_each(|pixel| *pixel = 255 - *pixel);
            shrink.append(&published, &mut pixels);
        }
        if ink == Ink::Zero {
            pixels.iter_mut().for_each(|pixel| *pixel = 255 - *pixel);
        }
        Ok(Class { name: character.name.clone(), pixels })
    };
    characters.iter().map(decode).collect()
}

#[cfg(test)]
mod tests;
