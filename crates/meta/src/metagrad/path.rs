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

/// How the cotangents before a run follow from those after it. Only a binomial gradient has several: the one of order `m`
/// holds the terms with at most `m` Hessians.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// Number of cotangents after the run, of consecutive orders.
    pub(super) after: usize,
    /// Number of cotangents before it.
    pub(super) before: usize,
    /// Whether the lowest order goes no further.
    drops: bool,
}

impl Orders {
    /// For each cotangent before the run, that of the same order after it, and that of the order below, to which the
    /// Hessian is applied; the lowest order of all has no Hessian.
    pub(super) fn sources(self) -> impl Iterator<Item = (usize, Option<usize>)> {
        let lowest = usize::from(self.drops);
        let source = move |m: usize| (m.min(self.after - 1), m.checked_sub(1));
        (lowest..lowest + self.before).map(source)
    }

    /// Number of products with the run's Hessian.
    pub(super) fn products(self) -> usize {
        self.sources().filter(|(_, below)| below.is_some()).count()
    }
}

impl Path {
    /// Runs that share a gradient in the forward pass; the last one may be shorter.
    pub(super) fn forward(&self) -> impl Iterator<Item = Run> + Clone + use<> {
        self.runs(self.width())
    }

    /// Runs that share a Hessian in the backward pass, from the last to the first, where there is one.
    ///
    /// Of R runs, n of them done, orders above n are equal, since no term has more than n Hessians yet; and orders below
    /// `L − (R − n)` no longer reach order L, the result, with one Hessian per run. So the orders in between are all that
    /// a run computes: `L (R − L + 1)` products in total. An exact gradient has `L = R`, and a single order at any time.
    pub(super) fn backward(
        &self,
        kind: MetaGradient,
    ) -> impl Iterator<Item = (Run, Orders)> + Clone + use<> {
        let cut = self.cut(kind);
        // An implicit gradient takes one backward step, at the end.
        let end = matches!(kind, MetaGradient::Implicit { .. }).then(|| self.one_more());
        let runs = self.runs(self.window()).filter(move |run| run.first >= cut).chain(end).rev();
        let all = runs.clone().count();
        let degree = match kind {
            MetaGradient::Binomial { degree } => degree.min(all),
            _ => all,
        };
        let lowest = move |done: usize| (degree + done).saturating_sub(all);
        let number = move |done: usize| degree.min(done) + 1 - lowest(done);
        let orders = move |done: usize| Orders {
            after: number(done),
            before: number(done + 1),
            drops: lowest(done + 1) > lowest(done),
        };
        runs.enumerate().map(move |(done, run)| (run, orders(done)))
    }

    /// The most cotangents at any time in the backward pass.
    pub(super) fn most_orders(&self, kind: MetaGradient) -> usize {
        self.backward(kind).map(|(_, orders)| orders.after.max(orders.before)).max().unwrap_or(1)
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

    impl Path {
        const PLAIN: Path = Path {
            steps: 6,
            closing: 0,
            sharing: Sharing::None,
            keeps_gradients: false,
            keeps_steps: false,
            scale: 1.0,
            differentiated: true,
        };
    }

    #[test]
    fn closing_steps_share_nothing_with_the_steps_before() {
        let path = |sharing| Path { closing: 1, sharing, ..Path::PLAIN };
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

    /// Every order that is needed comes from orders that are there, and the last run leaves the result alone.
    #[test]
    fn orders_of_a_binomial_gradient() {
        for (steps, degree) in (0..=7).flat_map(|steps| (0..=9).map(move |degree| (steps, degree)))
        {
            let path = Path { steps, ..Path::PLAIN };
            let kind = MetaGradient::Binomial { degree };
            let (runs, kept) = (path.backward(kind), degree.min(steps));
            let products: usize = runs.clone().map(|(_, orders)| orders.products()).sum();
            assert_eq!(products, kept * (steps - kept + 1), "{degree} of {steps}");
            let mut number = 1;
            for (_, orders) in runs {
                assert_eq!(orders.after, number);
                let there = |(own, below): (usize, Option<usize>)| {
                    own < number && below.is_none_or(|below| below < number)
                };
                assert!(orders.sources().all(there), "{degree} of {steps}: {orders:?}");
                number = orders.before;
            }
            assert_eq!(number, 1, "{degree} of {steps}");
            assert!(path.most_orders(kind) <= kept.min(steps - kept) + 1);
        }
        let exact: Vec<_> = Path { steps: 3, ..Path::PLAIN }
            .backward(MetaGradient::Exact)
            .map(|(run, orders)| (run.first, orders.sources().collect::<Vec<_>>()))
            .collect();
        assert_eq!(exact, [2, 1, 0].map(|first| (first, vec![(0, Some(0))])));
    }

    #[test]
    fn the_last_steps_begin_with_a_window() {
        let path = |sharing| Path { steps: 7, sharing, ..Path::PLAIN };
        for sharing in [Sharing::Forward(3), Sharing::Backward(3)] {
            let cuts = (0..=7).map(|last| path(sharing).cut(MetaGradient::Truncated { last }));
            assert_eq!(cuts.collect::<Vec<_>>(), [7, 6, 6, 6, 3, 3, 3, 0]);
        }
        assert_eq!(path(Sharing::None).cut(MetaGradient::Truncated { last: 2 }), 5);
    }
}
