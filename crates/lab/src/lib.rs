//! A run: configuration, trainer, checkpoints, evaluation, reports.
//!
//! The only crate that reads and writes files and derives serialisation. Formats have a magic word, a
//! version, and a message for each mismatch.

pub mod bench;
pub mod checkpoint;
pub mod config;
mod data;
mod error;
mod evaluation;
mod experiment;
mod few_shot;
mod metagrad;
pub mod rl;
mod run;
pub mod run_dir;
mod trainer;
mod verify;

pub use config::Config;
pub use data::{DATA_VARIABLE, data_folder, verify as verify_data};
pub use error::{Error, ErrorKind, Result};
pub use evaluation::{Estimate, Evaluator, Measure, Protocol, Report};
pub use experiment::{Experiment, Outer};
pub use few_shot::{FewShot, Phase};
pub use metagrad::{MetaGradient, metagrad};
pub use run::{Event, Outcome, Sink, Which, open, peak_memory, train};
pub use trainer::{StepReport, Trainer, thread_pool};
pub use verify::{
    Comparison, TOLERANCE_F32, TOLERANCE_F64, TOLERANCE_FLIPPED, Verification, verify,
};
