//! The four-block convolutional network of few-shot learning.

use innerloop_engine::{Params, Shape, Var, Window};

use crate::norm::batch_norm;
use crate::spec::{CONTEXT, context};
use crate::{Forward, Init, Layout, Model, NormStatistics, ParamSpec, Vars};

/// How a block halves its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downsampling {
    /// 3×3 convolution padded by 1, then 2×2 max-pooling that drops an odd edge (Vinyals et al. 2016).
    MaxPool,
    /// 3×3 convolution with stride 2 and SAME padding (Finn et al. 2017 on Omniglot).
    Strided,
}

/// What the linear layer sees of the final maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// All of them.
    Flatten,
    /// The mean over positions.
    Mean,
}

/// Four times [3×3 convolution with bias, batch norm, ReLU, halving], then a linear layer.
///
/// Parameters: `features.{0..3}.conv.weight` (`[3, 3, in, filters]`), `features.{i}.conv.bias`,
/// `features.{i}.norm.weight`, `features.{i}.norm.bias`, `head.weight` (`[ways, inputs]`), `head.bias`.
pub struct Conv4 {
    downsampling: Downsampling,
    head: Head,
    eps: f64,
    /// Height and width of the maps entering each block, and of the final maps.
    maps: Vec<[usize; 2]>,
    specs: Vec<ParamSpec>,
    filters: usize,
    context: usize,
}

const BLOCKS: usize = 4;
/// The block that context parameters act on.
const FILM: usize = 2;

impl Conv4 {
    /// Prefixes of the names of batch norm's scales and shifts.
    pub const NORMS: [&str; BLOCKS] =
        ["features.0.norm.", "features.1.norm.", "features.2.norm.", "features.3.norm."];

    /// For images `[h, w, c]`. Panics when they are too small for four halvings.
    #[track_caller]
    pub fn new(
        image: [usize; 3],
        filters: usize,
        ways: usize,
        (downsampling, head): (Downsampling, Head),
        (weights, eps): (Init, f64),
    ) -> Conv4 {
        let [h, w, mut channels] = image;
        let mut maps = vec![[h, w]];
        let mut specs = Vec::new();
        let mut push = |name: String, shape: Shape, layout: Layout, init: Init| {
            specs.push(ParamSpec { name, shape, layout, init });
        };
        let bias = |fan_in: usize| match weights {
            Init::Torch => Init::TorchBias(fan_in),
            _ => Init::Constant(0.0),
        };
        for i in 0..BLOCKS {
            let shape = vec![3, 3, channels, filters];
            push(format!("features.{i}.conv.weight"), shape, Layout::Conv, weights);
            let same = Layout::Same;
            push(format!("features.{i}.conv.bias"), vec![filters], same, bias(9 * channels));
            push(format!("features.{i}.norm.weight"), vec![filters], same, Init::Constant(1.0));
            push(format!("features.{i}.norm.bias"), vec![filters], same, Init::Constant(0.0));
            let halved = maps[i].map(|extent| match downsampling {
                Downsampling::MaxPool => extent / 2,
                Downsampling::Strided => extent.div_ceil(2),
            });
            assert!(
                halved.iter().all(|&e| e > 0),
                "images of {h}×{w} are too small for four halvings"
            );
            maps.push(halved);
            channels = filters;
        }
        let [h, w] = maps[BLOCKS];
        let (inputs, layout) = match head {
            Head::Flatten => (h * w * filters, Layout::Maps { extents: [h, w, filters] }),
            Head::Mean => (filters, Layout::Same),
        };
        push("head.weight".into(), vec![ways, inputs], layout, weights);
        push("head.bias".into(), vec![ways], Layout::Same, bias(inputs));
        Conv4 { downsampling, head, eps, maps, specs, filters, context: 0 }
    }

    /// Removes the linear layer: the output becomes that layer's input.
    pub fn without_head(mut self) -> Conv4 {
        self.specs.retain(|spec| !spec.name.starts_with("head."));
        self
    }

