//! Meta-transfer: a target network learns from few labels beside a pretrained source network, and meta-networks
//! learn which of the source's features to match where, and how much (L2T-ww: Jang, Lee, Hwang, Shin, ICML 2019).
//!
//! | file | what is there |
//! |---|---|
//! | `matching.rs` | matching convolutions and meta-networks: the transfer loss |
//! | `problem.rs` | the losses of a step, as an [`innerloop_meta::Problem`] |
//! | `l2t_ww.rs` | the inner loop, as an [`innerloop_meta::Algorithm`] |
//! | `course.rs` | a method, compiled, and the trials that it trains |
//! | `frozen.rs` | a network with given statistics: accuracy, and the source's maps |
//! | `samples.rs` | labelled images with the source's maps for them |
//! | `picture.rs` | what was matched, as SVG |

mod course;
mod frozen;
mod l2t_ww;
mod matching;
pub mod picture;
mod problem;
mod samples;

pub use course::{Course, Diverged, Matched, Method, Progress, Settings, Trial};
pub use frozen::Frozen;
pub use l2t_ww::L2tWw;
pub use matching::{META_PREFIX, Matching};
pub use problem::{Stage, Transfer};
pub use samples::Samples;

use innerloop_engine::{Params, Var};

/// Graph handles of named values.
pub type Vars<'g> = Params<Var<'g>>;

#[cfg(test)]
mod tests;
