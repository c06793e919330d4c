//! Runs of meta-reinforcement learning.

mod environment;
mod learner;
mod run;

pub use crate::config::RlConfig;
pub use learner::{Learner, Progress};
pub use run::{Event, Outcome, evaluate, open, train};
