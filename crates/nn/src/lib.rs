//! Layers, losses and models on the innerloop engine.
//!
//! A model is a list of parameter specifications and a function that traces its forward pass. Images are `[n, h, w,
//! c]`; parameters have the layouts that the kernels prefer, and [`ParamSpec::to_torch`] / [`ParamSpec::from_torch`]
//! convert to and from PyTorch's at the file boundary.
//!
//! ```
//! use innerloop_engine::{Dtype, Graph, Key, Program, Tensor};
//! use innerloop_nn::{Activation, Init, Mlp, Model, NormStatistics, Vars, initialise};
//!
//! let model = Mlp::new(&[2, 16, 3], Activation::Tanh, Init::Xavier);
//!
//! // Traced once on four examples: the inputs are the parameters, in order, then the examples.
//! let graph = Graph::new();
//! let specs = model.parameters().iter();
//! let params: Vars = specs.map(|p| (p.name.clone(), graph.input(&p.name, &p.shape))).collect();
//! let x = graph.input("x", &[4, 2]);
//! let norm = NormStatistics::Batch { groups: 1 };
//! let logits = model.forward(&params, x, &norm).output;
//! let program = Program::compile(&graph, &[logits]);
//!
//! // Then run any number of times.
//! let mut workspace = program.workspace(Dtype::F32);
//! let theta = initialise(model.parameters(), Key::new(1), Dtype::F32);
//! for (input, value) in theta.values().iter().enumerate() {
//!     workspace.set(input, value);
//! }
//! workspace.set(theta.len(), &Tensor::full(Dtype::F32, &[4, 2], 0.5));
//! program.run(&mut workspace);
//! assert_eq!(workspace.output(0).shape(), [4, 3]);
//! ```

mod bilinear;
mod classifier;
mod conv4;
mod init;
pub mod loss;
mod mlp;
mod norm;
mod prototypes;
mod resnet;
mod spec;
mod stages;
mod vgg;

pub use bilinear::resize_bilinear;
pub use classifier::{CLASSIFIER, HEAD, WithClassifier};
pub use conv4::{Conv4, Downsampling, Head};
pub use init::Init;
pub use mlp::{Activation, Mlp};
pub use norm::{BatchNorm, NormStatistics};
pub use prototypes::prototype_logits;
pub use resnet::ResNet;
pub use spec::{CONTEXT, Layout, ParamSpec, initialise};
pub use stages::Staged;
pub use vgg::Vgg;

use innerloop_engine::{Params, Shape, Var};

/// Graph handles of named values.
pub type Vars<'g> = Params<Var<'g>>;

/// The result of a forward pass.
pub struct Forward<'g> {
    /// The network's output, one row per example: logits or predicted values.
    pub output: Var<'g>,
    /// Mean and variance of the batch at every normalising layer, under the names of
    /// [`Model::statistics`]; empty when given statistics were used.
    pub statistics: Vars<'g>,
}

/// A network: named parameters and a traced forward pass.
pub trait Model: Send + Sync {
    /// Parameters in order.
    fn parameters(&self) -> &[ParamSpec];

    /// Names and shapes of the statistics that its normalising layers keep; empty without such layers.
    fn statistics(&self) -> Params<Shape>;

    /// Traces the network on a batch `x` of images `[n, h, w, c]` or of numbers `[n, d]`; its output is `[n, outputs]`.
    fn forward<'g>(&self, params: &Vars<'g>, x: Var<'g>, norm: &NormStatistics<'g>) -> Forward<'g>;
}

#[cfg(test)]
mod tests;
