//! What networks built in stages share: parameters layer by layer, convolutions with batch norm, the head.

use innerloop_engine::{Params, Shape, Var, Window};

use crate::norm::batch_norm;
use crate::{Forward, Init, Layout, Model, NormStatistics, ParamSpec, Vars};

/// A network that exposes the maps at the end of each stage.
pub trait Staged: Model {
    /// Extents `[h, w, c]` of the maps at the end of each stage.
    fn stages(&self) -> &[[usize; 3]];

    /// The forward pass, and the maps at the end of each stage, each `[n, h, w, c]`.
    fn forward_stages<'g>(
        &self,
        params: &Vars<'g>,
        x: Var<'g>,
        norm: &NormStatistics<'g>,
    ) -> (Forward<'g>, Vec<Var<'g>>);
}

/// Parameters in order, with the channels of every normalising layer.
pub(crate) struct Layers {
    pub(crate) specs: Vec<ParamSpec>,
    norms: Vec<(String, usize)>,
    init: Init,
    eps: f64,
}

impl Layers {
    pub(crate) fn new(init: Init, eps: f64) -> Layers {
        Layers { specs: Vec::new(), norms: Vec::new(), init, eps }
    }

    fn push(&mut self, name: String, shape: Shape, layout: Layout, init: Init) {
        self.specs.push(ParamSpec { name, shape, layout, init });
    }

    /// A square convolution without bias under the first name, and batch norm under the second.
    pub(crate) fn conv_norm(&mut self, names: [&str; 2], size: usize, [from, to]: [usize; 2]) {
        let [conv, norm] = names;
        self.push(format!("{conv}.weight"), vec![size, size, from, to], Layout::Conv, self.init);
        self.push(format!("{norm}.weight"), vec![to], Layout::Same, Init::Constant(1.0));
        self.push(format!("{norm}.bias"), vec![to], Layout::Same, Init::Constant(0.0));
        self.norms.push((norm.to_string(), to));
    }

    /// The linear layer at the end.
    pub(crate) fn head(&mut self, name: &str, from: usize, to: usize) {
        self.push(format!("{name}.weight"), vec![to, from], Layout::Same, Init::Torch);
        self.push(format!("{name}.bias"), vec![to], Layout::Same, Init::TorchBias(from));
    }

    pub(crate) fn statistics(&self) -> Params<Shape> {
        let of = |(name, channels): &(String, usize)| {
            ["mean", "var"].map(|s| (format!("{name}.{s}"), vec![*channels]))
        };
        self.norms.iter().flat_map(of).collect()
    }
}

/// A forward pass in progress.
pub(crate) struct Pass<'a, 'g> {
    layers: &'a Layers,
    params: &'a Vars<'g>,
    norm: &'a NormStatistics<'g>,
    statistics: Vars<'g>,
}

impl<'a, 'g> Pass<'a, 'g> {
    pub(crate) fn new(
        layers: &'a Layers,
        params: &'a Vars<'g>,
        norm: &'a NormStatistics<'g>,
    ) -> Pass<'a, 'g> {
        Pass { layers, params, norm, statistics: Params::new() }
    }

    /// A convolution that keeps the extents, or divides them by the stride, rounded up; then batch norm.
    pub(crate) fn conv_norm(&mut self, x: Var<'g>, names: [&str; 2], stride: usize) -> Var<'g> {
        let [conv, norm] = names;
        let kernel = self.params[&format!("{conv}.weight")];
        let &[size, _, _, channels] = kernel.shape().as_slice() else {
            panic!("{conv}: kernels are [kh, kw, in, out]")
        };
        let maps = x.conv(kernel, Window::square(size, stride, size / 2));
        let none = x.graph().full(&[channels], 0.0);
        let eps = self.layers.eps;
        batch_norm(maps, none, self.params, norm, eps, self.norm, &mut self.statistics)
    }

    /// The linear layer on the mean over positions.
    pub(crate) fn finish(self, maps: Var<'g>, name: &str) -> Forward<'g> {
        let &[n, _, _, c] = maps.shape().as_slice() else { panic!("maps are [n, h, w, c]") };
        let pooled = maps.mean_to(&[n, 1, 1, c]).reshape(&[n, c]);
        let weight = self.params[&format!("{name}.weight")];
        let output = pooled.matmul_t(weight) + self.params[&format!("{name}.bias")];
        Forward { output, statistics: self.statistics }
    }
}
