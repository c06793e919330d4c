//! What the published archives hold, and the split of Vinyals et al. 2016 ("Matching networks for one shot learning"),
//! as used by Snell et al. 2017: 1028 characters to train on, 172 to validate, 423 to test. The split follows alphabets
//! except for Gurmukhi, so three counts per alphabet describe it completely.

use super::Part;
use super::Part::{Background, Evaluation};

/// Characters of one alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alphabet {
    /// Folder name.
    pub(super) name: &'static str,
    /// Which archive it is in.
    pub(super) part: Part,
    /// Vinyals' counts: the first characters are for training, the next for validation, the rest for test.
    pub(super) vinyals: [usize; 3],
}

impl Alphabet {
    /// Number of characters.
    pub(super) fn characters(&self) -> usize {
        self.vinyals.iter().sum()
    }
}

const fn row(part: Part, name: &'static str, vinyals: [usize; 3]) -> Alphabet {
    Alphabet { name, part, vinyals }
}

/// All alphabets, by name.
#[rustfmt::skip]
pub(super) const ALPHABETS: [Alphabet; 50] = [
    row(Background, "Alphabet_of_the_Magi", [20, 0, 0]),
    row(Evaluation, "Angelic", [20, 0, 0]),
    row(Background, "Anglo-Saxon_Futhorc", [29, 0, 0]),
    row(Background, "Arcadian", [26, 0, 0]),
    row(Background, "Armenian", [0, 41, 0]),
    row(Background, "Asomtavruli_(Georgian)", [40, 0, 0]),
    row(Evaluation, "Atemayar_Qelisayer", [26, 0, 0]),
    row(Evaluation, "Atlantean", [26, 0, 0]),
    row(Evaluation, "Aurek-Besh", [26, 0, 0]),
    row(Evaluation, "Avesta", [26, 0, 0]),
    row(Background, "Balinese", [24, 0, 0]),
    row(Background, "Bengali", [0, 46, 0]),
    row(Background, "Blackfoot_(Canadian_Aboriginal_Syllabics)", [14, 0, 0]),
    row(Background, "Braille", [26, 0, 0]),
    row(Background, "Burmese_(Myanmar)", [34, 0, 0]),
    row(Background, "Cyrillic", [33, 0, 0]),
    row(Background, "Early_Aramaic", [0, 22, 0]),
    row(Background, "Futurama", [26, 0, 0]),
    row(Evaluation, "Ge_ez", [26, 0, 0]),
    row(Evaluation, "Glagolitic", [45, 0, 0]),
    row(Background, "Grantha", [43, 0, 0]),
    row(Background, "Greek", [24, 0, 0]),
    row(Background, "Gujarati", [48, 0, 0]),
    row(Evaluation, "Gurmukhi", [41, 0, 4]),
    row(Background, "Hebrew", [0, 22, 0]),
    row(Background, "Inuktitut_(Canadian_Aboriginal_Syllabics)", [16, 0, 0]),
    row(Background, "Japanese_(hiragana)", [52, 0, 0]),
    row(Background, "Japanese_(katakana)", [47, 0, 0]),
    row(Evaluation, "Kannada", [0, 0, 41]),
    row(Evaluation, "Keble", [0, 0, 26]),
    row(Background, "Korean", [40, 0, 0]),
    row(Background, "Latin", [26, 0, 0]),
    row(Background, "Malay_(Jawi_-_Arabic)", [40, 0, 0]),
    row(Evaluation, "Malayalam", [0, 0, 47]),
    row(Evaluation, "Manipuri", [0, 0, 40]),
    row(Background, "Mkhedruli_(Georgian)", [0, 41, 0]),
    row(Evaluation, "Mongolian", [0, 0, 30]),
    row(Background, "N_Ko", [33, 0, 0]),
    row(Background, "Ojibwe_(Canadian_Aboriginal_Syllabics)", [14, 0, 0]),
    row(Evaluation, "Old_Church_Slavonic_(Cyrillic)", [0, 0, 45]),
    row(Evaluation, "Oriya", [0, 0, 46]),
    row(Background, "Sanskrit", [42, 0, 0]),
    row(Evaluation, "Sylheti", [0, 0, 28]),
    row(Background, "Syriac_(Estrangelo)", [23, 0, 0]),
    row(Evaluation, "Syriac_(Serto)", [0, 0, 23]),
    row(Background, "Tagalog", [17, 0, 0]),
    row(Evaluation, "Tengwar", [0, 0, 25]),
    row(Evaluation, "Tibetan", [0, 0, 42]),
    row(Background, "Tifinagh", [55, 0, 0]),
    row(Evaluation, "ULOG", [0, 0, 26]),
];
