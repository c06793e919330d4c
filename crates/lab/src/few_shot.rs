//! Joins a model and an episode into a problem: the one place that knows both.

use innerloop_engine::{Params, Shape, Tensor, Var};
use innerloop_meta::{Loss, Point, Problem};
use innerloop_nn::{BatchNorm, Conv4, Forward, Model, NormStatistics, loss, prototype_logits};
use innerloop_tasks::{EpisodeSpec, Target};

/// What a problem is traced for: training or evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Meta-training: batch statistics normalise, and are collected where running averages are kept.
    Train,
    /// Evaluation and use: running averages normalise where the mode keeps them.
    Evaluate,
}

/// How predictions are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// The network's output.
    Output,
    /// Distances from the network's output to the class means over the support set.
    Prototypes,
    /// The network's output, with the loss on support and query set as one batch: there is no task.
    Minibatch,
}

/// The examples of a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Support,
    Query,
}

/// Few-shot learning of a model on episodes of fixed shapes.
pub struct FewShot {
    /// The network.
    pub model: Box<dyn Model>,
    /// Shapes of the episodes.
    pub spec: EpisodeSpec,
    /// Whose statistics normalise.
    pub batch_norm: BatchNorm,
    /// Weight of the newest batch in running averages of statistics.
    pub momentum: f64,
    /// What it is traced for.
    pub phase: Phase,
    /// Inner steps `K` of meta-training: per-step statistics have `K + 1` rows.
    pub steps: usize,
    /// How predictions are formed.
    pub readout: Readout,
    /// Whether the query set includes a second view of its inputs, for a second inner loop.
    pub views: bool,
}

impl FewShot {
    /// A query set's arrays; the inputs serve as their own second view.
    pub fn query<'a>(&self, x: &'a Tensor, y: &'a Tensor) -> Vec<&'a Tensor> {
        if self.views { vec![x, y, x] } else { vec![x, y] }
    }

    fn keeps_averages(&self) -> bool {
        matches!(self.batch_norm, BatchNorm::Running | BatchNorm::PerStep)
    }

    /// Whether averages are gathered within a task.
    fn gathers_averages(&self) -> bool {
        self.batch_norm == BatchNorm::Episode && self.phase == Phase::Evaluate
    }

    /// Whether a pass reports its statistics.
    fn tells_statistics(&self) -> bool {
        self.keeps_averages() && self.phase == Phase::Train || self.gathers_averages()
    }

    /// A pass normalised as the mode prescribes, for everything but single queries. The support set always uses its own
    /// statistics: inner steps through averages would follow gradients that no inner loop was trained with.
    fn forward<'g>(&self, at: &Point<'g>, x: Var<'g>, set: Set) -> Forward<'g> {
        let kept = self.keeps_averages() && self.phase == Phase::Evaluate;
        let averages = (kept || self.gathers_averages()) && set == Set::Query;
        let norm = if averages {
            NormStatistics::Given(self.averages(at))
        } else {
            NormStatistics::Batch { groups: 1 }
        };
        let forward = self.model.forward(&self.parameters_at(at), x, &norm);
        let statistics =
            if self.tells_statistics() && !averages { forward.statistics } else { Params::new() };
        Forward { output: forward.output, statistics }
    }

