//! Which characters are for training, validation and test.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use innerloop_engine::Key;

use super::{ALPHABETS, Part};
use crate::random;
use crate::{Error, ErrorKind, Split, SplitLists};

/// The splits of the 1623 characters that are in use. Scores are comparable only within a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OmniglotSplit {
    /// 1028 / 172 / 423: Vinyals et al. 2016, by alphabet; the lists of Snell et al. 2017.
    Vinyals,
    /// 1100 / 100 / 423 after a shuffle of all characters: Finn et al. 2017. Same sizes and method,
    /// different members: the original shuffle depends on Python's generator and on the order of a folder's
    /// listing. Ours is fixed.
    Finn,
    /// 792 / 172 / 659: Lake et al. 2015, whole alphabets, background against evaluation. They have no
    /// validation set; Vinyals' is taken from the background set.
    Lake,
}

impl OmniglotSplit {
    /// All of them.
    pub const ALL: [OmniglotSplit; 3] =
        [OmniglotSplit::Vinyals, OmniglotSplit::Finn, OmniglotSplit::Lake];

    /// Indices into the characters, sorted by alphabet and number.
    pub(super) fn lists(self) -> SplitLists {
        match self {
            OmniglotSplit::Vinyals => by_character(|_, vinyals| vinyals),
            OmniglotSplit::Finn => shuffled(1100, 100),
            OmniglotSplit::Lake => by_character(|part, vinyals| match part {
                Part::Background if vinyals == Split::Validation => Split::Validation,
                Part::Background => Split::Train,
                Part::Evaluation => Split::Test,
            }),
        }
    }
}

impl fmt::Display for OmniglotSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OmniglotSplit::Vinyals => "vinyals",
            OmniglotSplit::Finn => "finn",
            OmniglotSplit::Lake => "lake",
        })
    }
}

/// Splits by each character's archive and its place in Vinyals' split.
fn by_character(decide: impl Fn(Part, Split) -> Split) -> SplitLists {
    let mut lists = SplitLists::default();
    let mut index = 0;
    for alphabet in &ALPHABETS {
        for (vinyals, count) in Split::ALL.into_iter().zip(alphabet.vinyals) {
            let list = match decide(alphabet.part, vinyals) {
                Split::Train => &mut lists.train,
                Split::Validation => &mut lists.validation,
                Split::Test => &mut lists.test,
            };
            list.extend(index..index + count);
            index += count;
        }
    }
    lists
}

fn shuffled(train: usize, validation: usize) -> SplitLists {
    let mut rng = Key::new(1).with_stream("omniglot/finn").rng();
    let characters = ALPHABETS.iter().map(|alphabet| alphabet.characters()).sum();
    let mut order = random::shuffled(&mut rng, characters);
    let test = order.split_off(train + validation);
    let validation = order.split_off(train);
    SplitLists { train: order, validation, test }
}

/// Compares the published class lists below `root`, if present, with the built-in split; returns where they are.
pub(super) fn check_lists(root: &Path) -> Result<Option<PathBuf>, Error> {
    let folder = root.join("splits").join("vinyals");
    if !folder.is_dir() {
        return Ok(None);
    }
    let lists = OmniglotSplit::Vinyals.lists();
    let names: Vec<String> = ALPHABETS
        .iter()
        .flat_map(|a| (1..=a.characters()).map(|number| class_name(a.name, number)))
        .collect();
    for (split, file) in Split::ALL.into_iter().zip(["train.txt", "val.txt", "test.txt"]) {
        let path = folder.join(file);
        let listed = read_list(&path)?;
        let ours: BTreeSet<&str> = lists.of(split).iter().map(|&c| names[c].as_str()).collect();
        let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        if let Some(name) = ours.symmetric_difference(&listed).next() {
            let message = format!(
                "{}: {} classes, {name} among those listed here or in the published split but not in \
                 both: expected the {} {split} classes of Vinyals et al.; take the lists from \
                 github.com/jakesnell/prototypical-networks, or remove the folder, which is not needed",
                path.display(),
                listed.len(),
                ours.len()
            );
            return Err(Error::new(ErrorKind::Unknown, message));
        }
    }
    Ok(Some(folder))
}

/// `Alphabet/characterNN` of each line `Alphabet/characterNN/rotDDD`.
fn read_list(path: &Path) -> Result<BTreeSet<String>, Error> {
    let text = fs::read_to_string(path).map_err(|cause| {
        let message = format!(
            "{}: cannot read the class list ({cause}): expected train.txt, val.txt and test.txt; \
             remove the folder, which is not needed, or complete it",
            path.display()
        );
        Error::new(ErrorKind::Io, message)
    })?;
    Ok(text
        .lines()
        .filter_map(|line| line.rsplit_once("/rot"))
        .map(|(c, _)| c.to_owned())
        .collect())
}

/// `Alphabet/characterNN`.
pub(super) fn class_name(alphabet: &str, number: usize) -> String {
    format!("{alphabet}/character{number:02}")
}
