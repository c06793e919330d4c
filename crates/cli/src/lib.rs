//! innerloop: gradient-based meta-learning in Rust.
//!
//! This crate re-exports the libraries under one name and holds the `innerloop` command.
//!
//! | module | what it is |
//! |---|---|
//! | [`engine`] | a graph in, numbers out: derivatives of any order, compiled programs |
//! | [`nn`] | layers, losses, models |
//! | [`tasks`] | families of tasks: data sets, samplers, episodes |
//! | [`meta`] | inner loops, meta-gradients, algorithms, outer optimizers |
//! | [`rl`] | meta-reinforcement learning: environments, policies, TRPO through the inner loop |
//! | [`transfer`] | meta-transfer: what to match of a pretrained network, and where |
//! | [`lab`] | a run: configuration, trainer, checkpoints, evaluation |

pub use innerloop_engine as engine;
pub use innerloop_lab as lab;
pub use innerloop_meta as meta;
pub use innerloop_nn as nn;
pub use innerloop_rl as rl;
pub use innerloop_tasks as tasks;
pub use innerloop_transfer as transfer;

/// The version of `rand` that works with the generator of an [`engine::Key`].
pub use rand;
