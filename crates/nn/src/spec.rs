//! What is known of a parameter before it has values, and how it maps to PyTorch's layout.

use innerloop_engine::{Dtype, Key, Params, Shape, Tensor};

use crate::init::Init;

/// How a parameter's axes relate to PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same: linear weights `[out, in]`, biases, scales and shifts.
    Same,
    /// Convolution kernels: here `[kh, kw, in, out]`, in PyTorch `[out, in, kh, kw]`.
    Conv,
    /// Linear weights on flattened maps of the given height, width and channels: here the input index is
    /// `(y·w + x)·c + ch`, in PyTorch `(ch·h + y)·w + x`.
    Maps {
        /// Height, width, channels.
        extents: [usize; 3],
    },
}

/// One parameter of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Name in files and reports, as PyTorch would name it: `features.0.conv.weight`.
    pub name: String,
    /// Shape here.
    pub shape: Shape,
    /// Relation to PyTorch's layout.
    pub layout: Layout,
    /// How it is initialised.
    pub init: Init,
}

impl ParamSpec {
    /// Shape in PyTorch's layout.
    pub fn torch_shape(&self) -> Shape {
        match (self.layout, self.shape.as_slice()) {
            (Layout::Conv, &[kh, kw, i, o]) => vec![o, i, kh, kw],
            _ => self.shape.clone(),
        }
    }

    /// The same values in PyTorch's layout.
    #[track_caller]
    pub fn to_torch(&self, value: &Tensor) -> Tensor {
        assert_eq!(value.shape(), self.shape, "{}", self.name);
        match self.layout {
            Layout::Same => value.clone(),
            Layout::Conv => value.permuted(&[3, 2, 0, 1]),
            Layout::Maps { extents: [h, w, c] } => {
                let rows = self.shape[0];
                value
                    .clone()
                    .reshaped(&[rows, h, w, c])
                    .permuted(&[0, 3, 1, 2])
                    .reshaped(&self.shape)
            }
        }
    }

    /// The same values from PyTorch's layout; the shape must be [`ParamSpec::torch_shape`].
    #[track_caller]
    pub fn from_torch(&self, value: &Tensor) -> Tensor {
        assert_eq!(value.shape(), self.torch_shape(), "{}", self.name);
        match self.layout {
            Layout::Same => value.clone(),
            Layout::Conv => value.permuted(&[2, 3, 1, 0]),
            Layout::Maps { extents: [h, w, c] } => {
                let rows = self.shape[0];
                value
                    .clone()
                    .reshaped(&[rows, c, h, w])
                    .permuted(&[0, 2, 3, 1])
                    .reshaped(&self.shape)
            }
        }
    }
}

/// Name of the context parameters, which start at zero.
pub const CONTEXT: &str = "context";

pub(crate) fn context(parameters: usize) -> ParamSpec {
    let (shape, init) = (vec![parameters], Init::Constant(0.0));
    ParamSpec { name: CONTEXT.into(), shape, layout: Layout::Same, init }
}

/// Fresh parameters; each depends only on the key and its own position.
pub fn initialise(specs: &[ParamSpec], key: Key, dtype: Dtype) -> Params<Tensor> {
    let key = key.with_stream("initial parameters");
    specs
        .iter()
        .enumerate()
        .map(|(i, spec)| {
            let value = spec.init.draw(&spec.shape, spec.layout, key.at(0, i as u64));
            (spec.name.clone(), value.cast(dtype))
        })
        .collect()
}
