//! Meta-gradients through the same inner steps, by different rules.

use innerloop_engine::{Params, Shape, Tensor, Var};

use crate::algorithms::{Comparison, Decay, GradientSimilarity, InnerLoop, gradient_sum};
use crate::{
    Algorithm, Companion, End, InnerStep, MetaGradient, MetaState, Moved, Outcome, Problem,
    Sharing, Vars,
};

/// An algorithm's inner loop with another outer gradient.
pub(super) struct Approximation {
    pub(super) label: String,
    base: Box<dyn Algorithm>,
    rule: Rule,
    /// Whether inner steps depend on their starting point, as proximal ones do. To the algorithm itself that point is a
    /// constant. Here the distance of the fast weights from it is a state of the inner loop, which is differentiated.
    held: bool,
}

/// State of an inner loop that is tied to its start: a parameter's displacement.
fn away(name: &str) -> String {
    format!("away.{name}")
}

/// What the outer gradient is.
enum Rule {
    /// The algorithm's own.
    Own,
    /// That of the query loss alone.
    Of(MetaGradient, Sharing),
    /// First-order, corrected towards the inner gradients.
    Similarity(GradientSimilarity),
}

/// The exact one, if there is one, and the others.
pub(super) fn of(
    problem: &dyn Problem,
    algorithm: &dyn Fn() -> Box<dyn Algorithm>,
    steps: usize,
) -> (Option<Approximation>, Vec<Approximation>) {
    use MetaGradient::{
        Binomial, Differences, Displacement, Exact, FirstOrder, HeldGradients, Truncated,
    };
    let base = algorithm();
    let own = base.meta_gradient();
    if steps == 0 {
        return (None, Vec::new());
    }
    let implicit = matches!(own, MetaGradient::Implicit { .. });
    let new = |label: &str, rule| {
        let held = implicit && !matches!(rule, Rule::Own);
        Approximation { label: label.into(), base: algorithm(), rule, held }
    };
    let rule = |label: &str, kind| new(label, Rule::Of(kind, Sharing::None));
    // The default settings.
    let similarity = GradientSimilarity {
        inner: InnerLoop::new(0.0),
        cosine: 1.0,
        l2: 0.0,
        strength: 0.5,
        decay: Decay::Constant,
        comparison: Comparison::PerTensor,
    };
    let mut others = Vec::new();
    let is_exact = own == Exact
        && base.companion(steps).is_none()
        && base.sharing() == Sharing::None
        && base.loss_weights(steps, 0.0).is_none()
        && base.scheduled(0.0).is_empty();
    if !is_exact {
        others.push(new(&format!("as trained ({})", base.name()), Rule::Own));
    }
    others.push(rule("first order", FirstOrder));
    // If the outer loop learns nothing that the inner loop moves, one is zero and the other first order.
    let theta = problem.parameters();
    if theta.names().iter().any(|name| base.adapts(name) && base.learns(name)) {
        others.push(rule("displacement", Displacement));
        others.push(new("gradient similarity, 0.5", Rule::Similarity(similarity)));
    }
    for epsilon in [1.0, 0.01, 0.001] {
        others.push(rule(&format!("differences, epsilon {epsilon}"), Differences { epsilon }));
    }
    // Cut off from its start, the last of several steps is tied to nothing.
    if steps > 1 && !implicit {
        others.push(rule("truncated to the last step", Truncated { last: 1 }));
    }
    if steps > 1 {
        others.push(rule("binomial of degree 1", Binomial { degree: 1 }));
        let exact = |label, sharing| new(label, Rule::Of(Exact, sharing));
        others.push(exact("multi-step, windows of 2", Sharing::Forward(2)));
        // A shared Hessian stands for the steps' own in rules that are linear in the gradient, which an LSTM's and Adam's
        // are not.
        if own != HeldGradients && !base.keeps_state() {
            others.push(exact("multi-step, backward 2", Sharing::Backward(2)));
        }
    }
    // An LSTM also reads the support losses, which inner steps hold constant.
    let exact = if own == HeldGradients { "exact, with support losses held" } else { "exact" };
    (Some(rule(exact, Exact)), others)
}

