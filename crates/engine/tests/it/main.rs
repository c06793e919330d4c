//! Derivatives of every operation, and programs against plain evaluation.

mod ops;
