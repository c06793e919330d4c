//! `innerloop verify`: recomputes another framework's meta-gradients and compares.
//!
//! The file format is documented in `docs/verify.md`.

mod case;
mod compare;
mod compute;

use std::fmt;
use std::path::Path;

use innerloop_engine::Dtype;
use innerloop_meta::Strategy;

use crate::Result;
use crate::checkpoint::tensors;
use case::Case;
pub use compare::Comparison;

/// What was compared, with which strategy, and the outcome.
pub struct Verification {
    /// Name of the strategy.
    pub strategy: &'static str,
    /// Every array of the file that could be recomputed.
    pub comparisons: Vec<Comparison>,
    /// ReLU and pooling decisions that rounding flipped compared with the double-precision run, and their total number;
    /// `None` in double precision.
    pub flips: Option<(usize, usize)>,
    /// The tolerance that errors are compared with.
    pub tolerance: f64,
}

impl Verification {
    /// Whether every error that counts is within the tolerance; NaN is not.
    pub fn passed(&self) -> bool {
        self.counting().all(|c| c.error <= self.tolerance)
    }

    /// The comparison with the largest error, of those that count.
    pub fn worst(&self) -> Option<&Comparison> {
        // NaN is the largest error.
        let key = |c: &Comparison| if c.error.is_nan() { f64::INFINITY } else { c.error };
        self.counting().max_by(|a, b| key(a).total_cmp(&key(b)))
    }

    /// In single precision a tensor much smaller than its group carries the group's rounding errors, so only the whole
    /// group counts; its tensors are shown to help locate a fault.
    fn counting(&self) -> impl Iterator<Item = &Comparison> {
        let single = self.flips.is_some();
        self.comparisons.iter().filter(move |c| !(single && c.part))
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "strategy {}", self.strategy)?;
        for comparison in &self.comparisons {
            writeln!(f, "  {comparison}")?;
        }
        if let Some((flips, all)) = self.flips {
            writeln!(f, "  decisions flipped by rounding: {flips} of {all}")?;
        }
        let verdict = if self.passed() { "within" } else { "NOT within" };
        write!(f, "  {verdict} the tolerance {:.0e}", self.tolerance)
    }
}

/// Relative error allowed in double precision.
pub const TOLERANCE_F64: f64 = 1e-11;
/// Relative error allowed in single precision.
pub const TOLERANCE_F32: f64 = 2e-5;
/// Relative error allowed in single precision where rounding flipped a ReLU or pooling decision.
pub const TOLERANCE_FLIPPED: f64 = 2e-2;

/// Recomputes a case with each of the strategies. Writes innerloop's own results for the first strategy, under the
/// file's names, to `out`.
pub fn verify(
    file: &Path,
    dtype: Dtype,
    strategies: &[Strategy],
    out: Option<&Path>,
) -> Result<Vec<Verification>> {
    let case = Case::read(file)?;
    let mut verifications = Vec::new();
    for (index, &strategy) in strategies.iter().enumerate() {
        let results = compute::results(&case, dtype, strategy);
        if let (0, Some(out)) = (index, out) {
            let prefix = format!("{dtype}.");
            let named =
                results.arrays.iter().map(|(name, t)| (format!("{prefix}{name}"), t.clone()));
            tensors::write(out, &named.collect(), &case.metadata)?;
        }
        let flips = match dtype {
            Dtype::F64 => None,
            Dtype::F32 => Some(compute::flips(&case)),
        };
        let tolerance = match (dtype, flips) {
            (Dtype::F64, _) => TOLERANCE_F64,
            (Dtype::F32, Some((flips, _))) if flips > 0 => TOLERANCE_FLIPPED,
            (Dtype::F32, _) => TOLERANCE_F32,
        };
        let comparisons = compare::all(&case, &results);
        let strategy = match strategy {
            Strategy::Unrolled => "unrolled",
            Strategy::Adjoint | Strategy::Auto => "adjoint",
        };
        verifications.push(Verification { strategy, comparisons, flips, tolerance });
    }
    Ok(verifications)
}
