//! Runs of meta-reinforcement learning.

mod run;

pub use crate::config::RlConfig;
pub use run::{Event, Outcome, evaluate, is_run, open, train};
