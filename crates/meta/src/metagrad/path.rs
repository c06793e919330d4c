//! An inner loop's extent: its steps, in runs that share a gradient.

use crate::{MetaGradient, Sharing};

/// An inner loop.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) steps: usize,
    pub(super) sharing: Sharing,
    /// Factor of its rates.
    pub(super) scale: f64,
    /// Whether the outer objective depends on where it ends.
    pub(super) differentiated: bool,
}

/// Consecutive inner steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) length: usize,
}

impl Path {
    /// Runs that share a gradient on the way forward; the last one may be shorter.
    pub(super) fn forward(&self) -> impl Iterator<Item = Run> + Clone + use<> {
        runs(self.steps, self.width())
    }

    /// Runs that share a Hessian on the way back, in the order of the way forward, where there is one.
    pub(super) fn backward(
        &self,
        kind: MetaGradient,
    ) -> impl DoubleEndedIterator<Item = Run> + Clone + use<> {
        let width = match self.sharing {
            Sharing::None => 1,
            Sharing::Forward(width) | Sharing::Backward(width) => width.max(1),
        };
        let cut = self.cut(kind);
        // An implicit gradient takes one step back, at the end.
        let end = matches!(kind, MetaGradient::Implicit { .. })
            .then_some(Run { first: self.steps, length: 1 });
        runs(self.steps, width).filter(move |run| run.first >= cut).chain(end)
    }

    /// The first step that is differentiated.
    pub(super) fn cut(&self, kind: MetaGradient) -> usize {
        match kind {
            _ if !self.differentiated => self.steps,
            MetaGradient::FirstOrder
            | MetaGradient::Displacement
            | MetaGradient::Implicit { .. } => self.steps,
            MetaGradient::Truncated { last } => self.steps.saturating_sub(last),
            MetaGradient::Exact
            | MetaGradient::HeldGradients
            | MetaGradient::Binomial { .. }
            | MetaGradient::Differences { .. } => 0,
        }
    }

    /// Number of the minibatch that a step takes; after the last step, that of the last one.
    pub(super) fn batch(&self, step: usize) -> usize {
        step.min(self.steps.saturating_sub(1))
    }

    /// Number of the forward run that begins at a step.
    pub(super) fn place(&self, step: usize) -> usize {
        step.div_ceil(self.width())
    }

    fn width(&self) -> usize {
        match self.sharing {
            Sharing::Forward(width) => width.max(1),
            Sharing::None | Sharing::Backward(_) => 1,
        }
    }
}

fn runs(steps: usize, width: usize) -> impl DoubleEndedIterator<Item = Run> + Clone {
    let last = steps.div_ceil(width);
    (0..last).map(move |i| Run { first: i * width, length: width.min(steps - i * width) })
}
