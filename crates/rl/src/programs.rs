//! The compiled programs: all derivatives that a method needs, one chunk of samples at a time.
//!
//! Losses and their derivatives are sums over samples, so that a batch of any size runs chunk by chunk, with chunks
//! small enough to stay in a core's cache. The chunks' contributions are added up in double precision, in order.

use innerloop_engine::{
    Dtype, Graph, Isa, Params, Program, Shape, Tensor, Var, Workspace, grad_params, hvp, jvp, vjp,
};
use innerloop_nn::Vars;

use crate::policy::Gaussian;
use crate::{Batch, Policy};

/// Samples in a chunk.
const ROWS: usize = 250;

/// Everything compiled for one policy.
pub(crate) struct Programs {
    shapes: Params<Shape>,
    dtype: Dtype,
    rollout_rows: usize,
    forward: Program,
    pub(crate) policy_gradient: Program,
    pub(crate) hessian_product: Program,
    pub(crate) surrogate: Program,
    pub(crate) surrogate_gradient: Program,
    clipped_gradient: Option<Program>,
    fisher_product: Option<Program>,
}

/// What an outer step needs beside the surrogate and its gradient.
pub(crate) struct StepPrograms {
    /// The Fisher product, of TRPO.
    pub(crate) fisher: bool,
    /// ε of the clipped surrogate, of PPO.
    pub(crate) clip: Option<f64>,
}

/// The memory that one thread's programs run in.
pub(crate) struct Memory {
    workspace: Workspace,
    outputs: Params<Tensor>,
}

/// A chunk of samples in the graph.
struct Traced<'g> {
    params: Vars<'g>,
    /// A vector in the space of parameters.
    direction: Vars<'g>,
    now: Gaussian<'g>,
    old: Gaussian<'g>,
    actions: Var<'g>,
    /// `A_i / n`, and zero in padding rows.
    advantages: Var<'g>,
    /// `1 / n`, and zero in padding rows.
    weights: Var<'g>,
}

impl<'g> Traced<'g> {
    /// Inputs: parameters, direction, then the arrays of a [`Chunk`](crate::batch::Chunk).
    fn new(graph: &'g Graph, policy: &Policy) -> Traced<'g> {
        let params = policy.parameters().map_named(|name, shape| graph.input(name, shape));
        let direction = policy.parameters().map_named(|name, shape| graph.input(name, shape));
        let (o, a) = (policy.observations(), policy.actions());
        let observations = graph.input("observations", &[ROWS, o]);
        let actions = graph.input("actions", &[ROWS, a]);
        let advantages = graph.input("advantages", &[ROWS, 1]);
        let weights = graph.input("weights", &[ROWS, 1]);
        let old = Gaussian {
            mean: graph.input("old_mean", &[ROWS, a]),
            log_std: graph.input("old_log_std", &[a]),
        };
        let now = policy.distribution(&params, observations);
        Traced { params, direction, now, old, actions, advantages, weights }
    }

    /// The inner loss `−1/n Σ A log π(a|s)`.
    fn policy_gradient_loss(&self) -> Var<'g> {
        -(self.now.log_density(self.actions) * self.advantages).sum()
    }

