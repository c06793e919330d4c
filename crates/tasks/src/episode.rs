//! One task as numbers: a support set and a query set.

use std::fmt;

use innerloop_engine::{Dtype, Key, Shape, Tensor};

use crate::{Error, TrainingClasses};

/// One task, all tensors `f32`. With `n` support and `m` query rows:
///
/// | field | images | regression |
/// | --- | --- | --- |
/// | `support_x` | `[n, h, w, c]`, values 0 to 1 | `[n, d_in]` |
/// | `support_y` | `[n]`, whole numbers | `[n, d_out]` |
/// | `query_x` | `[m, h, w, c]` | `[m, d_in]` |
/// | `query_y` | `[m]` | `[m, d_out]` |
///
/// The rows of a class are contiguous and labels ascend: `0, 0, …, 1, 1, …`. Which class of the family gets which label
/// is random per task. Training episodes of [`crate::Joint`] are not tasks: their rows are labelled among all training
/// classes and are in random order.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Inputs to adapt on.
    pub support_x: Tensor,
    /// Targets to adapt on.
    pub support_y: Tensor,
    /// Inputs to evaluate on.
    pub query_x: Tensor,
    /// Targets to evaluate on.
    pub query_y: Tensor,
}

impl Episode {
    /// An episode of the right shapes, filled with zeros, for [`TaskFamily::sample_into`].
    pub fn zeros(spec: &EpisodeSpec) -> Episode {
        let [support_x, support_y, query_x, query_y] =
            spec.shapes().map(|shape| Tensor::zeros(Dtype::F32, &shape));
        Episode { support_x, support_y, query_x, query_y }
    }

    /// Panics when the episode was not made for examples `x` and this target, with `support` and `query` rows. It runs
    /// for every episode, and therefore makes no [`EpisodeSpec`], which allocates.
    #[track_caller]
    pub(crate) fn assert_fits(
        &self,
        (x, target): (&[usize], Target),
        (support, query): (usize, usize),
    ) {
        let of_y: &[usize] = match target {
            Target::Classes(_) => &[],
            Target::Values(d_out) => &[d_out],
        };
        let Episode { support_x, support_y, query_x, query_y } = self;
        let sets = [(support_x, support_y, support), (query_x, query_y, query)];
        for (tensor, rows, rest) in sets.iter().flat_map(|&(a, b, n)| [(a, n, x), (b, n, of_y)]) {
            let shape = tensor.shape();
            assert!(
                shape.first() == Some(&rows) && shape[1..] == *rest,
                "episode tensor differs in shape from its family's: {shape:?}, expected {rows} rows of {rest:?}"
            );
        }
    }
}

/// What to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One of this many classes (the "ways").
    Classes(usize),
    /// This many real values.
    Values(usize),
}

/// The shapes of an episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpisodeSpec {
    /// One example: `[h, w, c]` or `[d_in]`.
    pub x: Shape,
    /// What to predict.
    pub target: Target,
    /// Rows of the support set, all classes together.
    pub support: usize,
    /// Rows of the query set, all classes together.
    pub query: usize,
}

impl EpisodeSpec {
    /// Shapes of `support_x`, `support_y`, `query_x`, `query_y`.
    pub fn shapes(&self) -> [Shape; 4] {
        [
            self.x_shape(self.support),
            self.y_shape(self.support),
            self.x_shape(self.query),
            self.y_shape(self.query),
        ]
    }

    /// Number of classes of a task, or of values in a target.
    pub fn outputs(&self) -> usize {
        match self.target {
            Target::Classes(n) | Target::Values(n) => n,
        }
    }

    /// `n` examples: `[n, …x]`.
    pub fn x_shape(&self, n: usize) -> Shape {
        std::iter::once(n).chain(self.x.iter().copied()).collect()
    }

    /// `n` targets: `[n]` for classes, `[n, d_out]` for values.
    pub fn y_shape(&self, n: usize) -> Shape {
        match self.target {
            Target::Classes(_) => vec![n],
            Target::Values(d_out) => vec![n, d_out],
        }
    }
}

/// A group of tasks: for meta-training, for model selection, or for reporting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Meta-training.
    Train,
    /// Choosing between models and settings.
    Validation,
    /// Reported numbers.
    Test,
}

impl Split {
    /// All splits, in order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        })
    }
}

/// Examples of an episode; per class, where there are classes. Training may differ from evaluation: Reptile trains with
/// more shots than it is tested with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Support examples in validation and test.
    pub shots: usize,
    /// Query examples in validation and test.
    pub query: usize,
    /// Support examples in training.
    pub train_shots: usize,
    /// Query examples in training.
    pub train_query: usize,
}

