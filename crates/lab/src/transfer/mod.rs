//! Runs of meta-transfer.

mod images;
mod run;

pub use crate::config::TransferConfig;
pub use run::{Event, MethodOutcome, Outcome, train};