    /// `π(a|s) / π_old(a|s)`
    fn ratio(&self) -> Var<'g> {
        (self.now.log_density(self.actions) - self.old.log_density(self.actions)).exp()
    }

    /// The outer loss `−1/n Σ A π(a|s) / π_old(a|s)`.
    fn surrogate(&self) -> Var<'g> {
        -(self.ratio() * self.advantages).sum()
    }

    /// PPO's `−1/n Σ min(A r, A clip(r, 1 − ε, 1 + ε))`: Schulman et al. 2017, arXiv 1707.06347, eq. 7.
    fn clipped(&self, epsilon: f64) -> Var<'g> {
        let ratio = self.ratio();
        // max(r, low) and min(r, high), by ReLU.
        let above = (ratio - (1.0 - epsilon)).relu() + (1.0 - epsilon);
        let clipped = (1.0 + epsilon) - ((1.0 + epsilon) - above).relu();
        let (free, bounded) = (ratio * self.advantages, clipped * self.advantages);
        -(free - (free - bounded).relu()).sum()
    }

    /// `1/n Σ KL(π_old ‖ π)`
    fn divergence(&self) -> Var<'g> {
        (self.now.divergence_from(&self.old) * self.weights).sum()
    }

    /// `Jᵀ F J u`, with J the derivative of the distribution in the parameters and F its Fisher information:
    /// `1/σ²` for a mean and 2 for a `log σ`. Where old and new distribution are the same, this is the Hessian
    /// of the divergence.
    fn fisher_product(&self) -> Vars<'g> {
        let of = [self.now.mean, self.now.log_std];
        let moved = jvp(&of, self.params.values(), self.direction.values());
        let precision = (self.now.log_std * -2.0).exp();
        let cotangents = [moved[0] * precision * self.weights, moved[1] * self.weights.sum() * 2.0];
        self.params.with_values(vjp(&of, &cotangents, self.params.values()))
    }
}

