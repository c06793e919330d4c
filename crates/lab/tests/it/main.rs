//! Runs from a user's view: training, resuming, evaluating, and comparing results with PyTorch's.

mod batch_norm;
mod cases;
mod differences;
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
