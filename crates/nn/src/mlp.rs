//! A multilayer perceptron: `x Wᵀ + b`, an activation between layers.

use innerloop_engine::{Params, Shape, Var};

use crate::spec::{CONTEXT, context};
use crate::{Forward, Init, Layout, Model, NormStatistics, ParamSpec, Vars};

/// Function between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// tanh x: smooth, for checks by finite differences.
    Tanh,
}

/// Layers of the given sizes; the last one is the head. Parameters are `features.{i}.weight` `[out, in]`
/// and `features.{i}.bias`, then `head.weight` and `head.bias`.
pub struct Mlp {
    sizes: Vec<usize>,
    activation: Activation,
    specs: Vec<ParamSpec>,
    context: usize,
}

impl Mlp {
    /// `sizes` lists the input, the hidden layers and the output; inputs of several axes are flattened.
    #[track_caller]
    pub fn new(sizes: &[usize], activation: Activation, weights: Init) -> Mlp {
        assert!(sizes.len() >= 2, "an MLP has at least an input and an output");
        let mut specs = Vec::new();
        for (i, pair) in sizes.windows(2).enumerate() {
            let name = layer_name(i, sizes.len() - 1);
            let bias = match weights {
                Init::Torch => Init::TorchBias(pair[0]),
                _ => Init::Constant(0.0),
            };
            let same = Layout::Same;
            let shape = vec![pair[1], pair[0]];
            specs.push(ParamSpec {
                name: format!("{name}.weight"),
                shape,
                layout: same,
                init: weights,
            });
            let shape = vec![pair[1]];
            specs.push(ParamSpec { name: format!("{name}.bias"), shape, layout: same, init: bias });
        }
        Mlp { sizes: sizes.to_vec(), activation, specs, context: 0 }
    }

    /// With `parameters` additional inputs, the same for all examples: the parameter `context`, which starts at zero
    /// (CAVIA: Zintgraf et al. 2019, arXiv 1810.03642).
    pub fn with_context(mut self, parameters: usize) -> Mlp {
        self.specs[0].shape[1] += parameters;
        self.specs.push(context(parameters));
        self.context = parameters;
        self
    }
}

fn layer_name(i: usize, layers: usize) -> String {
    if i + 1 == layers { "head".into() } else { format!("features.{i}") }
}

impl Model for Mlp {
    fn parameters(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn statistics(&self) -> Params<Shape> {
        Params::new()
    }

    fn forward<'g>(&self, params: &Vars<'g>, x: Var<'g>, _: &NormStatistics<'g>) -> Forward<'g> {
        let n = x.shape()[0];
        let mut h = x.reshape(&[n, self.sizes[0]]);
        if self.context > 0 {
            let context = params[CONTEXT].expand(&[n, self.context]);
            h = x.graph().concat(&[h, context], 1);
        }
        let layers = self.sizes.len() - 1;
        for i in 0..layers {
            let name = layer_name(i, layers);
            h = h.matmul_t(params[&format!("{name}.weight")]) + params[&format!("{name}.bias")];
            if i + 1 < layers {
                h = match self.activation {
                    Activation::Relu => h.relu(),
                    Activation::Tanh => h.tanh(),
                };
            }
        }
        Forward { output: h, statistics: Params::new() }
    }
}