impl Programs {
    /// Compiles for rollouts of `rollout_rows` trajectories at a time.
    pub(crate) fn new(
        policy: &Policy,
        rollout_rows: usize,
        step: StepPrograms,
        dtype: Dtype,
    ) -> Programs {
        let graph = Graph::new();
        let traced = Traced::new(&graph, policy);
        let gradient = |loss| grad_params(loss, &traced.params);
        let compile = |outputs: &[Var<'_>]| Program::compile(&graph, outputs);
        let (params, direction) = (traced.params.values(), traced.direction.values());
        let loss = traced.policy_gradient_loss();
        Programs {
            shapes: policy.parameters(),
            dtype,
            rollout_rows,
            policy_gradient: compile(gradient(loss).values()),
            hessian_product: compile(&hvp(loss, params, direction, params)),
            surrogate: compile(&[traced.surrogate(), traced.divergence()]),
            surrogate_gradient: compile(gradient(traced.surrogate()).values()),
            clipped_gradient: step
                .clip
                .map(|epsilon| compile(gradient(traced.clipped(epsilon)).values())),
            fisher_product: step.fisher.then(|| compile(traced.fisher_product().values())),
            forward: {
                let graph = Graph::new();
                let params = policy
                    .parameters()
                    .map_named(|name, shape| graph.input(name, &by_columns(shape)));
                let states = graph.input("observations", &[rollout_rows, policy.observations()]);
                Program::compile(&graph, &[policy.mean_by_columns(&params, states)])
            },
        }
    }

    /// Memory for one thread.
    pub(crate) fn memory(&self) -> Memory {
        let all = [
            &self.forward,
            &self.policy_gradient,
            &self.hessian_product,
            &self.surrogate,
            &self.surrogate_gradient,
        ];
        let of_step = [&self.clipped_gradient, &self.fisher_product];
        let all: Vec<&Program> =
            all.into_iter().chain(of_step.into_iter().filter_map(Option::as_ref)).collect();
        Memory {
            workspace: Workspace::new(&all, self.dtype, Isa::detect()),
            outputs: self.shapes.map(|shape| Tensor::zeros(self.dtype, shape)),
        }
    }

    /// The gradient of PPO's clipped surrogate. Panics where the outer step has none.
    pub(crate) fn clipped_gradient(&self) -> &Program {
        self.clipped_gradient.as_ref().expect("compiled for PPO")
    }

    /// The Fisher product. Panics where the outer step has none.
    pub(crate) fn fisher_product(&self) -> &Program {
        self.fisher_product.as_ref().expect("compiled for TRPO")
    }

    /// Element type of parameters.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of trajectories that run together.
    pub(crate) fn rollout_rows(&self) -> usize {
        self.rollout_rows
    }

    /// All parameters, flattened into one vector.
    pub(crate) fn flat(&self, params: &Params<Tensor>) -> Vec<f64> {
        params.values().iter().flat_map(Tensor::iter).collect()
    }

    /// Parameters from a flat vector.
    pub(crate) fn params(&self, flat: &[f64]) -> Params<Tensor> {
        let mut rest = flat;
        let params = self.shapes.map(|shape| {
            let (own, behind) = rest.split_at(shape.iter().product());
            rest = behind;
            Tensor::from_f64(shape, own.to_vec()).cast(self.dtype)
        });
        assert!(rest.is_empty(), "{} surplus elements", rest.len());
        params
    }

    /// Parameters in the form [`Programs::forward`] takes.
    pub(crate) fn for_rollouts(&self, params: &Params<Tensor>) -> Params<Tensor> {
        params.map(|tensor| match tensor.shape().len() {
            2 => tensor.permuted(&[1, 0]),
            _ => tensor.clone(),
        })
    }

    /// The mean `[rows, a]` for the states.
    pub(crate) fn forward(
        &self,
        memory: &mut Memory,
        params: &Params<Tensor>,
        states: &Tensor,
        mean: &mut Tensor,
    ) {
        let workspace = &mut memory.workspace;
        workspace.enter(&self.forward);
        set(workspace, 0, params);
        workspace.set(params.len(), states);
        self.forward.run(workspace);
        workspace.read(0, mean);
    }

    /// Surrogate loss and mean divergence of a batch.
    pub(crate) fn evaluate(
        &self,
        memory: &mut Memory,
        params: &Params<Tensor>,
        batch: &Batch,
    ) -> [f64; 2] {
        let mut sums = [0.0; 2];
        self.each(&self.surrogate, memory, [params, params], batch, |memory| {
            sums[0] += memory.workspace.read_scalar(0);
            sums[1] += memory.workspace.read_scalar(1);
        });
        sums
    }

    /// A gradient, or a product with a direction, for a batch, flattened.
    pub(crate) fn vector(
        &self,
        program: &Program,
        memory: &mut Memory,
        [params, direction]: [&Params<Tensor>; 2],
        batch: &Batch,
    ) -> Vec<f64> {
        let mut sums =
            vec![0.0; self.shapes.values().iter().map(|s| s.iter().product::<usize>()).sum()];
        self.each(program, memory, [params, direction], batch, |memory| {
            let mut rest = sums.as_mut_slice();
            for (i, output) in memory.outputs.values_mut().iter_mut().enumerate() {
                memory.workspace.read(i, output);
                let (own, behind) = rest.split_at_mut(output.len());
                match output.dtype() {
                    Dtype::F32 => add(own, output.as_f32()),
                    Dtype::F64 => add(own, output.as_f64()),
                }
                rest = behind;
            }
        });
        sums
    }

    fn each(
        &self,
        program: &Program,
        memory: &mut Memory,
        [params, direction]: [&Params<Tensor>; 2],
        batch: &Batch,
        mut done: impl FnMut(&mut Memory),
    ) {
        for chunk in &batch.chunks {
            let workspace = &mut memory.workspace;
            workspace.enter(program);
            set(workspace, 0, params);
            set(workspace, params.len(), direction);
            for (i, array) in chunk.arrays().into_iter().chain([&batch.old_log_std]).enumerate() {
                workspace.set(2 * params.len() + i, array);
            }
            program.run(workspace);
            done(memory);
        }
    }
}

/// The shape of a weight transposed; other shapes unchanged.
fn by_columns(shape: &[usize]) -> Shape {
    shape.iter().rev().copied().collect()
}

/// Supplies parameters as the inputs from `first` on.
fn set(workspace: &mut Workspace, first: usize, params: &Params<Tensor>) {
    for (i, value) in params.values().iter().enumerate() {
        workspace.set(first + i, value);
    }
}

fn add<T: Copy + Into<f64>>(sums: &mut [f64], values: &[T]) {
    sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value.into());
}

/// Number of rows in a chunk's arrays.
pub(crate) fn rows() -> usize {
    ROWS
}
