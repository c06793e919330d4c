//! All training classes together, for networks that are pre-trained before they see a task.

use innerloop_engine::Key;
use rand::Rng;

use crate::random::below;
use crate::{Episode, EpisodeSpec, Error, ErrorKind, Split, Target, TaskFamily};

/// The training classes of a family, labelled from 0 on, the same in every task.
pub trait TrainingClasses {
    /// Number of classes.
    fn count(&self) -> usize;

    /// Draws an example of a class and overwrites `x` with it.
    fn example_into(&self, class: usize, rng: &mut dyn Rng, x: &mut [f32]);
}

/// A family whose training episodes are minibatches: as many examples as in an episode, each of a class drawn from all
/// training classes. Its validation and test tasks are those of the wrapped family.
pub struct Joint {
    family: Box<dyn TaskFamily>,
    classes: usize,
    /// Of its minibatches.
    spec: EpisodeSpec,
}

impl Joint {
    /// Fails for a family without training classes to tell apart.
    pub fn new(family: Box<dyn TaskFamily>) -> Result<Joint, Error> {
        let Some(classes) = family.training_classes().map(TrainingClasses::count) else {
            let message = format!(
                "{} has no training classes that could be learned all at once: pre-training needs a family of labelled \
                 examples",
                family.name()
            );
            return Err(Error::new(ErrorKind::Unknown, message));
        };
        let target = Target::Classes(classes);
        let spec = EpisodeSpec { target, ..family.spec(Split::Train) };
        Ok(Joint { family, classes, spec })
    }
}

impl TaskFamily for Joint {
    fn name(&self) -> &str {
        self.family.name()
    }

    fn spec(&self, split: Split) -> EpisodeSpec {
        match split {
            Split::Train => self.spec.clone(),
            Split::Validation | Split::Test => self.family.spec(split),
        }
    }

    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode) {
        if split != Split::Train {
            return self.family.sample_into(split, key, episode);
        }
        let EpisodeSpec { x, target, support, query } = &self.spec;
        episode.assert_fits((x, *target), (*support, *query));
        let classes = self.family.training_classes().expect("there were some before");
        let mut rng = key.rng();
        let Episode { support_x, support_y, query_x, query_y } = episode;
        for (x, y) in [(support_x, support_y), (query_x, query_y)] {
            let size = x.len() / y.len();
            for (x, y) in x.as_f32_mut().chunks_exact_mut(size).zip(y.as_f32_mut()) {
                let class = below(&mut rng, self.classes);
                classes.example_into(class, &mut rng, x);
                *y = class as f32;
            }
        }
    }

    fn check(&self, split: Split) -> Result<(), Error> {
        self.family.check(split)
    }

    fn training_classes(&self) -> Option<&dyn TrainingClasses> {
        self.family.training_classes()
    }

    fn describe(&self) -> String {
        let examples = self.spec.support + self.spec.query;
        format!(
            "{}; trained on minibatches of {examples} examples of {} classes together",
            self.family.describe(),
            self.classes
        )
    }
}

#[cfg(test)]
mod tests;
