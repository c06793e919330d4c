//! A run from a user's view: training, resuming, evaluating, and results held against PyTorch's.

mod batch_norm;
mod cases;
mod evaluation;
mod experiment;
mod fine_tune;
mod interrupt;
mod learning;
mod metagrad;
mod pretraining;
mod resume;
mod rl;
mod runs;
mod transfer;
mod transfer_data;
mod verify;
