//! Runs of meta-transfer.

mod images;
mod run;
mod source;

pub use crate::config::TransferConfig;
pub use run::{Event, MethodOutcome, Outcome, evaluate, train};