    /// The loss of such a pass.
    fn pass<'g>(&self, at: &Point<'g>, x: Var<'g>, y: Var<'g>, set: Set) -> Loss<'g> {
        let Forward { output, statistics } = self.forward(at, x, set);
        let output = match self.readout {
            Readout::Output | Readout::Minibatch => output,
            Readout::Prototypes => prototype_logits(output, y, output, self.spec.outputs()),
        };
        Loss { value: self.loss(output, y), output, statistics }
    }

    /// The loss on both sets as one batch.
    fn on_minibatch<'g>(&self, at: &Point<'g>, support: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        let [x, y] = [0, 1].map(|i| query[i].graph().concat(&[support[i], query[i]], 0));
        self.pass(at, x, y, Set::Query)
    }

    /// The loss on the query set, which is embedded in one batch with the support set.
    fn by_prototypes<'g>(
        &self,
        at: &Point<'g>,
        support: &[Var<'g>],
        query: &[Var<'g>],
    ) -> Loss<'g> {
        let x = query[0].graph().concat(&[support[0], query[0]], 0);
        let Forward { output, statistics } = self.forward(at, x, Set::Query);
        let (n, m, d) = (self.spec.support, self.spec.query, output.shape()[1]);
        let rows = |first: usize, rows: usize| output.slice(&[first, 0], &[rows, d]);
        let output = prototype_logits(rows(0, n), support[1], rows(n, m), self.spec.outputs());
        Loss { value: self.loss(output, query[1]), output, statistics }
    }

    /// The running averages that normalise the current step.
    fn averages<'g>(&self, at: &Point<'g>) -> Params<Var<'g>> {
        match self.batch_norm {
            BatchNorm::PerStep => at.carried.map(|&average| at_step(average, at)),
            BatchNorm::Running
            | BatchNorm::Episode
            | BatchNorm::Transductive
            | BatchNorm::PerStepBatch
            | BatchNorm::WithSupport => at.carried.clone(),
        }
    }

    /// The parameters at the current step; where there is a set per step, the current one is picked.
    fn parameters_at<'g>(&self, at: &Point<'g>) -> Params<Var<'g>> {
        let per_step = |name: &str| Conv4::NORMS.iter().any(|norm| name.starts_with(norm));
        at.params.map_named(|name, &value| {
            let has_rows = per_step(name) && value.shape().len() == 2;
            if self.batch_norm.has_steps() && has_rows { at_step(value, at) } else { value }
        })
    }

    /// Each query example in a batch with the whole support set: `query` groups of `support + 1`.
    fn with_support<'g>(
        &self,
        at: &Point<'g>,
        support: Var<'g>,
        x: Var<'g>,
        y: Var<'g>,
    ) -> Loss<'g> {
        let (n, m) = (self.spec.support, self.spec.query);
        let with = |first: &[usize]| [first, &self.spec.x].concat();
        let support = support.reshape(&with(&[1, n])).expand(&with(&[m, n]));
        let groups = x.graph().concat(&[support, x.reshape(&with(&[m, 1]))], 1);
        let norm = NormStatistics::Batch { groups: m };
        let output =
            self.model.forward(&at.params, groups.reshape(&with(&[m * (n + 1)])), &norm).output;
        let width = output.shape()[1];
        let queries = output.reshape(&[m, n + 1, width]).slice(&[0, n, 0], &[m, 1, width]);
        let output = queries.reshape(&[m, width]);
        Loss { value: self.loss(output, y), output, statistics: Params::new() }
    }

    fn loss<'g>(&self, output: Var<'g>, y: Var<'g>) -> Var<'g> {
        match self.spec.target {
            Target::Classes(_) => loss::cross_entropy(output, y),
            Target::Values(_) => loss::mean_squared_error(output, y),
        }
    }
}

/// The current step's row, selected by its one-hot vector.
fn at_step<'g>(rows: Var<'g>, at: &Point<'g>) -> Var<'g> {
    let shape = rows.shape();
    at.step.reshape(&[1, shape[0]]).matmul(rows).reshape(&shape[1..])
}

impl Problem for FewShot {
    fn parameters(&self) -> Params<Shape> {
        self.model.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect()
    }

    fn carried(&self) -> Params<Shape> {
        match self.batch_norm {
            BatchNorm::Transductive | BatchNorm::WithSupport | BatchNorm::PerStepBatch => {
                Params::new()
            }
            BatchNorm::Running => self.model.statistics(),
            BatchNorm::Episode => match self.gathers_averages() {
                true => self.model.statistics(),
                false => Params::new(),
            },
            BatchNorm::PerStep => {
                self.model.statistics().map(|shape| [&[self.steps + 1], shape.as_slice()].concat())
            }
        }
    }

    fn gathers(&self) -> Option<f64> {
        self.gathers_averages().then_some(self.momentum)
    }

    fn statistics(&self) -> Params<Shape> {
        if self.tells_statistics() { self.model.statistics() } else { Params::new() }
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        vec![self.spec.x_shape(examples), self.spec.y_shape(examples)]
    }

    fn support_examples(&self) -> usize {
        self.spec.support
    }

    fn query_shapes(&self) -> Vec<Shape> {
        let (x, y) = (self.spec.x_shape(self.spec.query), self.spec.y_shape(self.spec.query));
        if self.views { vec![x.clone(), y, x] } else { vec![x, y] }
    }

    fn companion_query<'g>(&self, query: &[Var<'g>]) -> Vec<Var<'g>> {
        match *query {
            [_, y, view] => vec![view, y],
            _ => query.to_vec(),
        }
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        self.pass(at, support[0], support[1], Set::Support)
    }

    fn query_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        match self.readout {
            Readout::Prototypes => return self.by_prototypes(at, support, query),
            Readout::Minibatch => return self.on_minibatch(at, support, query),
            Readout::Output => {}
        }
        if self.batch_norm == BatchNorm::WithSupport && !self.model.statistics().is_empty() {
            self.with_support(at, support[0], query[0], query[1])
        } else {
            self.pass(at, query[0], query[1], Set::Query)
        }
    }
}