impl Approximation {
    /// The run's values in the form of this approximation.
    pub(super) fn meta(&self, problem: &dyn Problem, of: &MetaState, steps: usize) -> MetaState {
        let theta = of.omega.filter(|name| problem.parameters().get(name).is_some());
        let mut meta = MetaState::new(problem, self, steps, theta);
        let there = |now: &Params<Tensor>, of: &Params<Tensor>| {
            now.map_named(|name, value| of.get(name).unwrap_or(value).clone())
        };
        meta.omega = there(&meta.omega, &of.omega);
        meta.inner_state = there(&meta.inner_state, &of.inner_state);
        meta.carried = of.carried.clone();
        // At the current point of training, not at its start.
        if matches!(self.rule, Rule::Own) {
            meta.scheduled = of.scheduled.clone();
        }
        meta
    }
}

impl Algorithm for Approximation {
    fn name(&self) -> &str {
        &self.label
    }

    fn adapts(&self, name: &str) -> bool {
        self.base.adapts(name)
    }

    fn learns(&self, name: &str) -> bool {
        self.base.learns(name)
    }

    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
        self.base.rates(adapted, steps)
    }

    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        let mut all = self.base.state(adapted);
        if self.held {
            adapted.iter().for_each(|(name, shape)| all.push(away(name), shape.clone()));
        }
        match &self.rule {
            // The algorithm may gather these sums itself.
            Rule::Similarity(of) => {
                all.merge(&of.state(adapted).filter(|name| all.get(name).is_none()))
            }
            Rule::Own | Rule::Of(..) => all,
        }
    }

    fn keeps_state(&self) -> bool {
        matches!(self.rule, Rule::Own) && self.base.keeps_state()
    }

    fn sharing(&self) -> Sharing {
        match self.rule {
            Rule::Own => self.base.sharing(),
            Rule::Of(_, sharing) => sharing,
            Rule::Similarity(_) => Sharing::None,
        }
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let gathers = matches!(self.rule, Rule::Similarity(_));
        if !gathers && !self.held {
            return self.base.advance(step);
        }
        let shapes = step.phi.map(|phi| phi.shape());
        let own = self.base.state(&shapes);
        let state = step.state.filter(|name| own.get(name).is_some());
        let mut inner = InnerStep { state, ..step.clone() };
        if self.held {
            let start = |name: &str, phi: &Var<'g>| *phi - step.state[away(name).as_str()];
            inner.start = step.phi.map_named(start);
        }
        let mut moved = self.base.advance(&inner);
        for (name, &phi) in step.phi.iter().filter(|_| self.held) {
            let further = step.state[away(name).as_str()] + (moved.phi[name] - phi);
            moved.state.push(away(name), further);
        }
        for (name, &g) in step.gradient.iter().filter(|_| gathers) {
            let sum = gradient_sum(name);
            if moved.state.get(&sum).is_none() {
                moved.state.push(sum.clone(), step.state[sum.as_str()] + g);
            }
        }
        moved
    }

    fn meta_gradient(&self) -> MetaGradient {
        match self.rule {
            Rule::Own => self.base.meta_gradient(),
            Rule::Of(kind, _) => kind,
            Rule::Similarity(_) => MetaGradient::FirstOrder,
        }
    }

    fn scheduled(&self, done: f64) -> Params<Tensor> {
        match &self.rule {
            Rule::Own => self.base.scheduled(done),
            Rule::Of(..) => Params::new(),
            Rule::Similarity(of) => of.scheduled(done),
        }
    }

    fn loss_weights(&self, steps: usize, done: f64) -> Option<Vec<f64>> {
        if matches!(self.rule, Rule::Own) { self.base.loss_weights(steps, done) } else { None }
    }

    fn scaled<'g>(&self, rates: &Vars<'g>, by: f64) -> Vars<'g> {
        self.base.scaled(rates, by)
    }

    fn companion(&self, steps: usize) -> Option<Companion> {
        if matches!(self.rule, Rule::Own) { self.base.companion(steps) } else { None }
    }

    fn objective<'g>(&self, base: &Outcome<'g>, companion: &Outcome<'g>) -> Var<'g> {
        self.base.objective(base, companion)
    }

    fn penalty<'g>(&self, base: &Vars<'g>, companion: &Vars<'g>) -> Option<Var<'g>> {
        self.base.penalty(base, companion)
    }

    fn direction<'g>(&self, end: &End<'g>) -> Vars<'g> {
        match &self.rule {
            Rule::Own => self.base.direction(end),
            Rule::Of(..) => end.gradient.clone(),
            Rule::Similarity(of) => of.direction(end),
        }
    }
}
