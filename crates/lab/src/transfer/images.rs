//! Images of the source's and the target's classes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use innerloop_engine::{Key, Tensor};
use innerloop_tasks::cifar::{self, CifarSplit};
use innerloop_tasks::gallery::{self, Division};
use innerloop_tasks::omniglot::{self, Ink, OmniglotSplit};
use innerloop_tasks::{
    Episode, FewShot, Fit, Form, ImageClasses, ImageSet, Shares, Split, Strokes, TaskFamily,
    mini_imagenet,
};
use innerloop_transfer::Samples;
use rand::seq::SliceRandom;

use crate::config::TransferConfig;
use crate::config::transfer::{DataSection, DataSet, FamilyName};
use crate::data::data_folder;
use crate::{Error, Result};

/// The network that learns.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// Classes of the training split.
    Source,
    /// Classes of the test split.
    Target,
}

impl Role {
    fn split(self) -> Split {
        match self {
            Role::Source => Split::Train,
            Role::Target => Split::Test,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Target => "target",
        }
    }

    /// Number of classes, and of labelled and test images per class.
    fn sizes(self, section: &DataSection) -> (usize, [usize; 2]) {
        match self {
            Role::Source => (section.source_classes, [section.source_shots, section.source_query]),
            Role::Target => (section.target_classes, [section.target_shots, section.target_query]),
        }
    }

    /// How classes are divided by default: a network with a data set of its own gets all classes.
    fn shares(self, own: bool) -> Shares {
        let (train, validation) = match self {
            _ if !own => (0.64, 0.16),
            Role::Source => (1.0, 0.0),
            Role::Target => (0.0, 0.0),
        };
        Shares { train, validation, seed: 1 }
    }
}

/// Images for both networks, all of one shape, and enough of them.
pub(super) struct Images {
    shape: [usize; 3],
    /// Those of the source and of the target.
    sets: [Pool; 2],
    section: DataSection,
}

#[derive(Clone)]
enum Pool {
    Drawn,
    Stored(Arc<ImageClasses>),
}

impl Images {
    /// Reads the data sets. Fails unless the images of both have one shape, are large enough for the target's network,
    /// and there are as many as configured in every class.
    pub(super) fn open(config: &TransferConfig) -> Result<Images> {
        let section = &config.transfer;
        let [source, target] = config.data_sets();
        let own = source != target;
        if own && source.family == FamilyName::Images && target.family == FamilyName::Images {
            check_apart(&source, &target)?;
        }
        let first = Pool::open(&source, section, Role::Source.shares(own))?;
        let second = match own {
            true => Pool::open(&target, section, Role::Target.shares(own))?,
            false => first.clone(),
        };
        let shape = second.shape();
        if first.shape() != shape {
            let words = |[h, w, c]: [usize; 3]| format!("{w}x{h} with {c} channels");
            return Err(Error::config(format!(
                "images of the source are {}, and those of the target {}: expected the same shape; set \
                 transfer.size and transfer.channels to convert both",
                words(first.shape()),
                words(shape)
            )));
        }
        config.check_stages("configuration", shape[0].min(shape[1]))?;
        first.check(Role::Source, section)?;
        second.check(Role::Target, section)?;
        Ok(Images { shape, sets: [first, second], section: section.clone() })
    }

    /// Extents of an image.
    pub(super) fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Labelled and test images of randomly chosen classes: a function of the key alone.
    pub(super) fn draw(&self, role: Role, key: Key) -> [Samples; 2] {
        let key = key.with_stream("transfer images");
        let (classes, [shots, query]) = role.sizes(&self.section);
        let [source, target] = &self.sets;
        let pool = match role {
            Role::Source => source,
            Role::Target => target,
        };
        match pool {
            Pool::Drawn => {
                let family = Strokes { few_shot: FewShot::new(classes, shots, query) };
                let mut episode = Episode::zeros(&family.spec(role.split()));
                family.sample_into(role.split(), key, &mut episode);
                let Episode { support_x, support_y, query_x, query_y } = episode;
                [Samples::new(support_x, support_y), Samples::new(query_x, query_y)]
            }
            Pool::Stored(set) => stored(set, role.split(), classes, [shots, query], key),
        }
    }
}

