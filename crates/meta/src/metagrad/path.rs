//! An inner loop's extent: its steps, in runs that share a gradient.

use crate::{MetaGradient, Sharing};

/// An inner loop.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) steps: usize,
    /// The number of last steps that have their own support loss.
    pub(super) closing: usize,
    pub(super) sharing: Sharing,
    /// Whether the backward pass reads the gradient of every step of a window, and not only of the first: learned rates
    /// meet the gradients of their own steps.
    pub(super) keeps_gradients: bool,
    /// Whether φ is kept after every step of a run, and not only after the run, because query losses count there.
    pub(super) keeps_steps: bool,
    /// Factor of its rates.
    pub(super) scale: f64,
    /// Whether the outer objective depends on its end point.
    pub(super) differentiated: bool,
}

/// Consecutive inner steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: usize,
    pub(super) length: usize,
    /// Whether their support loss is that of the closing steps.
    pub(super) closing: bool,
}

impl Path {
    /// Runs that share a gradient in the forward pass; the last one may be shorter.
    pub(super) fn forward(&self) -> impl Iterator<Item = Run> + Clone + use<> {
        self.runs(self.width())
    }

    /// Runs that share a Hessian in the backward pass, in forward order, where there is one.
    pub(super) fn backward(
        &self,
        kind: MetaGradient,
    ) -> impl DoubleEndedIterator<Item = Run> + Clone + use<> {
        let cut = self.cut(kind);
        // An implicit gradient takes one backward step, at the end.
        let end = matches!(kind, MetaGradient::Implicit { .. }).then(|| self.one_more());
        self.runs(self.window()).filter(move |run| run.first >= cut).chain(end)
    }

    /// The first step that is differentiated.
    pub(super) fn cut(&self, kind: MetaGradient) -> usize {
        match kind {
            _ if !self.differentiated => self.steps,
            MetaGradient::FirstOrder
            | MetaGradient::Displacement
            | MetaGradient::Implicit { .. } => self.steps,
            // A gradient taken before the last steps is constant, even for those last steps that share it.
            MetaGradient::Truncated { last } => {
                let within = self.steps.saturating_sub(last)..self.steps;
                within.into_iter().find(|&step| self.opens(step)).unwrap_or(self.steps)
            }
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

    /// Index of the kept φ after `steps` steps, which must be the start of a run unless [`Path::keeps_steps`] is set.
    pub(super) fn place(&self, steps: usize) -> usize {
        if self.keeps_steps {
            return steps;
        }
        let first = self.steps - self.closing;
        let runs = |steps: usize| steps.div_ceil(self.width());
        runs(steps.min(first)) + runs(steps.saturating_sub(first))
    }

    /// Whether a step is the first of those that share a gradient or a Hessian.
    pub(super) fn opens(&self, step: usize) -> bool {
        let first = self.steps - self.closing;
        let within = if step < first { step } else { step - first };
        within.is_multiple_of(self.window())
    }

    /// The step after the last one, which is of the same kind as the last.
    pub(super) fn one_more(&self) -> Run {
        Run { first: self.steps, length: 1, closing: self.closing > 0 }
    }

    /// Steps that share a gradient or a Hessian.
    fn window(&self) -> usize {
        match self.sharing {
            Sharing::None => 1,
            Sharing::Forward(width) | Sharing::Backward(width) => width.max(1),
        }
    }

    fn runs(&self, width: usize) -> impl DoubleEndedIterator<Item = Run> + Clone + use<> {
        let first = self.steps - self.closing;
        runs((0, first), width, false).chain(runs((first, self.closing), width, true))
    }

    fn width(&self) -> usize {
        match self.sharing {
            Sharing::Forward(width) => width.max(1),
            Sharing::None | Sharing::Backward(_) => 1,
        }
    }
}

fn runs(
    (first, steps): (usize, usize),
    width: usize,
    closing: bool,
) -> impl DoubleEndedIterator<Item = Run> + Clone {
    (0..steps.div_ceil(width)).map(move |i| {
        let length = width.min(steps - i * width);
        Run { first: first + i * width, length, closing }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_steps_share_nothing_with_the_steps_before() {
        let path = |sharing| Path {
            steps: 6,
            closing: 1,
            sharing,
            keeps_gradients: false,
            keeps_steps: false,
            scale: 1.0,
            differentiated: true,
        };
        let shared = path(Sharing::Forward(3));
        let runs: Vec<_> = shared.forward().map(|r| (r.first, r.length, r.closing)).collect();
        assert_eq!(runs, [(0, 3, false), (3, 2, false), (5, 1, true)]);
        assert_eq!(runs.iter().map(|r| shared.place(r.0)).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(shared.place(6), 3);
        let backward = path(Sharing::Backward(5));
        let opens: Vec<_> = (0..6).filter(|&step| backward.opens(step)).collect();
        assert_eq!(opens, [0, 5]);
        assert_eq!(backward.backward(MetaGradient::Exact).count(), 2);
        assert_eq!(backward.place(6), 6);
    }

    #[test]
    fn the_last_steps_begin_with_a_window() {
        let path = |sharing| Path {
            steps: 7,
            closing: 0,
            sharing,
            keeps_gradients: false,
            keeps_steps: false,
            scale: 1.0,
            differentiated: true,
        };
        for sharing in [Sharing::Forward(3), Sharing::Backward(3)] {
            let cuts = (0..=7).map(|last| path(sharing).cut(MetaGradient::Truncated { last }));
            assert_eq!(cuts.collect::<Vec<_>>(), [7, 6, 6, 6, 3, 3, 3, 0]);
        }
        assert_eq!(path(Sharing::None).cut(MetaGradient::Truncated { last: 2 }), 5);
    }
}
