//! A graph in, numbers out: the differentiating compiler under innerloop.
//!
//! A computation is traced once into a [`Graph`] of a small closed set of operations with static shapes. [`grad`],
//! [`vjp`], [`jvp`] and [`hvp`] add nodes to the same graph: a gradient is a value like any other, so derivatives of
//! any order need nothing new. [`vmap`] turns a computation on one example into one on many. [`Program::compile`] turns
//! the graph into a list of steps over one arena, which is then run millions of times without allocating.
//!
//! The crate reads no file, clock, environment or entropy, and knows nothing of meta-learning.

mod autodiff;
pub mod check;
mod exec;
mod graph;
mod key;
mod params;
mod plan;
mod tensor;
mod vmap;

pub use autodiff::{grad, grad_params, hvp, jvp, vjp};
pub use exec::{Isa, Sum, Workspace};
pub use graph::{Binary, Graph, Unary, Var, Window};
pub use key::Key;
pub use params::Params;
pub use plan::{Cost, Program};
pub use tensor::{Dtype, Shape, Tensor, row_major_strides, volume};
pub use vmap::{Unmappable, vmap};
