//! A run: configuration, trainer, checkpoints, evaluation, reports.
//!
//! This is the only crate that writes files, apart from the cache of decoded images in `tasks` (which also reads data
//! sets), and that derives serialisation. Formats have a magic word, a version, and a message for each mismatch.

pub mod bench;
mod budget;
pub mod checkpoint;
pub mod compare;
pub mod config;
mod data;
pub mod diagnose;
mod error;
mod evaluation;
mod experiment;
mod few_shot;
mod memory;
mod metagrad;
pub mod plot;
pub mod reproduce;
pub mod rl;
mod run;
pub mod run_dir;
mod trainer;
pub mod transfer;
mod verify;

pub use budget::Budget;
pub use checkpoint::state::{Which, ensemble, open, open_with};
pub use config::{Config, Kept};
pub use data::{DATA_VARIABLE, data_folder, verify as verify_data};
pub use error::{Error, ErrorKind, Result};
pub use evaluation::{Estimate, Evaluator, Measure, Protocol, Report};
pub use experiment::{Experiment, Outer};
pub use few_shot::{FewShot, Phase, Readout};
pub use memory::peak_memory;
pub use metagrad::{Computed, metagrad};
pub use run::{Event, Outcome, Session, Sink, train, train_experiment};
pub use trainer::{StepReport, Trainer, thread_pool};
pub use verify::{
    Comparison, TOLERANCE_F32, TOLERANCE_F64, TOLERANCE_FLIPPED, Verification, verify,
};
