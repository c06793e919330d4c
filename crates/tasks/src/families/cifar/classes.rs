//! The names of CIFAR-100's classes and which of them are held out.
//!
//! The lists of torchmeta (github.com/tristandeleu/pytorch-meta, MIT): CIFAR-FS by Bertinetto et al. 2019, FC100 by
//! Oreshkin et al. 2018. Classes that are neither for validation nor for test are for training.

use super::CifarSplit;
use crate::SplitLists;

/// All classes, in alphabetical order.
const NAMES: &str = "\
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly \
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile \
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp \
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom \
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine \
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake \
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor \
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm";

/// CIFAR-FS: 16 classes.
const FS_VALIDATION: &str = "\
    beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter \
    sea shark television tractor";

/// CIFAR-FS: 20 classes.
const FS_TEST: &str = "\
    baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail \
    sweet_pepper table telephone wardrobe whale woman worm";

/// FC100: 20 classes, four whole superclasses.
const FC_VALIDATION: &str = "\
    bear camel cattle chimpanzee crab elephant hamster kangaroo leopard lion lobster mouse rabbit \
    shrew snail spider squirrel tiger wolf worm";

/// FC100: 20 classes, four whole superclasses.
const FC_TEST: &str = "\
    baby beaver bee beetle boy butterfly caterpillar cockroach dolphin fox girl man otter porcupine \
    possum raccoon seal skunk whale woman";

/// All classes, in alphabetical order.
pub(super) fn names() -> Vec<&'static str> {
    NAMES.split_whitespace().collect()
}

/// Indices into [`names`].
pub(super) fn lists(split: CifarSplit) -> SplitLists {
    let (validation, test) = match split {
        CifarSplit::Fs => (FS_VALIDATION, FS_TEST),
        CifarSplit::Fc100 => (FC_VALIDATION, FC_TEST),
    };
    let mut lists = SplitLists::default();
    for (class, name) in names().into_iter().enumerate() {
        let is_in = |list: &str| list.split_whitespace().any(|listed| listed == name);
        let list = match () {
            _ if is_in(validation) => &mut lists.validation,
            _ if is_in(test) => &mut lists.test,
            _ => &mut lists.train,
        };
        list.push(class);
    }
    lists
}
