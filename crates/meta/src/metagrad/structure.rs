//! What both strategies share: which parameters move, which are learned, and their shapes.

use innerloop_engine::{Dtype, Graph, Params, Shape, Tensor};

use super::path::Path;
use super::scope::Scope;
use super::{Derivatives, Losses, Setup, TaskResult};
use crate::{Algorithm, MetaGradient, Problem, Sharing};

/// Names and shapes of everything, fixed by the algorithm, the problem and the number of steps.
#[derive(Clone)]
pub(super) struct Structure {
    pub(super) kind: MetaGradient,
    pub(super) steps: usize,
    /// The inner loop.
    pub(super) path: Path,
    /// The second inner loop, if there is one.
    pub(super) companion: Option<Path>,
    /// Support examples per step, if not all.
    pub(super) batch: Option<usize>,
    /// Tasks that run together. Values of several tasks have a leading axis with one entry per task.
    pub(super) group: usize,
    pub(super) support_examples: usize,
    pub(super) theta: Params<Shape>,
    /// The part of θ that the inner loop moves.
    pub(super) adapted: Params<Shape>,
    /// Initial rates.
    pub(super) rates: Params<Tensor>,
    /// Meta-parameters the outer loop learns: θ, and the rates if they are learned.
    pub(super) learned: Params<Shape>,
    /// The variables of differentiation: `learned`, and the adapted parameters whose starting values are not learned.
    pub(super) varied: Params<Shape>,
    /// Those of `learned` that the inner loop does not move.
    pub(super) fixed: Params<Shape>,
    pub(super) state: Params<Shape>,
    /// Scheduled values at the start of training.
    pub(super) scheduled: Params<Tensor>,
    pub(super) carried: Params<Shape>,
    pub(super) statistics: Params<Shape>,
    pub(super) support: Vec<Shape>,
    pub(super) step_support: Vec<Shape>,
    pub(super) query: Vec<Shape>,
    pub(super) output: Shape,
}

impl Structure {
    pub(super) fn new(
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        steps: usize,
        batch: Option<usize>,
    ) -> Structure {
        let mut structure = Structure::untraced(problem, algorithm, steps, batch);
        // The output's shape is found by tracing.
        let graph = Graph::new();
        let scope = Scope::new(&structure, &graph);
        let omega = scope.omega();
        let step = scope.step();
        let at = scope.point(&omega, &scope.fast(), step);
        let output = problem.query_loss(&at, &scope.support(), &scope.query()).output.shape();
        structure.output = output;
        structure
    }

    /// Everything but the output's shape, which takes a trace of the network.
    pub(super) fn untraced(
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        steps: usize,
        batch: Option<usize>,
    ) -> Structure {
        let theta = problem.parameters();
        let adapted = theta.filter(|name| algorithm.adapts(name));
        let rates = algorithm.rates(&adapted, steps);
        let mut varied = theta.filter(|name| algorithm.learns(name) || algorithm.adapts(name));
        if algorithm.learns_rates() {
            varied = varied.merge(&rates.map(|rate| rate.shape().to_vec()));
        }
        let learned = varied.filter(|name| algorithm.learns(name));
        let fixed = learned.filter(|name| adapted.get(name).is_none());
        let support_examples = problem.support_examples();
        let batch = batch.filter(|&batch| batch < support_examples);
        let support = problem.support_shapes(support_examples);
        let step_support = problem.support_shapes(batch.unwrap_or(support_examples));
        let closing = problem.closing_steps();
        let scheduled = scheduled(algorithm, steps, 0.0);
        Structure {
            kind: algorithm.meta_gradient(),
            steps,
            path: Path {
                steps,
                closing: closing.min(steps),
                sharing: algorithm.sharing(),
                keeps_gradients: algorithm.learns_rates()
                    && matches!(algorithm.sharing(), Sharing::Backward(window) if window > 1),
                keeps_steps: scheduled.get(LOSS_WEIGHTS).is_some(),
                scale: 1.0,
                differentiated: true,
            },
            companion: algorithm.companion(steps).map(|beside| Path {
                steps: beside.steps,
                closing: closing.min(beside.steps),
                sharing: Sharing::None,
                keeps_gradients: false,
                keeps_steps: false,
                scale: beside.scale,
                differentiated: beside.differentiated,
            }),
            batch,
            group: 1,
            support_examples,
            state: algorithm.state(&adapted),
            scheduled,
            theta,
            adapted,
            rates,
            learned,
            varied,
            fixed,
            carried: problem.carried(),
            statistics: problem.statistics(),
            support,
            step_support,
            query: problem.query_shapes(),
            output: Vec::new(),
        }
    }

