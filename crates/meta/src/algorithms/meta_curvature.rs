//! Meta-Curvature: Park and Oliva 2019, arXiv 1902.03356, section 3.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α M(g_k)        g_k = ∇L_S(φ_k)
//! G  = ∇_{θ,M} L_Q(φ_K)
//!
//! `M` multiplies the gradient of a dense weight `[out, in]` by a learned square matrix on either side, that of a
//! convolution's kernel `[kh, kw, in, out]` by one along its positions (kh·kw), one along `in` and one along `out`, and
//! that of a vector by a number for each element. All start at the identity, so the first gradient is MAML's.
//!
//! Departures: α of a tensor can be set but is not learned; it could be absorbed into any of its factors.

use innerloop_engine::{Dtype, Params, Shape, Tensor, Var};

use super::InnerLoop;
use crate::rates::CURVATURE_PREFIX;
use crate::{Algorithm, InnerStep, MetaGradient, Moved, Vars};

/// MAML with a learned multilinear transform of every gradient.
pub struct MetaCurvature {
    /// Fixed rates, and frozen parameters.
    pub inner: InnerLoop,
}

/// Extents along which a gradient of this shape has a factor each; empty for a vector or a number.
fn modes(shape: &[usize]) -> Shape {
    match *shape {
        [] | [_] => Vec::new(),
        [height, width, ref channels @ ..] if channels.len() == 2 => {
            [&[height * width], channels].concat()
        }
        _ => shape.to_vec(),
    }
}

/// Name of the factors of a vector or a number, one for each element.
fn elementwise_name(tensor: &str) -> String {
    format!("{CURVATURE_PREFIX}{tensor}")
}

/// Name of the matrix along a mode.
fn factor_name(tensor: &str, mode: usize) -> String {
    format!("{CURVATURE_PREFIX}{tensor}.mode{mode}")
}

fn identity(n: usize) -> Tensor {
    let mut matrix = Tensor::zeros(Dtype::F64, &[n, n]);
    (0..n).for_each(|i| matrix.set(i * n + i, 1.0));
    matrix
}

impl Algorithm for MetaCurvature {
    fn name(&self) -> &str {
        "meta_curvature"
    }

    fn adapts(&self, name: &str) -> bool {
        self.inner.moves(name)
    }

    fn rates(&self, adapted: &Params<Shape>, _: usize) -> Params<Tensor> {
        let mut factors = Params::new();
        for (name, shape) in adapted.iter() {
            let modes = modes(shape);
            if modes.is_empty() {
                factors.push(elementwise_name(name), Tensor::full(Dtype::F64, shape, 1.0));
            }
            for (mode, &extent) in modes.iter().enumerate() {
                factors.push(factor_name(name, mode), identity(extent));
            }
        }
        factors
    }

    fn learns_rates(&self) -> bool {
        true
    }

    /// A gradient is multiplied by all factors of its tensor, so only one of them takes the scale.
    fn scaled<'g>(&self, factors: &Vars<'g>, by: f64) -> Vars<'g> {
        let is_further = |name: &str| name.ends_with(".mode1") || name.ends_with(".mode2");
        factors.map_named(|name, &factor| if is_further(name) { factor } else { factor * by })
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let update = step.gradient.map_named(|name, &g| {
            let (shape, modes) = (g.shape(), modes(&g.shape()));
            let transformed = match modes.is_empty() {
                true => step.rates[&elementwise_name(name)] * g,
                false => (0..modes.len())
                    .fold(g.reshape(&modes), |g, mode| {
                        along(g, mode, step.rates[&factor_name(name, mode)])
                    })
                    .reshape(&shape),
            };
            transformed * self.inner.rates.get(name)
        });
        let phi = step.phi.zip_map(&update, |&phi, &update| phi - update);
        Moved { phi, state: Params::new() }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}

/// The tensor multiplied by a matrix along one of its axes.
fn along<'g>(g: Var<'g>, axis: usize, factor: Var<'g>) -> Var<'g> {
    let shape = g.shape();
    // The axis swaps places with the last one, and back.
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.swap(axis, shape.len() - 1);
    let turned = g.transpose(&order);
    let (there, n) = (turned.shape(), shape[axis]);
    let rows = there.iter().product::<usize>() / n;
    turned.reshape(&[rows, n]).matmul_t(factor).reshape(&there).transpose(&order)
}