impl Pool {
    fn open(set: &DataSet, section: &DataSection, shares: Shares) -> Result<Pool> {
        let folder = data_folder(&set.data);
        let classes = match set.family {
            FamilyName::Strokes => return Ok(Pool::Drawn),
            FamilyName::Omniglot => omniglot::load(&folder, OmniglotSplit::Vinyals, Ink::One)?,
            FamilyName::CifarFs => cifar::load(&folder, CifarSplit::Fs)?,
            FamilyName::MiniImagenet => mini_imagenet::load(&folder, section.size)?,
            FamilyName::Images => {
                let some = |value: usize| (value > 0).then_some(value);
                let (side, channels) = (some(section.size), some(section.channels));
                let division = match set.split_file.as_str() {
                    "" => Division::Shares(shares),
                    file => Division::File(PathBuf::from(file)),
                };
                gallery::load(&folder, Form { side, fit: Fit::Crop, channels }, &division)?
            }
        };
        Ok(Pool::Stored(Arc::new(classes)))
    }

    fn shape(&self) -> [usize; 3] {
        match self {
            Pool::Drawn => {
                let spec = Strokes { few_shot: FewShot::new(2, 1, 1) }.spec(Split::Train);
                [spec.x[0], spec.x[1], spec.x[2]]
            }
            Pool::Stored(set) => set.shape(),
        }
    }

    /// Fails unless there are as many classes, and images of each, as configured.
    fn check(&self, role: Role, section: &DataSection) -> Result<()> {
        let Pool::Stored(set) = self else { return Ok(()) };
        let ((classes, [shots, query]), split, name) =
            (role.sizes(section), role.split(), role.name());
        let there = set.splits().of(split);
        if there.len() < classes {
            return Err(Error::config(format!(
                "transfer.{name}_classes is {classes}, but the {split} split has {}; lower it",
                there.len()
            )));
        }
        match there.iter().find(|&&class| set.samples(class) < shots + query) {
            None => Ok(()),
            Some(&class) => Err(Error::config(format!(
                "transfer.{name}_shots and transfer.{name}_query are {shots} and {query}, but class {} has {} images; \
                 lower them",
                set.class_name(class),
                set.samples(class)
            ))),
        }
    }
}

/// Fails if both are the same place, however it is spelt: the target would learn the source's classes.
fn check_apart(source: &DataSet, target: &DataSet) -> Result<()> {
    // A missing place is reported by the reader.
    let [one, other] = [source, target].map(|set| fs::canonicalize(Path::new(&set.data)).ok());
    match one.is_some() && one == other {
        false => Ok(()),
        true => Err(Error::config(format!(
            "source.data is {}, the same place as transfer.data: expected another data set; leave source.data out to \
             divide the classes of one",
            source.data
        ))),
    }
}

fn stored(
    set: &ImageClasses,
    split: Split,
    classes: usize,
    [shots, query]: [usize; 2],
    key: Key,
) -> [Samples; 2] {
    let mut chosen = set.splits().of(split).to_vec();
    let mut rng = key.rng();
    chosen.shuffle(&mut rng);
    let mut sets = [shots, query].map(|each| (Vec::new(), Vec::new(), each));
    let mut space = Vec::new();
    for (label, &class) in chosen[..classes].iter().enumerate() {
        let mut order: Vec<usize> = (0..set.samples(class)).collect();
        order.shuffle(&mut rng);
        let mut order = order.into_iter();
        for (pixels, labels, each) in &mut sets {
            for sample in order.by_ref().take(*each) {
                let image = set.image(class, sample, &mut space);
                pixels.extend(image.iter().map(|&byte| f32::from(byte) / 255.0));
                labels.push(label as f32);
            }
        }
    }
    let [h, w, c] = set.shape();
    sets.map(|(pixels, labels, _)| {
        let n = labels.len();
        let images = Tensor::from_f32(&[n, h, w, c], pixels);
        Samples::new(images, Tensor::from_f32(&[n], labels))
    })
}
