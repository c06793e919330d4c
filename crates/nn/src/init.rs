//! Initial values of parameters.

use innerloop_engine::{Key, Tensor, volume};
use rand::RngExt;

use crate::spec::Layout;

/// How a parameter is initialised. Fans are those of the whole kernel: `fan_in = kh·kw·in`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element has the same value.
    Constant(f64),
    /// N(0, 2 / fan_in): He et al. 2015, for ReLU.
    He,
    /// U(±√(6 / (fan_in + fan_out))): Glorot and Bengio 2010.
    Xavier,
    /// U(±1/√fan_in): PyTorch's default for the weights of linear and convolutional layers.
    Torch,
    /// U(±1/√n): PyTorch's default for the bias of a layer with `fan_in = n`.
    TorchBias(usize),
    /// N(0, sd²) redrawn outside two standard deviations: TensorFlow's truncated normal.
    TruncatedNormal(f64),
}

impl Init {
    pub(crate) fn draw(self, shape: &[usize], layout: Layout, key: Key) -> Tensor {
        let (fan_in, fan_out) = fans(shape, layout);
        let mut rng = key.rng();
        let mut uniform = move || rng.random::<f64>();
        let mut rng = key.with_stream("normal").rng();
        let mut normal = move || {
            // Box–Muller; the first number is kept away from zero.
            let (u, v): (f64, f64) = (rng.random::<f64>().max(f64::MIN_POSITIVE), rng.random());
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        let mut one = || match self {
            Init::Constant(value) => value,
            Init::He => normal() * (2.0 / fan_in).sqrt(),
            Init::Xavier => (2.0 * uniform() - 1.0) * (6.0 / (fan_in + fan_out)).sqrt(),
            Init::Torch => (2.0 * uniform() - 1.0) / fan_in.sqrt(),
            Init::TorchBias(n) => (2.0 * uniform() - 1.0) / (n as f64).sqrt(),
            Init::TruncatedNormal(sd) => loop {
                let x = normal();
                if x.abs() <= 2.0 {
                    break x * sd;
                }
            },
        };
        // Values are drawn in single precision, so that a run in double precision starts from the same point.
        let values = (0..volume(shape)).map(|_| f64::from(one() as f32)).collect();
        Tensor::from_f64(shape, values)
    }
}

/// The number of inputs connected to one output, and of outputs connected to one input.
fn fans(shape: &[usize], layout: Layout) -> (f64, f64) {
    let (inputs, outputs) = match (layout, shape) {
        (Layout::Conv, &[kh, kw, i, o]) => (kh * kw * i, kh * kw * o),
        (_, &[o, i]) => (i, o),
        _ => (volume(shape), volume(shape)),
    };
    (inputs as f64, outputs as f64)
}
