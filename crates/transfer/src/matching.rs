//! What to match, where and how strongly: Jang, Lee, Hwang, Shin 2019, arXiv 1905.05901, section 2.
//!
//! For a source layer m and a target layer n, on an example x with maps `S_m(x)` and `T_n(x)`:
//!
//! ```text
//! ‖·‖ per channel c    d_c = mean over positions of (S_m − r_mn(T_n))²_c    r_mn: a 1×1 convolution, learned with the target
//! what: which channel  w   = softmax(W_mn · GAP(S_m) + b_mn)                 sums to one over channels
//! where: which pair    λ   = relu6(v_mn · GAP(S_m) + a_mn)
//! L_transfer = β Σ_mn mean over x of λ Σ_c w_c d_c
//! ```
//!
//! Source maps are resized to the target's extents. `W`, `b` and `v` start at zero and `a` at one, so that all channels
//! and pairs initially count the same: uniform matching.

use innerloop_engine::{Var, Window};
use innerloop_nn::{Init, Layout, ParamSpec, resize_bilinear};

use crate::Vars;

/// Prefix of the names of the meta-networks' parameters.
pub const META_PREFIX: &str = "meta.";

/// Pairs of layers that may be matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// Source and target layer of each pair, counted from 0.
    pub pairs: Vec<[usize; 2]>,
    /// Extents `[h, w, c]` of the source's maps.
    pub source: Vec<[usize; 3]>,
    /// Extents `[h, w, c]` of the target's maps.
    pub target: Vec<[usize; 3]>,
    /// β.
    pub strength: f64,
}

/// The meta-networks' output for a pair.
pub struct Say<'g> {
    /// `λ`, `[n, 1]`.
    pub pair: Var<'g>,
    /// `w`, `[n, c]`.
    pub channels: Var<'g>,
}

impl Matching {
    /// No pairs to match.
    pub fn none() -> Matching {
        Matching { pairs: Vec::new(), source: Vec::new(), target: Vec::new(), strength: 0.0 }
    }

    /// Every source layer paired with every target layer.
    pub fn all(source: &[[usize; 3]], target: &[[usize; 3]], strength: f64) -> Matching {
        let with = |m| (0..target.len()).map(move |n| [m, n]);
        let pairs = (0..source.len()).flat_map(with).collect();
        Matching { pairs, source: source.to_vec(), target: target.to_vec(), strength }
    }

    /// Matching convolutions, which are learned with the target, then the meta-networks.
    pub fn parameters(&self) -> Vec<ParamSpec> {
        let spec = |name: String, shape: Vec<usize>, init: Init| {
            let layout = if shape.len() == 4 { Layout::Conv } else { Layout::Same };
            ParamSpec { name, shape, layout, init }
        };
        let of_pair = |&[m, n]: &[usize; 2]| {
            let (from, to) = (self.target[n][2], self.source[m][2]);
            vec![
                spec(format!("match.{m}-{n}.weight"), vec![1, 1, from, to], Init::Torch),
                spec(format!("match.{m}-{n}.bias"), vec![to], Init::TorchBias(from)),
            ]
        };
        let of_meta = |&[m, n]: &[usize; 2]| {
            let (c, zero) = (self.source[m][2], Init::Constant(0.0));
            let name = |part: &str| format!("{META_PREFIX}{part}.{m}-{n}");
            vec![
                spec(name("channels") + ".weight", vec![c, c], zero),
                spec(name("channels") + ".bias", vec![c], zero),
                spec(name("pair") + ".weight", vec![1, c], zero),
                spec(name("pair") + ".bias", vec![1], Init::Constant(1.0)),
            ]
        };
        self.pairs.iter().flat_map(of_pair).chain(self.pairs.iter().flat_map(of_meta)).collect()
    }

    /// The meta-networks' output for a pair, on examples with these source maps.
    pub fn say<'g>(&self, params: &Vars<'g>, [m, n]: [usize; 2], maps: Var<'g>) -> Say<'g> {
        let shape = maps.shape();
        let (examples, c) = (shape[0], shape[3]);
        let mean = maps.mean_to(&[examples, 1, 1, c]).reshape(&[examples, c]);
        let linear = |part: &str| {
            let name = format!("{META_PREFIX}{part}.{m}-{n}");
            mean.matmul_t(params[&format!("{name}.weight")]) + params[&format!("{name}.bias")]
        };
        let pair = linear("pair");
        Say {
            pair: pair.relu() - (pair - 6.0).relu(),
            channels: linear("channels").log_softmax().exp(),
        }
    }

    /// `L_transfer` on examples with these source and target maps.
    pub fn loss<'g>(&self, params: &Vars<'g>, source: &[Var<'g>], target: &[Var<'g>]) -> Var<'g> {
        let pair = |&[m, n]: &[usize; 2]| {
            let kernel = params[&format!("match.{m}-{n}.weight")];
            let own = target[n].conv(kernel, Window::square(1, 1, 0))
                + params[&format!("match.{m}-{n}.bias")];
            let &[examples, h, w, c] = own.shape().as_slice() else { unreachable!("maps") };
            let off = resize_bilinear(source[m], [h, w]) - own;
            let distance = (off * off).mean_to(&[examples, 1, 1, c]).reshape(&[examples, c]);
            let say = self.say(params, [m, n], source[m]);
            ((say.channels * distance).sum_last() * say.pair).mean()
        };
        let terms = self.pairs.iter().map(pair).reduce(|a, b| a + b);
        terms.expect("pairs to match") * self.strength
    }
}
