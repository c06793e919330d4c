//! A Gaussian policy: a perceptron gives the mean, a parameter the logarithm of the standard deviation.

use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var, volume};
use innerloop_nn::{
    Activation, Init, Layout, Mlp, Model, NormStatistics, ParamSpec, Vars, initialise,
};

/// The parameter `log σ`. It belongs to the head: methods that adapt only the head adapt it too.
pub const LOG_STD: &str = "head.log_std";

/// Smallest standard deviation, as in the code of Finn et al. 2017.
const LEAST_STD: f64 = 1e-6;

/// `π_θ(a | s) = N(a; μ_θ(s), diag σ²)`, with σ the same in every state.
///
/// Actions are in units of the environment's bounds: ±1 are the bounds.
pub struct Policy {
    mean: Mlp,
    activation: Activation,
    specs: Vec<ParamSpec>,
    observations: usize,
    actions: usize,
}

/// Mean `[n, a]` and log standard deviation `[a]` of a Gaussian over actions.
#[derive(Clone, Copy)]
pub struct Gaussian<'g> {
    /// `μ`.
    pub mean: Var<'g>,
    /// `log σ`.
    pub log_std: Var<'g>,
}

impl Policy {
    /// A policy with the given numbers of coordinates. Weights start from Glorot and Bengio's uniform distribution,
    /// biases and `log σ` at zero.
    pub fn new(
        observations: usize,
        hidden: &[usize],
        actions: usize,
        activation: Activation,
    ) -> Policy {
        let sizes: Vec<usize> = [&[observations], hidden, &[actions]]
            .iter()
            .flat_map(|part| part.iter().copied())
            .collect();
        let mean = Mlp::new(&sizes, activation, Init::Xavier);
        let mut specs = mean.parameters().to_vec();
        specs.push(ParamSpec {
            name: LOG_STD.into(),
            shape: vec![actions],
            layout: Layout::Same,
            init: Init::Constant(0.0),
        });
        Policy { mean, activation, specs, observations, actions }
    }

    /// Coordinates of an observation.
    pub fn observations(&self) -> usize {
        self.observations
    }

    /// Coordinates of an action.
    pub fn actions(&self) -> usize {
        self.actions
    }

    /// Shapes of the parameters, in order.
    pub fn parameters(&self) -> Params<Shape> {
        self.specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect()
    }

    /// Total number of elements of the parameters.
    pub fn len(&self) -> usize {
        self.specs.iter().map(|spec| volume(&spec.shape)).sum()
    }

    /// True without parameters, which never happens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fresh parameters.
    pub fn initial(&self, key: Key, dtype: Dtype) -> Params<Tensor> {
        initialise(&self.specs, key, dtype)
    }

    /// The distribution of actions in the states `[n, observations]`.
    pub fn distribution<'g>(&self, params: &Vars<'g>, states: Var<'g>) -> Gaussian<'g> {
        let mean = self.mean.forward(params, states, &NormStatistics::Batch { groups: 1 }).output;
        let least = LEAST_STD.ln();
        // max(log σ, least)
        let log_std = (params[LOG_STD] - least).relu() + least;
        Gaussian { mean, log_std }
    }

    /// `log σ` itself, no less than what [`Policy::distribution`] allows.
    pub(crate) fn log_std(params: &Params<Tensor>) -> Vec<f64> {
        params[LOG_STD].iter().map(|log_std| log_std.max(LEAST_STD.ln())).collect()
    }

    /// The mean of [`Policy::distribution`] with weights given as `[in, out]`: small batches of states use them in
    /// place, whereas the other layout is packed for every product.
    pub(crate) fn mean_by_columns<'g>(&self, params: &Vars<'g>, states: Var<'g>) -> Var<'g> {
        let layers = self.mean.parameters().chunks_exact(2);
        let last = layers.len() - 1;
        layers.enumerate().fold(states, |h, (i, layer)| {
            let z = h.matmul(params[&layer[0].name]) + params[&layer[1].name];
            match self.activation {
                _ if i == last => z,
                Activation::Relu => z.relu(),
                Activation::Tanh => z.tanh(),
            }
        })
    }
}

impl<'g> Gaussian<'g> {
    /// `log π(a)` of actions `[n, a]`, as `[n, 1]`.
    pub fn log_density(&self, actions: Var<'g>) -> Var<'g> {
        let z = (actions - self.mean) * (-self.log_std).exp();
        let half_log_tau = 0.5 * std::f64::consts::TAU.ln();
        -(z * z * 0.5 + (self.log_std + half_log_tau)).sum_last()
    }

    /// `KL(old ‖ self)` in every state, as `[n, 1]`.
    pub fn divergence_from(&self, old: &Gaussian<'g>) -> Var<'g> {
        let off = (old.mean - self.mean) * (-self.log_std).exp();
        let ratio = old.log_std - self.log_std;
        ((off * off + ((ratio * 2.0).exp() - 1.0)) * 0.5 - ratio).sum_last()
    }
}