    /// The shape of a value for all tasks of a group.
    pub(super) fn stacked(&self, one: &[usize]) -> Shape {
        if self.group > 1 { [&[self.group], one].concat() } else { one.to_vec() }
    }

    /// Storage for values of all tasks of a group.
    pub(super) fn zeros(&self, shapes: &Params<Shape>, dtype: Dtype) -> Vec<Tensor> {
        shapes.values().iter().map(|shape| Tensor::zeros(dtype, &self.stacked(shape))).collect()
    }

    pub(super) fn result(&self, dtype: Dtype) -> TaskResult {
        let zeros = |shape: &Shape| Tensor::zeros(dtype, shape);
        TaskResult {
            gradient: self.learned.map(zeros),
            support_losses: Vec::with_capacity(self.steps + 1),
            query_loss: f64::NAN,
            output: zeros(&self.output),
            fast: self.adapted.map(zeros),
            statistics: self.statistics.map(|shape| {
                let rows = [&[self.steps + 1], shape.as_slice()].concat();
                Tensor::zeros(dtype, &rows)
            }),
            inner_state: self.state.map(zeros),
        }
    }

    /// Position among the learned meta-parameters of each adapted parameter, in order; `None` where its starting value
    /// is not learned.
    pub(super) fn adapted_positions(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.adapted.names().iter().map(|name| self.learned.position(name))
    }

    /// Position among the learned meta-parameters of each one that does not adapt, in order.
    pub(super) fn fixed_positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.fixed
            .names()
            .iter()
            .map(|name| self.learned.position(name).expect("a part of learned"))
    }

    pub(super) fn derivatives(&self) -> Derivatives {
        let paths = || std::iter::once(self.path).chain(self.companion);
        let back = paths().flat_map(|path| path.backward(self.kind));
        let products = back.map(|(_, orders)| orders.products()).sum::<usize>();
        let (differences, hessian_products) = match self.kind {
            MetaGradient::HeldGradients => (0, 0),
            MetaGradient::Differences { .. } => (2 * products, 0),
            MetaGradient::Implicit { iterations, .. } => {
                (0, iterations + usize::from(!self.fixed.is_empty()))
            }
            _ => (0, products),
        };
        let query = match self.kind {
            MetaGradient::Displacement => 0,
            _ if self.weighs_steps() => self.steps,
            _ => 1,
        };
        let forward = paths().map(|path| path.forward().count()).sum::<usize>();
        let gradients = forward + differences + query;
        Derivatives { gradients, hessian_products }
    }

    /// What inner steps move: the adapted part of θ, and the inner optimizer's state.
    pub(super) fn moving(&self) -> Params<Shape> {
        self.adapted.merge(&self.state)
    }

    /// Number of the values that inner steps move.
    pub(super) fn moves(&self) -> usize {
        self.adapted.len() + self.state.len()
    }

    /// Inner steps of the longer inner loop.
    pub(super) fn most_steps(&self) -> usize {
        self.companion.map_or(self.steps, |path| path.steps.max(self.steps))
    }

    /// Whether query losses before that of the last step count.
    pub(super) fn weighs_steps(&self) -> bool {
        self.path.keeps_steps
    }

    /// Zero-based index on the one-hot step axis for the support pass of inner step `k`: steps beyond those trained
    /// repeat the last one's.
    pub(super) fn step_index(&self, k: usize) -> usize {
        k.min(self.steps.saturating_sub(1))
    }
}

/// Name of [`Algorithm::loss_weights`] among the scheduled values.
pub(super) const LOSS_WEIGHTS: &str = "loss_weights";

/// Values that change during training, of the algorithm and of its objective.
pub(super) fn scheduled(algorithm: &dyn Algorithm, steps: usize, done: f64) -> Params<Tensor> {
    let mut values = algorithm.scheduled(done);
    if let Some(weights) = algorithm.loss_weights(steps, done).filter(|_| steps > 0) {
        assert_eq!(weights.len(), steps, "{}: one weight per step", algorithm.name());
        values.push(LOSS_WEIGHTS, Tensor::from_f64(&[steps], weights));
    }
    values
}

/// Number of steps with weighted query losses, from the scheduled values.
pub(super) fn weighted_steps(scheduled: &Params<Tensor>) -> usize {
    scheduled.get(LOSS_WEIGHTS).map_or(0, Tensor::len)
}

/// The weight of the query loss after `step` steps.
pub(super) fn loss_weight(scheduled: &Params<Tensor>, step: usize) -> f64 {
    scheduled.get(LOSS_WEIGHTS).map_or(0.0, |weights| weights.get(step - 1))
}

/// Whether the support loss after the last step is asked for.
pub(super) fn wants_final_loss(setup: Setup) -> bool {
    setup.losses == Losses::All
}
