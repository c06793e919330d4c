//! The losses of a step, as traced.
//!
//! The support set is a batch: images, labels, and the source's maps for the images. The query set is images and
//! labels; in training they are those of the same batch.

use std::sync::Arc;

use innerloop_engine::{Params, Shape, Var};
use innerloop_meta::{Loss, Point, Problem};
use innerloop_nn::loss::cross_entropy;
use innerloop_nn::{NormStatistics, ParamSpec, Staged};

use crate::{Matching, Vars};

/// Which steps a problem describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The target's own training: steps on cross-entropy plus the transfer loss.
    Joint,
    /// The steps that train the meta-networks: some on the transfer loss alone, and a last one on cross-entropy.
    Apart,
}

/// A target network beside a source network.
pub struct Transfer {
    /// The target network.
    pub target: Arc<dyn Staged>,
    /// Extents `[h, w, c]` of an image.
    pub image: [usize; 3],
    /// Examples per batch.
    pub batch: usize,
    /// What is matched; without pairs the target learns alone.
    pub matching: Matching,
    /// Which steps it describes.
    pub stage: Stage,
}

impl Transfer {
    /// Parameters: the target's, the matching convolutions', the meta-networks'.
    pub fn specs(&self) -> Vec<ParamSpec> {
        [self.target.parameters(), &self.matching.parameters()].concat()
    }

    fn pass<'g>(&self, params: &Vars<'g>, x: Var<'g>) -> (Loss<'g>, Vec<Var<'g>>) {
        let norm = NormStatistics::Batch { groups: 1 };
        let (forward, maps) = self.target.forward_stages(params, x, &norm);
        let statistics = match self.stage {
            Stage::Joint => forward.statistics,
            Stage::Apart => Params::new(),
        };
        let value = x.graph().scalar(0.0);
        (Loss { value, output: forward.output, statistics }, maps)
    }
}

impl Problem for Transfer {
    fn parameters(&self) -> Params<Shape> {
        self.specs().into_iter().map(|spec| (spec.name, spec.shape)).collect()
    }

    fn carried(&self) -> Params<Shape> {
        Params::new()
    }

    /// Statistics of the target's own steps only: those of the other steps are rolled back with the weights.
    fn statistics(&self) -> Params<Shape> {
        match self.stage {
            Stage::Joint => self.target.statistics(),
            Stage::Apart => Params::new(),
        }
    }

    fn support_examples(&self) -> usize {
        self.batch
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        let [h, w, c] = self.image;
        let maps = self.matching.source.iter().map(|&[h, w, c]| vec![examples, h, w, c]);
        [vec![examples, h, w, c], vec![examples]].into_iter().chain(maps).collect()
    }

    fn query_shapes(&self) -> Vec<Shape> {
        self.support_shapes(self.batch)[..2].to_vec()
    }

    fn closing_steps(&self) -> usize {
        usize::from(self.stage == Stage::Apart)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        let (loss, maps) = self.pass(&at.params, support[0]);
        let task = || cross_entropy(loss.output, support[1]);
        let transfer = || self.matching.loss(&at.params, &support[2..], &maps);
        let value = match self.stage {
            Stage::Joint if self.matching.pairs.is_empty() => task(),
            Stage::Joint => task() + transfer(),
            Stage::Apart if at.closing => task(),
            Stage::Apart => transfer(),
        };
        Loss { value, ..loss }
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        let (loss, _) = self.pass(&at.params, query[0]);
        Loss { value: cross_entropy(loss.output, query[1]), ..loss }
    }
}
