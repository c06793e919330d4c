//! Meta-gradients by three routes (unrolled, adjoint, finite differences), closed forms on quadratics, identities
//! between the algorithms, and one conformance suite for all of them.

mod algorithms;
mod binomial;
mod closed_forms;
mod conformance;
mod diagnostics;
mod differences;
mod equal_gradients;
mod forms;
mod grouping;
mod identities;
mod lstm;
mod maml_plus_plus;
mod problems;
mod shot;
mod similarity;
mod strategies;
mod windows;