    /// With `sets` sets of batch norm's scales and shifts, one for each inner step and one after the last (MAML++:
    /// Antoniou et al. 2019, arXiv 1810.09502): they are `[sets, filters]`, and [`Model::forward`] is given one of
    /// them, `[filters]`.
    pub fn with_norms(mut self, sets: usize) -> Conv4 {
        let is_norm = |name: &str| Conv4::NORMS.iter().any(|norm| name.starts_with(norm));
        for spec in self.specs.iter_mut().filter(|spec| is_norm(&spec.name)) {
            spec.shape = vec![sets, self.filters];
        }
        self
    }

    /// With a scale γ and a shift β for each channel of the third block, `[γ, β] = W context + b`, before its ReLU
    /// (FiLM: Perez et al. 2018, arXiv 1709.07871). There are `parameters` of the parameters `context`, which start at
    /// zero, as in CAVIA (Zintgraf et al. 2019, arXiv 1810.03642); `film.weight` is `[2 filters, parameters]`. The bias
    /// always starts as PyTorch's does: at zero it would block every channel.
    pub fn with_context(mut self, parameters: usize) -> Conv4 {
        let weights = self.specs[0].init;
        let mut push = |name: &str, shape: Shape, init| {
            self.specs.push(ParamSpec { name: name.into(), shape, layout: Layout::Same, init });
        };
        push("film.weight", vec![2 * self.filters, parameters], weights);
        push("film.bias", vec![2 * self.filters], Init::TorchBias(parameters));
        self.specs.push(context(parameters));
        self.context = parameters;
        self
    }

    /// Scales and shifts the channels according to the context parameters.
    fn film<'g>(&self, params: &Vars<'g>, h: Var<'g>) -> Var<'g> {
        let (c, n) = (self.filters, self.context);
        let context = params[CONTEXT].reshape(&[1, n]);
        let film =
            (context.matmul_t(params["film.weight"])).reshape(&[2 * c]) + params["film.bias"];
        h * film.slice(&[0], &[c]) + film.slice(&[c], &[c])
    }
}

impl Model for Conv4 {
    fn parameters(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn statistics(&self) -> Params<Shape> {
        let names =
            Conv4::NORMS.iter().flat_map(|norm| ["mean", "var"].map(|s| format!("{norm}{s}")));
        names.map(|name| (name, vec![self.filters])).collect()
    }

    fn forward<'g>(&self, params: &Vars<'g>, x: Var<'g>, norm: &NormStatistics<'g>) -> Forward<'g> {
        let mut statistics = Params::new();
        let mut h = x;
        for i in 0..BLOCKS {
            let name = format!("features.{i}");
            let window = match self.downsampling {
                Downsampling::MaxPool => Window::square(3, 1, 1),
                Downsampling::Strided => Window::same(3, 2, self.maps[i]),
            };
            h = h.conv(params[&format!("{name}.conv.weight")], window);
            let bias = params[&format!("{name}.conv.bias")];
            let eps = self.eps;
            h = batch_norm(h, bias, params, &format!("{name}.norm"), eps, norm, &mut statistics);
            if self.downsampling == Downsampling::MaxPool {
                // ReLU is monotone, so it may follow the pooling instead of preceding it: values and
                // derivatives are the same (a window whose maximum is not positive passes nothing on
                // either way), on a quarter of the elements.
                h = h.max_pool(Window::square(2, 2, 0));
            }
            if i == FILM && self.context > 0 {
                h = self.film(params, h);
            }
            h = h.relu();
        }
        let shape = h.shape();
        let positions = shape[1] * shape[2];
        h = match self.head {
            Head::Flatten => h.reshape(&[shape[0], positions * shape[3]]),
            Head::Mean => {
                let sum = h.sum_to(&[shape[0], 1, 1, shape[3]]).reshape(&[shape[0], shape[3]]);
                sum * (1.0 / positions as f64)
            }
        };
        let output = match params.get("head.weight") {
            Some(&weight) => h.matmul_t(weight) + params["head.bias"],
            None => h,
        };
        Forward { output, statistics }
    }
}