impl Sizes {
    /// The same in training and evaluation.
    pub fn new(shots: usize, query: usize) -> Sizes {
        Sizes { shots, query, train_shots: shots, train_query: query }
    }

    /// Support and query examples in a split.
    pub fn of(&self, split: Split) -> (usize, usize) {
        match split {
            Split::Train => (self.train_shots, self.train_query),
            Split::Validation | Split::Test => (self.shots, self.query),
        }
    }

    /// A description where examples are points of a curve.
    pub(crate) fn of_points(&self) -> String {
        let Sizes { shots, query, train_shots, train_query } = self;
        format!(
            "{shots} support and {query} query points ({train_shots} and {train_query} in training)"
        )
    }
}

/// N-way K-shot episodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FewShot {
    /// Classes in an episode, for validation and test.
    pub ways: usize,
    /// Classes in an episode, for training.
    pub train_ways: usize,
    /// Samples of each class.
    pub sizes: Sizes,
}

impl FewShot {
    /// The same sizes in training and evaluation.
    pub fn new(ways: usize, shots: usize, query: usize) -> FewShot {
        FewShot { ways, train_ways: ways, sizes: Sizes::new(shots, query) }
    }

    /// The same ways in training and evaluation.
    pub const fn with_sizes(ways: usize, sizes: Sizes) -> FewShot {
        FewShot { ways, train_ways: ways, sizes }
    }

    /// Classes in an episode of a split.
    pub fn ways_of(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train_ways,
            Split::Validation | Split::Test => self.ways,
        }
    }

    pub(crate) fn spec(&self, split: Split, image: [usize; 3]) -> EpisodeSpec {
        let (target, (support, query)) = (Target::Classes(self.ways_of(split)), self.rows(split));
        EpisodeSpec { x: image.to_vec(), target, support, query }
    }

    /// Support and query examples of an episode, all classes together.
    fn rows(&self, split: Split) -> (usize, usize) {
        let ((shots, query), ways) = (self.sizes.of(split), self.ways_of(split));
        (ways * shots, ways * query)
    }

    /// Panics when the episode was not made for these sizes and images.
    #[track_caller]
    pub(crate) fn assert_fits(&self, episode: &Episode, split: Split, image: [usize; 3]) {
        let target = Target::Classes(self.ways_of(split));
        episode.assert_fits((&image, target), self.rows(split));
    }
}

impl fmt::Display for FewShot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FewShot { ways, train_ways, sizes } = self;
        let Sizes { shots, query, train_shots, train_query } = sizes;
        write!(f, "{ways}-way {shots}-shot, {query} queries per class")?;
        let same_sizes = (shots, query) == (train_shots, train_query);
        if ways != train_ways {
            write!(f, " (training: {train_ways}-way {train_shots}-shot, {train_query} queries)")?;
        } else if !same_sizes {
            write!(f, " (training: {train_shots}-shot, {train_query} queries)")?;
        }
        Ok(())
    }
}

/// A distribution over tasks.
pub trait TaskFamily: Send + Sync {
    /// Short name, as in configurations and reports.
    fn name(&self) -> &str;

    /// Shapes of this split's episodes.
    fn spec(&self, split: Split) -> EpisodeSpec;

    /// Draws the task that `key` names into `episode`, overwriting it. The result depends only on the family, the split
    /// and the key. Panics when `episode` was not made for [`spec`](TaskFamily::spec)`(split)`.
    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode);

    /// Whether a split can fill its episodes. Call it before drawing from the validation split, which may have fewer
    /// classes than a task needs. The other splits are checked when the family is created.
    fn check(&self, _split: Split) -> Result<(), Error> {
        Ok(())
    }

    /// The training classes, if a network can learn to tell all of them apart at once; `None` by default.
    fn training_classes(&self) -> Option<&dyn TrainingClasses> {
        None
    }

    /// A one-line summary for people: sizes and source.
    fn describe(&self) -> String;
}

/// The key of one episode. Streams are named by the split, so a test task never shares its numbers
/// with a training task, and the test tasks of a seed are always the same ones.
pub fn episode_key(seed: u64, split: Split, iteration: u64, task: u64) -> Key {
    let stream = match split {
        Split::Train => "episode/train",
        Split::Validation => "episode/validation",
        Split::Test => "episode/test",
    };
    Key::new(seed).with_stream(stream).at(iteration, task)
}

#[cfg(test)]
mod tests;
