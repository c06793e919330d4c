//! Layers, losses and models on the innerloop engine.
//!
//! A model is a list of parameter specifications and a function that traces its forward pass. Images are
//! `[n, h, w, c]`; parameters have the layouts the kernels like, and [`ParamSpec::to_torch`] /
//! [`ParamSpec::from_torch`] turn them into PyTorch's at the file boundary.

mod conv4;
mod init;
pub mod loss;
mod mlp;
mod norm;
mod spec;

pub use conv4::{Conv4, Downsampling, Head};
pub use init::Init;
pub use mlp::{Activation, Mlp};
pub use norm::{BatchNorm, NormStatistics};
pub use spec::{Layout, ParamSpec, initialise};

use innerloop_engine::{Params, Shape, Var};

/// Graph handles of named values.
pub type Vars<'g> = Params<Var<'g>>;

/// What a forward pass gives.
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

    /// Names and shapes of the statistics its normalising layers keep: none without such layers.
    fn statistics(&self) -> Params<Shape>;

    /// Traces the network on a batch `x`, whose first axis counts examples.
    fn forward<'g>(&self, params: &Vars<'g>, x: Var<'g>, norm: &NormStatistics<'g>) -> Forward<'g>;
}

#[cfg(test)]
mod tests;
