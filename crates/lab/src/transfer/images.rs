//! Images of the source's and of the target's classes.

use innerloop_engine::{Key, Tensor};
use innerloop_tasks::cifar::{self, CifarSplit};
use innerloop_tasks::omniglot::{self, Ink, OmniglotSplit};
use innerloop_tasks::{Episode, FewShot, ImageClasses, ImageSet, Split, Strokes, TaskFamily};
use innerloop_transfer::Samples;
use rand::seq::SliceRandom;

use crate::config::transfer::{DataSection, FamilyName};
use crate::data::data_folder;
use crate::{Error, Result};

/// Where images come from.
pub(super) enum Images {
    Drawn,
    Stored(ImageClasses),
}

impl Images {
    pub(super) fn open(section: &DataSection) -> Result<Images> {
        let folder = data_folder(&section.data);
        Ok(match section.family {
            FamilyName::Strokes => Images::Drawn,
            FamilyName::Omniglot => {
                Images::Stored(omniglot::load(&folder, OmniglotSplit::Vinyals, Ink::One)?)
            }
            FamilyName::CifarFs => Images::Stored(cifar::load(&folder, CifarSplit::Fs)?),
        })
    }

    /// Extents of an image.
    pub(super) fn shape(&self) -> [usize; 3] {
        match self {
            Images::Drawn => {
                let spec = Strokes { few_shot: FewShot::new(2, 1, 1) }.spec(Split::Train);
                [spec.x[0], spec.x[1], spec.x[2]]
            }
            Images::Stored(set) => set.shape(),
        }
    }

    /// Labelled and test images of classes of a split, so many of each: a function of the key alone.
    pub(super) fn draw(
        &self,
        (split, role): (Split, &str),
        classes: usize,
        [shots, query]: [usize; 2],
        key: Key,
    ) -> Result<[Samples; 2]> {
        let key = key.with_stream("transfer images");
        match self {
            Images::Drawn => {
                let family = Strokes { few_shot: FewShot::new(classes, shots, query) };
                let mut episode = Episode::zeros(&family.spec(split));
                family.sample_into(split, key, &mut episode);
                let Episode { support_x, support_y, query_x, query_y } = episode;
                Ok([Samples::new(support_x, support_y), Samples::new(query_x, query_y)])
            }
            Images::Stored(set) => stored(set, (split, role), classes, [shots, query], key),
        }
    }
}

fn stored(
    set: &ImageClasses,
    (split, role): (Split, &str),
    classes: usize,
    [shots, query]: [usize; 2],
    key: Key,
) -> Result<[Samples; 2]> {
    let mut chosen = set.splits().of(split).to_vec();
    if chosen.len() < classes {
        return Err(Error::config(format!(
            "transfer.{role}_classes is {classes}, but the {split} split has {}; lower it",
            chosen.len()
        )));
    }
    let mut rng = key.rng();
    chosen.shuffle(&mut rng);
    let mut sets = [shots, query].map(|each| (Vec::new(), Vec::new(), each));
    let mut space = Vec::new();
    for (label, &class) in chosen[..classes].iter().enumerate() {
        let there = set.samples(class);
        if there < shots + query {
            return Err(Error::config(format!(
                "transfer.{role}_shots and transfer.{role}_query are {shots} and {query}, but class {} has {there} \
                 images; lower them",
                set.class_name(class)
            )));
        }
        let mut order: Vec<usize> = (0..there).collect();
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
    Ok(sets.map(|(pixels, labels, _)| {
        let n = labels.len();
        let images = Tensor::from_f32(&[n, h, w, c], pixels);
        Samples::new(images, Tensor::from_f32(&[n], labels))
    }))
}
