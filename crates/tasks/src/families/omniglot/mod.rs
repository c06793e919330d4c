//! Omniglot: Lake, Salakhutdinov, Tenenbaum 2015. 1623 handwritten characters of 50 alphabets, each
//! drawn by the same 20 people.
//!
//! Read in place from the published archives `images_background.zip` and `images_evaluation.zip`
//! (github.com/brendenlake/omniglot, folder `python`) or from the folders they unpack to. Images are shrunk from
//! 105x105 to 28x28 with the Lanczos filter, as learn2learn does. The contents are checked, not the published
//! checksums.

mod alphabets;
mod archive;
mod splits;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache::{self, Decoding, Reading};
use crate::{Class, Error, ErrorKind, ImageClasses, Split};
use alphabets::{ALPHABETS, Alphabet};
pub use splits::OmniglotSplit;

/// Side of a published image, in pixels.
const PUBLISHED: usize = 105;
/// Side of an image as used in the literature.
const SIDE: usize = 28;
/// People who drew each character.
const SAMPLES: usize = 20;

/// Which of the two values ink has. The files hold black ink (0) on white.
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
    /// The folder of Vinyals' class lists, if there is one; they agree with the built-in split.
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
    /// Images of all its characters, all of them decoded.
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

/// Reads the data set: 1623 classes named `Alphabet/characterNN` of 20 `[28, 28, 1]` images each.
///
/// `dir` holds the two archives or folders, directly or in `omniglot` or `omniglot-py`; where both an archive and its
/// folder are present, the archive is read.
pub fn load(dir: &Path, split: OmniglotSplit, ink: Ink) -> Result<ImageClasses, Error> {
    read(dir, split, ink, Reading::Kept)
}

fn read(
    dir: &Path,
    split: OmniglotSplit,
    ink: Ink,
    reading: Reading,
) -> Result<ImageClasses, Error> {
    let root = find_root(dir)?;
    let mut classes = Vec::new();
    for part in Part::ALL {
        classes.append(&mut load_part(&root, part, &ALPHABETS, reading)?.1);
    }
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    if ink == Ink::Zero {
        let pixels = classes.iter_mut().flat_map(|class| &mut class.pixels);
        pixels.for_each(|pixel| *pixel = 255 - *pixel);
    }
    ImageClasses::new([SIDE, SIDE, 1], classes, split.lists())
}

/// Reads and decodes everything without keeping it, and reports what was there. Fails at the first thing that is
/// missing, damaged or different from the published data set.
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
    let (place, classes) = load_part(root, part, table, Reading::Anew)?;
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

/// Where the part was found, and its classes in the table's order, ink 255 on 0.
fn load_part(
    root: &Path,
    part: Part,
    table: &[Alphabet],
    reading: Reading,
) -> Result<(PathBuf, Vec<Class>), Error> {
    let tree = archive::open(root, part)?;
    let listed = archive::list(&tree, part, table)?;
    let sources = (&tree, listed.as_slice(), Decoding::Omniglot);
    let (_, classes) = cache::load(sources, reading, || archive::decode_all(&tree, &listed))?;
    Ok((tree.place().to_path_buf(), classes))
}

#[cfg(test)]
mod tests;
